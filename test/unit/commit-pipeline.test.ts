/** The pipeline where storage is slow, fails or hangs: what is promised, what is said, and what is bounded. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { type EventStore, OverloadedError, StorageUnavailableError, WriterFencedError } from "../../src/index.ts";
import { queueBytesMax } from "../../src/log/commit-queue.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { TurnedClock } from "../kv/stores.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv, type GatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const any = { expectedVersion: "any" } as const;
const event = (data: unknown = 1): { type: string; data: unknown } => ({ type: "T", data });

async function gated(
  options: Parameters<typeof openEventStoreOn>[1] = {},
): Promise<{ gate: GatedKv; store: EventStore }> {
  const gate = createGatedKv();
  const store = await openEventStoreOn(gate.kv, options);
  gate.batches.length = 0;
  return { gate, store };
}

test("An event is seen by nobody, and acknowledged to nobody, before it is durable", async () => {
  const { gate, store } = await gated();
  gate.shut();
  let acknowledged = false;
  const heard: number[] = [];
  store.on(undefined, (one) => heard.push(one.position));
  const appending = store.append("a-1", [event()], any).then(() => {
    acknowledged = true;
  });
  await until(() => gate.waiting() === 1);
  expect(await collect(store.readAll())).toEqual([]);
  expect(await collect(store.readStream("a-1"))).toEqual([]);
  expect(await store.streamInfo("a-1")).toBeUndefined();
  expect(await store.lastPosition()).toBe(0);
  expect([acknowledged, heard]).toEqual([false, []]);
  gate.open();
  await appending;
  expect(await store.lastPosition()).toBe(1);
  await until(() => heard.length === 1);
  await store.close();
});

test("What gathers while a group is under way goes into the next one, all of it", async () => {
  const { gate, store } = await gated();
  gate.shut();
  const first = store.append("a-1", [event()], any);
  await until(() => gate.waiting() === 1);
  const rest = Array.from({ length: 50 }, (_, index) => store.append(`a-${index}`, [event()], any));
  gate.open();
  await Promise.all([first, ...rest]);
  expect(gate.batches.length).toBe(2);
  await store.close();
});

test("A linger lets more commits share a group", async () => {
  const { gate, store } = await gated({ commitLingerMs: 30 });
  const first = store.append("a-1", [event()], any);
  await new Promise((resolve) => setTimeout(resolve, 3));
  await Promise.all([first, store.append("a-2", [event()], any)]);
  expect(gate.batches.length).toBe(1);
  await store.close();
});

/** Keeps commits arriving during each flush, then lets some come just after one; answers how many groups the last of them took. */
async function groupsOfLatecomers(commitLingerMs: 0 | "adaptive"): Promise<number> {
  const clock = new TurnedClock();
  const { gate, store } = await gated({ commitLingerMs, clock });
  gate.shut();
  const appends = [store.append("a-0", [event()], any)];
  for (let round = 0; round < 10; round += 1) {
    await until(() => gate.waiting() === 1);
    for (let n = 0; n < 5; n += 1) appends.push(store.append(`a-${n}`, [event()], any));
    clock.advance(200);
    if (round < 9) gate.release();
  }
  const before = gate.batches.length;
  gate.release();
  await until(() => gate.batches.length > before);
  // The next group would be cut by now, and stand at the gate, if nobody waited.
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  appends.push(store.append("a-6", [event()], any));
  gate.open();
  await Promise.all(appends);
  await store.close();
  return gate.batches.length - before - 1;
}

test("An adaptive linger waits where commits kept arriving, so that those just behind share the group", async () => {
  expect(await groupsOfLatecomers(0)).toBe(2);
  // A machine that stands still for longer than it waits makes a second group: then once more.
  const tries: number[] = [];
  while (tries.at(-1) !== 1 && tries.length < 5) tries.push(await groupsOfLatecomers("adaptive"));
  expect(tries.at(-1)).toBe(1);
});

test("An adaptive linger does not wait for appenders that all wait for their answers", async () => {
  const clock = new TurnedClock();
  const { gate, store } = await gated({ commitLingerMs: "adaptive", clock });
  gate.shut();
  const rounds = 10;
  const work = async (name: string): Promise<void> => {
    for (let round = 0; round < rounds; round += 1) await store.append(name, [event()], any);
  };
  const working = Array.from({ length: 50 }, (_, worker) => work(`a-${worker}`));
  await until(() => gate.waiting() === 1);
  for (let round = 1; round < rounds; round += 1) {
    clock.advance(200);
    gate.release();
    // Nobody else would come: the next group stands at the gate within a few turns, without a timer.
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(gate.waiting()).toBe(1);
  }
  gate.open();
  await Promise.all(working);
  expect(store.stats().commits.groups).toBe(rounds);
  await store.close();
});

