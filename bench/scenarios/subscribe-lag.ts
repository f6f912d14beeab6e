/** Live subscribers beside a writer at a fixed, modest rate; and a subscriber that catches up from the start. */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { medianBy, summarize } from "../harness/statistics.ts";
import { importInto } from "../harness/strata-target.ts";

export interface SubscribeLagSettings {
  readonly subscribers: readonly number[];
  readonly appendsPerSecond: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
  readonly catchUpEvents: number;
  readonly catchUpRuns: number;
}

const deliveryTimeoutMs = 10_000;

/** When an event's append began and resolved, by position - 1. */
interface AppendTimes {
  readonly startedMs: Float64Array;
  readonly resolvedMs: Float64Array;
}

/** One event at each tick of the rate, whether or not earlier ones have been answered. */
async function appendAtRate(store: EventStore, appends: number, perSecond: number): Promise<AppendTimes> {
  const times = { startedMs: new Float64Array(appends), resolvedMs: new Float64Array(appends) };
  const appendOne = async (number: number): Promise<void> => {
    const startedMs = performance.now();
    const { position } = await store.append(`order-${number}`, [sampleEvent(number)], { expectedVersion: "no-stream" });
    times.resolvedMs[position - 1] = performance.now();
    times.startedMs[position - 1] = startedMs;
  };
  const underWay: Promise<void>[] = [];
  const beganMs = performance.now();
  while (underWay.length < appends) {
    const due = Math.min(appends, Math.floor(((performance.now() - beganMs) * perSecond) / 1_000) + 1);
    while (underWay.length < due) underWay.push(appendOne(underWay.length));
    await Bun.sleep(1);
  }
  await Promise.all(underWay);
  return times;
}

/** Notes when each event arrives, until all have; throws where one is passed over or comes twice. */
async function follow(store: EventStore, events: number): Promise<Float64Array> {
  const arrivedMs = new Float64Array(events);
  let expected = 1;
  const signal = AbortSignal.timeout(deliveryTimeoutMs + events * 20);
  for await (const { position } of store.subscribe({ from: "end", signal })) {
    arrivedMs[position - 1] = performance.now();
    checkEqual(position, expected, "the next position that a subscriber was given");
    expected += 1;
    if (position === events) return arrivedMs;
  }
  check(false, `a subscriber was given ${expected - 1} events of ${events} in time`);
  return arrivedMs;
}

async function measureLive(
  context: ScenarioContext<SubscribeLagSettings>,
  subscribers: number,
): Promise<readonly Row[]> {
  const { appendsPerSecond, warmUpMs, durationMs } = context.settings;
  const warmUps = Math.ceil((appendsPerSecond * warmUpMs) / 1_000);
  const appends = warmUps + Math.ceil((appendsPerSecond * durationMs) / 1_000);
  await using store = await openEventStore({ url: context.freshUrl(`live-${subscribers}`) });
  await context.memory.settle();
  const following = Array.from({ length: subscribers }, () => follow(store, appends));
  const { startedMs, resolvedMs } = await appendAtRate(store, appends, appendsPerSecond);
  const arrivals = await Promise.all(following);
  const rssMaxMb = context.memory.maxSinceSettledMb();
  const lagsFrom = (from: Float64Array): Float64Array =>
    Float64Array.from(
      arrivals.flatMap((arrivedMs) =>
        Array.from(arrivedMs.subarray(warmUps), (at, index) => at - (from[warmUps + index] ?? 0)),
      ),
    );
  const parameters = { subscribers, rate: appendsPerSecond };
  const n = (appends - warmUps) * subscribers;
  return [
    { parameters: { ...parameters, since: "append-started" }, n, latencyMs: summarize(lagsFrom(startedMs)), rssMaxMb },
    {
      parameters: { ...parameters, since: "append-resolved" },
      n,
      latencyMs: summarize(lagsFrom(resolvedMs)),
      rssMaxMb,
    },
  ];
}

async function catchUp(store: EventStore, events: number): Promise<{ perSecond: number }> {
  const startedMs = performance.now();
  let count = 0;
  for await (const event of store.subscribe({ from: "start" })) {
    if (event.data !== undefined) count += 1;
    if (event.position === events) break;
  }
  checkEqual(count, events, "events that a subscriber caught up with");
  return { perSecond: (events * 1_000) / (performance.now() - startedMs) };
}

async function measureCatchUp(context: ScenarioContext<SubscribeLagSettings>): Promise<Row> {
  const { catchUpEvents, catchUpRuns } = context.settings;
  context.progress(`catching up with ${catchUpEvents} events`);
  await using store = await openEventStore({ url: context.freshUrl("catch-up") });
  const events = await importInto(store, context.source.batches(catchUpEvents), () => {});
  await context.memory.settle();
  const first = await catchUp(store, events);
  const runs: { perSecond: number }[] = [];
  for (let index = 0; index < catchUpRuns; index += 1) runs.push(await catchUp(store, events));
  const { perSecond } = medianBy(runs, (run) => run.perSecond);
  return {
    parameters: { subscribers: 1, from: "start" },
    n: events,
    perSecond,
    rssMaxMb: context.memory.maxSinceSettledMb(),
    extra: { "first run": first.perSecond },
  };
}

async function run(context: ScenarioContext<SubscribeLagSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const subscribers of context.settings.subscribers) {
    context.progress(`${subscribers} live subscribers`);
    rows.push(...(await measureLive(context, subscribers)));
  }
  rows.push(await measureCatchUp(context));
  return rows;
}

const subscribers = [1, 100];

export const subscribeLag: Scenario<SubscribeLagSettings> = {
  name: "subscribe-lag",
  question: "How long after its append does an event reach live subscribers, and how fast does one catch up?",
  sizes: {
    smoke: { subscribers, appendsPerSecond: 200, warmUpMs: 50, durationMs: 150, catchUpEvents: 2_000, catchUpRuns: 1 },
    quick: {
      subscribers,
      appendsPerSecond: 200,
      warmUpMs: 500,
      durationMs: 3_000,
      catchUpEvents: 50_000,
      catchUpRuns: 3,
    },
    full: {
      subscribers,
      appendsPerSecond: 200,
      warmUpMs: 2_000,
      durationMs: 15_000,
      catchUpEvents: 262_200,
      catchUpRuns: 3,
    },
  },
  run,
};
