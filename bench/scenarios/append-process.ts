/** A process of `append`: so many appenders on a store of their own; one line of standard output says what came of it. */

import { closedLoop, type LoopReport, type LoopSettings } from "../harness/closed-loop.ts";
import { answerJob } from "../harness/job-process.ts";
import { MemorySampler } from "../harness/memory-sampler.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual } from "../harness/scenario.ts";
import { openStrataTarget } from "../harness/strata-target.ts";

export interface AppendJob {
  readonly url: string;
  readonly appenders: number;
  readonly settings: LoopSettings;
}

export interface AppendOutcome extends LoopReport {
  /** The most while it appended. */
  readonly rssMaxMb: number;
}

async function work({ url, appenders, settings }: AppendJob): Promise<AppendOutcome> {
  using memory = new MemorySampler();
  await using target = await openStrataTarget(url);
  let next = 0;
  const report = await closedLoop(appenders, settings, async (worker, sequence) => {
    const number = next;
    next += 1;
    await target.appendNew(`order-${worker}-${sequence}`, sampleEvent(number));
  });
  memory.sample();
  const { maxMb } = memory;
  checkEqual(await target.readAll(), report.total, `events read after ${appenders} appenders`);
  return { ...report, rssMaxMb: maxMb };
}

if (import.meta.main) await answerJob(work);
