/**
 * What waiting for company costs and saves: appends a second, their latency and the PUTs for 1,000 of them, without linger, with
 * a fixed one and with the adaptive one; by appenders that each wait for their answer, and by arrivals that wait for nobody.
 */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { closedLoop } from "../harness/closed-loop.ts";
import { openDelayedKv } from "../harness/delayed-kv.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { DurationRecorder, type LatencySummary } from "../harness/statistics.ts";

export interface LingerSettings {
  readonly appenders: readonly number[];
  /** Arrivals a second, each of one append. */
  readonly arrivals: readonly number[];
  readonly warmUpMs: number;
  readonly durationMs: number;
}

const lingers = [0, 5, "adaptive"] as const;
type Linger = (typeof lingers)[number];

/** What a write takes in the storage that stands for a bucket. */
const writeMs = 10;

interface Measured {
  readonly count: number;
  readonly perSecond: number;
  readonly latencyMs: LatencySummary;
}

function appender(store: EventStore): () => Promise<void> {
  let next = 0;
  return async () => {
    next += 1;
    await store.append(`order-${next}`, [sampleEvent(next)], { expectedVersion: "no-stream" });
  };
}

/** Starts appends at a steady rate, whether or not the earlier ones are answered. */
async function openLoop(append: () => Promise<void>, perSecond: number, durationMs: number): Promise<Measured> {
  const recorder = new DurationRecorder();
  const underWay = new Set<Promise<void>>();
  const startedMs = performance.now();
  let started = 0;
  const start = (): void => {
    const fromMs = performance.now();
    const one = append().then(() => {
      recorder.record(performance.now() - fromMs);
      underWay.delete(one);
    });
    underWay.add(one);
    started += 1;
  };
  for (let nowMs = startedMs; nowMs - startedMs < durationMs; nowMs = performance.now()) {
    while (started < ((nowMs - startedMs) * perSecond) / 1_000) start();
    await Bun.sleep(1);
  }
  await Promise.all(underWay);
  const elapsedMs = performance.now() - startedMs;
  return { count: recorder.count, perSecond: (recorder.count * 1_000) / elapsedMs, latencyMs: recorder.summary() };
}

async function measure(
  store: EventStore,
  load: Readonly<Record<string, string | number>>,
  work: (durationMs: number) => Promise<Measured>,
  { warmUpMs, durationMs }: LingerSettings,
): Promise<Row> {
  await work(warmUpMs);
  const before = store.stats().commits;
  const { count, perSecond, latencyMs } = await work(durationMs);
  const after = store.stats().commits;
  const putsPerThousand = (1_000 * (after.groups - before.groups)) / (after.commits - before.commits);
  checkEqual(await store.lastPosition(), after.events, "events in the log");
  return { parameters: load, n: count, perSecond, latencyMs, extra: { "PUTs per 1,000": putsPerThousand } };
}

async function run(context: ScenarioContext<LingerSettings>): Promise<readonly Row[]> {
  const { settings } = context;
  const rows: Row[] = [];
  const openOn = {
    given: (linger: Linger, part: string) => openEventStore({ url: context.freshUrl(part), commitLingerMs: linger }),
    [`${writeMs} ms`]: (linger: Linger) => openEventStoreOn(openDelayedKv(writeMs), { commitLingerMs: linger }),
  };
  for (const [storage, open] of Object.entries(openOn)) {
    for (const linger of lingers) {
      for (const appenders of settings.appenders) {
        context.progress(`${storage}: linger ${linger}, ${appenders} appenders`);
        await using store = await open(linger, `${linger}-${appenders}`);
        const append = appender(store);
        const closed = (durationMs: number): Promise<Measured> =>
          closedLoop(appenders, { warmUpMs: 0, durationMs, runs: 1 }, append);
        rows.push(await measure(store, { storage, linger, appenders }, closed, settings));
      }
      for (const arrivals of settings.arrivals) {
        context.progress(`${storage}: linger ${linger}, ${arrivals} arrivals a second`);
        await using store = await open(linger, `${linger}-open-${arrivals}`);
        const append = appender(store);
        const steady = (durationMs: number): Promise<Measured> => openLoop(append, arrivals, durationMs);
        rows.push(await measure(store, { storage, linger, "arrivals/s": arrivals }, steady, settings));
      }
    }
  }
  return rows;
}

export const linger: Scenario<LingerSettings> = {
  name: "linger",
  question: "What do commits that wait for company cost in latency, and how many PUTs do they save?",
  sizes: {
    smoke: { appenders: [1, 16], arrivals: [500], warmUpMs: 10, durationMs: 60 },
    quick: { appenders: [1, 16, 256, 1_024], arrivals: [100, 500, 2_000], warmUpMs: 500, durationMs: 2_000 },
    full: { appenders: [1, 16, 256, 1_024], arrivals: [100, 500, 2_000], warmUpMs: 1_000, durationMs: 5_000 },
  },
  run,
};
