/** Snapshots in the background: which streams get one, of which versions, and what a load costs with it. */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { AnyDecider } from "../../src/decider/define-decider.ts";
import { Snapshots } from "../../src/decider/snapshots.ts";
import { snapshotKey } from "../../src/format/key-families.ts";
import { defineDecider, type EventStore } from "../../src/index.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import type { OpenOptions } from "../../src/store/open-options.ts";
import { errorOf, until } from "../support/collect.ts";
import { defineShow, foldShow, type ShowDecider, type ShowEvents, show } from "../support/show.ts";

setDefaultTimeout(60_000);

const off = { compaction: false } as const;
const shows = (version = 1, everyEvents = 200): ShowDecider => defineShow({ snapshots: { version, everyEvents } });

const open = (
  storage: MemoryStorage,
  options: Omit<OpenOptions<ShowEvents>, "url"> = off,
): Promise<EventStore<ShowEvents>> => openEventStoreOn(openMemoryKv(storage), { events: [show], ...options });

const seat = (index: number) => ({
  type: "SeatReserved" as const,
  data: { seat: 1 + (index % 10), by: `guest-${index}` },
});

/** Appends without a decider, so that nobody but the compactor keeps the state. */
async function appendSeats(store: EventStore<ShowEvents>, id: string, count: number): Promise<void> {
  for (let done = 0; done < count; ) {
    const events = Array.from({ length: Math.min(1_000, count - done) }, (_, index) => seat(done + index));
    await store.append(`show-${id}`, events, { expectedVersion: "any" });
    done += events.length;
  }
}

const has = (storage: MemoryStorage, id: string, version = 1, name = "show"): boolean =>
  storage.rows.has(snapshotKey(`show-${id}`, name, version).toString("latin1"));

test("Loading a stream of 100,000 events costs one snapshot and its tail", async () => {
  const storage = createMemoryStorage();
  const decider = shows();
  const first = await open(storage, { ...off, deciders: [decider] });
  await appendSeats(first, "1", 100_000);
  const report = await first.compact();
  expect(report.snapshotsWritten).toBeGreaterThan(0);
  await appendSeats(first, "1", 10);
  await first.close();

  await using second = await open(storage);
  const before = second.stats().storage;
  const { state, version } = await second.load(decider, "1");
  const after = second.stats().storage;
  expect(version).toBe(100_010);
  expect(state).toEqual(
    foldShow([...Array.from({ length: 100_000 }, (_, i) => seat(i)), ...Array.from({ length: 10 }, (_, i) => seat(i))]),
  );
  // The head, once to know the stream and once to read it, the snapshot, and the events behind it, which are in the head.
  expect(after.gets - before.gets).toBe(3);
  expect(after.rowsScanned - before.rowsScanned).toBeLessThanOrEqual(1);

  const whole = await second.load(defineShow(), "1");
  expect(whole.state).toEqual(state);
  expect(second.stats().storage.rowsScanned - after.rowsScanned).toBeGreaterThan(300);
});

test("Streams that pass a multiple of everyEvents get one, and shorter ones do not", async () => {
  const storage = createMemoryStorage();
  await using store = await open(storage, { ...off, deciders: [shows(1, 50)] });
  for (const [id, count] of [
    ["a", 49],
    ["b", 50],
    ["c", 130],
  ] as const)
    await appendSeats(store, id, count);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 2, snapshotsDropped: 0 });
  expect(["a", "b", "c"].map((id) => has(storage, id))).toEqual([false, true, true]);
  await appendSeats(store, "c", 15);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 0 });
  await appendSeats(store, "c", 10);
  await appendSeats(store, "a", 1);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 2 });
});

test("Nothing is kept for a decider that nobody has named or used, and from its first use on it is", async () => {
  const storage = createMemoryStorage();
  const decider = shows(1, 20);
  await using store = await open(storage);
  await appendSeats(store, "1", 100);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 0 });
  await store.load(decider, "other");
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 0 });
  await appendSeats(store, "1", 20);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 1 });
  expect(has(storage, "1")).toBe(true);
});

