/**
 * One projection in this process: plans its builds, has the one that serves and the one beside it follow the log, and switches
 * when the latter has caught up. The database may be away at any time; then it goes on where it was when that is back.
 */

import { InvalidArgumentError, OverloadedError, StoreClosedError } from "../errors.ts";
import { eventsOf, type ReplayResult } from "../processors/parking.ts";
import { delayAfter } from "../processors/retries.ts";
import { type Settle, waitAmong } from "../processors/waiting.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { Random } from "../runtime/random.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { SqlProjection } from "./define-sql-projection.ts";
import { isDatabaseTrouble, messageOf, withPublicErrors } from "./failures.ts";
import type { LogFeed, ProjectionSource } from "./log-feed.ts";
import { ProjectionBuilds } from "./projection-builds.ts";
import type { BuildRow, ParkedSqlEvent } from "./projection-registry.ts";
import type { ReportingDatabase } from "./reporting-database.ts";
import { SqlBuild } from "./sql-build.ts";
import { type SqlProjectionError, SqlTrack, troubleRetries } from "./sql-track.ts";

export interface SqlProjectionRunnerOptions {
  readonly projection: SqlProjection;
  readonly database: ReportingDatabase;
  readonly source: ProjectionSource;
  readonly feed: LogFeed;
  readonly owner: string;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onError: (error: unknown) => void;
}

/**
 * `"starting"`: its database has not answered yet. `"running"`: it follows. `"standby"`: another process runs it.
 * `"rebuilding"`: the tables that serve are of an older version, and stand as they are. `"paused"`. `"failed"`: it has given up
 * on an event, or its definition was refused; `resume` has it try again. `"ended"`: closed, or its source has ended.
 */
export type SqlProjectionState = "starting" | "running" | "standby" | "rebuilding" | "paused" | "failed" | "ended";

/** The building of new tables beside those that serve. */
export interface SqlRebuildProgress {
  readonly version: number;
  readonly position: number;
  readonly state: "running" | "standby" | "paused" | "failed";
  readonly lastError: SqlProjectionError | undefined;
}

/** A projection, as it is at the moment. */
export interface SqlProjectionInfo {
  readonly name: string;
  readonly version: number;
  readonly state: SqlProjectionState;
  /** Readers of the tables see what the events up to here have led to. In standby it is up to a second old. */
  readonly position: number;
  /** How old the newest handled event is, in milliseconds; 0 where there are no more. */
  readonly lagMs: number;
  /** What went wrong last, until it has gone well again. */
  readonly lastError: SqlProjectionError | undefined;
  /** How many events it has parked. */
  readonly parked: number;
  readonly rebuild: SqlRebuildProgress | undefined;
}

interface Waiting {
  readonly position: number;
  readonly settle: Settle;
}

export class SqlProjectionRunner {
  readonly #options: SqlProjectionRunnerOptions;
  readonly #builds: ProjectionBuilds;
  readonly #stop = new AbortController();
  #serving: SqlTrack | undefined;
  #building: SqlTrack | undefined;
  /** Where the tables stand that serve, while they are of an older version. */
  #servedPosition = 0;
  #error: SqlProjectionError | undefined;
  #failed = false;
  #paused = false;
  #ended = false;
  #wake = new AbortController();
  #switching: Promise<void> | undefined;
  #switchProblem: string | undefined;
  #running: Promise<void> | undefined;
  readonly #waiting = new Set<Waiting>();