test("A conflict that rests on an append in flight is told only when that is durable", async () => {
  const { gate, store } = await gated();
  gate.shut();
  const winner = store.append("a-1", [event()], { expectedVersion: "no-stream" });
  let refused = false;
  const loser = errorOf(store.append("a-1", [event()], { expectedVersion: "no-stream" })).then((error) => {
    refused = true;
    return error;
  });
  await until(() => gate.waiting() === 1);
  expect(refused).toBe(false);
  gate.open();
  await winner;
  expect((await loser).code).toBe("conflict");
  await store.close();
});

test("A write that failed before it was applied leaves the store as it was", async () => {
  const { gate, store } = await gated();
  await store.append("a-1", [event()], any);
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
  const error = await errorOf(store.append("a-1", [event()], { expectedVersion: 1 }));
  expect(error).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  expect((await store.append("a-1", [event()], { expectedVersion: 1 })).position).toBe(2);
  expect(store.health().state).toBe("open");
  await store.close();
});

test("After a write whose fate is unknown the store takes no further writes and says so", async () => {
  const { gate, store } = await gated();
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "unknown" }));
  const both = await Promise.all([
    errorOf(store.append("a-1", [event()], any)),
    errorOf(store.append("a-2", [event()], any)),
  ]);
  expect(both.map((error) => error.outcome)).toEqual(["unknown", "unknown"]);
  const later = await errorOf(store.append("a-1", [event()], any));
  expect(later).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  expect(store.health().state).toBe("failed");
  await store.close();
});

test("A fenced group is told that its fate is unknown, and nothing is acknowledged afterwards", async () => {
  const { gate, store } = await gated();
  gate.failNext(new WriterFencedError({ outcome: "unknown" }));
  expect(await errorOf(store.append("a-1", [event()], any))).toMatchObject({
    code: "writer-fenced",
    outcome: "unknown",
  });
  expect(await errorOf(store.append("a-1", [event()], any))).toMatchObject({
    code: "writer-fenced",
    outcome: "not-applied",
  });
  await store.close();
});

test("Callers are told after the time-out, honestly, and the store goes on when the storage does", async () => {
  const { gate, store } = await gated({ commitTimeoutMs: 40 });
  gate.shut();
  const inFlight = errorOf(store.append("a-1", [event()], any));
  await until(() => gate.waiting() === 1);
  const queued = errorOf(store.append("a-2", [event()], any));
  expect(await inFlight).toMatchObject({ code: "storage-unavailable", outcome: "unknown" });
  expect(await queued).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  expect(store.health().state).toBe("stalled");
  expect(await errorOf(store.append("a-3", [event()], any))).toMatchObject({
    code: "storage-unavailable",
    outcome: "not-applied",
  });
  gate.open();
  await until(() => store.health().state === "open");
  expect((await store.append("a-4", [event()], any)).position).toBe(2);
  expect((await collect(store.readAll())).map((one) => one.streamName)).toEqual(["a-1", "a-4"]);
  await store.close();
});

test("More than the queue holds is refused, not kept in memory", async () => {
  const { gate, store } = await gated();
  gate.shut();
  const first = store.append("a-0", [event()], any);
  await until(() => gate.waiting() === 1);
  const big = event("x".repeat(1_000_000));
  const appends = Array.from({ length: 80 }, (_, index) => store.append(`a-${index}`, [big], any));
  const settled = Promise.allSettled(appends);
  const refused = await errorOf(store.append("a-1", [big], any));
  expect(refused).toBeInstanceOf(OverloadedError);
  expect(refused.outcome).toBe("not-applied");
  gate.open();
  await first;
  const accepted = (await settled).filter((one) => one.status === "fulfilled").length;
  expect(accepted).toBe(Math.floor(queueBytesMax / 1_000_020));
  await store.append("a-1", [event()], any);
  await store.close();
});

test("Closing waits for what is under way, and no longer than the time-out", async () => {
  const { gate, store } = await gated({ commitTimeoutMs: 50 });
  gate.shut();
  const appending = errorOf(store.append("a-1", [event()], any));
  await until(() => gate.waiting() === 1);
  expect((await errorOf(store.close())).code).toBe("storage-unavailable");
  expect((await appending).outcome).toBe("unknown");
  gate.open();
});

