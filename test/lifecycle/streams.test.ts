/** Truncating, deleting and having back streams: what readers and writers see at once, and what is left once events are dropped. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { snapshotKey } from "../../src/format/key-families.ts";
import {
  ConflictError,
  defineDecider,
  defineEvents,
  type EventStore,
  event,
  InvalidArgumentError,
  StreamDeletedError,
  StreamTruncatedError,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { lifecycleStreamName } from "../../src/log/system-events.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import { testClock } from "../../src/testing/test-doubles.ts";
import { collect, errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

const day = 24 * 60 * 60 * 1_000;
const events = (count: number, from = 1) =>
  Array.from({ length: count }, (_, index) => ({
    type: "Counted",
    data: { number: from + index, note: crypto.getRandomValues(new Uint8Array(100)).toHex() },
  }));
const versionsOf = async (store: EventStore, name: string, options = {}): Promise<number[]> =>
  (await collect(store.readStream(name, options))).map(({ version }) => version);

describe("Truncating a stream", () => {
  test("takes its first versions from readers at once, and from storage with the next pass", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await store.append("cart-1", events(30), { expectedVersion: "no-stream" });
    await store.append("cart-2", events(3), { expectedVersion: "no-stream" });
    const result = await store.truncateStream("cart-1", { beforeVersion: 21, metadata: { actor: "kim" } });
    expect(result).toEqual({
      ...{ streamName: "cart-1", streamVersion: 30, truncatedBefore: 21, position: 34, replayed: false },
    });
    for (const when of ["before", "after"]) {
      expect(await versionsOf(store, "cart-1")).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
      expect(await versionsOf(store, "cart-1", { direction: "backwards", limit: 2 })).toEqual([30, 29]);
      expect(await versionsOf(store, "cart-1", { direction: "backwards", fromVersion: 22 })).toEqual([22, 21]);
      expect(await versionsOf(store, "cart-1", { fromVersion: 5, limit: 2 })).toEqual([21, 22]);
      expect((await store.streamInfo("cart-1"))?.truncatedBefore).toBe(21);
      expect((await collect(store.readAll())).length).toBe(when === "before" ? 34 : 14);
      if (when === "before") {
        const report = await store.compact();
        expect(report.eventsDropped).toBe(20);
        expect(report.bytesFreed).toBeGreaterThan(0);
      }
    }
    expect((await store.compact()).eventsDropped).toBe(0);
    expect(
      (await collect(store.readAll({ filter: { categories: ["cart"] } }))).map(({ position }) => position),
    ).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33]);
    await store.append("cart-1", events(1, 31), { expectedVersion: 30 });
    expect((await versionsOf(store, "cart-1")).at(-1)).toBe(31);
    expect(await collect(store.readStream(lifecycleStreamName))).toMatchObject([
      { type: "$stream-truncated", data: { streamName: "cart-1", beforeVersion: 21 }, metadata: { actor: "kim" } },
    ]);
  });

  test("may leave nothing, and the stream goes on at its version", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await store.append("cart-1", events(3), { expectedVersion: "no-stream" });
    await store.truncateStream("cart-1", { beforeVersion: 4 });
    await store.compact();
    expect(await versionsOf(store, "cart-1")).toEqual([]);
    expect(await store.streamInfo("cart-1")).toMatchObject({ version: 3, truncatedBefore: 4 });
    expect((await store.append("cart-1", events(1, 4), { expectedVersion: 3 })).streamVersion).toBe(4);
    expect(await versionsOf(store, "cart-1")).toEqual([4]);
  });

  test("twice, or less far, changes nothing and says so", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await store.append("cart-1", events(9), { expectedVersion: "no-stream" });
    await store.truncateStream("cart-1", { beforeVersion: 5 });
    for (const beforeVersion of [5, 2, 1]) {
      const again = await store.truncateStream("cart-1", { beforeVersion });
      expect(again).toMatchObject({ replayed: true, truncatedBefore: 5, streamVersion: 9 });
    }
    expect((await collect(store.readStream(lifecycleStreamName))).length).toBe(1);
  });

  test("is refused past the end, for unknown streams, for a wrong version and for the store's own", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await store.append("cart-1", events(3), { expectedVersion: "no-stream" });
    const refused = async (work: Promise<unknown>): Promise<unknown> => {
      const error = await errorOf(work);
      expect(error.outcome).toBe("not-applied");
      return error;
    };
    expect(await refused(store.truncateStream("cart-1", { beforeVersion: 5 }))).toMatchObject({
      code: "invalid-argument",
      argument: "beforeVersion",
    });
    for (const beforeVersion of [0, -1, 1.5, Number.NaN, "2", undefined, null]) {
      const work = store.truncateStream("cart-1", { beforeVersion: beforeVersion as number });
      expect(await refused(work)).toBeInstanceOf(InvalidArgumentError);
    }
    expect(await refused(store.truncateStream("cart-9", { beforeVersion: 1 }))).toBeInstanceOf(InvalidArgumentError);
    expect(await refused(store.truncateStream("", { beforeVersion: 1 }))).toBeInstanceOf(InvalidArgumentError);
    expect(await refused(store.truncateStream(lifecycleStreamName, { beforeVersion: 1 }))).toBeInstanceOf(
      InvalidArgumentError,
    );
    expect(await refused(store.truncateStream("cart-1", { beforeVersion: 2, expectedVersion: 2 }))).toMatchObject({
      ...{ code: "conflict", streamName: "cart-1", expectedVersion: 2, actualVersion: 3 },
    });
    const misspelt = { beforeVersion: 2, before: 3 };
    expect(await refused(store.truncateStream("cart-1", misspelt))).toBeInstanceOf(InvalidArgumentError);
    expect(await store.lastPosition()).toBe(3);
  });
});

describe("Deleting a stream", () => {
  test("ends reads and appends at once, can be taken back, and after its time leaves a tombstone", async () => {
    const clock = testClock(new Date("2026-01-01"));
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { clock });
    await store.append("cart-1", events(20), { expectedVersion: "no-stream" });
    const gone = await store.deleteStream("cart-1", { expectedVersion: 20 });
    expect(gone).toMatchObject({ streamVersion: 20, replayed: false, position: 21 });
    expect(gone.undeletableUntil?.getTime()).toBe(gone.deletedAt.getTime() + 30 * day);
    const refusals = [
      () => collect(store.readStream("cart-1")),
      () => collect(store.asOf(10).readStream("cart-1")),
      () => store.append("cart-1", events(1), { expectedVersion: 20 }),
      () => store.append("cart-1", events(1), { expectedVersion: "no-stream" }),
      () => store.append("cart-1", events(1), { expectedVersion: "any" }),
      () => store.truncateStream("cart-1", { beforeVersion: 2 }),
      () => store.archiveStream("cart-1"),
    ];
    for (const refusal of refusals) expect(await errorOf(refusal)).toBeInstanceOf(StreamDeletedError);
    expect((await store.streamInfo("cart-1"))?.deleted).toEqual({
      at: gone.deletedAt,
      undeletableUntil: gone.undeletableUntil ?? new Date(0),
    });
    const names = async (deleted: boolean): Promise<string[]> =>
      (await collect(store.listStreams({ category: "cart", deleted }))).map(({ streamName }) => streamName);
    expect([await names(false), await names(true)]).toEqual([[], ["cart-1"]]);
    clock.advance(29 * day);
    expect((await store.compact()).eventsDropped).toBe(0);
    expect(await store.undeleteStream("cart-1")).toMatchObject({ streamVersion: 20, replayed: false });
    expect((await versionsOf(store, "cart-1")).length).toBe(20);
    expect(await store.undeleteStream("cart-1")).toMatchObject({ replayed: true });
    await store.append("cart-1", events(1), { expectedVersion: 20 });

    await store.deleteStream("cart-1", { expectedVersion: "any" });
    clock.advance(10 * day);
    const again = await store.deleteStream("cart-1", { expectedVersion: 21 });
    expect(again).toMatchObject({ replayed: true, streamVersion: 21 });
    clock.advance(20 * day);
    expect(await errorOf(store.undeleteStream("cart-1"))).toMatchObject({
      code: "stream-deleted",
      undeletableUntil: undefined,
    });
    expect((await store.compact()).eventsDropped).toBe(21);
    expect(await errorOf(collect(store.readStream("cart-1")))).toMatchObject({ undeletableUntil: undefined });
    expect(await errorOf(store.append("cart-1", events(1), { expectedVersion: "no-stream" }))).toBeInstanceOf(
      StreamDeletedError,
    );
    expect(await store.streamInfo("cart-1")).toMatchObject({ version: 21, deleted: { at: expect.any(Date) } });
    expect(await store.deleteStream("cart-1", { expectedVersion: "stream-exists" })).toMatchObject({ replayed: true });
    expect((await collect(store.readAll())).map(({ type }) => type)).toEqual([
      "$stream-deleted",
      "$stream-undeleted",
      "$stream-deleted",
    ]);
  });

  test("is refused for a wrong version, for what is not there, and for nonsense", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await store.append("cart-1", events(3), { expectedVersion: "no-stream" });
    expect(await errorOf(store.deleteStream("cart-1", { expectedVersion: 2 }))).toBeInstanceOf(ConflictError);
    expect(await errorOf(store.deleteStream("cart-9", { expectedVersion: 2 }))).toBeInstanceOf(ConflictError);
    for (const expectedVersion of ["any", 0, "no-stream", undefined, "none", -1]) {
      const work = store.deleteStream("cart-9", { expectedVersion: expectedVersion as "any" });
      expect(await errorOf(work)).toBeInstanceOf(InvalidArgumentError);
    }
    expect(await errorOf(store.undeleteStream("cart-9"))).toBeInstanceOf(InvalidArgumentError);
    expect(await errorOf(store.deleteStream("$strata-lifecycle", { expectedVersion: "any" }))).toBeInstanceOf(
      InvalidArgumentError,
    );
    expect(await store.lastPosition()).toBe(3);
  });

  test("survives another opening, also where no grace was given", async () => {
    const storage = createMemoryStorage();
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), { deletionGraceMs: 0 });
      await store.append("cart-1", events(3), { expectedVersion: "no-stream" });
      await store.append("cart-2", events(3), { expectedVersion: "no-stream" });
      await store.deleteStream("cart-1", { expectedVersion: "any" });
    }
    await using store = await openEventStoreOn(openMemoryKv(storage), {});
    expect(await errorOf(store.append("cart-1", events(1), { expectedVersion: "no-stream" }))).toBeInstanceOf(
      StreamDeletedError,
    );
    expect(await errorOf(store.undeleteStream("cart-1"))).toBeInstanceOf(StreamDeletedError);
    expect((await store.compact()).eventsDropped).toBe(3);
    expect((await collect(store.readAll())).map(({ position }) => position)).toEqual([4, 5, 6, 7]);
  });
});

describe("States of streams", () => {
  const counter = defineEvents("counter", { Counted: event({ schema: v.object({ number: v.number() }) }) });
  const decider = (truncated?: "refuse" | "fold") =>
    defineDecider("counter", {
      events: counter,
      commands: { Count: v.object({ number: v.number() }) },
      initialState: () => ({ sum: 0 }),
      evolve: { Counted: (state, { data }) => ({ sum: state.sum + data.number }) },
      decide: { Count: ({ data }) => [{ type: "Counted", data }] },
      snapshots: { version: 1 },
      ...(truncated === undefined ? {} : { truncated }),
    });

  test("are not folded over a gap, but from a snapshot that covers it, or where the decider says so", async () => {
    const storage = createMemoryStorage();
    const kept = decider();
    {
      const { store } = await openWithCore(openMemoryKv(storage), { events: [counter] });
      for (const id of ["1", "2"]) {
        for (let number = 1; number <= 5; number += 1)
          await store.execute(kept, id, { type: "Count", data: { number } });
      }
      await store.snapshot(kept, "1");
      for (const id of ["1", "2"]) await store.truncateStream(`counter-${id}`, { beforeVersion: 5 });
      // The state in memory is whole, whatever has become of the events.
      expect((await store.load(kept, "2")).state).toEqual({ sum: 15 });
      expect((await store.execute(kept, "2", { type: "Count", data: { number: 6 } })).state).toEqual({ sum: 21 });
      await store.close();
    }
    const { store, core } = await openWithCore(openMemoryKv(storage), { events: [counter] });
    expect(await store.load(kept, "1")).toEqual({ state: { sum: 15 }, version: 5 });
    expect(await errorOf(store.load(kept, "2"))).toBeInstanceOf(StreamTruncatedError);
    expect(await errorOf(store.execute(kept, "2", { type: "Count", data: { number: 1 } }))).toMatchObject({
      ...{ code: "stream-truncated", streamName: "counter-2", truncatedBefore: 5, outcome: "not-applied" },
    });
    expect((await store.load(decider("fold"), "2")).state).toEqual({ sum: 11 });
    // A snapshot that ends before the gap is of no use, and goes.
    await store.append("counter-1", [{ type: "Counted", data: { number: 7 } }], { expectedVersion: 5 });
    await store.truncateStream("counter-1", { beforeVersion: 7 });
    expect(await errorOf(store.load(kept, "1"))).toBeInstanceOf(StreamTruncatedError);
    await store.compact();
    expect(await core.rows.get(snapshotKey("counter-1", "counter", 1))).toBeUndefined();
    await store.close();
  });

  test("of a deleted stream are not to be had, from no cache and no snapshot, until the deletion is taken back", async () => {
    const { store } = await openWithCore(openMemoryKv(createMemoryStorage()), { events: [counter] });
    const kept = decider();
    await store.execute(kept, "1", { type: "Count", data: { number: 3 } });
    await store.snapshot(kept, "1");
    await store.deleteStream("counter-1", { expectedVersion: 1 });
    for (const work of [
      () => store.load(kept, "1"),
      () => store.asOf(1).load(kept, "1"),
      () => store.execute(kept, "1", { type: "Count", data: { number: 1 } }),
    ]) {
      expect(await errorOf(work)).toBeInstanceOf(StreamDeletedError);
    }
    await store.undeleteStream("counter-1");
    expect(await store.load(kept, "1")).toEqual({ state: { sum: 3 }, version: 1 });
    await store.close();
  });
});
