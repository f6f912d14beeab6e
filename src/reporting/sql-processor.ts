/**
 * A SQL projection as a processor of an open store: the runner brings batches and retries what fails; the checkpoint is in the
 * reporting database. A database that is away when the store opens is waited for, and fails nothing but this projection.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import {
  eventsOf,
  type ParkedEvent,
  type ParkingControls,
  parkedIdOf,
  processorOfParkedId,
  type ReplayResult,
} from "../processors/parking.ts";
import type { Batch, BatchContext, BatchTarget, Processor, Rebuilding, Rebuilds } from "../processors/processor.ts";
import type { CheckedRetries } from "../processors/retries.ts";
import { HandlingFailure } from "../processors/worker.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import type { SqlProjection } from "./define-sql-projection.ts";
import {
  asPublicError,
  HandlerFailure,
  isDatabaseTrouble,
  LeaseHeld,
  LeaseLost,
  withPublicErrors,
} from "./failures.ts";
import { ownerName } from "./process-identity.ts";
import { type Plan, ProjectionBuilds } from "./projection-builds.ts";
import type { BuildRow, ParkedSqlEvent } from "./projection-registry.ts";
import { type ReportingDatabase, releaseDatabase, useDatabase } from "./reporting-database.ts";
import { SqlBuild } from "./sql-build.ts";

/** How long a store that has stopped keeps its projections from other processes. That of a dead process is not waited for. */
const leaseMs = 10_000;

export class SqlProcessor implements Processor {
  readonly name: string;
  readonly kind = "sql-projection" as const;
  readonly version: number;
  readonly filter: CheckedFilter;
  readonly batchEventsMax: number;
  readonly retries: CheckedRetries;
  readonly rebuilds: Rebuilds;
  readonly parking: ParkingControls & { readonly count: number };
  readonly #projection: SqlProjection;
  readonly #core: StoreCore;
  readonly #database: ReportingDatabase;
  readonly #builds: ProjectionBuilds;
  readonly #owner: string;
  readonly #held = new Set<SqlBuild>();
  #plan: Plan | undefined;
  /** What events go to: the build that serves, or one of a new version that was found late, and serves when it has caught up. */
  #main: { readonly build: SqlBuild; serves: boolean } | undefined;

  constructor(projection: SqlProjection, core: StoreCore) {
    this.name = projection.name;
    this.version = projection.version;
    this.filter = projection.filter;
    this.batchEventsMax = projection.batchEvents;
    this.retries = projection.retries;
    this.#projection = projection;
    this.#core = core;
    this.#database = useDatabase(projection.database);
    this.#builds = new ProjectionBuilds(projection, this.#database);
    this.#owner = ownerName(core.ids.next());
    const { label } = this.#database;
    this.rebuilds = {
      pending: async () => (this.#plan?.building === undefined ? undefined : this.#rebuilding(this.#plan.building)),
      begin: () => withPublicErrors(label, async () => this.#rebuilding(await this.#builds.beginBuilding())),
    };
    this.parking = new SqlParking({
      ...{ processor: this.name, label, attempts: this.retries.attempts },
      build: () => this.#main?.build,
      warn: (error) => core.warn(error),
    });
    core.onClose(() => this.#close());
  }

  /** What goes wrong here goes wrong again when the work begins, and is told and retried there. */
  async prepare(): Promise<void> {
    this.#plan = await this.#builds.plan().catch(() => undefined);
  }

  continues(): boolean {
    return this.#plan === undefined || this.#plan.serving.version === this.version;
  }

  isTransient(error: unknown): boolean {
    return error instanceof LeaseHeld || error instanceof LeaseLost || isDatabaseTrouble(error);
  }

  async loadCheckpoint(): Promise<number> {
    const { build } = await this.#current();
    return await this.#unlessReplaced(build, () => build.load());
  }

  async handle(batch: Batch, context: BatchContext): Promise<void> {
    const main = await this.#current();
    await this.#unlessReplaced(main.build, () => this.#handleBy(main.build, batch, context));
    if (!main.serves && batch.toPosition >= this.#core.lastPosition())
      main.serves = await this.#switchTo(main.build, 0);
  }

  /** The build that events go to; planned anew where the database was away, or another process has replaced it. */
  async #current(): Promise<{ readonly build: SqlBuild; serves: boolean }> {
    if (this.#main !== undefined) return this.#main;
    this.#plan ??= await this.#planned();
    const { serving, building } = this.#plan;
    const serves = building === undefined || serving.version === this.version;
    this.#main = { build: this.#open(serves ? serving : building), serves };
    return this.#main;
  }

  async #planned(): Promise<Plan> {
    try {
      return await this.#builds.plan();
    } catch (error) {
      await this.#database.afterTrouble(error);
      throw error;
    }
  }

  /** Forgets a build that another process has replaced, so that the next attempt finds the one that serves now. */
  async #unlessReplaced<T>(build: SqlBuild, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof LeaseLost && (await build.isReplaced())) {
        if (this.#main?.build === build) this.#main = undefined;
        this.#plan = undefined;
        this.#held.delete(build);
        await build.release();
      }
      throw error;
    }
  }

  #open(row: BuildRow): SqlBuild {
    const core = this.#core;
    const { filter } = this.#projection;
    const build = new SqlBuild({
      projection: this.#projection,
      build: row.build,
      database: this.#database,
      registry: this.#builds.registry,
      owner: this.#owner,
      leaseMs,
      random: core.random,
      read: (fromPosition, to) =>
        core.readerAt(to).readAll({ fromPosition, ...(filter === undefined ? {} : { filter }) }),
      readParked: (parked) => eventsOf(core, parked),
    });
    this.#held.add(build);
    return build;
  }

