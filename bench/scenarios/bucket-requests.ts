/**
 * What appends to a bucket ask of it, counted by a proxy and told by the store itself, by the million events: groups are PUTs,
 * and how many share one depends on who appends at once and on how long a PUT takes.
 */

import { type EventStore, estimateCost, openEventStore } from "../../src/index.ts";
import {
  type Bucket,
  dollarsOf,
  onBucket,
  proxiedRoute,
  type Requests,
  requestsOf,
  timesRequests,
} from "../harness/bucket.ts";
import { closedLoop } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";

export interface BucketRequestsSettings {
  readonly latencyMs: number;
  readonly appenders: readonly number[];
  readonly durationMs: number;
}

const million = 1e6;
const msPerMonth = 30 * 24 * 60 * 60 * 1_000;

function columnsOf({ puts, gets, lists, heads, deletes }: Requests): Record<string, number> {
  return { PUTs: puts, GETs: gets + heads, LISTs: lists, DELETEs: deletes };
}

function appender(store: EventStore): () => Promise<void> {
  let next = 0;
  return async () => {
    next += 1;
    await store.append(`order-${next}`, [sampleEvent(next)], { expectedVersion: "no-stream" });
  };
}

/** What the store says it has cost since it was open, without opening. */
function estimatedDollars(store: EventStore): number {
  const { objectStore } = store.stats();
  if (objectStore === undefined) throw new Error("A store on a bucket counts its requests");
  return (estimateCost(objectStore).monthlyCost * objectStore.uptimeMs) / msPerMonth;
}

function run(context: ScenarioContext<BucketRequestsSettings>): Promise<readonly Row[]> {
  const { latencyMs, appenders, durationMs } = context.settings;
  const measureAll = async (bucket: Bucket): Promise<readonly Row[]> => {
    const rows: Row[] = [];
    await using route = await proxiedRoute(bucket, latencyMs);
    for (const count of appenders) {
      context.progress(`${count} appenders`);
      await using store = await openEventStore({ url: bucket.freshUrl(String(count)), s3: route.s3 });
      await route.proxy.resetCounts();
      const settings = { warmUpMs: 0, durationMs, runs: 1 };
      const { count: n, total, perSecond, latencyMs: latencies } = await closedLoop(count, settings, appender(store));
      const dollars = estimatedDollars(store);
      const counted = await route.proxy.counts();
      const database = requestsOf(counted, "database");
      const { groups } = store.stats().commits;
      check(database.puts >= groups, `${groups} commit groups were stored with ${database.puts} PUTs`);
      const perMillion = timesRequests(database, million / total);
      rows.push({
        parameters: { latency: route.name, appenders: count },
        n,
        perSecond,
        latencyMs: latencies,
        extra: {
          ...columnsOf(perMillion),
          "$ a million": dollarsOf(perMillion),
          "$ by stats": (dollars * million) / total,
        },
      });
    }
    return rows;
  };
  return onBucket(context, measureAll, { needsProxy: true });
}

export const bucketRequests: Scenario<BucketRequestsSettings> = {
  name: "bucket-requests",
  question:
    "How many requests do a million events make in a bucket, and what do they cost, by how many append at once?",
  sizes: {
    smoke: { latencyMs: 5, appenders: [1, 16], durationMs: 60 },
    quick: { latencyMs: 30, appenders: [1, 16, 256, 1_024], durationMs: 4_000 },
    full: { latencyMs: 30, appenders: [1, 16, 256, 1_024], durationMs: 12_000 },
  },
  run,
};
