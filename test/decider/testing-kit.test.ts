/** The kit for tests of deciders, and the store for tests: they say yes to what is right, and no, readably, to what is not. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { AssertionError } from "node:assert";
import * as v from "valibot";
import { defineDecider, defineEvents, event, refuse } from "../../src/index.ts";
import { openTestStore, specify } from "../../src/testing/index.ts";
import { collect } from "../support/collect.ts";
import { defineShow, show } from "../support/show.ts";

setDefaultTimeout(60_000);

const given = specify(defineShow());
const reserved = (seat: number, by: string) => ({ type: "SeatReserved", data: { seat, by } }) as const;
const reserve = (seat: number, by: string) => ({ type: "Reserve", data: { seat, by } }) as const;

/** What the assertion fails with. */
function failureOf(work: () => unknown): AssertionError {
  try {
    work();
  } catch (error) {
    if (error instanceof AssertionError) return error;
    throw error;
  }
  throw new Error("It did not fail");
}

test("What is as expected passes: events, nothing, a state, a refusal", async () => {
  await given()
    .when(reserve(1, "ann"))
    .then([reserved(1, "ann")]);
  await given([reserved(1, "ann")])
    .when(reserve(1, "ann"))
    .then([]);
  await given([reserved(1, "ann")])
    .when(reserve(2, "bob"))
    .then({ state: { seats: { 1: "ann", 2: "bob" }, closed: false } });
  await given([reserved(1, "ann")])
    .when(reserve(1, "bob"))
    .then({ refusal: "taken" });
  await given([reserved(1, "ann")])
    .when(reserve(1, "bob"))
    .then({ refusal: "taken", data: { by: "ann" } });
  await given()
    .when(reserve(1, "ann"))
    .then([{ ...reserved(1, "ann"), tags: ["by:ann"] }]);
});

test("What is not as expected fails at once, with both sides and a diff", () => {
  const failures = [
    failureOf(() =>
      given()
        .when(reserve(1, "ann"))
        .then([reserved(2, "ann")]),
    ),
    failureOf(() => given().when(reserve(1, "ann")).then([])),
    failureOf(() =>
      given()
        .when(reserve(1, "ann"))
        .then({ state: { seats: {}, closed: false } }),
    ),
    failureOf(() => given().when(reserve(1, "ann")).then({ refusal: "taken" })),
    failureOf(() =>
      given([reserved(1, "ann")])
        .when(reserve(1, "bob"))
        .then([reserved(1, "bob")]),
    ),
    failureOf(() =>
      given([reserved(1, "ann")])
        .when(reserve(1, "bob"))
        .then({ refusal: "closed" }),
    ),
    failureOf(() =>
      given([reserved(1, "ann")])
        .when(reserve(1, "bob"))
        .then({ refusal: "taken", data: { by: "eve" } }),
    ),
    failureOf(() =>
      given()
        .when(reserve(1, "ann"))
        .then([{ ...reserved(1, "ann"), tags: ["by:bob"] }]),
    ),
  ];
  expect(failures.map((failure) => failure.message.split("\n")[0])).toEqual([
    "Other events were decided.",
    "Other events were decided.",
    "It came to another state.",
    "It was not refused.",
    "It was refused.",
    "It was refused otherwise.",
    "It was refused otherwise.",
    "Other events were decided.",
  ]);
  expect(failures[0]).toMatchObject({
    actual: [reserved(1, "ann")],
    expected: [reserved(2, "ann")],
  });
  expect(failures[0]?.message).toMatch(/[+-]\s+seat: 1[\s\S]*[+-]\s+seat: 2/);
});

test("Events, commands and expectations that are not valid are told as the store tells them", () => {
  expect(() => given([reserved(1.5, "ann")])).toThrow(/given\[0\]/);
  expect(() => given().when(reserve(0, "ann")).then([])).toThrow(/data.seat/);
  expect(() =>
    given()
      .when(reserve(1, "ann"))
      .then([reserved(0, "ann")]),
  ).toThrow(/expected\[0\]/);
  expect(() =>
    given()
      .when(reserve(1, "ann"))
      .then({} as never),
  ).toThrow(/must be a list of events/);
});

test("A test that awaits too early is told so", async () => {
  // @ts-expect-error the compiler says so, too
  const early = async (): Promise<unknown> => await given().when(reserve(1, "ann"));
  expect(await early().catch((error: unknown) => String(error))).toMatch(/Nothing was expected/);
});

test("Deciders that wait are awaited, and told the time", async () => {
  const late = defineEvents("late", { Done: event({ schema: v.object({ at: v.string() }) }) });
  const deciding = defineDecider("late", {
    events: late,
    commands: { Do: v.object({}) },
    initialState: () => 0,
    evolve: { Done: (count) => count + 1 },
    decide: {
      Do: async (_command, count, { now }) => {
        if (count > 0) refuse("done");
        return [{ type: "Done", data: { at: now.toISOString() } }];
      },
    },
  });
  const on = specify(deciding, { now: new Date(0) });
  const done = { type: "Done", data: { at: "1970-01-01T00:00:00.000Z" } } as const;
  await on().when({ type: "Do", data: {} }).then([done]);
  await on([done]).when({ type: "Do", data: {} }).then({ refusal: "done" });
  const wrong = on().when({ type: "Do", data: {} }).then({ state: 5 });
  expect(await wrong.catch((error: unknown) => error)).toBeInstanceOf(AssertionError);
});

test("A test store gives the same events in every run, and stands a restart", async () => {
  const shows = defineShow();
  const run = async (): Promise<unknown> => {
    await using tested = await openTestStore({ events: [show] });
    await tested.store.execute(shows, "1", reserve(1, "ann"));
    tested.clock.advance(60_000);
    const store = await tested.reopen();
    expect(tested.store).toBe(store);
    await store.execute(shows, "1", reserve(2, "bob"));
    return await collect(store.readAll());
  };
  const events = await run();
  expect(events).toEqual(await run());
  expect(events).toMatchObject([
    { id: "00000000-0000-7000-8000-000000000002", recordedAt: new Date("2026-01-01T00:00:00Z") },
    { id: "00000000-0000-7000-8000-000000000003", recordedAt: new Date("2026-01-01T00:01:00Z") },
  ]);
});
