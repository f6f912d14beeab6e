/** A process of `import`: one import into a store of its own; one line of standard output says what came of it. */

import { openEventSource } from "../harness/event-source.ts";
import { answerJob } from "../harness/job-process.ts";
import { MemorySampler } from "../harness/memory-sampler.ts";
import { checkEqual } from "../harness/scenario.ts";
import { openStrataTarget } from "../harness/strata-target.ts";

export interface ImportJob {
  readonly url: string;
  /** As `--data` has it. */
  readonly data: string;
  readonly events: number;
}

export interface ImportOutcome {
  readonly perSecond: number;
  /** How long each commit was under way. */
  readonly commitsMs: readonly number[];
  /** The most while it imported. */
  readonly rssMaxMb: number;
}

async function work({ url, data, events }: ImportJob): Promise<ImportOutcome> {
  using memory = new MemorySampler();
  await using target = await openStrataTarget(url);
  const commitsMs: number[] = [];
  const startedMs = performance.now();
  const batches = openEventSource(data).batches(events);
  const imported = await target.importEvents(batches, ({ tookMs }) => commitsMs.push(tookMs));
  const perSecond = (imported * 1_000) / (performance.now() - startedMs);
  memory.sample();
  const { maxMb } = memory;
  checkEqual(imported, events, "events imported");
  checkEqual(await target.readAll(), events, "events read after the import");
  return { perSecond, commitsMs, rssMaxMb: maxMb };
}

if (import.meta.main) await answerJob(work);
