/** The import of events: by a program that commits a thousand at a time, and by `strata import`. */

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openEventStore } from "../../src/index.ts";
import { spawnBun } from "../harness/child-process.ts";
import type { EventSource } from "../harness/event-source.ts";
import { runJob } from "../harness/job-process.ts";
import { urlKindOf } from "../harness/locations.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { DurationRecorder, median } from "../harness/statistics.ts";
import type { ImportJob, ImportOutcome } from "./import-process.ts";

export interface ImportSettings {
  readonly events: number;
  readonly runs: number;
}

type Context = ScenarioContext<ImportSettings>;

const processFile = fileURLToPath(new URL("./import-process.ts", import.meta.url));
const commandLine = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const bytesPerMb = 1024 * 1024;

/** How fast the events come out of their source when nobody stores them. */
async function readSource({ source, settings }: Context): Promise<Row> {
  const startedMs = performance.now();
  let events = 0;
  const streams = new Set<string>();
  for await (const batch of source.batches(settings.events)) {
    events += batch.length;
    for (const { streamName } of batch) streams.add(streamName);
  }
  const perSecond = (events * 1_000) / (performance.now() - startedMs);
  return {
    parameters: { by: "nobody: read only", source: source.kind },
    n: events,
    perSecond,
    extra: { streams: streams.size },
  };
}

interface Run {
  readonly perSecond: number;
  readonly rssMaxMb: number;
}

/** Each import is a process, as an import is; reading the source is part of it. */
async function repeated(context: Context, name: string, once: (url: string) => Promise<Run>): Promise<readonly Run[]> {
  const runs: Run[] = [];
  for (let index = 1; index <= context.settings.runs; index += 1) {
    context.progress(`${name}, run ${index} of ${context.settings.runs}`);
    runs.push(await once(context.freshUrl(`${name}-${index}`)));
  }
  return runs;
}

function rowOf(by: string, source: EventSource, events: number, runs: readonly Run[], commits?: DurationRecorder): Row {
  const rates = runs.map(({ perSecond }) => perSecond);
  return {
    parameters: { by, source: source.kind },
    n: events,
    perSecond: median(rates),
    ...(commits === undefined ? {} : { latencyMs: commits.summary() }),
    rssMaxMb: Math.max(...runs.map(({ rssMaxMb }) => rssMaxMb)),
    extra: { "slowest run": Math.min(...rates), "fastest run": Math.max(...rates) },
  };
}

async function byProgram(context: Context, events: number): Promise<Row> {
  const commits = new DurationRecorder();
  const runs = await repeated(context, "program", async (url) => {
    const job: ImportJob = { url, data: context.source.data, events };
    const { perSecond, rssMaxMb, commitsMs } = await runJob<ImportOutcome>(processFile, job);
    for (const tookMs of commitsMs) commits.record(tookMs);
    return { perSecond, rssMaxMb };
  });
  return rowOf("program, 1,000 a commit", context.source, events, runs, commits);
}

/** The events of the source as a file that `strata import` takes. */
async function writeFile({ source, settings }: Context, file: string): Promise<void> {
  const handle = await open(file, "w");
  try {
    for await (const batch of source.batches(settings.events)) {
      const lines = batch.map(({ id, type, streamName, occurredAt, data }) =>
        JSON.stringify({ specversion: "1.0", id, source: "bench", type, subject: streamName, time: occurredAt, data }),
      );
      await handle.write(`${lines.join("\n")}\n`);
    }
  } finally {
    await handle.close();
  }
}

/** From the start of the process to its end; its memory is what the system says at the end. */
async function byCommandLine(context: Context, events: number): Promise<Row> {
  const folder = await mkdtemp(join(tmpdir(), "strata-import-"));
  try {
    const file = join(folder, "events.jsonl");
    await writeFile(context, file);
    const runs = await repeated(context, "strata-import", async (url) => {
      const startedMs = performance.now();
      const child = spawnBun(commandLine, ["import", file, "--url", url, "--json"]);
      await new Response(child.stdout).text();
      check((await child.exited) === 0, "strata import failed");
      const perSecond = (events * 1_000) / (performance.now() - startedMs);
      await using store = await openEventStore({ url });
      checkEqual(await store.lastPosition(), events, "events that strata import stored");
      return { perSecond, rssMaxMb: (child.resourceUsage()?.maxRSS ?? 0) / bytesPerMb };
    });
    return rowOf("strata import", context.source, events, runs);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function run(context: Context): Promise<readonly Row[]> {
  const read = await readSource(context);
  const rows = [read, await byProgram(context, read.n)];
  // Another process cannot see what is in this one's memory.
  if (urlKindOf(context.freshUrl("")) !== "memory") rows.push(await byCommandLine(context, read.n));
  return rows;
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
