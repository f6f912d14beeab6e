/** A command that is repeated because nobody knows what became of it. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { idempotencyKeyKey } from "../../src/format/key-families.ts";
import { defineDecider, defineEvents, event } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

test("A repeated command finds its first result, though that was stored between its look-up and its decision", async () => {
  const events = defineEvents("tally", { Added: event({ schema: v.object({}) }) });
  const tally = defineDecider("tally", {
    events,
    commands: { Add: v.object({}) },
    initialState: () => ({ count: 0 }),
    evolve: { Added: ({ count }) => ({ count: count + 1 }) },
    decide: { Add: () => [{ type: "Added", data: {} }] },
  });
  const gate = createGatedKv();
  const keyed = Buffer.from(idempotencyKeyKey("once"));
  let beforeStored = false;
  // The first look-up of the key comes just before the group with it is durable.
  const kv: KeyValueStore = {
    ...gate.kv,
    getMany: async (keys) => {
      const found = await gate.kv.getMany(keys);
      if (beforeStored && keys.some((key) => keyed.equals(key))) {
        beforeStored = false;
        gate.open();
        await until(() => store.health().lastPosition === 1);
      }
      return found;
    },
  };
  const store = await openEventStoreOn(kv, { events: [events], commitTimeoutMs: 200 });
  gate.shut();
  const options = { idempotencyKey: "once", expectedVersion: "no-stream" } as const;
  const add = () => store.execute(tally, "1", { type: "Add", data: {} }, options);
  expect(await errorOf(add())).toMatchObject({ code: "storage-unavailable", outcome: "unknown" });
  beforeStored = true;
  expect(await add()).toMatchObject({ replayed: true, streamVersion: 1 });
  expect(beforeStored).toBe(false);
  await store.close();
});

const numbers = defineEvents("number", { Added: event({ schema: v.object({ n: v.number() }) }) });
const sums = defineDecider("sums", {
  events: numbers,
  commands: { Add: v.object({ n: v.number() }) },
  initialState: () => ({ sum: 0 }),
  evolve: { Added: ({ sum }, { data }) => ({ sum: sum + data.n }) },
  decide: { Add: ({ data }) => [{ type: "Added", data }] },
  snapshots: { version: 1, everyEvents: 1_000 },
});

for (const compacted of [false, true]) {
  const when = compacted ? "and its events dropped" : "and its events still in storage";
  test(`A command is harmless to repeat when its stream was truncated, ${when}`, async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { events: [numbers] });
    const add = (n: number) => store.execute(sums, "1", { type: "Add", data: { n } }, { idempotencyKey: `add ${n}` });
    const first = [await add(1), await add(2), await add(3), await add(4)];
    await store.snapshot(sums, "1");
    await store.truncateStream("number-1", { beforeVersion: 4 });
    if (compacted) await store.compact();
    const { events, streamVersion, position } = first[0] ?? { events: [] };
    expect(await add(1)).toMatchObject({
      ...{ streamName: "number-1", streamVersion, position, replayed: true, incomplete: true },
      ...{ state: { sum: 10 }, events: compacted ? [] : events },
    });
    const last = await add(4);
    expect(last).toMatchObject({
      streamVersion: 4,
      replayed: true,
      state: { sum: 10 },
      events: first[3]?.events ?? [],
    });
    expect(last).not.toHaveProperty("incomplete");
    expect((await store.streamInfo("number-1"))?.version).toBe(4);
  });

  test(`A command is harmless to repeat when its stream has no state any more, or is deleted, ${when}`, async () => {
    const storage = createMemoryStorage();
    const before = await openEventStoreOn(openMemoryKv(storage), { events: [numbers] });
    for (const n of [1, 2, 3])
      await before.execute(sums, "1", { type: "Add", data: { n } }, { idempotencyKey: `add ${n}` });
    await before.close();
    // No state is in its memory.
    await using store = await openEventStoreOn(openMemoryKv(storage), { events: [numbers] });
    const add = (n: number) => store.execute(sums, "1", { type: "Add", data: { n } }, { idempotencyKey: `add ${n}` });
    await store.truncateStream("number-1", { beforeVersion: 3 });
    if (compacted) await store.compact();
    const told = { streamVersion: 1, position: 1, replayed: true, incomplete: true, state: { sum: 0 } };
    expect(await add(1)).toMatchObject(told);
    expect(await errorOf(add(5))).toMatchObject({ code: "stream-truncated" });
    await store.deleteStream("number-1", { expectedVersion: 3 });
    expect(await add(1)).toMatchObject(told);
    expect(await errorOf(add(5))).toMatchObject({ code: "stream-deleted" });
  });

  test(`A decision is harmless to repeat when a stream that it read was truncated or deleted, ${when}`, async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { events: [numbers] });
    const decide = (idempotencyKey: string) =>
      store.decide(
        {
          streams: ["number-1", "number-2"],
          initialState: () => ({ sum: 0 }),
          evolve: { Added: ({ sum }, { data }) => ({ sum: sum + data.n }) },
          decide: () => [{ streamName: "number-1", events: [{ type: "Added", data: { n: 5 } }] }],
        },
        { idempotencyKey },
      );
    const first = await decide("once");
    expect(first.state).toEqual({ sum: 5 });
    await store.append("number-1", [{ type: "Added", data: { n: 2 } }], { expectedVersion: 1 });
    // It came later: that it is truncated takes nothing from the first result.
    await store.append("number-2", [{ type: "Added", data: { n: 2 } }], { expectedVersion: "no-stream" });
    await store.truncateStream("number-2", { beforeVersion: 2 });
    expect(await decide("once")).toEqual({ ...first, replayed: true });
    await store.truncateStream("number-1", { beforeVersion: 2 });
    if (compacted) await store.compact();
    const { streams, position, events } = first;
    const told = { streams, position, replayed: true, incomplete: true, state: { sum: 0 } } as const;
    expect(await decide("once")).toEqual({ ...told, events: compacted ? [] : events });
    await store.deleteStream("number-1", { expectedVersion: 2 });
    expect(await decide("once")).toEqual({ ...told, events: compacted ? [] : events });
  });
}
