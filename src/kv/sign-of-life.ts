/**
 * Notices that a storage which has no news does not answer either: after a silence it asks for a sign of life, and while
 * there is none, again and again. It has no timer of its own: whoever has one calls `hear`.
 */

import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";

export interface SignOfLifeOptions {
  readonly clock: Clock;
  /** How long a silence may be. */
  readonly silenceMs: number;
  /** How long to wait after a question that failed. */
  readonly retryMs: number;
  /** Rejects where the storage does not answer; it must not take for ever. */
  readonly ask: () => Promise<unknown>;
  readonly signal: AbortSignal;
}

export class SignOfLife {
  readonly #options: SignOfLifeOptions;
  #heardMs: number;
  #progress = -1;
  #asking = false;
  #failure: unknown;

  constructor(options: SignOfLifeOptions) {
    this.#options = options;
    this.#heardMs = options.clock.monotonic();
  }

  /** Why there was no sign of life at the last question; `undefined` where there is nothing to complain of. */
  get failure(): unknown {
    return this.#failure;
  }

  /** To be called often; a higher `progress` than before is news. */
  hear(progress: number): void {
    const { clock, silenceMs } = this.#options;
    if (progress > this.#progress) {
      this.#progress = progress;
      this.#answered();
    } else if (clock.monotonic() - this.#heardMs > silenceMs && !this.#asking) {
      this.#asking = true;
      void this.#ask();
    }
  }

  #answered(): void {
    this.#heardMs = this.#options.clock.monotonic();
    this.#failure = undefined;
  }

  async #ask(): Promise<void> {
    const { ask, retryMs, signal } = this.#options;
    try {
      await ask();
      this.#answered();
    } catch (error) {
      this.#failure = error;
      await pause(retryMs, signal);
    } finally {
      this.#asking = false;
    }
  }
}
