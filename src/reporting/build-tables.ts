/**
 * The tables of a build: `orders__2` is the table `orders` of build 2. Readers use the plain name, a view on the build that
 * serves; a switch shows another build by the same views, in one transaction.
 */

import type { SQL, TransactionSQL } from "bun";
import { InvalidArgumentError, printable } from "../errors.ts";
import type { SqlCreateContext, SqlName, SqlProjection } from "./define-sql-projection.ts";
import { DefinitionRefused } from "./failures.ts";
import type { BuildRow, BuildState, ProjectionRegistry } from "./projection-registry.ts";
import type { DatabaseKind } from "./reporting-database.ts";

type Build = Pick<BuildRow, "name" | "build">;

/** PostgreSQL cuts names at 63 bytes; the build's number needs some of them. */
const nameShape = /^[a-z][a-z0-9_]{0,47}$/;
/** Two underscores are ours, and so are some beginnings. */
const nameTaken = /__|^strata_|^sqlite_|^pg_/;
/** How long a switch, or a drop, waits for readers in PostgreSQL before it is put off. */
const lockTimeoutMs = 2_000;

/** What a build calls its own table, index or trigger of that name. Throws `invalid-argument`. */
export function ownName(name: unknown, build: number): string {
  if (typeof name === "string" && nameShape.test(name) && !nameTaken.test(name)) return `${name}__${build}`;
  throw new InvalidArgumentError(
    "table",
    `must be 1 to 48 of a-z, 0-9 and single "_", and not begin with strata_, sqlite_ or pg_, not ${printable(name)}`,
  );
}

export class BuildTables {
  readonly #kind: DatabaseKind;
  readonly #registry: ProjectionRegistry;

  constructor(kind: DatabaseKind, registry: ProjectionRegistry) {
    this.#kind = kind;
    this.#registry = registry;
  }

  /** Makes a build: its row at position 0, its tables, and the views where it serves at once. */
  async create(sql: TransactionSQL, projection: SqlProjection, build: number, state: BuildState): Promise<void> {
    const { name, version } = projection;
    const before = await this.#tablesThere(sql);
    const taken = await this.#tablesOfOthers(sql, name);
    const asked = new Set<string>();
    await projection.create(sql, contextOf(sql, build, asked, taken));
    await this.#checkMade(sql, name, asked, build, before);
    await this.#registry.insertBuild(sql, { name, build, version, state });
    for (const table of asked) {
      await sql.unsafe("insert into strata_projection_tables (name, build, table_name) values ($1, $2, $3)", [
        name,
        build,
        table,
      ]);
    }
    if (state === "serving") await this.show(sql, { name, build });
  }

  /** Points the plain names at the tables of a build. */
  async show(sql: TransactionSQL, build: Build): Promise<void> {
    if (this.#kind === "postgres") await sql.unsafe(`set local lock_timeout = ${lockTimeoutMs}`);
    const shown = await this.tablesOf(sql, build);
    for (const table of shown) await this.#showOne(sql, table, ownName(table, build.build));
    const former: readonly { readonly table_name: string }[] = await sql.unsafe(
      "select distinct table_name from strata_projection_tables where name = $1 and build < $2",
      [build.name, build.build],
    );
    for (const { table_name } of former)
      if (!shown.includes(table_name)) await sql.unsafe(`drop view if exists ${table_name}`);
  }

  /** In PostgreSQL a view that keeps its columns keeps its grants, and the views on it. */
  async #showOne(sql: TransactionSQL, view: string, own: string): Promise<void> {
    if (this.#kind === "postgres") {
      try {
        await sql.savepoint(
          async (inner) => await inner.unsafe(`create or replace view ${view} as select * from ${own}`),
        );
        return;
      } catch (error) {
        // Other columns (42P16), or no view at all (42809), which the statements below complain of.
        if (!["42P16", "42809"].includes(String(Reflect.get(Object(error), "errno")))) throw error;
      }
    }
    await sql.unsafe(`drop view if exists ${view}`);
    await sql.unsafe(`create view ${view} as select * from ${own}`);
  }

