/**
 * Which build of a projection serves, and which is being built beside it: planned, begun, switched and given up in
 * transactions of the reporting database, so that processes agree and a crash leaves one state or the other.
 */

import type { TransactionSQL } from "bun";
import { BuildTables } from "./build-tables.ts";
import type { SqlProjection } from "./define-sql-projection.ts";
import { DefinitionRefused } from "./failures.ts";
import { type BuildRow, type Lease, ProjectionRegistry } from "./projection-registry.ts";
import { lockPlanning } from "./registry-tables.ts";
import type { ReportingDatabase } from "./reporting-database.ts";

/** What there is of a projection. */
export interface Plan {
  /** The build that readers see; of an older version it stands as it is. */
  readonly serving: BuildRow;
  /** One of the definition's version, beside it. */
  readonly building: BuildRow | undefined;
}

export class ProjectionBuilds {
  readonly registry: ProjectionRegistry;
  readonly #projection: SqlProjection;
  readonly #database: ReportingDatabase;
  readonly #tables: BuildTables;

  constructor(projection: SqlProjection, database: ReportingDatabase) {
    this.#projection = projection;
    this.#database = database;
    this.registry = new ProjectionRegistry(database.kind);
    this.#tables = new BuildTables(database.kind, this.registry);
  }

  /**
   * Finds the builds, and makes what is missing: the first build, or one of a new version. Rejects with `DefinitionRefused`
   * for a version that goes back and for a `create` that does not name its tables, with what `create` throws, and with
   * the database's trouble.
   */
  async plan(): Promise<Plan> {
    return await this.#planning(async (sql, rows) => {
      const { name, version } = this.#projection;
      const serving = rows.find((row) => row.state === "serving");
      const building = rows.find((row) => row.state === "building");
      if (serving === undefined) return { serving: await this.#create(sql, rows, "serving"), building: undefined };
      if (
        serving.version > version ||
        (building !== undefined && building.version > version && serving.version < version)
      )
        throw new DefinitionRefused(
          `The version of ${JSON.stringify(name)} goes back: the database has ${Math.max(serving.version, building?.version ?? 0)}, the definition ${version}`,
        );
      if (building?.version === version) return { serving, building };
      if (serving.version === version) return { serving, building: undefined };
      // What an earlier deployment began and nobody needs any more.
      if (building !== undefined) await this.registry.setState(sql, building, "retired");
      return { serving, building: await this.#create(sql, rows, "building") };
    });
  }

  /** Begins a build beside the one that serves, or finds the one that was begun. */
  async beginBuilding(): Promise<BuildRow> {
    return await this.#planning(async (sql, rows) => {
      const building = rows.find((row) => row.state === "building");
      if (building?.version === this.#projection.version) return building;
      if (building !== undefined) await this.registry.setState(sql, building, "retired");
      return await this.#create(sql, rows, "building");
    });
  }

  /**
   * Has the views show a build, whose lease the caller holds in this transaction. Answers `false`, and changes nothing, where
   * the one that serves has come further.
   */
  async switchTo(sql: TransactionSQL, lease: Lease): Promise<boolean> {
    await lockPlanning(sql, this.#database.kind);
    const rows = await this.registry.builds(sql, this.#projection.name);
    const next = rows.find((row) => row.build === lease.build);
    const serving = rows.find((row) => row.state === "serving");
    if (next === undefined || next.state !== "building") return next?.state === "serving";
    if (serving !== undefined && serving.position > next.position) return false;
    if (serving !== undefined) await this.registry.setState(sql, serving, "retired");
    await this.registry.setState(sql, next, "serving");
    await this.#tables.show(sql, next);
    return true;
  }

  /** Gives up what is being built, whoever builds it. */
  async discard(): Promise<void> {
    await this.#planning(async (sql, rows) => {
      for (const row of rows) if (row.state === "building") await this.registry.setState(sql, row, "retired");
    });
    await this.collect();
  }

  /** Drops the tables of builds that are retired. Those that are still being read stay for another time. */
  async collect(): Promise<void> {
    const rows = await this.#database.transaction((sql) => this.registry.builds(sql, this.#projection.name));
    for (const row of rows) {
      if (row.state !== "retired") continue;
      await this.#database.transaction((sql) => this.#tables.drop(sql, this.#projection, row));
    }
  }

  async #planning<T>(work: (sql: TransactionSQL, rows: readonly BuildRow[]) => Promise<T>): Promise<T> {
    return await this.#database.transaction(async (sql) => {
      await lockPlanning(sql, this.#database.kind);
      return await work(sql, await this.registry.builds(sql, this.#projection.name));
    });
  }

  async #create(sql: TransactionSQL, rows: readonly BuildRow[], state: "serving" | "building"): Promise<BuildRow> {
    const build = (rows.at(-1)?.build ?? 0) + 1;
    await this.#tables.create(sql, this.#projection, build, state);
    const made = (await this.registry.builds(sql, this.#projection.name)).find((row) => row.build === build);
    if (made === undefined)
      throw new DefinitionRefused(`"create" of ${JSON.stringify(this.#projection.name)} removed its own row`);
    return made;
  }
}
