/**
 * Appends to a store in partitions in a bucket that is far away, written by one process: a partition that waits for its PUT leaves the
 * processor to the others. Each layout in a process of its own, in turns.
 */

import { type Bucket, latenciesTo, onBucket, openRoute, type Route } from "../harness/bucket.ts";
import type { Row, Scenario, ScenarioContext } from "../harness/scenario.ts";
import { median, medianBy } from "../harness/statistics.ts";
import { appendToPartitions } from "./partitions.ts";
import type { PartitionsResult } from "./partitions-process.ts";

export interface BucketPartitionsSettings {
  readonly latenciesMs: readonly number[];
  readonly partitions: readonly number[];
  /** In all partitions together. */
  readonly appenders: readonly number[];
  readonly warmUpMs: number;
  readonly durationMs: number;
  readonly turns: number;
}

function perSecond({ appends, elapsedMs }: PartitionsResult): number {
  return (appends * 1_000) / elapsedMs;
}

async function measure(
  { settings, progress }: ScenarioContext<BucketPartitionsSettings>,
  bucket: Bucket,
  route: Route,
  appenders: number,
): Promise<readonly Row[]> {
  const { warmUpMs, durationMs } = settings;
  const layouts = settings.partitions.map((partitions) => ({ partitions, runs: [] as PartitionsResult[] }));
  for (let turn = 0; turn < settings.turns; turn += 1) {
    for (const { partitions, runs } of layouts) {
      progress(`${route.name}: ${appenders} appenders, ${partitions} partitions, turn ${turn + 1}`);
      const url = bucket.freshUrl(`${route.name.replace(" ", "-")}-${appenders}-${partitions}-${turn}`);
      const load = { url, s3: route.s3, processes: 1, partitions, appenders, warmUpMs, durationMs };
      runs.push(...(await appendToPartitions(load)));
    }
  }
  const [least] = layouts;
  return layouts.map(({ partitions, runs }) => {
    const typical = medianBy(runs, perSecond);
    const gains = runs.map((run, turn) => perSecond(run) / perSecond(least?.runs[turn] ?? run));
    return {
      parameters: { latency: route.name, appenders, partitions },
      n: typical.appends,
      perSecond: perSecond(typical),
      latencyMs: typical.latencyMs,
      extra: { gain: median(gains) },
    };
  });
}

function run(context: ScenarioContext<BucketPartitionsSettings>): Promise<readonly Row[]> {
  return onBucket(context, async (bucket) => {
    const rows: Row[] = [];
    for (const latencyMs of latenciesTo(bucket, context.settings.latenciesMs)) {
      await using route = await openRoute(bucket, latencyMs);
      for (const appenders of context.settings.appenders) {
        rows.push(...(await measure(context, bucket, route, appenders)));
      }
    }
    return rows;
  });
}

export const bucketPartitions: Scenario<BucketPartitionsSettings> = {
  name: "bucket-partitions",
  question: "What do several partitions gain in one process where each PUT to the bucket takes long?",
  sizes: {
    smoke: { latenciesMs: [0], partitions: [1, 2], appenders: [8], warmUpMs: 10, durationMs: 50, turns: 1 },
    quick: {
      latenciesMs: [10, 30],
      partitions: [1, 4, 16],
      appenders: [1_024],
      warmUpMs: 1_000,
      durationMs: 2_000,
      turns: 3,
    },
    full: {
      latenciesMs: [10, 30, 100],
      partitions: [1, 4, 16],
      appenders: [256, 1_024],
      warmUpMs: 1_500,
      durationMs: 3_000,
      turns: 3,
    },
  },
  run,
};