  async #handleBy(build: SqlBuild, batch: Batch, { lastAttempt }: BatchContext): Promise<void> {
    try {
      await build.handle(batch, lastAttempt);
    } catch (error) {
      const failed = error instanceof HandlerFailure ? eventAt(batch.events, error.position) : undefined;
      if (failed === undefined || !(error instanceof HandlerFailure)) throw error;
      throw new HandlingFailure(this.name, failed, error.cause);
    }
  }

  #rebuilding(row: BuildRow): Rebuilding {
    const build = this.#open(row);
    const target: BatchTarget = {
      loadCheckpoint: () => build.load(),
      handle: (batch, context) => this.#handleBy(build, batch, context),
    };
    return {
      version: row.version,
      startedAtMs: row.startedAtMs,
      target,
      finish: async (position) => {
        if (!(await this.#switchTo(build, position)))
          throw new LeaseHeld("Another process has brought the tables that serve further than the new ones");
        const former = this.#main?.build;
        this.#main = { build, serves: true };
        if (former !== undefined) {
          this.#held.delete(former);
          await former.release();
        }
      },
      discard: async () => {
        this.#held.delete(build);
        await build.release();
        await withPublicErrors(this.#database.label, () => this.#builds.discard());
      },
    };
  }

  async #switchTo(build: SqlBuild, position: number): Promise<boolean> {
    const switched = await build.withLease((sql, lease) => this.#builds.switchTo(sql, lease), position);
    // Readers may still be at the old tables: then they go with the next switch.
    if (switched) await this.#builds.collect().catch(() => {});
    return switched;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#held].map((build) => build.release()));
    await releaseDatabase(this.#projection.database);
  }
}

interface SqlParkingOptions {
  readonly processor: string;
  readonly label: string;
  readonly attempts: number;
  build(): SqlBuild | undefined;
  warn(error: unknown): void;
}

/** The parked events as the store shows them; those of the build that serves. */
class SqlParking implements ParkingControls {
  readonly #options: SqlParkingOptions;

  constructor(options: SqlParkingOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#options.build()?.parkedCount ?? 0;
  }

  async *list(): AsyncGenerator<ParkedEvent> {
    const { processor, attempts } = this.#options;
    for (const { position, id: eventId, ...parked } of await this.#parked()) {
      const id = parkedIdOf(processor, { position, part: 0 });
      const about = { key: undefined, work: undefined, attempts, waiting: false };
      yield { id, processor, position, eventId, ...parked, ...about };
    }
  }

  async replay(id: string | undefined): Promise<ReplayResult> {
    const { build, label, warn } = this.#options;
    const positions = id === undefined ? (await this.#parked()).map((one) => one.position) : [positionOf(id)];
    let replayed = 0;
    let skipped = 0;
    for (const position of positions) {
      try {
        const outcome = await build()?.replayParked(position);
        if (outcome === "replayed") replayed += 1;
        else if (outcome !== undefined) {
          skipped += 1;
          warn(outcome);
        } else if (id !== undefined) throw notParked(id);
      } catch (error) {
        if (!(error instanceof HandlerFailure)) throw asPublicError(error, label);
      }
    }
    return { replayed, parked: positions.length - replayed - skipped, ...(skipped === 0 ? {} : { skipped }) };
  }

  async skip(id: string): Promise<void> {
    const { build, label } = this.#options;
    const position = positionOf(id);
    const skipped = await withPublicErrors(label, async () => await build()?.skipParked(position));
    if (skipped !== true) throw notParked(id);
  }

  async #parked(): Promise<readonly ParkedSqlEvent[]> {
    const { build, label } = this.#options;
    return await withPublicErrors(label, async () => (await build()?.parked()) ?? []);
  }
}

function positionOf(id: string): number {
  const position = processorOfParkedId(id)?.position;
  if (position === undefined) throw notParked(id);
  return position;
}

function notParked(id: string): InvalidArgumentError {
  return new InvalidArgumentError("id", `is not that of a parked event: ${printable(id)}`);
}

function eventAt(events: readonly RecordedEvent[], position: number): RecordedEvent | undefined {
  return events.find((event) => event.position === position);
}
