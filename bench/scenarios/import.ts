/** The import of a file of events: what `strata import` does, reading the file included. */

import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { DurationRecorder, median } from "../harness/statistics.ts";
import { openStrataTarget } from "../harness/strata-target.ts";

export interface ImportSettings {
  readonly events: number;
  readonly runs: number;
}

/** How fast the events come out of their source when nobody stores them. */
async function readSource({ source, settings }: ScenarioContext<ImportSettings>): Promise<Row> {
  const startedMs = performance.now();
  let events = 0;
  const streams = new Set<string>();
  for await (const batch of source.batches(settings.events)) {
    events += batch.length;
    for (const { streamName } of batch) streams.add(streamName);
  }
  const perSecond = (events * 1_000) / (performance.now() - startedMs);
  return { parameters: { source: source.kind, only: "read" }, n: events, perSecond, extra: { streams: streams.size } };
}

interface ImportRun {
  readonly perSecond: number;
  readonly rssMaxMb: number;
}

async function importOnce(
  { source, settings, memory }: ScenarioContext<ImportSettings>,
  url: string,
  expected: number,
  commits: DurationRecorder,
): Promise<ImportRun> {
  await memory.settle();
  await using target = await openStrataTarget(url);
  const startedMs = performance.now();
  const events = await target.importEvents(source.batches(settings.events), ({ tookMs }) => commits.record(tookMs));
  const perSecond = (events * 1_000) / (performance.now() - startedMs);
  const rssMaxMb = memory.maxSinceSettledMb();
  checkEqual(events, expected, "events imported");
  checkEqual(await target.readAll(), expected, "events read after the import");
  return { perSecond, rssMaxMb };
}

async function run(context: ScenarioContext<ImportSettings>): Promise<readonly Row[]> {
  const sourceRow = await readSource(context);
  const commits = new DurationRecorder();
  const runs: ImportRun[] = [];
  for (let index = 1; index <= context.settings.runs; index += 1) {
    context.progress(`import ${index} of ${sourceRow.n} events`);
    runs.push(await importOnce(context, context.freshUrl(String(index)), sourceRow.n, commits));
  }
  const rates = runs.map(({ perSecond }) => perSecond);
  const row: Row = {
    parameters: { source: context.source.kind },
    n: sourceRow.n,
    perSecond: median(rates),
    latencyMs: commits.summary(),
    rssMaxMb: Math.max(...runs.map(({ rssMaxMb }) => rssMaxMb)),
    extra: { "slowest run": Math.min(...rates), "fastest run": Math.max(...rates) },
  };
  return [sourceRow, row];
}

export const importEvents: Scenario<ImportSettings> = {
  name: "import",
  question: "How many events of a file are imported per second, and how long is a commit of 1,000 of them under way?",
  sizes: {
    smoke: { events: 2_000, runs: 1 },
    quick: { events: 50_000, runs: 3 },
    full: { events: 262_200, runs: 3 },
  },
  run,
};
