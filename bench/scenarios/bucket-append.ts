/**
 * Appends of one event to a new stream of a store in a bucket, over ever longer ways, by ever more appenders. In turns with each,
 * the bare conditional PUT of what one of their commit groups stores: on a busy machine both are slow, and their ratio holds.
 */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { groupObjectBytes, openBarePuts } from "../harness/bare-puts.ts";
import { type Bucket, latenciesTo, onBucket, openRoute, type Route } from "../harness/bucket.ts";
import { closedLoop, type LoopReport } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { median, medianBy } from "../harness/statistics.ts";

export interface BucketAppendSettings {
  /** What each request takes longer than the server itself; 0 is the direct way. */
  readonly latenciesMs: readonly number[];
  readonly appenders: readonly number[];
  readonly warmUpMs: number;
  /** Of each turn of the store. */
  readonly durationMs: number;
  /** Of each turn of the bare PUT. */
  readonly bareMs: number;
  readonly turns: number;
}

interface Turn {
  readonly appends: LoopReport;
  readonly bare: LoopReport;
}

function appender(store: EventStore): () => Promise<void> {
  let next = 0;
  return async () => {
    next += 1;
    await store.append(`order-${next}`, [sampleEvent(next)], { expectedVersion: "no-stream" });
  };
}

async function takeTurns(
  { settings }: ScenarioContext<BucketAppendSettings>,
  place: { readonly bucket: Bucket; readonly route: Route; readonly part: string },
  appenders: number,
): Promise<{ readonly turns: readonly Turn[]; readonly groupBytes: number; readonly eventsPerGroup: number }> {
  const { warmUpMs, durationMs, bareMs } = settings;
  const { bucket, route, part } = place;
  const url = bucket.freshUrl(part);
  await using store = await openEventStore({ url, s3: route.s3 });
  const append = appender(store);
  const warmUp = await closedLoop(appenders, { warmUpMs: 0, durationMs: warmUpMs, runs: 1 }, append);
  const groupBytes = await groupObjectBytes(url, bucket.s3);
  const { put } = openBarePuts(bucket.freshUrl(`${part}-bare`), route.s3, groupBytes);
  const before = store.stats().commits;
  const turns: Turn[] = [];
  for (let turn = 0; turn < settings.turns; turn += 1) {
    const appends = await closedLoop(appenders, { warmUpMs: 0, durationMs, runs: 1 }, append);
    turns.push({ appends, bare: await closedLoop(1, { warmUpMs: 0, durationMs: bareMs, runs: 1 }, put) });
  }
  const after = store.stats().commits;
  const appended = turns.reduce((sum, { appends }) => sum + appends.total, warmUp.total);
  checkEqual(await store.lastPosition(), appended, `events in the log after ${appenders} appenders`);
  const eventsPerGroup = (after.events - before.events) / (after.groups - before.groups);
  return { turns, groupBytes, eventsPerGroup };
}

async function measure(
  context: ScenarioContext<BucketAppendSettings>,
  bucket: Bucket,
  route: Route,
  appenders: number,
): Promise<Row> {
  context.progress(`${route.name}: ${appenders} appenders`);
  await context.memory.settle();
  const part = `${route.name.replace(" ", "-")}-${appenders}`;
  const { turns, groupBytes, eventsPerGroup } = await takeTurns(context, { bucket, route, part }, appenders);
  const { count, perSecond, latencyMs } = medianBy(turns, ({ appends }) => appends.perSecond).appends;
  return {
    parameters: { latency: route.name, appenders },
    n: count,
    perSecond,
    latencyMs,
    rssMaxMb: context.memory.maxSinceSettledMb(),
    extra: {
      "events a group": eventsPerGroup,
      "group bytes": groupBytes,
      "bare PUT p50": median(turns.map(({ bare }) => bare.latencyMs.p50)),
      "bare p99": median(turns.map(({ bare }) => bare.latencyMs.p99)),
      "p50 / bare": median(turns.map(({ appends, bare }) => appends.latencyMs.p50 / bare.latencyMs.p50)),
    },
  };
}

function run(context: ScenarioContext<BucketAppendSettings>): Promise<readonly Row[]> {
  return onBucket(context, async (bucket) => {
    const rows: Row[] = [];
    for (const latencyMs of latenciesTo(bucket, context.settings.latenciesMs)) {
      await using route = await openRoute(bucket, latencyMs);
      for (const appenders of context.settings.appenders) rows.push(await measure(context, bucket, route, appenders));
    }
    return rows;
  });
}

const latenciesMs = [0, 10, 30, 100];
const appenders = [1, 16, 256, 1_024];

export const bucketAppend: Scenario<BucketAppendSettings> = {
  name: "bucket-append",
  question:
    "In a bucket, near and far: how many appends are durable per second, how long does each take, and how long a bare conditional PUT?",
  sizes: {
    smoke: { latenciesMs: [0, 10], appenders: [1, 16], warmUpMs: 20, durationMs: 60, bareMs: 30, turns: 1 },
    quick: { latenciesMs, appenders, warmUpMs: 500, durationMs: 1_000, bareMs: 500, turns: 3 },
    full: { latenciesMs, appenders, warmUpMs: 1_500, durationMs: 3_000, bareMs: 1_500, turns: 3 },
  },
  run,
};
