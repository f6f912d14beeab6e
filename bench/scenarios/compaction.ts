/** Appends beside the compactor and without it, in alternating runs; and the replay of small pages before and after it. */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { closedLoop, type LoopReport, timeRepeatedly } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { median } from "../harness/statistics.ts";
import { countEvents } from "../harness/strata-target.ts";

export interface CompactionSettings {
  readonly appenders: readonly number[];
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** Runs with the compactor, and as many without. */
  readonly pairs: number;
  /** Events of the replay, appended one by one. */
  readonly events: number;
  readonly passes: number;
}

const streams = 2_000;

interface Measured extends LoopReport {
  readonly merged: number;
  readonly lagEvents: number;
}

function appendTo(store: EventStore, number: number): Promise<unknown> {
  return store.append(`order-${number % streams}`, [sampleEvent(number)], { expectedVersion: "any" });
}

async function measureAppends(
  { settings, freshUrl }: ScenarioContext<CompactionSettings>,
  appenders: number,
  part: string,
  compacting: boolean,
): Promise<Measured> {
  // Begins as early as it can, so that it is at work in all of the run.
  const compaction = compacting ? { everyEvents: 512 } : (false as const);
  await using store = await openEventStore({ url: freshUrl(part), compaction });
  const { warmUpMs, durationMs } = settings;
  const report = await closedLoop(appenders, { warmUpMs, durationMs, runs: 1 }, async (worker, sequence) => {
    await appendTo(store, sequence * appenders + worker);
  });
  const compactor = store.processors().find(({ kind }) => kind === "compactor");
  const { logPagesMerged = 0, streamPagesMerged = 0 } = compactor?.counts ?? {};
  return { ...report, merged: logPagesMerged + streamPagesMerged, lagEvents: compactor?.lagEvents ?? 0 };
}

async function appendRows(context: ScenarioContext<CompactionSettings>, appenders: number): Promise<readonly Row[]> {
  const runs: Record<"without" | "with", Measured[]> = { without: [], with: [] };
  for (let pair = 1; pair <= context.settings.pairs; pair += 1) {
    for (const kind of ["without", "with"] as const) {
      context.progress(`${appenders} appenders, ${kind} the compactor, run ${pair}`);
      runs[kind].push(await measureAppends(context, appenders, `${appenders}-${kind}-${pair}`, kind === "with"));
    }
  }
  return (["without", "with"] as const).map((compactor) => {
    const rates = runs[compactor].map(({ perSecond }) => perSecond);
    const perSecond = median(rates);
    const middle = runs[compactor].find((run) => run.perSecond === perSecond) ?? runs[compactor][0];
    check(middle !== undefined, "nothing was measured");
    return {
      parameters: { appenders, compactor },
      n: middle?.count ?? 0,
      perSecond,
      ...(middle === undefined ? {} : { latencyMs: middle.latencyMs }),
      extra: {
        "of without": (perSecond / median(runs.without.map((run) => run.perSecond))).toFixed(2),
        "pages merged": middle?.merged ?? 0,
        "events behind": middle?.lagEvents ?? 0,
        "slowest run": Math.round(Math.min(...rates)),
        "fastest run": Math.round(Math.max(...rates)),
      },
    };
  });
}

async function replayRow(
  { settings, memory }: ScenarioContext<CompactionSettings>,
  url: string,
  pages: string,
): Promise<Row> {
  await using store = await openEventStore({ url, compaction: false });
  const { firstMs, totalMs } = await timeRepeatedly(settings.passes, 1, async () => {
    checkEqual(await countEvents(store.readAll()), settings.events, "events replayed");
    memory.sample();
  });
  const perSecond = (settings.events * settings.passes * 1_000) / totalMs;
  return { parameters: { replay: pages }, n: settings.events, perSecond, extra: { "first ms": Math.round(firstMs) } };
}

async function run(context: ScenarioContext<CompactionSettings>): Promise<readonly Row[]> {
  const { settings } = context;
  const rows: Row[] = [];
  for (const appenders of settings.appenders) rows.push(...(await appendRows(context, appenders)));
  const url = context.freshUrl("replay");
  if (url === "memory:") return rows;
  {
    context.progress(`appending ${settings.events} events one by one`);
    await using store = await openEventStore({ url, compaction: false });
    for (let number = 0; number < settings.events; number += 1) await appendTo(store, number);
  }
  rows.push(await replayRow(context, url, "before"));
  {
    context.progress("compacting");
    await using store = await openEventStore({ url, compaction: false });
    const { logPagesMerged } = await store.compact();
    // The last page may have nobody to be merged with.
    check(logPagesMerged >= settings.events - 1, `only ${logPagesMerged} pages of the log were merged`);
  }
  rows.push(await replayRow(context, url, "after"));
  return rows;
}

export const compaction: Scenario<CompactionSettings> = {
  name: "compaction",
  question: "What does the compactor cost appends that go on beside it, and what does it give to a replay?",
  sizes: {
    smoke: { appenders: [16], warmUpMs: 20, durationMs: 200, pairs: 1, events: 600, passes: 1 },
    quick: { appenders: [1, 64], warmUpMs: 500, durationMs: 2_000, pairs: 3, events: 5_000, passes: 3 },
    full: { appenders: [1, 64, 1_024], warmUpMs: 1_000, durationMs: 5_000, pairs: 5, events: 50_000, passes: 5 },
  },
  run,
};
