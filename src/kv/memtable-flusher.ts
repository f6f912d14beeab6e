/**
 * Decides when the memtable goes to L0, one flush at a time, in the background, off the path of acknowledgements.
 * The engine leaves this to us: it neither bounds what a cold open replays nor stops when a flush hangs.
 */

import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { SlateTuning } from "./slatedb-settings.ts";

export interface MemtableFlusherOptions {
  readonly tuning: SlateTuning;
  readonly clock: Clock;
  readonly flush: () => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

export class MemtableFlusher {
  readonly #options: MemtableFlusherOptions;
  #groups = 0;
  #bytes = 0;
  /** What the flush under way will have taken, once it succeeds. */
  #bytesUnderWay = 0;
  #oldestUnflushedMs: number | undefined;
  #lastStartMs = Number.NEGATIVE_INFINITY;
  #underWay: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;
  #flushes = 0;

  constructor(options: MemtableFlusherOptions) {
    this.#options = options;
  }

  get flushes(): number {
    return this.#flushes;
  }

  /** Bytes that are durable in the WAL but not yet in L0, so still in memory. */
  get unflushedBytes(): number {
    return this.#bytes + this.#bytesUnderWay;
  }

  /** A commit group of that many bytes became durable in the WAL. */
  recordGroup(bytes: number): void {
    this.#groups += 1;
    this.#bytes += bytes;
    this.#oldestUnflushedMs ??= this.#options.clock.monotonic();
    this.#consider();
  }

  /** Flushes what is there now and waits for it, after the one under way. */
  async flushNow(): Promise<void> {
    while (this.#underWay !== undefined) await this.#underWay;
    this.#start();
    await this.#underWay;
  }

  /** Waits for the flush under way, and no longer than `timeoutMs`. */
  async waitForFlush(timeoutMs: number): Promise<void> {
    const underWay = this.#underWay;
    if (underWay === undefined) return;
    const done = new AbortController();
    await Promise.race([underWay.finally(() => done.abort()), pause(timeoutMs, done.signal)]);
  }

  /** Starts no further flush by itself. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #consider(): void {
    if (this.#stopped || this.#underWay !== undefined || this.#groups === 0) return;
    const { tuning, clock } = this.#options;
    const now = clock.monotonic();
    const due =
      this.#groups >= tuning.memtableFlushGroups ||
      this.#bytes >= tuning.memtableFlushBytes ||
      now - (this.#oldestUnflushedMs ?? now) >= tuning.memtableFlushMs;
    const waitMs = due
      ? tuning.memtableFlushSpacingMs - (now - this.#lastStartMs)
      : tuning.memtableFlushMs - (now - (this.#oldestUnflushedMs ?? now));
    if (due && (waitMs <= 0 || this.#bytes >= tuning.memtableFlushBytes)) {
      this.#start();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#consider(), Math.max(1, waitMs));
    this.#timer.unref();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#lastStartMs = this.#options.clock.monotonic();
    this.#bytesUnderWay = this.#bytes;
    this.#bytes = 0;
    this.#groups = 0;
    this.#oldestUnflushedMs = undefined;
    this.#underWay = this.#options
      .flush()
      .then(
        () => {
          this.#bytesUnderWay = 0;
          this.#flushes += 1;
        },
        (error: unknown) => {
          this.#stopped = true;
          this.#options.onFailure(error);
        },
      )
      .finally(() => {
        this.#underWay = undefined;
        this.#consider();
      });
  }
}
