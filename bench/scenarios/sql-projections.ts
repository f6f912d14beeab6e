/** SQL projections behind a log that is there already, and beside a writer: SQLite always, PostgreSQL where it is installed. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import {
  defineSqlProjection,
  type EventStore,
  openEventStore,
  type RecordedEvent,
  runSqlProjections,
  type SqlHandler,
  type SqlProjection,
} from "../../src/index.ts";
import { postgresInstalled, startPostgres } from "../../test/support/postgres.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { medianBy, summarize } from "../harness/statistics.ts";
import { importInto } from "../harness/strata-target.ts";

export interface SqlProjectionsSettings {
  readonly events: number;
  readonly runs: number;
  readonly liveAppends: number;
}

interface Database {
  readonly name: string;
  /** One that nobody has used before. */
  fresh(): Promise<string>;
}

type Work = "insert" | "upsert" | "insert and upsert";

const works: readonly Work[] = ["insert", "upsert", "insert and upsert"];
const sharing = 5;

/** A row for each event, a row for each stream that each of its events changes, or both. */
function projection(name: string, database: string, work: Work, types: readonly string[]): SqlProjection {
  const lines = `${name}_lines`;
  const streams = `${name}_streams`;
  const insertLine: SqlHandler<RecordedEvent> = (e, _sql, { insert }) => {
    insert(lines, { position: e.position, stream: e.streamName, type: e.type });
  };
  const upsert: SqlHandler<RecordedEvent> = (e, sql, { table }) =>
    sql`insert into ${table(streams)} as s (stream, events) values (${e.streamName}, 1)
      on conflict (stream) do update set events = s.events + 1`;
  const handlers: Readonly<Record<Work, SqlHandler<RecordedEvent>>> = {
    insert: insertLine,
    upsert,
    "insert and upsert": (e, sql, context) => {
      insertLine(e, sql, context);
      return upsert(e, sql, context);
    },
  };
  return defineSqlProjection(name, {
    version: 1,
    database,
    create: async (sql, { table }) => {
      await sql`create table ${table(lines)} (position bigint primary key, stream text not null, type text not null)`;
      await sql`create table ${table(streams)} (stream text primary key, events integer not null)`;
    },
    on: Object.fromEntries(types.map((type) => [type, handlers[work]])),
  });
}

/** How many events a projection's tables have seen. */
async function countIn(url: string, name: string, work: Work): Promise<number> {
  const sql = new SQL(url);
  try {
    const query =
      work === "insert" ? `select count(*) as n from ${name}_lines` : `select sum(events) as n from ${name}_streams`;
    const [row] = await sql.unsafe(query);
    return Number(row?.n);
  } finally {
    await sql.close();
  }
}

async function catchUp(
  store: EventStore,
  url: string,
  work: Work,
  names: readonly string[],
  types: readonly string[],
): Promise<{ readonly perSecond: number }> {
  const last = await store.lastPosition();
  const startedMs = performance.now();
  const running = runSqlProjections(
    store,
    names.map((name) => projection(name, url, work, types)),
  );
  try {
    await Promise.all(names.map((name) => running.waitFor(name, last, { timeoutMs: 600_000 })));
  } finally {
    await running.close();
  }
  const perSecond = (last * names.length * 1_000) / (performance.now() - startedMs);
  for (const name of names) checkEqual(await countIn(url, name, work), last, `events in the tables of ${name}`);
  return { perSecond };
}

async function measureLive(store: EventStore, url: string, appends: number): Promise<Row["latencyMs"]> {
  const { type } = sampleEvent(0);
  const running = runSqlProjections(store, [projection("live", url, "insert and upsert", [type])]);
  try {
    await running.waitFor("live", await store.lastPosition(), { timeoutMs: 600_000 });
    const tookMs: number[] = [];
    for (let n = 0; n < appends; n += 1) {
      const startedMs = performance.now();
      const { position } = await store.append(`${url}-${n}`, [sampleEvent(n)], { expectedVersion: "no-stream" });
      await running.waitFor("live", position);
      tookMs.push(performance.now() - startedMs);
    }
    return summarize(Float64Array.from(tookMs));
  } finally {
    await running.close();
  }
}

async function measure(context: ScenarioContext<SqlProjectionsSettings>, database: Database): Promise<readonly Row[]> {
  const { settings, memory } = context;
  const types = new Set<string>();
  await using store = await openEventStore({ url: context.freshUrl(database.name) });
  await importInto(
    store,
    context.source.batches(settings.events),
    () => {},
    ({ type }) => {
      types.add(type);
      return [];
    },
  );
  const rows: Row[] = [];
  const shared = Array.from({ length: sharing }, (_, n) => `shared_${n}`);
  const plans = [...works.map((work) => ({ work, names: ["one"] })), { work: "insert" as const, names: shared }];
  for (const { work, names } of plans) {
    context.progress(`${database.name}: ${work}, ${names.length} projections`);
    await memory.settle();
    const runs: { readonly perSecond: number }[] = [];
    for (let run = 0; run < settings.runs; run += 1)
      runs.push(await catchUp(store, await database.fresh(), work, names, [...types]));
    const { perSecond } = medianBy(runs, (one) => one.perSecond);
    rows.push({
      parameters: { database: database.name, work, projections: names.length },
      n: settings.events * names.length,
      perSecond,
      rssMaxMb: memory.maxSinceSettledMb(),
    });
  }
  const latencyMs = await measureLive(store, await database.fresh(), settings.liveAppends);
  rows.push({
    parameters: { database: database.name, work: "append until in the tables", projections: 1 },
    n: settings.liveAppends,
    ...(latencyMs === undefined ? {} : { latencyMs }),
  });
  return rows;
}

async function run(context: ScenarioContext<SqlProjectionsSettings>): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "strata-bench-sql-"));
  let files = 0;
  const sqlite: Database = {
    name: "SQLite",
    fresh: async () => {
      files += 1;
      return `sqlite:${join(folder, `report-${files}.db`)}`;
    },
  };
  try {
    const rows = [...(await measure(context, sqlite))];
    if (!postgresInstalled) return rows;
    await using server = await startPostgres();
    rows.push(...(await measure(context, { name: "PostgreSQL", fresh: () => server.createDatabase() })));
    return rows;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const sqlProjections: Scenario<SqlProjectionsSettings> = {
  name: "sql-projections",
  question:
    "How many events a second do SQL projections put into SQLite and PostgreSQL, and how long after its append is one there?",
  sizes: {
    smoke: { events: 500, runs: 1, liveAppends: 5 },
    quick: { events: 30_000, runs: 1, liveAppends: 200 },
    full: { events: 262_200, runs: 1, liveAppends: 1_000 },
  },
  run,
};
