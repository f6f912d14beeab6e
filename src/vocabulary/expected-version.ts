/** What a caller expects of a stream when it appends or checks. Versions count events: an empty stream is 0. */

import { InvalidArgumentError, printable } from "../errors.ts";

/**
 * `"no-stream"`: it has no events (the same as 0). `"stream-exists"`: it has at least one.
 * `"any"`: no check. An integer: it has exactly that many events.
 */
export type ExpectedVersion = number | "no-stream" | "stream-exists" | "any";

export function checkExpectedVersion(value: unknown, argument: string): ExpectedVersion {
  if (value === "no-stream" || value === "stream-exists" || value === "any") return value;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError(
    argument,
    `must be an integer from 0, "no-stream", "stream-exists" or "any", not ${printable(value)}`,
    { outcome: "not-applied" },
  );
}

/** Whether a stream with `actualVersion` events is as expected. */
export function satisfies(expected: ExpectedVersion, actualVersion: number): boolean {
  switch (expected) {
    case "any":
      return true;
    case "no-stream":
      return actualVersion === 0;
    case "stream-exists":
      return actualVersion > 0;
    default:
      return actualVersion === expected;
  }
}
