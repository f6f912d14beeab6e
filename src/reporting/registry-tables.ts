/**
 * Our own tables in a reporting database: which builds of which projections there are, how far each has come, whose it is,
 * and what is parked. They are part of the contract (ARCHITECTURE.md): others may read them, and write none.
 */

import type { SQL } from "bun";
import type { DatabaseKind } from "./reporting-database.ts";

/** Milliseconds since 1970 by the database's clock, which is the same for all its users. */
export const nowMsOf: Readonly<Record<DatabaseKind, string>> = {
  sqlite: "cast(unixepoch('subsec') * 1000 as integer)",
  postgres: "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)",
};

/**
 * `position`: the events up to it are in the tables. `fence`: grows with each owner. `state`: `serving` (its tables are the
 * ones that the views show), `building` (beside them), `retired`. `lease_until`, `started_at`, `updated_at`: milliseconds since
 * 1970. `error`: why the owner gave up, until it goes well again.
 */
const tables: readonly string[] = [
  `create table if not exists strata_projections (
    name text not null,
    build integer not null,
    version integer not null,
    state text not null,
    position bigint not null,
    fence bigint not null,
    owner text,
    lease_until bigint not null,
    error text,
    started_at bigint not null,
    updated_at bigint not null,
    primary key (name, build)
  )`,
  `create table if not exists strata_projection_tables (
    name text not null,
    build integer not null,
    table_name text not null,
    primary key (name, build, table_name)
  )`,
  `create table if not exists strata_projection_parked (
    name text not null,
    build integer not null,
    position bigint not null,
    stream_name text not null,
    event_type text not null,
    event_id text not null,
    error text not null,
    parked_at bigint not null,
    primary key (name, build, position)
  )`,
];

/** Held while projections are planned, so that two processes that start at once do not make the same tables. */
const planningLock = "select pg_advisory_xact_lock(7598263407)";

/** One planner at a time. SQLite's transactions are that by themselves. */
export async function lockPlanning(sql: SQL, kind: DatabaseKind): Promise<void> {
  if (kind === "postgres") await sql.unsafe(planningLock);
}

/** Makes our tables where they are missing. */
export async function createRegistry(sql: SQL, kind: DatabaseKind): Promise<void> {
  const there =
    kind === "sqlite"
      ? "select name from sqlite_master where type = 'table' and name = 'strata_projection_parked'"
      : "select 1 where to_regclass('strata_projection_parked') is not null";
  if ((await sql.unsafe(there)).length > 0) return;
  await sql.begin(async (transaction) => {
    await lockPlanning(transaction, kind);
    for (const table of tables) await transaction.unsafe(table);
  });
}
