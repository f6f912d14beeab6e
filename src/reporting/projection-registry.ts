/**
 * The rows that say which builds of a projection there are and whose they are. Every statement that moves a checkpoint names
 * the fence under which it was taken, so an owner that was replaced changes nothing any more, however late it wakes up.
 */

import type { SQL } from "bun";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { nowMsOf } from "./registry-tables.ts";
import type { DatabaseKind } from "./reporting-database.ts";

export type BuildState = "serving" | "building" | "retired";

/** One build of a projection, as the database has it. */
export interface BuildRow {
  readonly name: string;
  readonly build: number;
  readonly version: number;
  readonly state: BuildState;
  readonly position: number;
  readonly fence: number;
  readonly owner: string | undefined;
  /** How long the owner's lease lasts yet, by the database's clock; 0 or less where it has ended. */
  readonly leaseLeftMs: number;
  readonly error: string | undefined;
  readonly startedAtMs: number;
}

/** What an owner holds. */
export interface Lease {
  readonly name: string;
  readonly build: number;
  readonly fence: number;
}

/** An event that a projection has set aside, because its handler failed at it. */
export interface ParkedSqlEvent {
  readonly position: number;
  readonly streamName: string;
  readonly type: string;
  readonly id: string;
  /** What the handler failed with. */
  readonly error: string;
  readonly parkedAt: Date;
}

interface ParkedRow {
  readonly position: number | string;
  readonly stream_name: string;
  readonly event_type: string;
  readonly event_id: string;
  readonly error: string;
  readonly parked_at: number | string;
}

interface Row {
  readonly name: string;
  readonly build: number | string;
  readonly version: number | string;
  readonly state: BuildState;
  readonly position: number | string;
  readonly fence: number | string;
  readonly owner: string | null;
  readonly lease_left: number | string;
  readonly error: string | null;
  readonly started_at: number | string;
}

/** A position of the log is a safe integer, whatever a driver makes of a bigint. */
function buildOf(row: Row): BuildRow {
  return {
    name: row.name,
    build: Number(row.build),
    version: Number(row.version),
    state: row.state,
    position: Number(row.position),
    fence: Number(row.fence),
    owner: row.owner ?? undefined,
    leaseLeftMs: Number(row.lease_left),
    error: row.error ?? undefined,
    startedAtMs: Number(row.started_at),
  };
}

function parkedOf(row: ParkedRow): ParkedSqlEvent {
  return {
    position: Number(row.position),
    streamName: row.stream_name,
    type: row.event_type,
    id: row.event_id,
    error: row.error,
    parkedAt: new Date(Number(row.parked_at)),
  };
}

/** Statements on the registry, in the dialect of one kind of database; each takes the client or transaction to use. */
export class ProjectionRegistry {
  readonly #now: string;
  readonly #columns: string;

  constructor(kind: DatabaseKind) {
    this.#now = nowMsOf[kind];
    this.#columns = `name, build, version, state, position, fence, owner, lease_until - ${this.#now} as lease_left, error, started_at`;
  }

  /** All builds of a projection, the oldest first. */
  async builds(sql: SQL, name: string): Promise<readonly BuildRow[]> {
    const rows: readonly Row[] = await sql.unsafe(
      `select ${this.#columns} from strata_projections where name = $1 order by build`,
      [name],
    );
    return rows.map(buildOf);
  }

  /** Its fence begins at the time of day, so that no lease on an earlier build of that number fits it. */
  async insertBuild(sql: SQL, build: Pick<BuildRow, "name" | "build" | "version" | "state">): Promise<void> {
    await sql.unsafe(
      `insert into strata_projections
        (name, build, version, state, position, fence, owner, lease_until, error, started_at, updated_at)
        values ($1, $2, $3, $4, 0, ${this.#now}, null, 0, null, ${this.#now}, ${this.#now})`,
      [build.name, build.build, build.version, build.state],
    );
  }

  /** Takes a build whose lease has ended, or whose owner, as the row names it, is known to be gone. */
  async acquire(sql: SQL, row: BuildRow, owner: string, leaseMs: number, gone: boolean): Promise<Lease | undefined> {
    const taken = await sql.unsafe(
      `update strata_projections set owner = $1, fence = fence + 1, lease_until = ${this.#now} + $2
        where name = $3 and build = $4 and fence = $5 and state <> 'retired'
          and (owner is null or lease_until <= ${this.#now} or owner = $6)`,
      [owner, leaseMs, row.name, row.build, row.fence, gone ? (row.owner ?? "") : ""],
    );
    return taken.count === 1 ? { name: row.name, build: row.build, fence: row.fence + 1 } : undefined;
  }

