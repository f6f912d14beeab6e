/** A store in partitions: where streams live, what holds over all of them, and how partitions change hands. */

import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import {
  defineDecider,
  defineEvents,
  defineProjection,
  event,
  openEventStore,
  openEventStoreReader,
  openPartitionedEventStore,
  type PartitionedEvent,
  type PartitionedEventStore,
  type PartitionedOpenOptions,
  type RecordedEvent,
  split,
} from "../../src/index.ts";
import { collect, errorOf, take, until } from "../support/collect.ts";
import { minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

const folders: string[] = [];
const open: PartitionedEventStore[] = [];

async function newUrl(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "strata-partitions-"));
  folders.push(folder);
  return `file:${folder}/store`;
}

async function openAt(url: string, options: Partial<PartitionedOpenOptions> = {}): Promise<PartitionedEventStore> {
  const store = await openPartitionedEventStore({
    url,
    partitions: 4,
    pollIntervalMs: 20,
    leaseIntervalMs: 200,
    ...options,
  });
  open.push(store);
  return store;
}

const closeAll = async (): Promise<void> => {
  await Promise.all(open.splice(0).map((store) => store.close()));
};
afterEach(closeAll);
afterAll(async () => {
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
});

const any = { expectedVersion: "any" } as const;
const noted = (number: number, tags: readonly string[] = []) => ({ type: "Noted", data: { number }, tags });
/** "a-0" and "a-4" live together, "a-1" elsewhere. */
const byNumber = (name: string): number => Number(name.split("-")[1]) % 4;
const byNumber3 = (name: string): number => Number(name.split("-")[1]) % 3;
const numbersOf = (events: readonly PartitionedEvent<RecordedEvent>[]): number[] =>
  events.map(({ event: { data } }) => (data as { number: number }).number);

async function fill(store: PartitionedEventStore, count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) {
    await store.append(`a-${number % 12}`, [noted(number, [`mod:${number % 5}`])], any);
  }
}

/** That each partition's events came in their order, without a gap, and all of `count`. */
function expectWhole(events: readonly PartitionedEvent<RecordedEvent>[], partitions: number, count: number): void {
  for (let partition = 0; partition < partitions; partition += 1) {
    const positions = events.filter((one) => one.partition === partition).map((one) => one.event.position);
    expect(positions).toEqual(positions.map((_, index) => index + 1));
  }
  expect(numbersOf(events).sort((left, right) => left - right)).toEqual(
    Array.from({ length: count }, (_, index) => index),
  );
}

describe("Where streams live", () => {
  test("A stream lives in one partition, the same in every process, and all partitions are used", async () => {
    const url = await newUrl();
    const store = await openAt(url);
    await fill(store, 60);
    const names = Array.from({ length: 12 }, (_, index) => `a-${index}`);
    const places = names.map((name) => store.partitionOf(name));
    expect(new Set(places).size).toBe(4);
    for (const [index, name] of names.entries()) {
      const events = await collect(store.readStream(name));
      expect(events.map((one) => (one.data as { number: number }).number)).toEqual(
        [0, 1, 2, 3, 4].map((k) => index + k * 12),
      );
      expect(await store.streamInfo(name)).toMatchObject({ version: 5 });
      const here = await collect(store.writerOf(places[index] ?? -1).readStream(name));
      expect(here).toHaveLength(5);
    }
    await store.close();
    const again = await openAt(url);
    expect(names.map((name) => again.partitionOf(name))).toEqual(places);
    expect((await collect(again.readStream("a-3"))).length).toBe(5);
    const folder = url.slice("file:".length);
    expect((await readdir(folder)).filter((name) => name.startsWith("partition")).sort()).toEqual([
      "partition-0000",
      "partition-0001",
      "partition-0002",
      "partition-0003",
      "partitions.json",
    ]);
  });

  test("The default places are frozen", async () => {
    const store = await openAt("memory:", { partitions: 16 });
    expect(["order-1", "order-2", "zoë", "x".repeat(500)].map((name) => store.partitionOf(name))).toEqual(
      ["order-1", "order-2", "zoë", "x".repeat(500)].map((name) => Bun.hash.xxHash32(name, 0) % 16),
    );
    expect(store.partitionOf("order-1")).toBe(8);
  });

  test("Streams, sorted by name, are listed over all partitions", async () => {
    const store = await openAt("memory:", { partitions: 3 });
    await fill(store, 40);
    await store.append("b-1", [noted(1)], any);
    const names = (await collect(store.listStreams())).map((info) => info.streamName);
    expect(names).toEqual([...names].sort());
    expect(names).toHaveLength(13);
    expect((await collect(store.listStreams({ category: "a", limit: 5 }))).map((info) => info.streamName)).toEqual(
      names.slice(0, 5),
    );
    expect((await collect(store.listStreams({ after: "a-9" }))).map((info) => info.streamName)).toEqual(["b-1"]);
  });

  test("A store that is parted otherwise, or not at all, is refused, and so is its root as a plain store", async () => {
    const url = await newUrl();
    await (await openAt(url)).close();
    expect((await errorOf(openAt(url, { partitions: 8 }))).message).toContain(
      "must be 4, as the store was made, not 8",
    );
    expect((await errorOf(openAt(url, { partitionOf: byNumber }))).message).toContain('"xxhash32", not "custom"');
    expect((await errorOf(openEventStore({ url }))).message).toContain("names a store in partitions");
    const plain = await newUrl();
    await (await openEventStore({ url: plain })).close();
    expect((await errorOf(openAt(plain))).message).toContain("names a store without partitions");
    const own = await newUrl();
    await (await openAt(own, { partitionOf: byNumber, partitionedBy: "by number" })).close();
    await (await openAt(own, { partitionOf: byNumber, partitionedBy: "by number" })).close();
    expect((await errorOf(openAt(own, { partitionOf: byNumber }))).code).toBe("invalid-argument");
  });
});

