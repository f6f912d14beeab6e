/**
 * The first reads of a store that was just opened, over a way on which each request takes 100 ms: how many requests one makes, and
 * how many of them wait for one another, which is the time by that of a request.
 */

import { type EventStore, openEventStore, openEventStoreReader, type S3Options } from "../../src/index.ts";
import { sumOf } from "../../test/support/fault-proxy.ts";
import { type Bucket, onBucket, proxiedRoute, type Route } from "../harness/bucket.ts";
import { type EventSource, generatedData, openEventSource } from "../harness/event-source.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { median } from "../harness/statistics.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface BucketColdReadSettings {
  readonly events: number;
  readonly latencyMs: number;
  /** Each with a store that is opened for it. */
  readonly runs: number;
  /** So many times the memtable is flushed before a second part, in which each has left a small table; 0: there is none. */
  readonly flushes: number;
  /** How long it is open before a third part, for its tables to be merged; 0: there is no third part. */
  readonly mergeMs: number;
}

const busyAppenders = 16;
/** No request for tables for as long as so many take: none is under way. */
const quietRequests = 6;

type Reads = Pick<EventStore, "readStream" | "readAll" | typeof Symbol.asyncDispose>;

/** The shortest and the longest streams, in no order that storage knows, and how many events each stream has. */
interface Samples {
  readonly short: readonly string[];
  readonly long: readonly string[];
  readonly lengths: ReadonlyMap<string, number>;
}

/** Of the streams by length, this share from either end. */
const sampledShare = 0.1;

async function sample(source: EventSource, events: number): Promise<Samples> {
  const lengths = new Map<string, number>();
  for await (const batch of source.batches(events)) {
    for (const { streamName } of batch) lengths.set(streamName, (lengths.get(streamName) ?? 0) + 1);
  }
  // Not the newest: opening may have read those.
  const old = [...lengths.keys()].slice(0, Math.ceil(lengths.size / 2));
  const byLength = old.toSorted((left, right) => (lengths.get(left) ?? 0) - (lengths.get(right) ?? 0));
  const some = Math.ceil(byLength.length * sampledShare);
  return { short: byLength.slice(0, some), long: byLength.slice(-some), lengths };
}

/** Spread over all of them, whatever the number of runs. */
function pick(streams: readonly string[], run: number): string {
  return streams[Math.floor(streams.length * (((run + 1) * 0.618) % 1))] ?? "";
}

interface Read {
  readonly name: string;
  /** Waited for once the store is open, before the time begins. */
  readonly prepare?: (route: Route, latencyMs: number) => Promise<void>;
  /** Answers how many events it should have read, and how many it did. */
  run(store: Reads, samples: Samples, run: number): Promise<readonly [number, number]>;
}

const bothHandles: readonly Handle[] = ["replica", "writer"];

function streamRead(kind: "short" | "long"): Read {
  return {
    name: `one of the ${kind}est streams`,
    run: async (store, samples, run) => {
      const streamName = pick(samples[kind], run);
      return [samples.lengths.get(streamName) ?? 0, await countEvents(store.readStream(streamName))];
    },
  };
}

/** Behind the look that a store takes at its tables once it is open: nobody is told of its end, but it asks for nothing more then. */
function afterLook(read: Read): Read {
  const prepare = async (route: Route, latencyMs: number): Promise<void> => {
    const asked = async (): Promise<number> => sumOf((await route.proxy?.counts()) ?? [], { purpose: "sst" }).requests;
    for (let before = -1, now = await asked(); now !== before; now = await asked()) {
      before = now;
      await Bun.sleep(quietRequests * latencyMs);
    }
  };
  return { ...read, name: `${read.name}, tables looked at`, prepare };
}

const reads: readonly Read[] = [
  streamRead("short"),
  streamRead("long"),
  afterLook(streamRead("short")),
  afterLook(streamRead("long")),
  {
    name: "10 events of the log",
    run: async (store) => [10, await countEvents(store.readAll({ limit: 10 }))],
  },
];

interface Measured {
  readonly openMs: number;
  readonly readMs: number;
  readonly gets: number;
}

const opens = {
  writer: (url: string, s3: S3Options): Promise<Reads> => openEventStore({ url, s3 }),
  replica: (url: string, s3: S3Options): Promise<Reads> => openEventStoreReader({ url, s3, pollIntervalMs: 600_000 }),
} as const;

type Handle = keyof typeof opens;

