/**
 * What of a commit on a bucket is what, one after another and in turns: the bare conditional PUT on a connection that is kept and on
 * a new one each time, the byte store alone in both ways, in memory too, and an append, in a process that has just begun and in one
 * whose code has run often enough to be compiled.
 */

import { type EventStore, openEventStore, type S3Options } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openBarePuts, openSdkPuts } from "../harness/bare-puts.ts";
import { type Bucket, latenciesTo, onBucket, openRoute, type Route } from "../harness/bucket.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import type { Row, Scenario, ScenarioContext } from "../harness/scenario.ts";
import { median, summarize } from "../harness/statistics.ts";

export interface BucketPutSettings {
  readonly latenciesMs: readonly number[];
  /** One of each way in each. */
  readonly turns: number;
  /** Before those that count. */
  readonly warmUpTurns: number;
  /** Appends to a store in memory before the last row is measured. */
  readonly warmUpAppends: number;
}

/** What a group of one sample event comes to in the WAL. */
const objectBytes = 495;

interface Way {
  readonly name: string;
  readonly work: () => Promise<void>;
}

function openKv(url: string, s3: S3Options = {}): Promise<KeyValueStore> {
  return openSlateKv({ location: parseStoreUrl(url), s3, clock: systemClock });
}

function writer(kv: KeyValueStore): () => Promise<void> {
  const value = crypto.getRandomValues(Buffer.alloc(objectBytes));
  let next = 0;
  return async () => {
    next += 1;
    await kv.write([{ kind: "put", key: Buffer.from(`key-${next}`), value }]);
  };
}

function appender(store: EventStore): () => Promise<void> {
  let next = 0;
  return async () => {
    next += 1;
    await store.append(`order-${next}`, [sampleEvent(next)], { expectedVersion: "no-stream" });
  };
}

async function warmUp(appends: number): Promise<void> {
  await using store = await openEventStore({ url: "memory:" });
  const append = appender(store);
  for (let n = 0; n < appends; n += 1) await append();
}

/** One of each way after another, so that what else the machine does meets all of them alike. The first is what the others are compared with. */
async function takeTurns(settings: BucketPutSettings, route: Route, ways: readonly Way[]): Promise<readonly Row[]> {
  const durationsMs: number[][] = ways.map(() => []);
  for (let turn = -settings.warmUpTurns; turn < settings.turns; turn += 1) {
    for (const [index, { work }] of ways.entries()) {
      const startedMs = performance.now();
      await work();
      if (turn >= 0) durationsMs[index]?.push(performance.now() - startedMs);
    }
  }
  const [floorMs = []] = durationsMs;
  return ways.map(({ name }, index) => {
    const ownMs = durationsMs[index] ?? [];
    const latencyMs = summarize(ownMs);
    const moreMs = median(ownMs.map((ms, turn) => ms - (floorMs[turn] ?? Number.NaN)));
    const extra = { "p50 / bare": latencyMs.p50 / median(floorMs), "more ms": moreMs };
    return { parameters: { latency: route.name, what: name }, n: ownMs.length, latencyMs, extra };
  });
}

async function measure(
  { settings, progress }: ScenarioContext<BucketPutSettings>,
  bucket: Bucket,
  route: Route,
): Promise<readonly Row[]> {
  const place = (part: string): string => bucket.freshUrl(`${route.name.replace(" ", "-")}-${part}`);
  const bare = (part: string, keep: boolean): (() => Promise<void>) =>
    openBarePuts(place(part), route.s3, objectBytes, { keepConnection: keep }).put;
  const floor: Way = { name: "bare PUT, connection kept", work: bare("kept", true) };
  const rows: Row[] = [];
  const turns = async (ways: readonly Way[]): Promise<void> => {
    progress(`${route.name}: ${ways.map(({ name }) => name).join("; ")}`);
    const some = await takeTurns(settings, route, [floor, ...ways]);
    rows.push(...(rows.length === 0 ? some : some.slice(1)));
  };
  using sdk = openSdkPuts(place("sdk"), route.s3, objectBytes);
  await using inMemory = await openKv("memory:");
  await using kv = await openKv(place("kv"), route.s3);
  await using eachKv = await openKv(place("each-kv"), { ...route.s3, reuseConnections: false });
  await using store = await openEventStore({ url: place("store"), s3: route.s3 });
  const append = appender(store);
  await turns([
    { name: "bare PUT, a connection each", work: bare("each", false) },
    { name: "PUT by Amazon's client", work: () => sdk.put() },
    { name: "byte store in memory", work: writer(inMemory) },
    { name: "byte store, a connection each", work: writer(eachKv) },
    { name: "byte store", work: writer(kv) },
    { name: "append", work: append },
  ]);
  await warmUp(settings.warmUpAppends);
  await turns([{ name: "append, compiled", work: append }]);
  return rows;
}

function run(context: ScenarioContext<BucketPutSettings>): Promise<readonly Row[]> {
  return onBucket(context, async (bucket) => {
    const rows: Row[] = [];
    for (const latencyMs of latenciesTo(bucket, context.settings.latenciesMs)) {
      await using route = await openRoute(bucket, latencyMs);
      rows.push(...(await measure(context, bucket, route)));
    }
    return rows;
  });
}

export const bucketPut: Scenario<BucketPutSettings> = {
  name: "bucket-put",
  question:
    "What of a single append in a bucket is the bare PUT, what its connection, what the engine, and what the store?",
  sizes: {
    smoke: { latenciesMs: [0], turns: 5, warmUpTurns: 1, warmUpAppends: 100 },
    quick: { latenciesMs: [0, 10], turns: 200, warmUpTurns: 20, warmUpAppends: 20_000 },
    full: { latenciesMs: [0, 10], turns: 1_000, warmUpTurns: 50, warmUpAppends: 20_000 },
  },
  run,
};
