/**
 * Keeps a follower at the end of its log: looks whenever the byte store may have new rows, tells those who wait, and tries
 * again, at growing intervals, what fails.
 */

import { EventStoreError, InternalError } from "../errors.ts";
import type { KeyValueReader } from "../kv/kv.ts";
import type { LogFollower } from "../log/log-follower.ts";
import type { Clock } from "../runtime/clock.ts";

const lookMsMin = 5;
const lookMsMax = 100;
const retryMs = 50;
const retryMsMax = 10_000;
/** Single failures pass by themselves; a row of so many is told. */
const reportedFailures = 3;

export interface LogWatchOptions {
  readonly kv: KeyValueReader;
  readonly follower: LogFollower;
  readonly clock: Clock;
  readonly pollMs: number;
  readonly onAdvance: () => void;
  readonly onError: (error: unknown) => void;
}

export class LogWatch {
  readonly #options: LogWatchOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The progress of the byte store up to which the log was followed; nothing at first. */
  #seen = -1;
  #looking = false;
  #failuresInARow = 0;
  #retryAtMs = 0;
  #failure: EventStoreError | undefined;
  #stats = { advances: 0, failures: 0 };

  constructor(options: LogWatchOptions) {
    this.#options = options;
    const lookMs = Math.max(lookMsMin, Math.min(lookMsMax, options.pollMs / 16));
    this.#timer = setInterval(() => this.look(), lookMs);
    this.#timer.unref();
  }

  /** Why the log could not be followed at the last look. */
  get failure(): EventStoreError | undefined {
    return this.#failure;
  }

  stats(): { readonly advances: number; readonly failures: number } {
    return { ...this.#stats };
  }

  /** Looks now, unless it is looking, or there is nothing new. */
  look(): void {
    const { kv, clock } = this.#options;
    if (this.#looking || kv.status().state === "closed" || clock.monotonic() < this.#retryAtMs) return;
    const progress = kv.progress();
    if (progress === this.#seen) return;
    this.#looking = true;
    void this.#advance(progress);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #advance(progress: number): Promise<void> {
    try {
      const moved = await this.#options.follower.advance();
      this.#seen = progress;
      this.#failure = undefined;
      this.#failuresInARow = 0;
      if (moved) this.#stats.advances += 1;
      if (moved) this.#options.onAdvance();
    } catch (error) {
      this.#noteFailure(error);
    } finally {
      this.#looking = false;
    }
  }

  #noteFailure(error: unknown): void {
    const { kv, clock, onError } = this.#options;
    if (kv.status().state === "closed") return;
    this.#failure =
      error instanceof EventStoreError
        ? error
        : new InternalError("New events could not be looked for", { cause: error });
    this.#stats.failures += 1;
    this.#retryAtMs = clock.monotonic() + Math.min(retryMsMax, retryMs * 2 ** this.#failuresInARow);
    this.#failuresInARow += 1;
    if (this.#failuresInARow !== reportedFailures) return;
    try {
      onError(error);
    } catch {
      // There is nobody left to tell.
    }
  }
}
