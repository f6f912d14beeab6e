/** Runs one scenario, here or in a process of its own, and answers with its part of the report. */

import { fileURLToPath } from "node:url";
import { spawnBun } from "./child-process.ts";
import { openEventSource } from "./event-source.ts";
import { urlBelow } from "./locations.ts";
import { MemorySampler } from "./memory-sampler.ts";
import type { ScenarioReport } from "./report.ts";
import type { Scenario, Size } from "./scenario.ts";

export interface ScenarioJob {
  readonly scenario: string;
  readonly size: Size;
  /** Below this the scenario makes its stores. */
  readonly url: string;
  readonly runId: string;
  readonly data: string;
}

export type ScenarioRunner = (scenario: Scenario, job: ScenarioJob) => Promise<ScenarioReport>;

function progress(message: string): void {
  process.stderr.write(`  ${message}\n`);
}

/** In this process. A failure is part of the report. */
export const runHere: ScenarioRunner = async (scenario, job) => {
  const { name, question } = scenario;
  const settings = scenario.sizes[job.size];
  const startedMs = performance.now();
  using memory = new MemorySampler();
  const freshUrl = (part: string): string =>
    urlBelow(job.url, `run-${job.runId}-${name}${part === "" ? "" : `-${part}`}`);
  const source = openEventSource(job.data);
  const common = { scenario: name, question, settings };
  try {
    const rows = await scenario.run({ settings, freshUrl, source, memory, progress });
    memory.sample();
    // A row may speak of a child process.
    const rssMaxMb = Math.max(memory.maxMb, ...rows.map((row) => row.rssMaxMb ?? 0));
    return { ...common, rows, rssMaxMb, tookMs: performance.now() - startedMs };
  } catch (error) {
    const failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { ...common, rows: [], rssMaxMb: memory.maxMb, tookMs: performance.now() - startedMs, failure };
  }
};

const processFile = fileURLToPath(new URL("../scenario-process.ts", import.meta.url));

/** In a process of its own, so that memory and compiled code do not carry over. */
export const runInOwnProcess: ScenarioRunner = async (scenario, job) => {
  const child = spawnBun(processFile, [JSON.stringify(job)]);
  const output = await new Response(child.stdout).text();
  const exitCode = await child.exited;
  try {
    return JSON.parse(output) as ScenarioReport;
  } catch {
    const failure = `its process ended with code ${exitCode} and no report`;
    const { name, question, sizes } = scenario;
    return { scenario: name, question, settings: sizes[job.size], rows: [], rssMaxMb: 0, tookMs: 0, failure };
  }
};
