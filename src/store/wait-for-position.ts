/** Waiting until a reader sees a position. */

import { InvalidArgumentError, StorageUnavailableError, StoreClosedError } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import type { LiveFeed } from "../subscriptions/live-feed.ts";

const timeoutMsDefault = 30_000;

export interface PositionSource {
  readonly feed: LiveFeed;
  readonly lastPosition: () => number;
  readonly isClosed: () => boolean;
}

export async function waitForPosition(source: PositionSource, position: unknown, options: unknown): Promise<void> {
  const wanted = checkInteger(position, "position", 0);
  if (wanted === undefined) throw new InvalidArgumentError("position", "must be given");
  const given = checkOptions(options, ["timeoutMs", "signal"]);
  const timeoutMs = checkInteger(given.timeoutMs, "timeoutMs", 1) ?? timeoutMsDefault;
  const signal = checkSignal(given.signal);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), Math.min(timeoutMs, millisecondsMax));
  const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
  try {
    for (;;) {
      signal?.throwIfAborted();
      if (source.isClosed()) throw new StoreClosedError();
      const last = source.lastPosition();
      if (last >= wanted) return;
      if (late.signal.aborted) {
        const message = `This reader has not seen position ${wanted} within ${timeoutMs} ms, but position ${last}`;
        throw new StorageUnavailableError(message);
      }
      await source.feed.wait(either);
    }
  } finally {
    clearTimeout(timer);
  }
}
