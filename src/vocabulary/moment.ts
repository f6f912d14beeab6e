/**
 * Moments at which a store can be looked at. Two times count: when something was recorded, which is the store's own and never
 * goes back, and when it happened, which is the business's and may come late. What has no `occurredAt` happened when it was
 * recorded.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { RecordedEvent } from "./event.ts";

/** What was known at one time about what had happened by another. All parts may be left out. */
export interface Moment {
  /** What was recorded by then: a time, or a position. Default: all that there is now. */
  readonly recordedAt?: Date | number;
  /** Only what had happened by then. Default: whatever was recorded. */
  readonly occurredAt?: Date;
  /**
   * How states and documents are folded: in the order in which events happened, or were recorded. Default: `"occurred"` where
   * `occurredAt` is given, else `"recorded"`. Streams and the log are always read in the order of recording.
   */
  readonly order?: "occurred" | "recorded";
}

/** A time of recording, a position, or a `Moment`. */
export type AsOf = Date | number | Moment;

/** A checked moment. */
export interface CheckedMoment {
  /** A position from 0, or milliseconds since 1970; neither: now. */
  readonly position: number | undefined;
  readonly recordedAtMs: number | undefined;
  readonly occurredAtMs: number | undefined;
  readonly order: "occurred" | "recorded";
}

const parts = ["recordedAt", "occurredAt", "order"];

/** Throws `invalid-argument` for what is no moment. */
export function checkMoment(when: unknown): CheckedMoment {
  if (isRecordingTime(when)) return { ...recordingTime(when), occurredAtMs: undefined, order: "recorded" };
  if (typeof when !== "object" || when === null || when instanceof Date || Array.isArray(when)) {
    const problem = "must be a valid Date, a position from 0 or { recordedAt, occurredAt, order }";
    throw new InvalidArgumentError("when", `${problem}, not ${printable(when)}`);
  }
  for (const key of Object.keys(when))
    if (!parts.includes(key))
      throw new InvalidArgumentError(`when.${key}`, `is not a part of a moment (${parts.join(", ")})`);
  const { recordedAt, occurredAt, order } = when as Record<string, unknown>;
  if (recordedAt !== undefined && !isRecordingTime(recordedAt))
    throw new InvalidArgumentError(
      "when.recordedAt",
      `must be a valid Date or a position from 0, not ${printable(recordedAt)}`,
    );
  if (occurredAt !== undefined && !isDate(occurredAt))
    throw new InvalidArgumentError("when.occurredAt", `must be a valid Date, not ${printable(occurredAt)}`);
  if (order !== undefined && order !== "occurred" && order !== "recorded")
    throw new InvalidArgumentError("when.order", `must be "occurred" or "recorded", not ${printable(order)}`);
  return {
    ...recordingTime(recordedAt),
    occurredAtMs: occurredAt?.getTime(),
    order: order ?? (occurredAt === undefined ? "recorded" : "occurred"),
  };
}

/** When something happened, as far as is known: that of recording where nobody has said. In milliseconds since 1970. */
export function happenedAtMs({ occurredAt, recordedAt }: Pick<RecordedEvent, "occurredAt" | "recordedAt">): number {
  return (occurredAt ?? recordedAt).getTime();
}

function isDate(value: unknown): value is Date {
  return value instanceof Date && !Number.isNaN(value.getTime());
}

function isRecordingTime(value: unknown): value is Date | number {
  return isDate(value) || (typeof value === "number" && Number.isSafeInteger(value) && value >= 0);
}

function recordingTime(value: Date | number | undefined): Pick<CheckedMoment, "position" | "recordedAtMs"> {
  // Taken down at once: the caller's Date may change.
  if (value instanceof Date) return { position: undefined, recordedAtMs: value.getTime() };
  return { position: value, recordedAtMs: undefined };
}