describe("Within one partition", () => {
  test("A commit of several streams is atomic; over two partitions it is refused, and nothing is written", async () => {
    const store = await openAt("memory:", { partitionOf: byNumber });
    const append = (streamName: string) => ({ streamName, events: [noted(1)], ...any });
    const { streams } = await store.commit({ appends: [append("a-0"), append("a-4")] });
    expect(streams.map(({ streamName }) => streamName)).toEqual(["a-0", "a-4"]);
    const error = await errorOf(store.commit({ appends: [append("a-0"), append("a-1")] }));
    expect(error).toMatchObject({ code: "invalid-argument", outcome: "not-applied" });
    expect(error.message).toContain('"a-0" lives in 0, "a-1" in 1');
    const check = { streamName: "a-2", expectedVersion: "no-stream" } as const;
    expect((await errorOf(store.commit({ appends: [append("a-0")], checks: [check] }))).code).toBe("invalid-argument");
    expect(await store.lastPositions()).toEqual([2, 0, 0, 0]);
  });

  test("A condition by query holds within its partition, and must say so", async () => {
    const store = await openAt("memory:", { partitionOf: byNumber });
    await store.append("a-0", [noted(0, ["x"])], any);
    await store.append("a-1", [noted(1, ["x"])], any);
    const filter = { tags: ["x"] };
    const vague = await errorOf(store.append("a-0", [noted(2)], { ...any, failIfMatch: { filter } as never }));
    expect(vague.message).toContain('within: "partition"');
    const failIfMatch = { filter, within: "partition" } as const;
    expect((await errorOf(store.append("a-0", [noted(2)], { ...any, failIfMatch }))).code).toBe("conflict");
    await store.append("a-2", [noted(3)], { ...any, failIfMatch });
  });

  test("A decider executes commands where its stream lives", async () => {
    const events = defineEvents("light", { Switched: event({ schema: v.object({ on: v.boolean() }) }) });
    const light = defineDecider("light", {
      events,
      commands: { Switch: v.object({ on: v.boolean() }) },
      initialState: () => ({ on: false, times: 0 }),
      evolve: { Switched: (state, { data }) => ({ on: data.on, times: state.times + 1 }) },
      decide: { Switch: ({ data }, state) => (data.on === state.on ? [] : [{ type: "Switched", data }]) },
    });
    await using store = await openPartitionedEventStore({ url: "memory:", partitions: 5, events: [events] });
    for (let id = 0; id < 20; id += 1) {
      for (const on of [true, true, false]) await store.execute(light, `${id}`, { type: "Switch", data: { on } });
      expect(await store.load(light, `${id}`)).toEqual({ state: { on: false, times: 2 }, version: 2 });
    }
  });
});

