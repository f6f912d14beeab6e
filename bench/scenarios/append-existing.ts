/** The loop of a command handler: read a stream of 20 events, append one at the version that was read. */

import { closedLoop, type LoopSettings } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { openStrataTarget } from "../harness/strata-target.ts";
import type { Target } from "../harness/target.ts";

export interface AppendExistingSettings extends LoopSettings {
  readonly workers: readonly number[];
  /** Taken in turn, so that none grows far beyond its 20 events. */
  readonly streams: number;
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

async function measure(
  target: Target,
  workers: number,
  { settings, memory }: ScenarioContext<AppendExistingSettings>,
): Promise<Row> {
  check(settings.streams % workers === 0, "the streams cannot be shared out among the workers");
  let eventsRead = 0;
  await memory.settle();
  const report = await closedLoop(workers, settings, async (worker, sequence) => {
    // No two workers share a stream, so that no append conflicts.
    const name = streamName((worker + sequence * workers) % settings.streams);
    const version = await target.readStream(name);
    eventsRead += version;
    await target.appendAt(name, sampleEvent(sequence), version);
  });
  const rssMaxMb = memory.maxSinceSettledMb();
  check(eventsRead >= report.total * streamEvents, "a stream was read without all of its events");
  checkEqual(await target.readAll(), settings.streams * streamEvents + report.total, "events read at the end");
  return {
    parameters: { workers },
    n: report.count,
    perSecond: report.perSecond,
    latencyMs: report.latencyMs,
    rssMaxMb,
    extra: { "events a read": eventsRead / report.total },
  };
}

async function run(context: ScenarioContext<AppendExistingSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const workers of context.settings.workers) {
    context.progress(`${workers} workers`);
    await using target = await openStrataTarget(context.freshUrl(String(workers)));
    await prepareStreams(target, context.settings.streams);
    rows.push(await measure(target, workers, context));
  }
  return rows;
}

export const appendExisting: Scenario<AppendExistingSettings> = {
  name: "append-existing",
  question: "How often per second can a stream of 20 events be read and one appended at the version read?",
  sizes: {
    smoke: { workers: [1, 16], streams: 32, warmUpMs: 10, durationMs: 40, runs: 1 },
    quick: { workers: [1, 16], streams: 800, warmUpMs: 300, durationMs: 1_000, runs: 3 },
    full: { workers: [1, 16], streams: 3_200, warmUpMs: 1_000, durationMs: 5_000, runs: 3 },
  },
  run,
};
