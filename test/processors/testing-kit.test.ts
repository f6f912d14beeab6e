/** The kits of `strata/testing` for projections and process managers, and a test store with timers. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { AssertionError } from "node:assert";
import * as v from "valibot";
import { defineEvents, defineProcessManager, defineProjection, event } from "../../src/index.ts";
import { openTestStore, specifyProcessManager, specifyProjection } from "../../src/testing/index.ts";
import { collect, until } from "../support/collect.ts";
import { checkout, totals } from "../support/shop.ts";

setDefaultTimeout(60_000);

const placed = (customer: string, total: number, streamName = "order-1") => ({
  ...{ type: "OrderPlaced", data: { customer, total } },
  streamName,
});

test("A projection is specified by events and documents", () => {
  const given = specifyProjection(totals("t", "async"));
  given([placed("ann", 3), placed("bob", 4), placed("ann", 5)]).then({
    ann: { orders: 2, total: 8 },
    bob: { orders: 1, total: 4 },
  });
  given([placed("ann", 3), { type: "OrderCancelled", data: { customer: "ann", total: 3 } }]).then({});
  expect(() => given([placed("ann", 3)]).then({ ann: { orders: 1, total: 4 } })).toThrow(AssertionError);
  expect(() => given([placed("ann", "3" as unknown as number)])).toThrow("is not valid");
  expect(() => specifyProjection({ name: "t", version: 1, mode: "live" })).toThrow("defineProjection");
});

test("A process manager is specified by what happens and what it asks for, time included", () => {
  const given = specifyProcessManager(checkout, { now: new Date("2026-05-01T00:00:00Z") });
  const ask = { execute: "payments", id: "order-1", command: { type: "Ask", data: { order: "order-1" } } };
  const remind = { ...ask, command: { type: "Remind", data: { order: "order-1" } } };
  given(placed("ann", 3)).then({
    asks: [ask],
    instances: { "order-1": { asked: true } },
    timers: { "order-1": { PaymentOverdue: new Date("2026-05-01T00:00:00.020Z") } },
  });
  given(placed("ann", 3)).when({ passMs: 19 }).then({ asks: [] });
  given(placed("ann", 3))
    .when({ passMs: 20 })
    .then({ asks: [remind], timers: {} });
  const reminded = { type: "Reminded", data: { order: "order-1" } };
  given(placed("ann", 3), { passMs: 20 }).when(reminded).then({ asks: [], instances: {} });
  given().when(reminded).then({ asks: [], instances: {} });
  expect(() => given(placed("ann", 3)).then({ asks: [] })).toThrow(AssertionError);
  expect(() => given(placed("ann", 3)).then({ timers: {} })).toThrow(AssertionError);
});

test("A test store runs projections and timers on a clock in the test's hands", async () => {
  const door = defineEvents("door", {
    Opened: event({ schema: v.object({}) }),
    Complained: event({ schema: v.object({}) }),
  });
  const state = defineProjection("doors", {
    version: 1,
    mode: "inline",
    events: [door],
    document: v.object({ opened: v.date() }),
    on: { Opened: (e, docs) => docs.set(e.streamName, { opened: e.recordedAt }) },
  });
  const guard = defineProcessManager("guard", {
    events: [door],
    correlate: { Opened: (e) => e.streamName },
    initialState: () => ({}),
    evolve: {},
    react: { Opened: (_e, _state, context) => context.schedule("StillOpen", { afterMs: 60_000 }) },
    timers: {
      StillOpen: (_timer, _state, context) => context.append(context.instance, [{ type: "Complained", data: {} }]),
    },
  });
  await using place = await openTestStore({ events: [door], projections: [state], processManagers: [guard] });
  await place.store.append("door-1", [{ type: "Opened", data: {} }], { expectedVersion: "no-stream" });
  expect(await place.store.documents(state).get("door-1")).toEqual({ opened: new Date("2026-01-01T00:00:00Z") });
  await place.store.waitFor("guard", 1);
  await place.reopen();
  place.clock.advance(60_000);
  await until(async () => (await collect(place.store.readStream("door-1"))).length === 2);
});