describe("Over all partitions", () => {
  test("Events are read in the order of their times, and each partition's in its own", async () => {
    const store = await openAt("memory:");
    await fill(store, 100);
    const events = await collect(store.readAll());
    expectWhole(events, 4, 100);
    const times = events.map(({ event: { recordedAt } }) => recordedAt.getTime());
    expect(times).toEqual([...times].sort((left, right) => left - right));
    const backwards = await collect(store.readAll({ direction: "backwards" }));
    const byPartition = (list: typeof events, partition: number) =>
      list.filter((one) => one.partition === partition).map((one) => one.event.position);
    for (const partition of [0, 1, 2, 3])
      expect(byPartition(backwards, partition)).toEqual(byPartition(events, partition).reverse());
  });

  test("A read goes on behind any event, by the positions that came with it", async () => {
    const store = await openAt("memory:");
    await fill(store, 90);
    const events = await collect(store.readAll());
    for (const cut of [1, 13, 57, 89]) {
      const before = await collect(store.readAll({ limit: cut }));
      const from = before.at(-1)?.positions ?? [];
      const rest = await collect(store.readAll({ from }));
      expect([...before, ...rest].map(({ event: { id } }) => id)).toEqual(events.map(({ event: { id } }) => id));
    }
    const matching = await collect(store.readAll({ filter: { tags: ["mod:3"] } }));
    expect(numbersOf(matching).sort((left, right) => left - right)).toEqual(
      Array.from({ length: 18 }, (_, k) => 3 + k * 5),
    );
  });

  test("Reads as of a time see no later event", async () => {
    let nowMs = 1_000_000;
    const store = await openAt("memory:", { clock: { now: () => nowMs, monotonic: () => performance.now() } });
    await fill(store, 30);
    nowMs += 1_000;
    const then = store.asOf(new Date(nowMs - 500));
    await store.append("a-0", [noted(30)], any);
    expect(await collect(then.readAll())).toHaveLength(30);
    expect(await collect(store.readAll())).toHaveLength(31);
    expect(await then.streamInfo("a-0")).toMatchObject({ version: 3 });
    expect((await errorOf(() => store.asOf(7 as never))).code).toBe("invalid-argument");
  });

  test("A subscription catches up and goes on live, each event once", async () => {
    const store = await openAt("memory:");
    await fill(store, 40);
    const seen: PartitionedEvent<RecordedEvent>[] = [];
    const left = new AbortController();
    const following = (async () => {
      for await (const one of store.subscribe({ from: "start", signal: left.signal })) seen.push(one);
    })();
    for (let number = 40; number < 80; number += 1) await store.append(`a-${number % 12}`, [noted(number)], any);
    await until(() => seen.length === 80);
    left.abort();
    await following;
    expectWhole(seen, 4, 80);
    const { positions } = seen[49] ?? { positions: [] };
    const rest = await take(store.subscribe({ from: { after: positions } }), 30);
    expect(new Set([...seen.slice(0, 50), ...rest].map(({ event: { id } }) => id)).size).toBe(80);
    const fromEnd = take(store.subscribe({ from: "end" }), 1);
    await Bun.sleep(0);
    await store.append("a-1", [noted(99)], any);
    expect(numbersOf(await fromEnd)).toEqual([99]);
  });
});

