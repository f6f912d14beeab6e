/**
 * Notices that this process stood still (SIGSTOP, a suspended machine, a long collection), on the monotonic clock and on
 * the wall clock: a suspended machine stops the first, a stopped process neither. A writer that stood still for longer
 * than `limitMs` may have been fenced by a writer whose fence is already collected, so it must not acknowledge.
 */

import type { Clock } from "../runtime/clock.ts";

export class Heartbeat {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onBeat: () => void;
  readonly #timer: ReturnType<typeof setInterval>;
  #monotonicMs: number;
  #wallMs: number;
  #stoodStillMs: number | undefined;

  constructor(options: { clock: Clock; limitMs: number; intervalMs: number; onBeat: () => void }) {
    this.#clock = options.clock;
    this.#limitMs = options.limitMs;
    this.#onBeat = options.onBeat;
    this.#monotonicMs = options.clock.monotonic();
    this.#wallMs = options.clock.now();
    this.#timer = setInterval(() => {
      this.check();
      this.#onBeat();
    }, options.intervalMs);
    this.#timer.unref();
  }

  /** The gap that was too long, in milliseconds, or `undefined` while there was none. Remembers what it found. */
  check(): number | undefined {
    const monotonicMs = this.#clock.monotonic();
    const wallMs = this.#clock.now();
    const gapMs = Math.max(monotonicMs - this.#monotonicMs, wallMs - this.#wallMs);
    this.#monotonicMs = monotonicMs;
    this.#wallMs = wallMs;
    if (gapMs > this.#limitMs) this.#stoodStillMs ??= gapMs;
    return this.#stoodStillMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
