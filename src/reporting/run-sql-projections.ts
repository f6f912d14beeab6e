/**
 * Runs SQL projections over a source of events: a store, or a read replica of it in another process. Several processes may
 * run the same ones; a lease in the reporting database gives each projection one owner, and the others stand by.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { ReplayResult } from "../processors/parking.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import { type IdSource, systemIds } from "../runtime/ids.ts";
import { type Random, systemRandom } from "../runtime/random.ts";
import { checkSqlProjection, type SqlProjection } from "./define-sql-projection.ts";
import { LogFeed, type ProjectionSource } from "./log-feed.ts";
import { ownerName } from "./process-identity.ts";
import type { ParkedSqlEvent } from "./projection-registry.ts";
import { releaseDatabase, useDatabase } from "./reporting-database.ts";
import { type SqlProjectionInfo, SqlProjectionRunner } from "./sql-projection-runner.ts";

/** How to run projections. Unknown options are refused. */
export interface RunSqlProjectionsOptions {
  /** Ends them as `close` does. */
  readonly signal?: AbortSignal;
  /**
   * How long a process that has stopped keeps a projection from others. Renewed after a third of it. That of a process which
   * is known to be dead is not waited for. Default: 10,000 ms; from 500 to 600,000.
   */
  readonly leaseMs?: number;
  /** Told of projections that have failed, and of parked events that are gone. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may bring their own clock, ids and chance. */
  readonly clock?: Clock;
  readonly ids?: IdSource;
  readonly random?: Random;
}

/** What may be said beside a position to wait for. */
export interface SqlWaitOptions {
  /** Default: 30,000 ms. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Projections at work. All but `projections` and `close` throw `invalid-argument` for a name that is none of theirs. */
export interface SqlProjections extends AsyncDisposable {
  /** How each of them is, in the order in which they were given. */
  projections(): readonly SqlProjectionInfo[];
  /**
   * Resolves once the tables hold what all events up to `position` have led to. Throws `overloaded` where they do not within
   * the time, at once where the projection has failed or is paused; `store-closed`; and the signal's reason.
   */
  waitFor(name: string, position: number, options?: SqlWaitOptions): Promise<void>;
  /** Stops it behind the transaction under way, its rebuild included, in this process and until it ends. */
  pause(name: string): void;
  /** Has a paused one go on, and one that has failed try again. */
  resume(name: string): void;
  /**
   * Builds its tables anew beside those that serve, and resolves once that has begun; `projections` tells how it goes. When the
   * new ones have caught up, the views show them, and the old ones are dropped. It goes on after a restart. Throws
   * `storage-unavailable` for trouble of the database, as all below, and `invalid-argument` where `create` fails.
   */
  rebuild(name: string): Promise<void>;
  /** Drops what is being built. */
  cancelRebuild(name: string): Promise<void>;
  /** The events that it has set aside (`onFailure: "park"`), the oldest first. */
  parked(name: string): Promise<readonly ParkedSqlEvent[]>;
  /**
   * Handles a parked event now, out of the archive if need be. Rejects with what its handler throws; then it stays parked. One
   * that was dropped from the log is skipped, which the answer says, and `onError` is told.
   */
  replayParked(name: string, position: number): Promise<ReplayResult>;
  /** Forgets a parked event. */
  skipParked(name: string, position: number): Promise<void>;
  /** Waits for the transactions under way, gives the leases back, and closes the connections that it opened. Idempotent. */
  close(): Promise<void>;
}

const leaseMsDefault = 10_000;
const leaseMsMin = 500;
const leaseMsMax = 600_000;
const waitForTimeoutMsDefault = 30_000;
/** The most projections at once. */
const projectionsMax = 256;

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: "StrataProjectionError" });
}

/**
 * Has projections follow `source` (an open store, or a reader) from their checkpoints on, until they are closed, the signal is
 * aborted or the source ends. Answers at once: a database that is away now is waited for. Throws `invalid-argument`.
 */