  /** How far a build has come, where it is still this lease's; and renews that. */
  async renew(sql: SQL, lease: Lease, leaseMs: number): Promise<number | undefined> {
    const rows: readonly Pick<Row, "position">[] = await sql.unsafe(
      `update strata_projections set lease_until = ${this.#now} + $1
        where name = $2 and build = $3 and fence = $4 and state <> 'retired' returning position`,
      [leaseMs, lease.name, lease.build, lease.fence],
    );
    return rows[0] === undefined ? undefined : Number(rows[0].position);
  }

  /** Moves a checkpoint, and renews the lease. Answers whether it was still this lease's to move. */
  async advance(sql: SQL, lease: Lease, from: number, to: number, leaseMs: number): Promise<boolean> {
    const moved = await sql.unsafe(
      `update strata_projections
        set position = $1, lease_until = ${this.#now} + $2, updated_at = ${this.#now}, error = null
        where name = $3 and build = $4 and fence = $5 and position = $6 and state <> 'retired'`,
      [to, leaseMs, lease.name, lease.build, lease.fence, from],
    );
    return moved.count === 1;
  }

  /** Gives a lease back, with the reason where the build cannot go on. */
  async release(sql: SQL, lease: Lease, error?: string): Promise<void> {
    await sql.unsafe(
      `update strata_projections set owner = null, lease_until = 0, error = coalesce($1, error)
        where name = $2 and build = $3 and fence = $4`,
      [error ?? null, lease.name, lease.build, lease.fence],
    );
  }

  /** Changes a build's state; its lease stays where it is. */
  async setState(sql: SQL, build: Pick<BuildRow, "name" | "build">, state: BuildState): Promise<void> {
    await sql.unsafe("update strata_projections set state = $1 where name = $2 and build = $3", [
      state,
      build.name,
      build.build,
    ]);
  }

  /** Sets an event aside, in the transaction that passes over it. */
  async park(sql: SQL, lease: Lease, event: RecordedEvent, error: string): Promise<void> {
    await sql.unsafe(
      `insert into strata_projection_parked
        (name, build, position, stream_name, event_type, event_id, error, parked_at)
        values ($1, $2, $3, $4, $5, $6, $7, ${this.#now})`,
      [lease.name, lease.build, event.position, event.streamName, event.type, event.id, error],
    );
  }

  /** What a build has parked, the oldest first. */
  async parked(sql: SQL, { name, build }: Pick<BuildRow, "name" | "build">): Promise<readonly ParkedSqlEvent[]> {
    const rows: readonly ParkedRow[] = await sql.unsafe(
      `select position, stream_name, event_type, event_id, error, parked_at from strata_projection_parked
        where name = $1 and build = $2 order by position`,
      [name, build],
    );
    return rows.map(parkedOf);
  }

  async parkedAt(
    sql: SQL,
    { name, build }: Pick<BuildRow, "name" | "build">,
    position: number,
  ): Promise<ParkedSqlEvent | undefined> {
    const rows: readonly ParkedRow[] = await sql.unsafe(
      `select position, stream_name, event_type, event_id, error, parked_at from strata_projection_parked
        where name = $1 and build = $2 and position = $3`,
      [name, build, position],
    );
    return rows[0] && parkedOf(rows[0]);
  }

  /** Answers whether there was such an event. */
  async unpark(sql: SQL, lease: Lease, position: number): Promise<boolean> {
    const removed = await sql.unsafe(
      "delete from strata_projection_parked where name = $1 and build = $2 and position = $3",
      [lease.name, lease.build, position],
    );
    return removed.count === 1;
  }

  async removeBuild(sql: SQL, { name, build }: Pick<BuildRow, "name" | "build">): Promise<void> {
    for (const table of ["strata_projections", "strata_projection_tables", "strata_projection_parked"])
      await sql.unsafe(`delete from ${table} where name = $1 and build = $2`, [name, build]);
  }
}
