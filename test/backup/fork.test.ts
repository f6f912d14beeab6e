/** Forks: a copy with a future of its own, that does nothing to what it was copied from, nor twice in the world outside. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { defineEvents, defineProjection, defineReactor, event, openEventStore } from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { forwardingKv } from "../support/forwarding-kv.ts";

setDefaultTimeout(60_000);

const order = defineEvents("order", { Placed: event({ schema: v.object({ total: v.number() }) }) });
const totals = defineProjection("totals", {
  version: 1,
  mode: "async",
  filter: { types: ["Placed"] },
  document: v.object({ orders: v.number() }),
  on: { Placed: (_, docs) => docs.update("all", (known) => ({ orders: (known?.orders ?? 0) + 1 })) },
});
const born = { expectedVersion: "no-stream" } as const;

test.each(["memory:", "file:"])("A fork of a store in memory, to %s, and its source go apart", async (kind) => {
  await using folder = await temporaryFolder();
  const url = kind === "memory:" ? kind : `file:${folder.path}/fork`;
  await using store = await openEventStore({ url: "memory:", events: [order] });
  for (const n of range(1, 40)) await store.append(`order-${n}`, [{ type: "Placed", data: { total: n } }], born);
  const before = await collect(store.readAll());
  await using fork = await store.fork(url);
  expect(await collect(fork.readAll())).toEqual(before);
  expect(fork.chainHead()).toEqual(store.chainHead());
  await fork.append("order-41", [{ type: "Placed", data: { total: 1 } }], born);
  await store.append("order-41", [{ type: "Placed", data: { total: 2 } }], born);
  await store.append("order-42", [{ type: "Placed", data: { total: 2 } }], born);
  expect(await fork.lastPosition()).toBe(41);
  expect(await store.lastPosition()).toBe(42);
  expect(await fork.verify({ against: store.chainHead()?.text ?? "" })).toMatchObject({ holds: false });
  expect(await fork.verify()).toMatchObject({ holds: true });
  // The events that the store knows are those of the fork.
  const wrong = { type: "Placed", data: { total: "much" as unknown as number } } as const;
  expect((await errorOf(fork.append("order-43", [wrong], born))).code).toBe("invalid-event");
});

test("A fork on a folder is opened again as the store that it is, beside a store that goes on", async () => {
  await using folder = await temporaryFolder();
  const [from, to] = [`file:${folder.path}/store`, `file:${folder.path}/fork`];
  const sent: string[] = [];
  const mailer = (who: string) =>
    defineReactor("mailer", {
      mode: "async",
      on: {
        Placed: async ({ position }) => {
          sent.push(`${who} ${position}`);
        },
      },
    });
  await using store = await openEventStore({
    url: from,
    events: [order],
    projections: [totals],
    reactors: [mailer("store")],
  });
  for (const n of range(1, 20)) await store.append(`order-${n}`, [{ type: "Placed", data: { total: n } }], born);
  await store.waitFor("mailer", 20, { timeoutMs: 10_000 });
  await store.waitFor("totals", 20, { timeoutMs: 10_000 });
  {
    await using fork = await store.fork(to);
    expect(fork.health().lease?.state).toBe("held");
    await fork.append("order-21", [{ type: "Placed", data: { total: 21 } }], born);
  }
  // Read models go on in it; what acts on the world stands still.
  await using again = await openEventStore({
    url: to,
    events: [order],
    projections: [totals],
    reactors: [mailer("fork")],
  });
  await again.append("order-22", [{ type: "Placed", data: { total: 22 } }], born);
  expect(await again.documents(totals).get("all", { atLeast: 22 })).toEqual({ orders: 22 });
  expect((await again.processors()).map(({ name, state }) => [name, state])).toContainEqual(["mailer", "paused"]);
  await store.append("order-21", [{ type: "Placed", data: { total: 1 } }], born);
  await until(() => sent.includes("store 21"));
  expect(sent.filter((one) => one.startsWith("fork"))).toEqual([]);
  expect((await errorOf(store.fork(to))).message).toContain("a store already");
  expect((await errorOf(store.fork(from))).message).toContain("a store already");
  expect(store.health().state).toBe("open");
  expect(again.health().state).toBe("open");
});

test("A fork with processors of its own, and options that make no sense", async () => {
  await using store = await openEventStoreOn(openMemoryKv(), { events: [order] });
  for (const n of range(1, 5)) await store.append(`order-${n}`, [{ type: "Placed", data: { total: n } }], born);
  await using fork = await store.fork("memory:", { projections: [totals] });
  expect(await fork.documents(totals).get("all", { atLeast: 5 })).toEqual({ orders: 5 });
  expect((await errorOf(store.fork("nowhere"))).code).toBe("invalid-argument");
  expect((await errorOf(store.fork("memory:", { deep: 1 } as object))).code).toBe("invalid-argument");
  const aborted = store.fork("memory:", { signal: AbortSignal.abort(new Error("enough")) });
  expect(await aborted.catch((error: unknown) => (error as Error).message)).toBe("enough");
  await store.close();
  expect((await errorOf(store.fork("memory:"))).code).toBe("store-closed");
});

test("A fork during which the engine is exchanged to give space back is read again from the start", async () => {
  await using folder = await temporaryFolder();
  const location = { kind: "folder", url: `file:${folder.path}/store`, directory: `${folder.path}/store` } as const;
  const slate = await openSlateKv({ location, s3: {}, clock: systemClock });
  let snapshots = 0;
  const kv = forwardingKv(slate, {
    snapshot: async () => {
      const snapshot = await slate.snapshot();
      snapshots += 1;
      if (snapshots > 1) return snapshot;
      return {
        get: (key) => snapshot.get(key),
        getMany: (keys) => snapshot.getMany(keys),
        scan: async (range_, purpose) => {
          const cursor = await snapshot.scan(range_, purpose);
          await slate.reclaim?.({ waitMaxMs: 1 });
          return cursor;
        },
        isLost: () => snapshot.isLost?.() ?? false,
        close: () => snapshot.close(),
      };
    },
  });
  await using store = await openEventStoreOn(kv, { events: [order] });
  for (const n of range(1, 40)) await store.append(`order-${n}`, [{ type: "Placed", data: { total: n } }], born);
  await using fork = await store.fork("memory:");
  expect(snapshots).toBe(2);
  expect(await collect(fork.readAll())).toEqual(await collect(store.readAll()));
  expect(fork.chainHead()).toEqual(store.chainHead());
});
