/** The loop of a command handler: read a stream of 20 events, append one at the version that was read. */

import { fileURLToPath } from "node:url";
import type { LoopSettings } from "../harness/closed-loop.ts";
import { runJob } from "../harness/job-process.ts";
import type { Row, Scenario, ScenarioContext } from "../harness/scenario.ts";
import type { AppendExistingJob, AppendExistingOutcome } from "./append-existing-process.ts";

export interface AppendExistingSettings extends LoopSettings {
  readonly workers: readonly number[];
  /** Taken in turn, so that none grows far beyond its 20 events. */
  readonly streams: number;
}

const processFile = fileURLToPath(new URL("./append-existing-process.ts", import.meta.url));

async function run({ settings, freshUrl, progress }: ScenarioContext<AppendExistingSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const { workers: levels, streams, ...loop } = settings;
  for (const workers of levels) {
    progress(`${workers} workers`);
    const job: AppendExistingJob = { url: freshUrl(String(workers)), workers, streams, loop };
    const { report, eventsRead, rssMaxMb } = await runJob<AppendExistingOutcome>(processFile, job);
    const { count: n, perSecond, latencyMs, total } = report;
    rows.push({
      parameters: { workers },
      n,
      perSecond,
      latencyMs,
      rssMaxMb,
      extra: { "events a read": eventsRead / total },
    });
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