test("When the version changes, snapshots of lower ones are dropped, of streams that nobody touches as well", async () => {
  const storage = createMemoryStorage();
  const other = defineShow({ name: "other", snapshots: { version: 1, everyEvents: 20 } });
  {
    await using store = await open(storage, { ...off, deciders: [shows(1, 20), other] });
    for (const id of ["a", "b", "c"]) await appendSeats(store, id, 40);
    expect(await store.compact()).toMatchObject({ snapshotsWritten: 6 });
  }
  await using store = await open(storage, { ...off, deciders: [shows(3, 20), other] });
  await appendSeats(store, "a", 20);
  expect(await store.compact()).toMatchObject({ snapshotsDropped: 3, snapshotsWritten: 2 });
  expect(["a", "b", "c"].map((id) => has(storage, id, 1))).toEqual([false, false, false]);
  expect(["a", "b", "c"].map((id) => has(storage, id, 3))).toEqual([true, false, false]);
  expect(["a", "b", "c"].map((id) => has(storage, id, 1, "other"))).toEqual([true, true, true]);
  expect(await store.compact()).toMatchObject({ snapshotsDropped: 0 });
});

test("One that is written otherwise takes the place of those of lower versions, too", async () => {
  const storage = createMemoryStorage();
  await using store = await open(storage);
  await appendSeats(store, "1", 5);
  await store.snapshot(shows(1), "1");
  await store.snapshot(shows(4), "1");
  expect([1, 4].map((version) => has(storage, "1", version))).toEqual([false, true]);
  await store.snapshot(shows(2), "1");
  expect([2, 4].map((version) => has(storage, "1", version))).toEqual([true, true]);
});

test("A snapshot of a lower version that a truncated stream rests on stays, until one of the new version reaches as far", async () => {
  const storage = createMemoryStorage();
  const [former, current] = [shows(1, 20), shows(3, 20)];
  {
    await using store = await open(storage, { ...off, deciders: [former] });
    for (const id of ["a", "b", "c", "d"]) await appendSeats(store, id, 40);
    expect(await store.compact()).toMatchObject({ snapshotsWritten: 4 });
    await appendSeats(store, "a", 5);
    await store.truncateStream("show-a", { beforeVersion: 41 });
    // Its snapshot does not reach to what is left.
    await appendSeats(store, "b", 5);
    await store.truncateStream("show-b", { beforeVersion: 43 });
    await store.truncateStream("show-d", { beforeVersion: 41 });
    await store.deleteStream("show-d", { expectedVersion: "any" });
  }
  await using store = await open(storage, { ...off, deciders: [current] });
  await store.compact();
  expect(["a", "b", "c", "d"].map((id) => has(storage, id))).toEqual([true, false, false, true]);
  await store.undeleteStream("show-d");
  expect((await store.load(former, "d")).version).toBe(40);
  expect(await errorOf(store.load(current, "a"))).toMatchObject({ code: "stream-truncated" });
  const events = Array.from({ length: 45 }, (_, index) => seat(index < 40 ? index : index - 40));
  expect(await store.load(former, "a")).toEqual({ state: foldShow(events), version: 45 });

  await appendSeats(store, "a", 20);
  expect(await store.compact()).toMatchObject({ snapshotsDropped: 0 });
  expect((await store.load(former, "a")).version).toBe(65);
  const told = defineShow({ snapshots: { version: 3, everyEvents: 20 }, truncated: "fold" });
  await store.snapshot(told, "a");
  expect([1, 3].map((version) => has(storage, "a", version))).toEqual([false, true]);
});