describe("What is read in pieces", () => {
  const number = v.object({ n: v.number() });
  const before = defineEvents("pair", { Old: event({ schema: number }), Part: event({ schema: number }) });
  const after = defineEvents("pair", {
    Old: event({
      schema: number,
      version: 2,
      splitsInto: ["Part"],
      upcast: {
        1: ({ n }: { n: number }) =>
          split([
            { type: "Part", data: { n: n * 10 } },
            { type: "Part", data: { n: n * 10 + 1 } },
          ]),
      },
    }),
    Part: event({ schema: number }),
  });
  const dataOf = (one: PartitionedEvent<RecordedEvent>): number => (one.event.data as { n: number }).n;

  test("The parts of a split event come once each, also where the partition changes hands between them", async () => {
    const url = await newUrl();
    const options = { url, partitions: 1, leaseIntervalMs: 200, pollIntervalMs: 20 };
    {
      await using first = await openPartitionedEventStore({ ...options, events: [before] });
      for (const n of [1, 2, 3]) await first.append("pair-1", [{ type: "Old", data: { n } }], any);
    }
    await using store = await openPartitionedEventStore({ ...options, events: [after] });
    const events = store.subscribe({ from: "start" });
    const seen: number[] = [];
    const checkpoints: (readonly number[])[] = [];
    for (let round = 0; round < 6; round += 1) {
      const { value } = await events.next();
      seen.push(dataOf(value));
      checkpoints.push(value.positions);
      await (round % 2 === 0 ? store.release(0) : store.claim(0));
    }
    await events.return?.();
    expect(seen).toEqual([10, 11, 20, 21, 30, 31]);
    expect(checkpoints).toEqual([[0], [1], [1], [2], [2], [3]]);
    const again = await take(store.subscribe({ from: { after: checkpoints[2] ?? [] } }), 4);
    expect(again.map(dataOf)).toEqual([20, 21, 30, 31]);
    const page = await collect(store.readAll({ limit: 1 }));
    expect(page.map(dataOf)).toEqual([10, 11]);
  });

  test("An event that cannot be read ends the subscription with its error, however quiet the other partitions are", async () => {
    const url = await newUrl();
    const options = { url, partitions: 3, leaseIntervalMs: 200, partitionOf: byNumber3, partitionedBy: "number" };
    {
      await using first = await openPartitionedEventStore({ ...options, events: [after] });
      await first.append("pair-1", [{ type: "Old", data: { n: 1 } }], any);
    }
    await using store = await openPartitionedEventStore({ ...options, events: [before] });
    expect((await errorOf(collect(store.subscribe({ from: "start" })))).code).toBe("unreadable-event");
  });

  test("Pages are read backwards by the positions that came with the last one, each event once", async () => {
    const store = await openAt("memory:");
    await fill(store, 50);
    const forwards = await collect(store.readAll());
    const seen: string[] = [];
    let from: readonly number[] | undefined;
    for (;;) {
      const page = await collect(store.readAll({ direction: "backwards", limit: 7, ...(from && { from }) }));
      if (page.length === 0) break;
      seen.push(...page.map((one) => `${one.partition}:${one.event.position}`));
      from = page.at(-1)?.positions;
    }
    expect(seen.sort()).toEqual(forwards.map((one) => `${one.partition}:${one.event.position}`).sort());
    expect(from).toEqual([0, 0, 0, 0]);
  });

  test("A subscription from the end begins at the call", async () => {
    const store = await openAt("memory:", { partitionOf: byNumber });
    await store.append("a-0", [noted(0)], any);
    const events = store.subscribe({ from: "end" });
    await store.append("a-0", [noted(1)], any);
    expect(numbersOf(await take(events, 1))).toEqual([1]);
  });
});

