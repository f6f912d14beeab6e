/**
 * Opens that were given up on cannot be cancelled: once the storage answers again they come true, and would fence the writer
 * that was opened meanwhile. So this process has one open of a store under way at a time, and a later one waits for it.
 */

import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";

/** By store; each settles when the late open has been thrown away, and never rejects. */
const late = new Map<string, Promise<void>>();

/**
 * Settles as `open` does, which is begun once no earlier open of the same `key` is under way. Rejects with `DeadlineExpired`
 * after `timeoutMs` in all; what `open` answers later than that goes to `discard`.
 */
export async function openWithin<T>(options: {
  readonly key: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly open: () => Promise<T>;
  readonly discard: (tooLate: T) => Promise<void>;
  /** Frees what `open` needs: called where it did not succeed in time, once it is over. Must not reject. */
  readonly release: () => Promise<void>;
}): Promise<T> {
  const { key, timeoutMs, clock, open, discard, release } = options;
  const startedMs = clock.monotonic();
  const earlier = late.get(key);
  try {
    if (earlier !== undefined) await withDeadline(earlier, timeoutMs, "An earlier open of the same store");
  } catch (error) {
    await release();
    throw error;
  }
  const opening = open();
  try {
    return await withDeadline(opening, Math.max(1, timeoutMs - (clock.monotonic() - startedMs)), "Opening");
  } catch (error) {
    const thrownAway = opening
      .then(discard)
      .catch(() => {})
      .then(release)
      .finally(() => {
        if (late.get(key) === thrownAway) late.delete(key);
      });
    late.set(key, thrownAway);
    throw error;
  }
}
