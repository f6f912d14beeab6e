/** Read models: how fast documents follow the log, behind it and in its commits, are rebuilt, and what idle processors cost. */

import * as v from "valibot";
import {
  defineProjection,
  defineReactor,
  openEventStore,
  type Projection,
  type ProjectionMode,
} from "../../src/index.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { medianBy } from "../harness/statistics.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface ProjectionsSettings {
  readonly events: number;
  /** How many events are appended one by one beside idle reactors, and how many of these there are; and how often, in turns. */
  readonly singleAppends: number;
  readonly idle: number;
  readonly idleRounds: number;
}

/** A document for each stream: how many events it has, and the type of the newest. */
function streamsProjection(mode: ProjectionMode): Projection<{ events: number; newest: string }> {
  return defineProjection("streams", {
    version: 1,
    mode,
    document: v.object({ events: v.number(), newest: v.string() }),
    on: {},
    onAny: (event, docs) =>
      docs.update(event.streamName, (d) => ({ events: (d?.events ?? 0) + 1, newest: event.type })),
  });
}

type Context = ScenarioContext<ProjectionsSettings>;

async function countOf(documents: AsyncIterable<readonly [string, { readonly events: number }]>): Promise<number> {
  let events = 0;
  for await (const [, document] of documents) events += document.events;
  return events;
}

function rowOf(what: string, events: number, startedMs: number, { memory }: Context): Row {
  const perSecond = (events * 1_000) / (performance.now() - startedMs);
  return { parameters: { what }, n: events, perSecond, rssMaxMb: memory.maxSinceSettledMb() };
}

/** What everything else is measured by, because machines differ from hour to hour. */
async function replay(url: string, events: number, context: Context): Promise<Row> {
  await using store = await openEventStore({ url });
  const startedMs = performance.now();
  checkEqual(await countEvents(store.readAll()), events, "events read");
  return rowOf("replay of everything, decoded", events, startedMs, context);
}

function shareOf({ perSecond = 0 }: Row, replayed: Row): string {
  return (perSecond / (replayed.perSecond ?? perSecond)).toFixed(2);
}

/** Events that are there already: only read, made into documents, and the same once more beside those that serve. */
async function catchUpAndRebuild(context: Context): Promise<readonly Row[]> {
  const { settings, source, memory } = context;
  const url = context.freshUrl("behind");
  if (url === "memory:") {
    const parameters = { what: "documents behind, catching up" };
    return [{ parameters, n: 0, extra: { remark: "what was in memory is gone when it is opened again" } }];
  }
  let events = 0;
  {
    await using store = await openEventStore({ url });
    events = await importInto(store, source.batches(settings.events), () => {});
  }
  await memory.settle();
  const replayed = await replay(url, events, context);
  const projection = streamsProjection("async");
  // Opening it is a part of it: by the time that it is open some are there.
  const caughtUpMs = performance.now();
  await using store = await openEventStore({ url, projections: [projection] });
  await store.waitFor("streams", events, { timeoutMs: 600_000 });
  const caughtUp = rowOf("documents behind, catching up", events, caughtUpMs, context);
  checkEqual(await countOf(store.documents(projection).list()), events, "events counted in documents");
  const rebuiltMs = performance.now();
  await store.rebuild("streams");
  const rebuilt = rowOf("documents, rebuilt beside those that serve", events, rebuiltMs, context);
  checkEqual(await countOf(store.documents(projection).list()), events, "events counted in rebuilt documents");
  return [replayed, caughtUp, rebuilt].map((row) => ({ ...row, extra: { "of the replay": shareOf(row, replayed) } }));
}

async function whileImporting(context: Context, mode: "none" | ProjectionMode): Promise<Row> {
  const { settings, source, memory } = context;
  await memory.settle();
  const projection = streamsProjection(mode === "none" ? "async" : mode);
  const projections = mode === "none" ? [] : [projection];
  await using store = await openEventStore({ url: context.freshUrl(mode), projections });
  const startedMs = performance.now();
  const events = await importInto(store, source.batches(settings.events), () => {});
  if (mode === "async") await store.waitFor("streams", events, { timeoutMs: 600_000 });
  const row = rowOf(`import, documents: ${mode}`, events, startedMs, context);
  if (mode !== "none")
    checkEqual(await countOf(store.documents(projection).list()), events, "events counted in documents");
  return row;
}

async function besideIdle(context: Context, idle: number, round: number): Promise<Row> {
  const { settings, memory } = context;
  await memory.settle();
  let woken = 0;
  const reactors = Array.from({ length: idle }, (_, index) =>
    defineReactor(`idle-${index}`, {
      mode: "async",
      on: {
        [`Never${index}`]: () => {
          woken += 1;
        },
      },
    }),
  );
  await using store = await openEventStore({ url: context.freshUrl(`idle-${idle}-${round}`), reactors });
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  const workers = 16;
  const work = async (worker: number): Promise<void> => {
    for (let n = worker; n < settings.singleAppends; n += workers)
      await store.append(`single-${n}`, [{ type: "Happened", data: { n } }], { expectedVersion: "no-stream" });
  };
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  const row = rowOf(`single appends beside ${idle} idle reactors`, settings.singleAppends, startedMs, context);
  const { user, system } = process.cpuUsage(startedCpu);
  checkEqual(woken, 0, "idle reactors that were woken");
  // Time of the processor says more than time on the wall where others work, too.
  return { ...row, extra: { "cpu us": Math.round((user + system) / settings.singleAppends) } };
}

/** The median of some rounds, in which each number of idle ones has its turn. */
async function besideIdleInTurns(context: Context): Promise<readonly Row[]> {
  const counts = [0, 1, context.settings.idle];
  const rounds: Row[][] = counts.map(() => []);
  for (let round = 1; round <= context.settings.idleRounds; round += 1) {
    context.progress(`beside idle reactors, round ${round}`);
    for (const [index, idle] of counts.entries()) rounds[index]?.push(await besideIdle(context, idle, round));
  }
  return rounds.map((rows) => medianBy(rows, ({ perSecond = 0 }) => perSecond));
}

async function run(context: Context): Promise<readonly Row[]> {
  const rows = [...(await catchUpAndRebuild(context))];
  for (const mode of ["none", "async", "inline"] as const) {
    context.progress(`import, documents: ${mode}`);
    rows.push(await whileImporting(context, mode));
  }
  rows.push(...(await besideIdleInTurns(context)));
  return rows;
}

export const projections: Scenario<ProjectionsSettings> = {
  name: "projections",
  question:
    "How many events a second become documents, behind the log, in its commits and anew; and what do idle ones cost?",
  sizes: {
    smoke: { events: 2_000, singleAppends: 200, idle: 20, idleRounds: 1 },
    quick: { events: 50_000, singleAppends: 5_000, idle: 100, idleRounds: 3 },
    full: { events: 262_200, singleAppends: 20_000, idle: 100, idleRounds: 5 },
  },
  run,
};