describe("Several processes", () => {
  test("Who gives up waiting for a partition gives up for himself alone", async () => {
    const url = await newUrl();
    const first = await openAt(url);
    const second = await openAt(url, { takeover: "when-idle" });
    const signal = AbortSignal.timeout(100);
    expect(await second.claim(1, { signal }).catch((error: Error) => error.name)).toBe("TimeoutError");
    expect(second.health().map(({ role }) => role)).toEqual(["standby", "standby", "standby", "standby"]);
    await first.close();
    await until(() => second.written().length === 4);
  });

  test("A partition that was released is not claimed again by itself, even when its writer was being fenced", async () => {
    const url = await newUrl();
    const first = await openAt(url, { takeover: "when-idle" });
    await until(() => first.written().length === 4);
    const other = await openAt(url, { write: [2] });
    await first.release(2);
    await other.close();
    await first.append("a-1", [noted(1)], any).catch(() => {});
    expect(first.health()[2]?.role).toBe("reader");
  });

  test("Each writes its part, reads all, and says of the rest who does not write it", async () => {
    const url = await newUrl();
    const one = await openAt(url, { partitionOf: byNumber, write: [0, 1] });
    const two = await openAt(url, { partitionOf: byNumber, write: [2, 3] });
    expect([one.written(), two.written()]).toEqual([
      [0, 1],
      [2, 3],
    ]);
    for (let number = 0; number < 40; number += 1)
      await (byNumber(`a-${number % 12}`) < 2 ? one : two).append(`a-${number % 12}`, [noted(number)], any);
    const error = await errorOf(one.append("a-2", [noted(1)], any));
    expect(error).toMatchObject({ code: "writer-active", outcome: "not-applied" });
    for (const store of [one, two]) {
      await until(async () => (await collect(store.readAll())).length === 40);
      expectWhole(await collect(store.readAll()), 4, 40);
      expect(await collect(store.readStream("a-7"))).toHaveLength(3);
    }
    expect(one.health().map(({ role }) => role)).toEqual(["writer", "writer", "reader", "reader"]);
  });

  test("A reader sees partitions that are made after it was opened", async () => {
    const url = await newUrl();
    const reader = await openAt(url, { write: "none" });
    expect(await collect(reader.readAll())).toEqual([]);
    expect(await reader.streamInfo("a-1")).toBeUndefined();
    const following = take(reader.subscribe({ from: "start" }), 24);
    const writer = await openAt(url);
    await fill(writer, 24);
    expectWhole(await following, 4, 24);
  });

  test("While partitions change hands, subscribers see each acknowledged event once, and the loser acknowledges nothing", async () => {
    const url = await newUrl();
    const stores = [await openAt(url), await openAt(url, { write: "none" })] as const;
    const watcher = await openAt(url, { write: "none" });
    const seen = stores.map(() => [] as PartitionedEvent<RecordedEvent>[]);
    const left = new AbortController();
    const followings = [...stores, watcher].map(async (store, index) => {
      seen[index] ??= [];
      for await (const one of store.subscribe({ from: "start", signal: left.signal })) seen[index]?.push(one);
    });
    const acknowledged = new Set<number>();
    for (let round = 0; round < 6; round += 1) {
      const [taker, loser] = round % 2 === 0 ? [stores[1], stores[0]] : [stores[0], stores[1]];
      const partition = round % 4;
      await taker.claim(partition);
      for (let number = round * 20; number < round * 20 + 20; number += 1) {
        const name = `a-${number % 12}`;
        for (const store of [loser, taker]) {
          try {
            await store.append(name, [noted(number)], any);
            expect(acknowledged.has(number)).toBe(false);
            acknowledged.add(number);
            break;
          } catch (error) {
            expect(["writer-active", "writer-fenced"]).toContain((error as { code: string }).code);
          }
        }
        expect(acknowledged.has(number)).toBe(true);
      }
    }
    for (const store of [...stores, watcher])
      await until(async () => (await collect(store.readAll())).length === 120, 20_000);
    await until(() => seen.every((list) => list.length >= 120), 20_000);
    left.abort();
    await Promise.all(followings);
    for (const list of seen) expectWhole(list, 4, 120);
  });

  test("A standby claims what its writer lets go", async () => {
    const url = await newUrl();
    const first = await openAt(url, { takeover: "when-idle" });
    await until(() => first.written().length === 4);
    const second = await openAt(url, { takeover: "when-idle" });
    expect(second.health().map(({ role }) => role)).toEqual(["standby", "standby", "standby", "standby"]);
    await first.release(2);
    await until(() => second.written().length === 1);
    expect(second.written()).toEqual([2]);
    await first.close();
    await until(() => second.written().length === 4, 20_000);
    await fill(second, 24);
    expectWhole(await collect(second.readAll()), 4, 24);
  });
});

