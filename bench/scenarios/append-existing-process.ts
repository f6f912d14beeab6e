/** A process of `append-existing`: makes its streams, then reads and appends with so many workers. */

import { closedLoop, type LoopReport, type LoopSettings } from "../harness/closed-loop.ts";
import { answerJob } from "../harness/job-process.ts";
import { MemorySampler } from "../harness/memory-sampler.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual } from "../harness/scenario.ts";
import { openStrataTarget } from "../harness/strata-target.ts";
import type { Target } from "../harness/target.ts";

export interface AppendExistingJob {
  readonly url: string;
  readonly workers: number;
  readonly streams: number;
  readonly loop: LoopSettings;
}

export interface AppendExistingOutcome {
  readonly report: LoopReport;
  readonly eventsRead: number;
  /** The most from beginning to end, while the streams were made included. */
  readonly rssMaxMb: number;
}

const streamEvents = 20;

function streamName(number: number): string {
  return `order-${number}`;
}

/** Streams of 20 events, written one event at a time, as they come to be in life. */
async function prepareStreams(target: Target, streams: number): Promise<void> {
  for (let version = 0; version < streamEvents; version += 1) {
    const appends = Array.from({ length: streams }, (_, number) => {
      const event = sampleEvent(number);
      return version === 0
        ? target.appendNew(streamName(number), event)
        : target.appendAt(streamName(number), event, version);
    });
    await Promise.all(appends);
  }
}

async function work({ url, workers, streams, loop }: AppendExistingJob): Promise<AppendExistingOutcome> {
  check(streams % workers === 0, "the streams cannot be shared out among the workers");
  using memory = new MemorySampler();
  await using target = await openStrataTarget(url);
  await prepareStreams(target, streams);
  let eventsRead = 0;
  const report = await closedLoop(workers, loop, async (worker, sequence) => {
    // No two workers share a stream, so that no append conflicts.
    const name = streamName((worker + sequence * workers) % streams);
    const version = await target.readStream(name);
    eventsRead += version;
    await target.appendAt(name, sampleEvent(sequence), version);
  });
  check(eventsRead >= report.total * streamEvents, "a stream was read without all of its events");
  checkEqual(await target.readAll(), streams * streamEvents + report.total, "events read at the end");
  memory.sample();
  return { report, eventsRead, rssMaxMb: memory.maxMb };
}

if (import.meta.main) await answerJob(work);
