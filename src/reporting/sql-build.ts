/**
 * One build of a projection at work: takes events and writes what the handlers make of them, in transactions that move the
 * checkpoint along. The checkpoint in the database is the only truth: after anything that leaves its place in doubt it is read
 * again, what it has passed is skipped, and what it has fallen back behind (a database restored from a backup) is read from
 * the log once more. So each event takes effect exactly once, whoever calls how often.
 */

import type { TransactionSQL } from "bun";
import { InvalidArgumentError, UnreadableEventError } from "../errors.ts";
import { keptError } from "../processors/kept-errors.ts";
import { EventGone, parkedMax } from "../processors/parking.ts";
import { delayAfter } from "../processors/retries.ts";
import { pause } from "../runtime/deadline.ts";
import type { Random } from "../runtime/random.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { applySteps, type StepTarget } from "./apply-steps.ts";
import type { SqlProjection } from "./define-sql-projection.ts";
import { HandlerFailure, isDatabaseTrouble, LeaseHeld, LeaseLost, messageOf } from "./failures.ts";
import { isGone } from "./process-identity.ts";
import type { BuildRow, Lease, ParkedSqlEvent, ProjectionRegistry } from "./projection-registry.ts";
import type { ReportingDatabase } from "./reporting-database.ts";
import { type Step, stepsOf } from "./steps.ts";

export interface SqlBuildOptions {
  readonly projection: SqlProjection;
  readonly build: number;
  readonly database: ReportingDatabase;
  readonly registry: ProjectionRegistry;
  readonly owner: string;
  readonly leaseMs: number;
  readonly random: Random;
  /** The events of the log from one position to another that match the projection's filter. */
  read(from: number, to: number): AsyncIterable<RecordedEvent>;
  /** What there is to handle of a parked event, all its parts. Rejects with `EventGone` where it was dropped. */
  readParked(parked: ParkedSqlEvent): Promise<readonly RecordedEvent[]>;
}

/** A piece of the log: the events in it that match, in order. */
export interface Piece {
  readonly events: readonly RecordedEvent[];
  readonly fromPosition: number;
  readonly toPosition: number;
}