describe("Bad calls", () => {
  const bad: readonly (readonly [string, Partial<Record<keyof PartitionedOpenOptions, unknown>>])[] = [
    ["no partitions", { partitions: 0 }],
    ["too many partitions", { partitions: 1_025 }],
    ["half a partition", { partitions: 2.5 }],
    ["a partitionOf that is no function", { partitionOf: 3 }],
    ["a name without a function", { partitionedBy: "x" }],
    ["a partition to write that is not there", { write: [4] }],
    ["a partition to write that is no number", { write: ["1"] }],
    ["an unknown word for what to write", { write: "some" }],
    ["memory that somebody else is to write", { write: "none" }],
    ["onFenced", { onFenced: () => {} } as never],
    ["processors, which a store has", { reactors: [] } as never],
    ["an unknown option", { partition: 4 } as never],
  ];
  for (const [what, options] of bad) {
    test(`Opening with ${what} is refused`, async () => {
      expect((await errorOf(openAt("memory:", options as never))).code).toBe("invalid-argument");
    });
  }

  test("A partitionOf that answers nonsense writes nothing", async () => {
    const answers: unknown[] = [4, -1, 1.5, "1", undefined, Number.NaN];
    const store = await openAt("memory:", { partitionOf: () => answers.shift() as number });
    for (let left = answers.length; left > 0; left -= 1)
      expect(await errorOf(store.append("a-1", [noted(1)], any))).toMatchObject({
        code: "invalid-argument",
        outcome: "not-applied",
      });
    expect(await store.lastPositions()).toEqual([0, 0, 0, 0]);
  });

  test("Calls with nonsense, and after closing, are refused", async () => {
    const store = await openAt("memory:");
    const calls: readonly (() => unknown)[] = [
      () => store.append("", [noted(1)], any),
      () => store.commit({ appends: [] }),
      () => store.commit(undefined as never),
      () => store.claim(4),
      () => store.release(-1),
      () => store.writerOf(0.5),
      () => store.subscribe({ from: { after: [1] } }),
      () => store.subscribe({ from: { after: [0, 0, 0, -1] } }),
      () => store.subscribe({} as never),
      () => collect(store.readAll({ from: [1, 2] })),
      () => collect(store.readAll({ direction: "up" as never })),
      () => store.readAll({ filter: { type: "x" } as never }),
    ];
    for (const call of calls) expect((await errorOf(call as () => unknown)).code).toBe("invalid-argument");
    await store.close();
    expect((await errorOf(store.append("a-1", [noted(1)], any))).code).toBe("store-closed");
    expect((await errorOf(() => store.subscribe({ from: "start" }))).code).toBe("store-closed");
    expect((await errorOf(collect(store.readAll()))).code).toBe("store-closed");
  });
});

describe.skipIf(!minioAvailable)("On MinIO", () => {
  test("Two processes' worth of writers share a bucket", async () => {
    await using minio = await startMinio();
    await using _closing = { [Symbol.asyncDispose]: closeAll };
    const url = `s3://${await minio.createBucket()}/shop`;
    const common = { s3: minio.s3, partitionOf: byNumber, leaseIntervalMs: 1_000 };
    const one = await openAt(url, { ...common, write: [0, 1] });
    const two = await openAt(url, { ...common, write: [2, 3] });
    for (let number = 0; number < 24; number += 1)
      await (byNumber(`a-${number % 12}`) < 2 ? one : two).append(`a-${number % 12}`, [noted(number)], any);
    await until(async () => (await collect(two.readAll())).length === 24);
    expectWhole(await collect(two.readAll()), 4, 24);
    await two.claim(0);
    expect((await errorOf(one.append("a-0", [noted(0)], any))).code).toMatch(/^writer-(fenced|active)$/);
    expect((await two.append("a-0", [noted(24)], any)).streamVersion).toBe(3);
  });
});

test("Processors are refused, and run on a partition, which is a store like any other", async () => {
  const url = await newUrl();
  const counts = defineProjection("counts", {
    version: 1,
    mode: "async",
    document: v.number(),
    on: { Noted: (e, docs) => docs.update(e.streamName, (n) => (n ?? 0) + 1) },
  });
  for (const name of ["projections", "reactors", "processManagers"]) {
    const error = await errorOf(openAt(url, { [name]: [] }));
    expect([error.code, error.message.includes("open one of them for it")]).toEqual(["invalid-argument", true]);
  }
  const own = { partitionOf: byNumber, partitionedBy: "number" };
  await using shop = await openAt(url, { ...own, write: [0, 1, 2] });
  await shop.append("a-1", [noted(1)], any);
  await using third = await openEventStore({ url: `${url}/partition-0003`, projections: [counts] });
  const { position } = await third.append("a-3", [noted(2), noted(3)], any);
  expect(await third.documents(counts).get("a-3", { atLeast: position })).toBe(2);
  await using replica = await openEventStoreReader({
    ...{ url: `${url}/partition-0003`, projections: [counts], pollIntervalMs: 20 },
  });
  expect(await replica.documents(counts).get("a-3", { atLeast: position })).toBe(2);
  await until(async () => numbersOf(await collect(shop.readAll())).length === 3);
});
