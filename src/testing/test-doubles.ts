/** A clock that stands still until it is turned, and ids that count: the same test gives the same events, byte for byte. */

import type { Clock } from "../runtime/clock.ts";
import { systemClock } from "../runtime/clock.ts";
import type { IdSource } from "../runtime/ids.ts";

/** A wall clock in the hands of a test. What it measures time-outs with goes on by itself. */
export interface TestClock extends Clock {
  /** Lets so many milliseconds pass. */
  advance(ms: number): void;
  /** Turns it to a moment. */
  set(now: Date): void;
}

export function testClock(start: Date): TestClock {
  let nowMs = start.getTime();
  return {
    now: () => nowMs,
    monotonic: () => systemClock.monotonic(),
    advance: (ms) => {
      nowMs += ms;
    },
    set: (now) => {
      nowMs = now.getTime();
    },
  };
}

/** `00000000-0000-7000-8000-000000000001`, and so on. */
export function countedIds(): IdSource {
  let count = 0;
  return {
    next: () => {
      count += 1;
      return `00000000-0000-7000-8000-${count.toString(16).padStart(12, "0")}`;
    },
  };
}