test("A snapshot of a lower version stays where that of the new one does not reach as far", async () => {
  const storage = createMemoryStorage();
  {
    await using store = await open(storage);
    await appendSeats(store, "1", 5);
    await store.snapshot(shows(2), "1");
    await appendSeats(store, "1", 5);
    await store.snapshot(shows(1), "1");
    await store.truncateStream("show-1", { beforeVersion: 11 });
  }
  await using store = await open(storage, { ...off, deciders: [shows(2)] });
  expect(await store.compact()).toMatchObject({ snapshotsDropped: 0 });
  expect((await store.load(shows(1), "1")).version).toBe(10);
  expect(await errorOf(store.load(shows(2), "1"))).toMatchObject({ code: "stream-truncated" });
});

test("A snapshot that is written late does not drop one that reaches further", async () => {
  const storage = createMemoryStorage();
  const opened = await openWithCore(openMemoryKv(storage), { events: [show], ...off });
  await using store = opened.store;
  await appendSeats(store, "1", 5);
  const loaded = await store.load(shows(2), "1");
  const late = { ...loaded, position: 5, since: 0 };
  await appendSeats(store, "1", 5);
  await store.snapshot(shows(1), "1");
  await new Snapshots(opened.core).write(shows(2) as unknown as AnyDecider, { version: 2 }, "show-1", late);
  expect([1, 2].map((version) => has(storage, "1", version))).toEqual([true, true]);
  await store.snapshot(shows(2), "1");
  expect([1, 2].map((version) => has(storage, "1", version))).toEqual([false, true]);
});

test("A slow load leaves a snapshot behind, a quick one does not", async () => {
  let nowMs = 0;
  const storage = createMemoryStorage();
  const clock = { now: () => 1_700_000_000_000, monotonic: () => nowMs };
  await using store = await open(storage, { ...off, clock });
  await appendSeats(store, "1", 80);
  await appendSeats(store, "2", 30);
  const slow = (afterLoadMs: number): ShowDecider => {
    const decider = defineShow({ snapshots: { version: 1, afterLoadMs } });
    return defineDecider("show", {
      ...{ events: show, commands: decider.commands, initialState: decider.initialState, decide: decider.decide },
      evolve: {
        ...decider.evolve,
        SeatReserved: (state, event) => {
          nowMs += 1;
          return decider.evolve.SeatReserved(state, event);
        },
      },
      snapshots: { version: 1, afterLoadMs },
    }) as ShowDecider;
  };
  await store.load(slow(81), "1");
  await store.load(slow(1), "2");
  await store.append("show-9", [seat(1)], { expectedVersion: "any" });
  expect(["1", "2"].map((id) => has(storage, id))).toEqual([false, false]);
  await store.load(slow(80), "1");
  await until(() => has(storage, "1"));
  expect(has(storage, "2")).toBe(false);
});

test("A state that cannot be folded or kept is told of once, and the others are kept", async () => {
  const storage = createMemoryStorage();
  const warnings: unknown[] = [];
  const broken = defineDecider("broken", {
    ...{ events: show, commands: {}, decide: {}, initialState: (): number => 0 },
    evolve: {
      SeatReserved: (): number => {
        throw new RangeError("mine");
      },
      SeatReleased: (state: number) => state,
      ShowClosed: (state: number) => state,
    },
    snapshots: { version: 1, everyEvents: 10 },
  });
  const deciders = [broken, shows(1, 10)];
  await using store = await open(storage, { ...off, deciders, onError: (error) => warnings.push(error) });
  await appendSeats(store, "1", 20);
  await appendSeats(store, "2", 20);
  expect(await store.compact()).toMatchObject({ snapshotsWritten: 2 });
  expect(warnings.map(String).filter((text) => text.includes("broken"))).toHaveLength(1);
});

test("In the background they are kept without anybody asking", async () => {
  const storage = createMemoryStorage();
  const deciders = [shows(1, 100)];
  await using store = await open(storage, { compaction: { everyEvents: 64, share: 1 }, deciders });
  await appendSeats(store, "1", 250);
  await until(() => has(storage, "1"));
  await until(() => store.processors().at(-1)?.counts?.snapshotsWritten === 1);
});
