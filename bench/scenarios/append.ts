/** Appends of one event to a new stream, by ever more appenders at once; beside it the floor that a bare write makes. */

import { closedLoop, type LoopReport, type LoopSettings } from "../harness/closed-loop.ts";
import { openFloor } from "../harness/floor.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { openStrataTarget } from "../harness/strata-target.ts";
import type { Target } from "../harness/target.ts";

export interface AppendSettings extends LoopSettings {
  readonly appenders: readonly number[];
}

const appenders = [1, 16, 64, 256, 1_024];

async function measureAppends(target: Target, count: number, settings: LoopSettings): Promise<LoopReport> {
  let next = 0;
  return await closedLoop(count, settings, async (worker, sequence) => {
    const number = next;
    next += 1;
    await target.appendNew(`order-${worker}-${sequence}`, sampleEvent(number));
  });
}

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
  for (const count of context.settings.appenders) {
    context.progress(`${count} appenders`);
    await context.memory.settle();
    await using target = await openStrataTarget(context.freshUrl(String(count)));
    const report = await measureAppends(target, count, context.settings);
    const { count: n, perSecond, latencyMs } = report;
    rows.push({
      parameters: { appenders: count },
      n,
      perSecond,
      latencyMs,
      rssMaxMb: context.memory.maxSinceSettledMb(),
    });
    checkEqual(await target.readAll(), report.total, `events read after ${count} appenders`);
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
