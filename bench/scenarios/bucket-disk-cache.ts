/** A store in a bucket opened and read without a disk cache, with an empty one, and with what that left behind. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEventStore } from "../../src/index.ts";
import { sumOf } from "../../test/support/fault-proxy.ts";
import { type Bucket, onBucket, proxiedRoute, type Route } from "../harness/bucket.ts";
import { openEventSource } from "../harness/event-source.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface BucketDiskCacheSettings {
  readonly events: number;
  readonly latencyMs: number;
  /** Streams that are read, one after another. */
  readonly streams: number;
}

const cacheBytesMax = 1024 * 1024 * 1024;

interface Place {
  readonly url: string;
  readonly route: Route;
  readonly streamNames: readonly string[];
  readonly events: number;
}

async function measure({ url, route, streamNames, events }: Place, name: string, folder?: string): Promise<Row> {
  await route.proxy?.resetCounts();
  const startedMs = performance.now();
  const cache = folder === undefined ? {} : { cache: { folder, maxBytes: cacheBytesMax } };
  await using store = await openEventStore({ url, s3: route.s3, ...cache });
  const openedMs = performance.now();
  for (const streamName of streamNames) await countEvents(store.readStream(streamName));
  const readMs = performance.now();
  checkEqual(await countEvents(store.readAll()), events, `events read, ${name}`);
  const endedMs = performance.now();
  const counted = sumOf((await route.proxy?.counts()) ?? [], { purpose: "sst" });
  return {
    parameters: { cache: name, latency: route.name },
    n: streamNames.length,
    extra: {
      "open ms": openedMs - startedMs,
      "streams ms": readMs - openedMs,
      "everything ms": endedMs - readMs,
      "table GETs": counted.requests,
      "table MB": counted.answerBytes / 1e6,
    },
  };
}

function run(context: ScenarioContext<BucketDiskCacheSettings>): Promise<readonly Row[]> {
  const { events, latencyMs, streams } = context.settings;
  const measureAll = async (bucket: Bucket): Promise<readonly Row[]> => {
    const url = bucket.freshUrl("");
    const names = new Set<string>();
    for await (const batch of openEventSource("generated").batches(events)) {
      for (const { streamName } of batch) names.add(streamName);
    }
    context.progress(`importing ${events} events`);
    {
      await using store = await openEventStore({ url, s3: bucket.s3 });
      await importInto(store, openEventSource("generated").batches(events), () => {});
    }
    const step = Math.max(1, Math.floor(names.size / streams));
    const streamNames = [...names].filter((_, index) => index % step === 0).slice(0, streams);
    await using route = await proxiedRoute(bucket, latencyMs);
    const place = { url, route, streamNames, events };
    const folder = await mkdtemp(join(tmpdir(), "strata-bench-cache-"));
    try {
      const rows: Row[] = [];
      for (const [name, cache] of [["none"], ["cold", folder], ["warm", folder]] as const) {
        context.progress(`disk cache: ${name}`);
        rows.push(await measure(place, name, cache));
      }
      return rows;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  return onBucket(context, measureAll, { needsProxy: true });
}

export const bucketDiskCache: Scenario<BucketDiskCacheSettings> = {
  name: "bucket-disk-cache",
  question: "What does a disk cache, cold and warm, do for opening a store in a bucket and reading from it?",
  sizes: {
    smoke: { events: 3_000, latencyMs: 2, streams: 5 },
    quick: { events: 100_000, latencyMs: 30, streams: 50 },
    full: { events: 500_000, latencyMs: 30, streams: 200 },
  },
  run,
};
