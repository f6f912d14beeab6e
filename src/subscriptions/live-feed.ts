/** Wakes those who wait for the log to grow. Waiting costs nothing but one timer for all, which notices a store that stopped. */

import type { KvStatus } from "../kv/kv.ts";

const statusIntervalMs = 500;

export class LiveFeed {
  readonly #status: () => KvStatus;
  readonly #waiting = new Set<() => void>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(status: () => KvStatus) {
    this.#status = status;
  }

  /** Something is durable that was not before, or the store has stopped. */
  notify(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    this.#stopTimer();
    for (const wake of waiting) wake();
  }

  #stopTimer(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Resolves at the next notice, or when the signal is aborted. */
  wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        this.#waiting.delete(wake);
        if (this.#waiting.size === 0) this.#stopTimer();
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#timer ??= setInterval(() => {
        if (this.#status().state !== "open") this.notify();
      }, statusIntervalMs);
    });
  }
}
