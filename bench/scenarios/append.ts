/** Appends of one event to a new stream, by ever more appenders at once; beside it the floor that a bare write makes. */

import { fileURLToPath } from "node:url";
import { closedLoop, type LoopSettings } from "../harness/closed-loop.ts";
import { openFloor } from "../harness/floor.ts";
import { runJob } from "../harness/job-process.ts";
import type { Row, Scenario, ScenarioContext } from "../harness/scenario.ts";
import type { AppendJob, AppendOutcome } from "./append-process.ts";

export interface AppendSettings extends LoopSettings {
  readonly appenders: readonly number[];
}

const appenders = [1, 16, 64, 256, 1_024];

const processFile = fileURLToPath(new URL("./append-process.ts", import.meta.url));

async function floorRows(context: ScenarioContext<AppendSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const floor of await openFloor(context.freshUrl("floor"))) {
    const { count, perSecond, latencyMs } = await closedLoop(1, context.settings, floor.write);
    rows.push({ parameters: { floor: floor.name }, n: count, perSecond, latencyMs });
    await floor.close();
  }
  return rows;
}

async function run(context: ScenarioContext<AppendSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [...(await floorRows(context))];
  const { appenders: levels, ...settings } = context.settings;
  for (const appenders of levels) {
    context.progress(`${appenders} appenders`);
    const url = context.freshUrl(String(appenders));
    const job: AppendJob = { url, appenders, settings };
    const { count, perSecond, latencyMs, rssMaxMb } = await runJob<AppendOutcome>(processFile, job);
    rows.push({ parameters: { appenders }, n: count, perSecond, latencyMs, rssMaxMb });
  }
  return rows;
}

export const append: Scenario<AppendSettings> = {
  name: "append",
  question: "How many appends of one event to a new stream are durable per second, and how long does each take?",
  sizes: {
    smoke: { appenders, warmUpMs: 10, durationMs: 40, runs: 1 },
    quick: { appenders, warmUpMs: 400, durationMs: 1_000, runs: 3 },
    full: { appenders, warmUpMs: 2_000, durationMs: 5_000, runs: 3 },
  },
  run,
};
