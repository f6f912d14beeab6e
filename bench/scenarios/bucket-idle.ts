/** What a store in a bucket asks for while nothing happens, and a replica of one: counted by a proxy each, at the same time. */

import { type EventStore, estimateCost, openEventStore, openEventStoreReader, projectCost } from "../../src/index.ts";
import { type Bucket, dollarsOf, onBucket, proxiedRoute, requestsOf, timesRequests } from "../harness/bucket.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";

export interface BucketIdleSettings {
  /** Rounds of the garbage collector come every 5 minutes, so less says little of them. */
  readonly idleMs: number;
}

const msPerMonth = 30 * 24 * 60 * 60 * 1_000;
const replicaPollMs = 1_000;

/** Something that is open, idle, and reached by a way that counts. */
interface Idle extends AsyncDisposable {
  readonly name: string;
  readonly row: (elapsedMs: number) => Promise<Row>;
  readonly begin: () => Promise<void>;
}

type CountedRoute = Awaited<ReturnType<typeof proxiedRoute>>;

async function rowOf(name: string, route: CountedRoute, elapsedMs: number, saidDollars: number): Promise<Row> {
  const counted = await route.proxy.counts();
  const month = (which: "database" | "beside"): ReturnType<typeof requestsOf> =>
    timesRequests(requestsOf(counted, which), msPerMonth / elapsedMs);
  const database = month("database");
  const minutes = msPerMonth / 60_000;
  const all = requestsOf(counted);
  return {
    parameters: { idle: name },
    n: all.puts + all.gets + all.heads + all.lists + all.deletes,
    extra: {
      "LISTs a minute": database.lists / minutes,
      "GETs a minute": (database.gets + database.heads) / minutes,
      "PUTs a minute": database.puts / minutes,
      "$ a month": dollarsOf(database),
      "$ as told": saidDollars,
      "$ lease": dollarsOf(month("beside")),
    },
  };
}

async function idleWriter(bucket: Bucket, storage: "low-latency" | "low-cost"): Promise<Idle> {
  const route = await proxiedRoute(bucket, 0);
  const store = await openEventStore({ url: bucket.freshUrl(storage), s3: route.s3, storage });
  await store.append("order-1", [sampleEvent(1)], { expectedVersion: "no-stream" });
  const name = `writer, ${storage}`;
  return {
    name,
    begin: () => route.proxy.resetCounts(),
    row: async (elapsedMs) => await rowOf(name, route, elapsedMs, toldDollars(store)),
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await route.proxy.stop();
    },
  };
}

function toldDollars(store: EventStore): number {
  const { objectStore } = store.stats();
  return objectStore === undefined ? Number.NaN : estimateCost(objectStore).monthlyCost;
}

async function idleReplica(bucket: Bucket): Promise<Idle> {
  const route = await proxiedRoute(bucket, 0);
  const url = bucket.freshUrl("followed");
  const store = await openEventStore({ url, s3: bucket.s3 });
  await store.append("order-1", [sampleEvent(1)], { expectedVersion: "no-stream" });
  const reader = await openEventStoreReader({ url, s3: route.s3, pollIntervalMs: replicaPollMs });
  const name = `replica, every ${replicaPollMs} ms`;
  const told = projectCost({ replicas: 1, replicaPollMs }).byPurpose.replicas.cost;
  return {
    name,
    begin: () => route.proxy.resetCounts(),
    row: async (elapsedMs) => await rowOf(name, route, elapsedMs, told),
    [Symbol.asyncDispose]: async () => {
      await reader.close();
      await store.close();
      await route.proxy.stop();
    },
  };
}

function run(context: ScenarioContext<BucketIdleSettings>): Promise<readonly Row[]> {
  const { idleMs } = context.settings;
  const measureAll = async (bucket: Bucket): Promise<readonly Row[]> => {
    await using lowLatency = await idleWriter(bucket, "low-latency");
    await using lowCost = await idleWriter(bucket, "low-cost");
    await using replica = await idleReplica(bucket);
    const all = [lowLatency, lowCost, replica];
    context.progress(`${all.map(({ name }) => name).join("; ")}: idle for ${idleMs / 1_000} s`);
    await Promise.all(all.map(({ begin }) => begin()));
    const startedMs = performance.now();
    await Bun.sleep(idleMs);
    const elapsedMs = performance.now() - startedMs;
    const rows = await Promise.all(all.map(({ row }) => row(elapsedMs)));
    check((rows.at(-1)?.n ?? 0) > 0, "the replica asked for nothing");
    return rows;
  };
  return onBucket(context, measureAll, { needsProxy: true });
}

export const bucketIdle: Scenario<BucketIdleSettings> = {
  name: "bucket-idle",
  question: "What do an idle writer and an idle replica ask of a bucket, and what is that by the month?",
  sizes: {
    smoke: { idleMs: 1_500 },
    quick: { idleMs: 60_000 },
    full: { idleMs: 600_000 },
  },
  run,
};