export class SqlBuild {
  readonly #options: SqlBuildOptions;
  readonly #target: StepTarget;
  #lease: Lease | undefined;
  /** Whether the checkpoint is where `position` says. */
  #certain = false;
  #position = 0;
  /** The furthest position that a caller was told of: whoever comes with events from there on has left out none that matter. */
  #told = 0;
  #parked = 0;
  #failing: { readonly position: number; readonly attempts: number } | undefined;
  readonly #stop = new AbortController();
  #renewing: Promise<void> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SqlBuildOptions) {
    this.#options = options;
    const { projection, build, database } = options;
    this.#target = { projection, build, kind: database.kind };
  }

  get build(): number {
    return this.#options.build;
  }

  /** How far it has come, as it was last known. */
  get position(): number {
    return this.#position;
  }

  get parkedCount(): number {
    return this.#parked;
  }

  /** Takes the lease, and answers how far the build has come. Rejects with `LeaseHeld` where it is another's. */
  async load(): Promise<number> {
    return await this.#oneAtATime(async () => {
      await this.#assure();
      this.#told = this.#position;
      return this.#position;
    });
  }

  /**
   * Handles what of a piece the checkpoint has not passed yet. Rejects with `HandlerFailure` behind everything that came before
   * the failure; with `lastAttempt` and `onFailure: "park"` that event is parked instead.
   */
  async handle(piece: Piece, lastAttempt: boolean): Promise<void> {
    await this.#oneAtATime(async () => {
      await this.#assure();
      if (this.#position < this.#told) await this.#fillGap(piece.fromPosition - 1, lastAttempt);
      await this.#handleAll(stepsOf(piece.events), piece.toPosition, lastAttempt);
      this.#told = Math.max(this.#position, piece.toPosition);
    });
  }

  /** Runs `work` in a transaction that only commits while the lease is held; `move` is where it leaves the checkpoint. */
  async withLease<T>(work: (sql: TransactionSQL, lease: Lease) => Promise<T>, move?: number): Promise<T> {
    return await this.#oneAtATime(async () => {
      const lease = await this.#assure();
      return await this.#transaction(lease, Math.max(this.#position, move ?? 0), (sql) => work(sql, lease));
    });
  }

  /** Whether the build was replaced, or given up. */
  async isReplaced(): Promise<boolean> {
    const { database, registry, projection, build } = this.#options;
    const rows = await database.transaction((sql) => registry.builds(sql, projection.name));
    return !rows.some((row) => row.build === build && row.state !== "retired");
  }

  async parked(): Promise<readonly ParkedSqlEvent[]> {
    const { database, registry, projection, build } = this.#options;
    return await database.transaction((sql) => registry.parked(sql, { name: projection.name, build }));
  }

  /**
   * Handles a parked event now, and forgets it; one that is gone from the log is forgotten, too, and `EventGone` answered.
   * `undefined` where none is parked there. Rejects with `HandlerFailure` where it stays parked.
   */
  async replayParked(position: number): Promise<"replayed" | EventGone | undefined> {
    const { database, registry, projection, build } = this.#options;
    const about = { name: projection.name, build };
    const parked = await database.transaction((sql) => registry.parkedAt(sql, about, position));
    const events = parked && (await this.#eventsOf(parked));
    if (events === undefined) return undefined;
    const isGoneNow = events instanceof EventGone;
    if (!(await this.#unpark(position, isGoneNow ? [] : events))) return undefined;
    return isGoneNow ? events : "replayed";
  }

  /** Forgets a parked event. Answers whether there was one. */
  async skipParked(position: number): Promise<boolean> {
    return await this.#unpark(position, []);
  }

  async #eventsOf(parked: ParkedSqlEvent): Promise<readonly RecordedEvent[] | EventGone> {
    try {
      return await this.#options.readParked(parked);
    } catch (error) {
      if (error instanceof EventGone) return error;
      const isOfEvent = error instanceof UnreadableEventError || error instanceof InvalidArgumentError;
      throw isOfEvent ? new HandlerFailure(parked.position, error) : error;
    }
  }

  async #unpark(position: number, events: readonly RecordedEvent[]): Promise<boolean> {
    const done = await this.withLease(async (sql, lease) => {
      const found = await this.#options.registry.unpark(sql, lease, position);
      if (found) await applySteps(sql, this.#target, stepsOf(events));
      return found;
    });
    if (done) this.#parked -= 1;
    return done;
  }

  /** Gives the lease back, and does nothing more. Never rejects. */
  async release(reason?: string): Promise<void> {
    this.#stop.abort();
    await this.#renewing;
    await this.#oneAtATime(async () => await this.giveUpLease(reason));
  }

  /** Gives the lease back for now. */
  async giveUpLease(reason?: string): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease === undefined) return;
    const { database, registry } = this.#options;
    // Where the database is away, the lease ends by its clock.
    await database.transaction((sql) => registry.release(sql, lease, reason)).catch(() => {});
  }

  /** One after another, renewals among them: each leaves checkpoint and lease known, or marked as not. */
  async #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#last.then(work);
    this.#last = running.catch(() => {});
    return await running;
  }

  /** The lease, with the checkpoint known; taken where it is free. */
  async #assure(): Promise<Lease> {
    const { database, registry, leaseMs } = this.#options;
    if (this.#lease !== undefined && this.#certain) return this.#lease;
    const held = this.#lease;
    if (held !== undefined) {
      const position = await database.transaction((sql) => registry.renew(sql, held, leaseMs));
      if (position !== undefined) {
        this.#position = position;
        this.#certain = true;
        return held;
      }
      this.#lease = undefined;
    }
    const lease = await database.transaction((sql) => this.#acquire(sql));
    this.#lease = lease;
    this.#certain = true;
    this.#renewing ??= this.#renewOn();
    return lease;
  }

  async #acquire(sql: TransactionSQL): Promise<Lease> {
    const { registry, projection, build, owner, leaseMs } = this.#options;
    const rows = await registry.builds(sql, projection.name);
    const row = rows.find((one) => one.build === build);
    if (row === undefined || row.state === "retired")
      throw new LeaseLost(`Build ${build} of ${JSON.stringify(projection.name)} was replaced, or given up`);
    const gone = row.owner !== undefined && (row.owner === owner || isGone(row.owner));
    const lease =
      row.leaseLeftMs > 0 && !gone && row.owner !== undefined
        ? undefined
        : await registry.acquire(sql, row, owner, leaseMs, gone);
    // What another owner does meanwhile is seen here, by the way.
    this.#position = row.position;
    if (lease === undefined) throw new LeaseHeld(heldMessage(projection.name, row));
    this.#parked = (await registry.parked(sql, row)).length;
    return lease;
  }

  /** Renews the lease while there is nothing to handle. */
  async #renewOn(): Promise<void> {
    const { signal } = this.#stop;
    const { database, registry, leaseMs } = this.#options;
    for (;;) {
      await pause(leaseMs / 3, signal);
      if (signal.aborted) return;
      await this.#oneAtATime(async () => {
        const lease = this.#lease;
        if (lease === undefined || !this.#certain) return;
        const position = await database.transaction((sql) => registry.renew(sql, lease, leaseMs));
        if (position === this.#position) return;
        // Not ours any more, or moved under us.
        this.#certain = false;
        if (position === undefined) this.#lease = undefined;
      }).catch(() => {
        this.#certain = false;
      });
    }
  }

  async #fillGap(to: number, lastAttempt: boolean): Promise<void> {
    let events: RecordedEvent[] = [];
    for await (const event of this.#options.read(this.#position + 1, to)) {
      const last = events.at(-1)?.position;
      if (last !== undefined && event.position > last && events.length >= this.#options.projection.batchEvents) {
        await this.#handleAll(stepsOf(events), last, lastAttempt);
        events = [];
      }
      events.push(event);
    }
    await this.#handleAll(stepsOf(events), to, lastAttempt);
  }

  async #handleAll(all: readonly Step[], to: number, lastAttempt: boolean): Promise<void> {
    const { batchEvents } = this.#options.projection;
    let steps = all.filter((step) => step.position > this.#position);
    while (steps.length > batchEvents) {
      const batch = steps.slice(0, batchEvents);
      await this.#handleSome(batch, batch.at(-1)?.position ?? to, lastAttempt);
      steps = steps.slice(batchEvents);
    }
    if (this.#position < to) await this.#handleSome(steps, to, lastAttempt);
  }

  /**
   * In one transaction; where that fails, in as many as it takes to get past everything before the failure. Where events are
   * parked, each is tried as often as it should be, within the caller's last attempt if need be.
   */
  async #handleSome(steps: readonly Step[], to: number, lastAttempt: boolean): Promise<void> {
    let left = steps;
    for (;;) {
      try {
        await this.#apply(left, to);
        return;
      } catch (error) {
        if (!(error instanceof HandlerFailure)) throw error;
        // Some of them may have been committed on the way to the failure.
        left = left.filter((step) => step.position > this.#position);
        const failed = left.findIndex((step) => step.position === error.position);
        const step = left[failed];
        if (step === undefined) throw error;
        const before = left.slice(0, failed);
        if (before.length > 0) await this.#apply(before, step.position - 1);
        left = left.slice(failed);
        const { onFailure, retries } = this.#options.projection;
        const attempts = this.#countFailure(step.position);
        if (onFailure === "stop" || (attempts < retries.attempts && !lastAttempt)) throw error;
        if (attempts >= retries.attempts) {
          await this.#park(step, error);
          left = left.slice(1);
        } else await pause(delayAfter(attempts, retries, this.#options.random), this.#stop.signal);
      }
    }
  }

  /** How often the event at a position has failed in a row. */
  #countFailure(position: number): number {
    this.#failing = { position, attempts: this.#failing?.position === position ? this.#failing.attempts + 1 : 1 };
    return this.#failing.attempts;
  }

  async #park(step: Step, failure: HandlerFailure): Promise<void> {
    const lease = await this.#assure();
    const [event] = step.events;
    // So many say that something else is wrong.
    if (event === undefined || this.#parked >= parkedMax) throw failure;
    const isPersonal = event.personal !== undefined;
    const error = isPersonal ? keptError(failure.cause, isPersonal) : messageOf(failure.cause);
    await this.#transaction(lease, step.position, (sql) => this.#options.registry.park(sql, lease, event, error));
    this.#parked += 1;
  }

  async #apply(steps: readonly Step[], to: number): Promise<void> {
    const lease = await this.#assure();
    try {
      await this.#transaction(lease, to, (sql) => applySteps(sql, this.#target, steps));
    } catch (error) {
      const [only, ...others] = steps;
      if (
        only === undefined ||
        error instanceof HandlerFailure ||
        error instanceof LeaseLost ||
        isDatabaseTrouble(error)
      )
        throw error;
      // The commit itself was refused (a deferred constraint, or an error that a handler hid): find out by whom.
      if (others.length === 0) throw new HandlerFailure(only.position, error);
      for (const step of steps) await this.#apply([step], step.position);
      if (this.#position < to) await this.#apply([], to);
    }
  }

  /** The checkpoint first: its row keeps others out until the end, and tells at once whether this is still ours to write. */
  async #transaction<T>(lease: Lease, to: number, work: (sql: TransactionSQL) => Promise<T>): Promise<T> {
    const { database, registry, leaseMs } = this.#options;
    const from = this.#position;
    this.#certain = false;
    try {
      const value = await database.transaction(async (sql) => {
        if (database.kind === "postgres") await prepareTransaction(sql, leaseMs);
        if (!(await registry.advance(sql, lease, from, to, leaseMs)))
          throw new LeaseLost("Another process took the projection over");
        return await work(sql);
      });
      this.#position = to;
      this.#certain = true;
      return value;
    } catch (error) {
      // Rolled back, and nobody else was there: the checkpoint is where it was.
      if (error instanceof HandlerFailure) this.#certain = true;
      await database.afterTrouble(error);
      throw error;
    }
  }
}

/**
 * A process that stands still in a transaction is cut off when its lease ends, so that it holds up nobody. A crash of the
 * server may take back the newest commits, rows and checkpoint together, which are then done again.
 */
async function prepareTransaction(sql: TransactionSQL, leaseMs: number): Promise<void> {
  await sql.unsafe(
    "select set_config('idle_in_transaction_session_timeout', $1, true), set_config('synchronous_commit', 'off', true)",
    [String(leaseMs)],
  );
}

function heldMessage(name: string, row: BuildRow): string {
  const left = Math.max(0, Math.ceil(row.leaseLeftMs));
  return `${JSON.stringify(name)} is being run by another process, whose lease lasts ${left} ms yet, at position ${row.position}`;
}
