/**
 * Work on one stream after another, in the order of asking, so that commands of one process do not conflict among themselves.
 * It spares retries; what is right is for the commit pipeline to judge.
 */

import { OverloadedError } from "../errors.ts";

/** The most commands that wait for others of their streams; beyond that a command is refused as `overloaded`. */
export const laneWaitersMax = 10_000;

export class Lanes {
  readonly #tails = new Map<string, Promise<void>>();
  #waiting = 0;

  /** Runs `work` when all earlier work on the stream has ended, or rejects with the signal's reason while it waits. */
  async run<T>(streamName: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(streamName);
    if (before !== undefined && this.#waiting >= laneWaitersMax)
      throw new OverloadedError(`More than ${laneWaitersMax} commands wait for others of their streams`);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    // Who leaves early must not let those behind pass the one in front.
    const tail = before === undefined ? ended : before.then(() => ended);
    this.#tails.set(streamName, tail);
    try {
      if (before !== undefined) await this.#wait(before, signal);
      return await work();
    } finally {
      end();
      if (this.#tails.get(streamName) === tail) void tail.then(() => this.#forget(streamName, tail));
    }
  }

  #forget(streamName: string, tail: Promise<void>): void {
    if (this.#tails.get(streamName) === tail) this.#tails.delete(streamName);
  }

  async #wait(before: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    this.#waiting += 1;
    try {
      if (signal === undefined) await before;
      else await orAborted(before, signal);
    } finally {
      this.#waiting -= 1;
    }
  }
}

/** Settles as `work` does, or rejects with the signal's reason as soon as that is aborted. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
