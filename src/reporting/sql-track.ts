/**
 * One build following a source of events: loads its checkpoint, takes batch after batch, and says how it is. Trouble of the
 * database or of the source is waited out for as long as it takes; an event that fails is retried, and then the track stands
 * still (`failed`) until it is told to try again. It harms no other track.
 */

import { EventStoreError, UnreadableEventError } from "../errors.ts";
import { type CheckedRetries, delayAfter } from "../processors/retries.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { Random } from "../runtime/random.ts";
import { type CheckedFilter, matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import { HandlerFailure, isDatabaseTrouble, LeaseHeld, LeaseLost, messageOf } from "./failures.ts";
import type { Batch, LogFeed } from "./log-feed.ts";
import type { SqlBuild } from "./sql-build.ts";

/** Pauses after trouble, which is waited out for ever. */
export const troubleRetries: CheckedRetries = {
  attempts: Number.POSITIVE_INFINITY,
  delayMs: 50,
  delayMsMax: 5_000,
};
/** How often one that stands by looks whether the owner is still there, and how far it has come. */
const standbyMs = 1_000;
/** So many events without a match may pass before the checkpoint is moved over them; an idle moment moves it, too. */
const passedMax = 50_000;

export type TrackState = "starting" | "following" | "standby" | "retrying" | "paused" | "failed" | "ended";

/** What went wrong last, until it has gone well again. */
export interface SqlProjectionError {
  readonly message: string;
  readonly at: Date;
  /** Of the event that it failed at, where it was one. */
  readonly position: number | undefined;
  /** How often in a row. */
  readonly attempts: number;
}

export interface SqlTrackOptions {
  readonly build: SqlBuild;
  readonly filter: CheckedFilter;
  readonly retries: CheckedRetries;
  readonly feed: LogFeed;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly random: Random;
  onChange(): void;
  /** It has failed for good. */
  onFailed(error: unknown): void;
  /** The build was replaced or given up, by whomever. */
  onReplaced(): void;
}

export class SqlTrack {
  readonly #options: SqlTrackOptions;
  readonly #stop = new AbortController();
  #interrupt = new AbortController();
  #position = 0;
  #state: TrackState = "starting";
  #error: SqlProjectionError | undefined;
  #attempts = 0;
  #paused = false;
  #running: Promise<void> | undefined;
  #behindSinceMs: number | undefined;

  constructor(options: SqlTrackOptions) {
    this.#options = options;
  }

  get build(): SqlBuild {
    return this.#options.build;
  }

  get position(): number {
    return Math.max(this.#position, this.build.position);
  }

  get state(): TrackState {
    return this.#state;
  }

  get error(): SqlProjectionError | undefined {
    return this.#error;
  }

  /** When the newest event that it has handled was recorded, while there are more. */
  get behindSinceMs(): number | undefined {
    return this.#behindSinceMs;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Waits for the transaction under way, and gives the lease back. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#interrupt.abort();
    await this.#running;
    await this.build.release(this.#state === "failed" ? this.#error?.message : undefined);
    this.#is("ended");
  }

  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (!paused && this.#state === "failed") {
      this.#attempts = 0;
      this.#state = "retrying";
    }
    this.#interrupt.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let loaded = false;
    while (!signal.aborted) {
      this.#interrupt = new AbortController();
      if (this.#paused) {
        this.#is("paused");
        await this.#interrupted();
        continue;
      }
      try {
        if (!loaded) this.#position = await this.build.load();
        loaded = true;
        if (this.#state !== "following") this.#is("following");
        if (!(await this.#step())) return;
      } catch (error) {
        loaded = false;
        this.#options.feed.forget(this.#position);
        if (!signal.aborted && !(await this.#afterFailure(error))) return;
      }
    }
  }

  /** Whether the source goes on. */
  async #step(): Promise<boolean> {
    const { feed, retries } = this.#options;
    const batch = await this.#nextBatch(feed.next(this.#position));
    if (batch === "interrupted") return true;
    if (batch === undefined) return false;
    const events = batch.events.filter((event) => this.#wants(event));
    const passed = batch.to - this.build.position;
    if (events.length > 0 || passed >= passedMax) {
      const piece = { events, fromPosition: this.#position + 1, toPosition: batch.to };
      await this.build.handle(piece, this.#attempts + 1 >= retries.attempts);
      this.#attempts = 0;
      this.#error = undefined;
    }
    this.#position = batch.to;
    this.#behindSinceMs = batch.atEnd ? undefined : batch.events.at(-1)?.recordedAt.getTime();
    this.#options.onChange();
    return true;
  }

  #wants(event: Batch["events"][number]): boolean {
    const { filter } = this.#options;
    const shape = { type: event.type, category: categoryOf(event.streamName), tags: event.tags };
    return matches(filter, shape);
  }

  /** Saves, while there is nothing to do, what was passed over. */
  async #nextBatch(next: Promise<Batch | undefined>): Promise<Batch | undefined | "interrupted"> {
    const signal = AbortSignal.any([this.#interrupt.signal, this.#stop.signal]);
    for (;;) {
      const left = new AbortController();
      const idle = pause(this.#options.leaseMs / 3, AbortSignal.any([signal, left.signal])).then(() => "idle" as const);
      const batch = await Promise.race([next, idle]).finally(() => left.abort());
      if (batch !== "idle") return batch;
      if (signal.aborted) {
        next.catch(() => {});
        return "interrupted";
      }
      if (this.#position > this.build.position) {
        const piece = { events: [], fromPosition: this.build.position + 1, toPosition: this.#position };
        await this.build.handle(piece, false);
      }
    }
  }

  /** Whether to go on. */
  async #afterFailure(error: unknown): Promise<boolean> {
    const { retries, leaseMs } = this.#options;
    if (error instanceof EventStoreError && (error.code === "store-closed" || error.code === "writer-fenced"))
      return false;
    if (error instanceof LeaseHeld) {
      this.#attempts = 0;
      this.#is("standby", error);
      await pause(Math.min(standbyMs, leaseMs / 3), AbortSignal.any([this.#stop.signal, this.#interrupt.signal]));
      return true;
    }
    if (error instanceof LeaseLost && (await this.#isReplaced())) {
      this.#options.onReplaced();
      return false;
    }
    this.#attempts += 1;
    const ours = error instanceof LeaseLost || isDatabaseTrouble(error) || isSourceTrouble(error);
    if (!ours && this.#attempts >= retries.attempts) {
      this.#is("failed", error);
      this.#options.onFailed(error);
      await this.build.giveUpLease(messageOf(error));
      await this.#interrupted();
      return true;
    }
    this.#is("retrying", error);
    const delayMs = delayAfter(this.#attempts, ours ? troubleRetries : retries, this.#options.random);
    await pause(delayMs, AbortSignal.any([this.#stop.signal, this.#interrupt.signal]));
    return true;
  }

  async #isReplaced(): Promise<boolean> {
    try {
      return await this.build.isReplaced();
    } catch {
      return false;
    }
  }

  #interrupted(): Promise<void> {
    const signal = AbortSignal.any([this.#stop.signal, this.#interrupt.signal]);
    return new Promise((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  #is(state: TrackState, error?: unknown): void {
    this.#state = state;
    if (error !== undefined)
      this.#error = {
        message: messageOf(error),
        at: new Date(this.#options.clock.now()),
        position: positionIn(error),
        attempts: this.#attempts,
      };
    this.#options.onChange();
  }
}

function isSourceTrouble(error: unknown): boolean {
  return error instanceof EventStoreError && (error.code === "storage-unavailable" || error.code === "overloaded");
}

function positionIn(error: unknown): number | undefined {
  return error instanceof HandlerFailure || error instanceof UnreadableEventError ? error.position : undefined;
}