interface Place {
  readonly url: string;
  readonly route: Route;
  readonly samples: Samples;
  readonly latencyMs: number;
}

async function measureOnce(place: Place, handle: Handle, read: Read, run: number): Promise<Measured> {
  const { url, route, samples, latencyMs } = place;
  const openingMs = performance.now();
  await using store = await opens[handle](url, route.s3);
  const openMs = performance.now() - openingMs;
  await read.prepare?.(route, latencyMs);
  await route.proxy?.resetCounts();
  const startedMs = performance.now();
  const [expected, found] = await read.run(store, samples, run);
  const readMs = performance.now() - startedMs;
  const counted = (await route.proxy?.counts()) ?? [];
  checkEqual(found, expected, `events of ${read.name}`);
  return { openMs, readMs, gets: sumOf(counted, { purpose: "sst" }).requests };
}

/** Replicas first: a writer begins to merge tables as soon as it is open. */
async function measure(
  context: ScenarioContext<BucketColdReadSettings>,
  place: Place,
  tables: string,
): Promise<readonly Row[]> {
  const { latencyMs, runs } = context.settings;
  const rows: Row[] = [];
  for (const handle of bothHandles) {
    for (const read of reads) {
      context.progress(`${tables}: ${handle}, ${read.name}`);
      const measured: Measured[] = [];
      for (let run = 0; run < runs; run += 1) measured.push(await measureOnce(place, handle, read, run));
      rows.push({
        parameters: { tables, handle, read: read.name },
        n: runs,
        extra: {
          "open ms": median(measured.map(({ openMs }) => openMs)),
          "read ms": median(measured.map(({ readMs }) => readMs)),
          "round trips": median(measured.map(({ readMs }) => readMs / latencyMs)),
          "at most": Math.max(...measured.map(({ readMs }) => readMs / latencyMs)),
          "table GETs": median(measured.map(({ gets }) => gets)),
        },
      });
    }
  }
  return rows;
}

/** Appends in small groups until the memtable was flushed so often. Each flush is a table, until the next look of the compactor. */
async function makeTables(url: string, s3: S3Options, flushes: number): Promise<void> {
  await using store = await openEventStore({ url, s3 });
  let next = 0;
  const work = async (): Promise<void> => {
    while (store.stats().storage.memtableFlushes < flushes) {
      next += 1;
      await store.append(`order-${next}`, [sampleEvent(next)], { expectedVersion: "any" });
    }
  };
  await Promise.all(Array.from({ length: busyAppenders }, work));
}

async function stayOpen(url: string, s3: S3Options, forMs: number): Promise<void> {
  await using _store = await openEventStore({ url, s3 });
  await Bun.sleep(forMs);
}

function run(context: ScenarioContext<BucketColdReadSettings>): Promise<readonly Row[]> {
  const { settings } = context;
  const measureAll = async (bucket: Bucket): Promise<readonly Row[]> => {
    const url = bucket.freshUrl("read");
    const source = openEventSource(generatedData);
    const samples = await sample(source, settings.events);
    context.progress(`importing ${settings.events} events`);
    {
      await using store = await openEventStore({ url, s3: bucket.s3 });
      await importInto(store, source.batches(settings.events), () => {});
    }
    await using route = await proxiedRoute(bucket, settings.latencyMs);
    const place = { url, route, samples, latencyMs: settings.latencyMs };
    const rows = [...(await measure(context, place, "as imported"))];
    if (settings.flushes > 0) {
      await makeTables(url, bucket.s3, settings.flushes);
      rows.push(...(await measure(context, place, `after ${settings.flushes} flushes`)));
    }
    if (settings.mergeMs > 0) {
      await stayOpen(url, bucket.s3, settings.mergeMs);
      rows.push(...(await measure(context, place, "merged")));
    }
    return rows;
  };
  return onBucket(context, measureAll, { needsProxy: true });
}

export const bucketColdRead: Scenario<BucketColdReadSettings> = {
  name: "bucket-cold-read",
  question: "How many requests does the first read of a store that was just opened make, and how many in a row?",
  sizes: {
    smoke: { events: 6_000, latencyMs: 5, runs: 1, flushes: 0, mergeMs: 0 },
    quick: { events: 100_000, latencyMs: 100, runs: 1, flushes: 8, mergeMs: 15_000 },
    full: { events: 1_000_000, latencyMs: 100, runs: 3, flushes: 8, mergeMs: 40_000 },
  },
  run,
};