  constructor(options: SqlProjectionRunnerOptions) {
    this.#options = options;
    this.#builds = new ProjectionBuilds(options.projection, options.database);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  info(): SqlProjectionInfo {
    const { name, version } = this.#options.projection;
    const building = this.#building;
    const behindSinceMs = this.#serving?.behindSinceMs;
    return {
      name,
      version,
      state: this.#state(),
      position: this.#serving?.position ?? this.#servedPosition,
      lagMs: behindSinceMs === undefined ? 0 : Math.max(0, this.#options.clock.now() - behindSinceMs),
      lastError: this.#error ?? this.#serving?.error ?? building?.error,
      parked: this.#serving?.build.parkedCount ?? 0,
      rebuild: building && {
        version,
        position: building.position,
        state: progressState(building),
        lastError: building.error,
      },
    };
  }

  async waitFor(position: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { name } = this.#options.projection;
    signal?.throwIfAborted();
    if (this.info().position >= position) return;
    const late = (): OverloadedError =>
      new OverloadedError(
        `Projection ${JSON.stringify(name)} has not come to position ${position} within ${timeoutMs} ms: it is at ${this.info().position}`,
      );
    const waited = waitAmong(this.#waiting, (settle) => ({ position, settle }), { timeoutMs, signal, late });
    this.#changed();
    await waited;
  }

  pause(): void {
    this.#paused = true;
    this.#serving?.setPaused(true);
    this.#building?.setPaused(true);
    this.#changed();
  }

  resume(): void {
    this.#paused = false;
    this.#failed = false;
    this.#serving?.setPaused(false);
    this.#building?.setPaused(false);
    this.#wake.abort();
    this.#changed();
  }

  async rebuild(): Promise<void> {
    const row = await this.#told(() => this.#builds.beginBuilding());
    if (this.#building === undefined) this.#building = this.#follow(row);
    this.#changed();
  }

  async cancelRebuild(): Promise<void> {
    await this.#switching;
    const building = this.#building;
    this.#building = undefined;
    await building?.stop();
    await this.#told(() => this.#builds.discard());
    this.#changed();
  }

  async parked(): Promise<readonly ParkedSqlEvent[]> {
    return await this.#told(async () => (await this.#serving?.build.parked()) ?? []);
  }

  async replayParked(position: number): Promise<ReplayResult> {
    const outcome = await this.#told(async () => await this.#serving?.build.replayParked(position));
    if (outcome === undefined) throw notParked(position);
    if (outcome === "replayed") return { replayed: 1, parked: 0 };
    this.#options.onError(outcome);
    return { replayed: 0, parked: 0, skipped: 1 };
  }

  async skipParked(position: number): Promise<void> {
    if ((await this.#told(async () => await this.#serving?.build.skipParked(position))) !== true)
      throw notParked(position);
  }

  async #told<T>(work: () => Promise<T>): Promise<T> {
    return await withPublicErrors(this.#options.database.label, work);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake.abort();
    await this.#running;
    await this.#switching;
    await Promise.all([this.#serving?.stop(), this.#building?.stop()]);
    this.#ended = true;
    this.#changed();
  }

  /** Plans, until it has worked, and again whenever a build turns out to be another than it was. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let attempts = 1; !signal.aborted; attempts += 1) {
      this.#wake = new AbortController();
      try {
        if (!this.#failed) await this.#plan();
        attempts = 0;
        await pause(this.#options.leaseMs / 3, AbortSignal.any([signal, this.#wake.signal]));
      } catch (error) {
        const at = new Date(this.#options.clock.now());
        this.#error = { message: messageOf(error), at, position: undefined, attempts };
        if (isDatabaseTrouble(error)) await this.#options.database.afterTrouble(error);
        else {
          this.#failed = true;
          this.#options.onError(error);
        }
        this.#changed();
        const delayMs = delayAfter(attempts, troubleRetries, this.#options.random);
        await pause(delayMs, AbortSignal.any([signal, this.#wake.signal]));
      }
    }
  }

  /** Starts following what there is to follow. Costs nothing once the build that serves is followed. */
  async #plan(): Promise<void> {
    if (this.#building !== undefined) this.#considerSwitch(this.#building);
    if (this.#serving !== undefined) return;
    const { serving, building } = await this.#builds.plan();
    this.#error = undefined;
    this.#servedPosition = serving.position;
    if (serving.version === this.#options.projection.version) this.#serving = this.#follow(serving);
    if (building !== undefined && this.#building === undefined && !this.#stop.signal.aborted)
      this.#building = this.#follow(building);
    this.#changed();
  }

  #follow(row: BuildRow): SqlTrack {
    const { projection, database, source, feed, owner, leaseMs, clock, random, onError } = this.#options;
    const { filter } = projection;
    const build = new SqlBuild({
      ...{ projection, database, owner, leaseMs, random },
      build: row.build,
      registry: this.#builds.registry,
      read: (from, to) => readBetween(source, filter, from, to),
      readParked: (parked) => readParked(source, parked),
    });
    const track: SqlTrack = new SqlTrack({
      ...{ build, filter, feed, leaseMs, clock, random },
      retries: projection.retries,
      onChange: () => this.#onTrack(track),
      onFailed: onError,
      onReplaced: () => this.#onReplaced(track),
    });
    track.setPaused(this.#paused);
    track.start();
    return track;
  }

  #onTrack(track: SqlTrack): void {
    if (track === this.#building) this.#considerSwitch(track);
    this.#changed();
  }

  #considerSwitch(track: SqlTrack): void {
    if (this.#switching !== undefined || track.state !== "following" || this.#stop.signal.aborted) return;
    const { position } = track;
    this.#switching = this.#trySwitch(track)
      .catch((error: unknown) => {
        // It is tried again in a while; what is built stays, and the reason is told once.
        if (isDatabaseTrouble(error) || messageOf(error) === this.#switchProblem) return;
        this.#switchProblem = messageOf(error);
        this.#options.onError(error);
      })
      .finally(() => {
        this.#switching = undefined;
        if (this.#building === track && track.position !== position) this.#considerSwitch(track);
      });
  }

  async #trySwitch(track: SqlTrack): Promise<void> {
    if (track.position < (await this.#options.source.lastPosition())) return;
    const switched = await track.build.withLease((sql, lease) => this.#builds.switchTo(sql, lease), track.position);
    if (!switched || this.#building !== track) return;
    const former = this.#serving;
    this.#serving = track;
    this.#building = undefined;
    await former?.stop();
    this.#changed();
    // Readers may still be at the old tables; then they go with the next switch, or at the next start.
    await this.#builds.collect().catch(() => {});
  }

  #onReplaced(track: SqlTrack): void {
    if (this.#serving === track) this.#serving = undefined;
    if (this.#building === track) this.#building = undefined;
    this.#wake.abort();
  }

  #state(): SqlProjectionState {
    const track = this.#serving;
    if (this.#ended || track?.state === "ended") return "ended";
    if (this.#failed || track?.state === "failed") return "failed";
    if (this.#paused) return "paused";
    if (track === undefined) return this.#building === undefined ? "starting" : "rebuilding";
    if (track.state === "standby" || track.state === "starting") return track.state;
    return "running";
  }

  #changed(): void {
    const { position, state } = this.info();
    for (const waiting of [...this.#waiting]) {
      if (position >= waiting.position) waiting.settle();
      else if (state === "ended") waiting.settle(new StoreClosedError("The projections are closed"));
      else if (state === "failed" || state === "paused")
        waiting.settle(
          new OverloadedError(`Projection ${JSON.stringify(this.#options.projection.name)} is ${state} at ${position}`),
        );
    }
  }
}

function progressState(track: SqlTrack): SqlRebuildProgress["state"] {
  const { state } = track;
  return state === "standby" || state === "paused" || state === "failed" ? state : "running";
}

function notParked(position: number): InvalidArgumentError {
  return new InvalidArgumentError("position", `is not that of a parked event: ${position}`);
}

/** As `eventsOf`, as far as the source can tell. */
async function readParked(source: ProjectionSource, parked: ParkedSqlEvent): Promise<readonly RecordedEvent[]> {
  const { position } = parked;
  const { asOf, streamInfo } = source;
  const isThere = (await source.lastPosition()) >= position;
  if (isThere && asOf !== undefined && streamInfo !== undefined) {
    const reader = { streamInfo: streamInfo.bind(source) };
    return await eventsOf({ readerAt: asOf.bind(source), reader }, parked);
  }
  const events = await Array.fromAsync(readBetween(source, undefined, position, position));
  if (events.length === 0)
    throw new InvalidArgumentError("position", `is that of an event which its source does not have: ${position}`);
  return events;
}

async function* readBetween(
  source: ProjectionSource,
  filter: SqlProjection["filter"],
  fromPosition: number,
  to: number,
): ReturnType<ProjectionSource["readAll"]> {
  for await (const event of source.readAll({ fromPosition, ...(filter === undefined ? {} : { filter }) })) {
    if (event.position > to) return;
    yield event;
  }
}
