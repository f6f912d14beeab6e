/**
 * The memory of one process through a great many appends and reads of streams, moment by moment: in a folder, or in a bucket with
 * a disk cache; keeping what was read in a small cache of rows, or in the engine's own.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EventStore, type OpenOptions, openEventStore } from "../../src/index.ts";
import { onBucket } from "../harness/bucket.ts";
import { folderOf } from "../harness/locations.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents } from "../harness/strata-target.ts";

export interface LongRunSettings {
  /** Each of one event to a new stream. */
  readonly appends: number;
  /** Each of one stream, all over the store. */
  readonly reads: number;
  readonly workers: number;
  /** The memory is told each time that so many are done. */
  readonly every: number;
}

/** Coprime to what numbers of streams there are: visits all of them, far apart. */
const strideOfReads = 618_033;

const diskCacheBytes = 2 ** 30;

interface Phase {
  readonly name: string;
  readonly count: number;
  readonly work: (number: number) => Promise<void>;
}

async function measure(
  { settings, memory, progress }: ScenarioContext<LongRunSettings>,
  place: string,
  phase: Phase,
): Promise<readonly Row[]> {
  const { every, workers } = settings;
  const rows: Row[] = [];
  let started = 0;
  let done = 0;
  let lastMs = performance.now();
  const note = (): void => {
    const { rssMb, heapMb } = memory.sample();
    const nowMs = performance.now();
    const perSecond = (every * 1_000) / (nowMs - lastMs);
    lastMs = nowMs;
    progress(`${place}: ${done} ${phase.name}, ${Math.round(rssMb)} MB`);
    rows.push({
      parameters: { place, phase: phase.name, done },
      n: every,
      perSecond,
      rssMaxMb: rssMb,
      extra: { "heap MB": heapMb },
    });
  };
  const worker = async (): Promise<void> => {
    while (started < phase.count) {
      const number = started;
      started += 1;
      await phase.work(number);
      done += 1;
      if (done % every === 0) note();
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  checkEqual(done, phase.count, `${phase.name} done`);
  return rows;
}

function phasesOf(store: EventStore, { appends, reads }: LongRunSettings): readonly Phase[] {
  const append = async (number: number): Promise<void> => {
    await store.append(`order-${number}`, [sampleEvent(number)], { expectedVersion: "no-stream" });
  };
  const read = async (number: number): Promise<void> => {
    const streamName = `order-${(number * strideOfReads) % appends}`;
    check((await countEvents(store.readStream(streamName))) === 1, `${streamName} does not have its one event`);
  };
  return [
    { name: "appends", count: appends, work: append },
    { name: "reads", count: reads, work: read },
  ];
}

async function measureIn(
  context: ScenarioContext<LongRunSettings>,
  place: string,
  location: Pick<OpenOptions, "url" | "s3" | "cache" | "readCache">,
): Promise<readonly Row[]> {
  await context.memory.settle();
  await using store = await openEventStore(location);
  const { rssMb, heapMb } = context.memory.sample();
  const rows: Row[] = [
    { parameters: { place, phase: "start", done: 0 }, n: 0, rssMaxMb: rssMb, extra: { "heap MB": heapMb } },
  ];
  for (const phase of phasesOf(store, context.settings)) rows.push(...(await measure(context, place, phase)));
  return rows;
}

async function run(context: ScenarioContext<LongRunSettings>, engineCache: boolean): Promise<readonly Row[]> {
  const url = context.freshUrl("folder");
  // One place a process: what the first one left would be counted with the second.
  const readCache = engineCache ? ({ readCache: "engine" } as const) : {};
  if (folderOf(url) !== undefined) return await measureIn(context, "folder", { url, ...readCache });
  return await onBucket(context, async (bucket) => {
    const folder = await mkdtemp(join(tmpdir(), "strata-long-run-"));
    try {
      const cache = { folder, maxBytes: diskCacheBytes };
      return await measureIn(context, "bucket", { url: bucket.freshUrl("memory"), s3: bucket.s3, cache, ...readCache });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

const sizes: Scenario<LongRunSettings>["sizes"] = {
  smoke: { appends: 600, reads: 600, workers: 16, every: 300 },
  quick: { appends: 100_000, reads: 100_000, workers: 256, every: 25_000 },
  full: { appends: 1_000_000, reads: 1_000_000, workers: 256, every: 100_000 },
};

export const longRun: Scenario<LongRunSettings> = {
  name: "long-run",
  question:
    "How does the memory of one process grow through a million appends, and through a million reads of streams?",
  sizes,
  run: (context) => run(context, false),
};

export const longRunEngineCache: Scenario<LongRunSettings> = {
  name: "long-run-engine-cache",
  question: "The same with the engine's own cache, which takes in all that is written: how far does it grow?",
  sizes,
  run: (context) => run(context, true),
};