export function runSqlProjections(
  source: ProjectionSource,
  projections: readonly SqlProjection[],
  options: RunSqlProjectionsOptions = {},
): SqlProjections {
  const settings = checkRunOptions(options);
  const list = checkProjections(projections);
  const stop = new AbortController();
  const filters = list.map((projection) => projection.filter);
  const feed = new LogFeed(source, filters, stop.signal);
  const runners = new Map<string, SqlProjectionRunner>();
  for (const projection of list) {
    const database = useDatabase(projection.database);
    runners.set(projection.name, new SqlProjectionRunner({ ...settings, projection, database, source, feed }));
  }
  const face = faceOf(runners, async () => {
    stop.abort();
    await Promise.all([...runners.values()].map((runner) => runner.close()));
    for (const { database } of list) await releaseDatabase(database);
  });
  for (const runner of runners.values()) runner.start();
  const onAbort = (): void => void face.close();
  if (settings.signal?.aborted === true) onAbort();
  else settings.signal?.addEventListener("abort", onAbort, { once: true });
  return face;
}

function faceOf(runners: ReadonlyMap<string, SqlProjectionRunner>, end: () => Promise<void>): SqlProjections {
  let closing: Promise<void> | undefined;
  const find = (name: unknown): SqlProjectionRunner => {
    const runner = typeof name === "string" ? runners.get(name) : undefined;
    if (runner === undefined) throw new InvalidArgumentError("name", `is not that of a projection: ${printable(name)}`);
    return runner;
  };
  const close = async (): Promise<void> => {
    closing ??= end();
    await closing;
  };
  return {
    projections: () => [...runners.values()].map((runner) => runner.info()),
    waitFor: async (name, position, options) => {
      const given = checkOptions(options, ["timeoutMs", "signal"]);
      const timeoutMs = checkInteger(given.timeoutMs, "timeoutMs", 0) ?? waitForTimeoutMsDefault;
      if (timeoutMs > millisecondsMax)
        throw new InvalidArgumentError("timeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
      if (checkInteger(position, "position", 0) === undefined) throw new InvalidArgumentError("position", "is missing");
      await find(name).waitFor(position, timeoutMs, checkSignal(given.signal));
    },
    pause: (name) => find(name).pause(),
    resume: (name) => find(name).resume(),
    rebuild: async (name) => await find(name).rebuild(),
    cancelRebuild: async (name) => await find(name).cancelRebuild(),
    parked: async (name) => await find(name).parked(),
    replayParked: async (name, position) => await find(name).replayParked(position),
    skipParked: async (name, position) => await find(name).skipParked(position),
    close,
    [Symbol.asyncDispose]: close,
  };
}

type Settings = Omit<
  ConstructorParameters<typeof SqlProjectionRunner>[0],
  "projection" | "database" | "source" | "feed"
> &
  Pick<RunSqlProjectionsOptions, "signal">;

function checkRunOptions(options: RunSqlProjectionsOptions): Settings {
  const known = ["signal", "leaseMs", "onError", "clock", "ids", "random"];
  const given = checkOptions(options, known);
  const signal = checkSignal(given.signal);
  const leaseMs = checkInteger(given.leaseMs, "leaseMs", leaseMsMin) ?? leaseMsDefault;
  if (leaseMs > leaseMsMax) throw new InvalidArgumentError("leaseMs", `must be at most ${leaseMsMax}, not ${leaseMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function")
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  return {
    ...(signal === undefined ? {} : { signal }),
    owner: ownerName((options.ids ?? systemIds).next()),
    leaseMs,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    onError: options.onError ?? warn,
  };
}

function checkProjections(projections: unknown): readonly SqlProjection[] {
  if (!Array.isArray(projections))
    throw new InvalidArgumentError("projections", `must be a list, not ${printable(projections)}`);
  if (projections.length > projectionsMax)
    throw new InvalidArgumentError("projections", `must be at most ${projectionsMax}, not ${projections.length}`);
  const list = projections.map((one, index) => checkSqlProjection(one, `projections[${index}]`));
  const names = new Set<string>();
  for (const { name } of list) {
    if (names.has(name)) throw new InvalidArgumentError("projections", `has two of the name ${printable(name)}`);
    names.add(name);
  }
  return list;
}