  /** Removes a build with its tables. */
  async drop(sql: TransactionSQL, projection: SqlProjection, build: Build): Promise<void> {
    if (this.#kind === "postgres") await sql.unsafe(`set local lock_timeout = ${lockTimeoutMs}`);
    if (projection.drop !== undefined) await projection.drop(sql, contextOf(sql, build.build));
    for (const table of await this.tablesOf(sql, build))
      await sql.unsafe(`drop table if exists ${ownName(table, build.build)}`);
    await this.#registry.removeBuild(sql, build);
  }

  async tablesOf(sql: SQL, { name, build }: Build): Promise<readonly string[]> {
    const rows: readonly { readonly table_name: string }[] = await sql.unsafe(
      "select table_name from strata_projection_tables where name = $1 and build = $2 order by table_name",
      [name, build],
    );
    return rows.map((row) => row.table_name);
  }

  async #tablesThere(sql: SQL): Promise<ReadonlySet<string>> {
    const rows: readonly { readonly name: string }[] = await sql.unsafe(
      this.#kind === "sqlite"
        ? "select name from sqlite_master where type in ('table', 'view')"
        : `select relname as name from pg_class where relkind in ('r', 'p', 'v', 'm') and relnamespace = current_schema()::regnamespace`,
    );
    return new Set(rows.map((row) => row.name));
  }

  /** The tables of other projections, and whose they are. */
  async #tablesOfOthers(sql: SQL, name: string): Promise<ReadonlyMap<string, string>> {
    const rows: readonly { readonly name: string; readonly table_name: string }[] = await sql.unsafe(
      "select distinct name, table_name from strata_projection_tables where name <> $1",
      [name],
    );
    return new Map(rows.map((row) => [row.table_name, row.name]));
  }

  /** A table that is not of one build alone would be written to by two of them, the next time the version changes. */
  async #checkMade(
    sql: SQL,
    name: string,
    asked: ReadonlySet<string>,
    build: number,
    before: ReadonlySet<string>,
  ): Promise<void> {
    if (asked.size === 0)
      throw new DefinitionRefused(`"create" of ${printable(name)} names no table by context.table(...)`);
    const now = await this.#tablesThere(sql);
    for (const table of asked) {
      if (!now.has(ownName(table, build)))
        throw new DefinitionRefused(
          `"create" of ${printable(name)} named a table that it did not make: ${printable(table)}`,
        );
    }
    const own = new Set([...asked].map((table) => ownName(table, build)));
    // SQLite's own tables for AUTOINCREMENT and statistics come along.
    const loose = [...now].find((table) => !before.has(table) && !own.has(table) && !table.startsWith("sqlite_"));
    if (loose !== undefined && (this.#kind === "sqlite" || (await this.#isMine(sql, loose))))
      throw new DefinitionRefused(`"create" of ${printable(name)} made ${printable(loose)} without context.table(...)`);
  }

  /** Others may make tables of theirs meanwhile. */
  async #isMine(sql: SQL, table: string): Promise<boolean> {
    const rows = await sql.unsafe(
      "select 1 from pg_class where relname = $1 and relnamespace = current_schema()::regnamespace and xmin = pg_current_xact_id()::xid",
      [table],
    );
    return rows.length > 0;
  }
}

function contextOf(
  sql: TransactionSQL,
  build: number,
  asked = new Set<string>(),
  taken: ReadonlyMap<string, string> = new Map(),
): SqlCreateContext {
  const quoted = (name: string): SqlName => sql(ownName(name, build));
  return {
    table: (name) => {
      const own = quoted(name);
      const other = taken.get(name);
      if (other !== undefined)
        throw new DefinitionRefused(
          `The table ${printable(name)} is already that of the projection ${printable(other)}`,
        );
      asked.add(name);
      return own;
    },
    name: quoted,
  };
}