test("The index is written in slices that no group feels, and memory forgets only what is indexed", async () => {
  const { gate, store } = await gated();
  const tags = (n: number): { type: string; data: number; tags: string[] } => ({
    type: "T",
    data: n,
    tags: [`n:${n}`],
  });
  for (let n = 0; n < 1_100; n += 1) await store.append(`a-${n % 10}`, [tags(n)], any);
  const rows = gate.batches.map((batch) => batch.length);
  expect(Math.max(...rows)).toBeLessThan(150);
  for (const n of [0, 1_023, 1_024, 1_099]) {
    const found = await collect(store.readAll({ filter: { tags: [`n:${n}`] } }));
    expect(found.map((one) => one.data)).toEqual([n]);
  }
  await store.close();
});

test("A failed read while old idempotency keys are swept harms nobody", async () => {
  let now = 1_790_000_000_000;
  const clock = { now: () => now, monotonic: () => performance.now() };
  const { gate, store } = await gated({ clock, idempotencyWindowMs: 60_000 });
  await store.append("a-1", [event()], { expectedVersion: "any", idempotencyKey: "one" });
  now += 600_000;
  gate.failNextScan(new StorageUnavailableError("simulated"));
  await store.append("a-1", [event()], { expectedVersion: "any", idempotencyKey: "two" });
  expect(store.health().state).toBe("open");
  await store.close();
});

test("Idempotency keys do not pile up, however often they are used", async () => {
  let now = 1_790_000_000_000;
  const clock = { now: () => now, monotonic: () => performance.now() };
  const { gate, store } = await gated({ clock, idempotencyWindowMs: 60_000 });
  for (let n = 0; n < 3_000; n += 1) {
    await store.append("a-1", [event()], { expectedVersion: "any", idempotencyKey: `key-${n}` });
    now += 200;
  }
  const cursor = await gate.kv.scan({ start: Buffer.of(0x60), end: Buffer.of(0x62) }, "lookup");
  // A window of 60 s and the minute that is under way hold some 600 commits, a key and its age each.
  expect((await cursor.next(10_000)).length).toBeLessThan(2_000);
  cursor.close();
  await store.close();
});

test("A group of tens of thousands of events with many tags is written", async () => {
  const { store } = await gated();
  const tags = Array.from({ length: 20 }, (_, index) => `tag-${index}`);
  const many = (from: number): { type: string; data: number; tags: string[] }[] =>
    Array.from({ length: 10_000 }, (_, index) => ({
      type: "T",
      data: from + index,
      tags: [...tags, `n:${from + index}`],
    }));
  await Promise.all([0, 10_000, 20_000].map((from) => store.append(`a-${from}`, many(from), any)));
  await Promise.all([30_000, 40_000].map((from) => store.append(`a-${from}`, many(from), any)));
  const found = await collect(store.readAll({ filter: { tags: ["n:12345"] } }));
  expect(found.map((one) => one.data)).toEqual([12_345]);
  await store.close();
});

test("A subscriber is told when a write's fate is unknown and nothing more will come", async () => {
  const { gate, store } = await gated();
  const following = errorOf(collect(store.subscribe({ from: "start" })));
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "unknown" }));
  await errorOf(store.append("a-1", [event()], any));
  expect((await following).code).toBe("storage-unavailable");
  await store.close();
});

test("Reading one large event reads few of them, in either direction", async () => {
  const { gate, store } = await gated();
  for (let n = 0; n < 60; n += 1) await store.append("a-1", [{ ...event("x".repeat(200_000)), tags: ["big"] }], any);
  const readings = [
    store.readAll({ limit: 1, direction: "backwards" }),
    store.readAll({ limit: 1, filter: { tags: ["big"] } }),
    store.readAll({ limit: 1, filter: { tags: ["big"] }, direction: "backwards" }),
    store.readStream("a-1", { limit: 1, direction: "backwards" }),
    store.readStream("a-1", { limit: 1 }),
  ];
  for (const reading of readings) {
    const before = gate.kv.stats().rowsScanned;
    expect((await collect(reading)).length).toBe(1);
    expect(gate.kv.stats().rowsScanned - before).toBeLessThanOrEqual(5);
  }
  await store.close();
});

test("Closing does not wait out the linger", async () => {
  const { store } = await gated({ commitLingerMs: 10_000 });
  const appending = store.append("a-1", [event()], any);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await store.close();
  expect((await appending).position).toBe(1);
});
