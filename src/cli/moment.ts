/** Which moment a command looks back to: what was recorded by then, and what had happened by then. */

import { printable } from "../errors.ts";
import type { AsOf, EventStoreReader, EventStoreView } from "../index.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import { usageFailure } from "./failure.ts";
import { parseTime } from "./time.ts";

/** Commands that can look back have these. */
export const momentOptions: readonly OptionDescription[] = [
  {
    name: "as-of",
    value: "WHEN",
    text: "as it was at a position (a number) or a time of recording (2026-01-31 or 2026-01-31T12:00:00Z)",
  },
  { name: "occurred-by", value: "TIME", text: "only what had happened by then, by the business's own time" },
];

function timeOf(given: Arguments, option: string, wanted: string): Date | undefined {
  const text = given.text(option);
  if (text === undefined) return undefined;
  const moment = parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (moment !== undefined) return moment;
  throw usageFailure(`--${option} must be ${wanted} such as 2026-01-31T12:00:00Z, not ${printable(text)}`);
}

/** The moment that the options say; `undefined`: now. */
export function momentOf(given: Arguments): AsOf | undefined {
  const text = given.text("as-of");
  const occurredAt = timeOf(given, "occurred-by", "a time");
  const recordedAt =
    text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : timeOf(given, "as-of", "a position or a time");
  if (occurredAt === undefined) return recordedAt;
  return { occurredAt, ...(recordedAt === undefined ? {} : { recordedAt }) };
}

/** What can be read as of a moment; `undefined`: now. */
export type PastReader = Pick<
  EventStoreReader & EventStoreView,
  "readStream" | "streamInfo" | "history" | "diff" | "blame" | "trace"
>;

export function readerAt(store: EventStoreReader, moment: AsOf | undefined): PastReader {
  return moment === undefined ? store : store.asOf(moment);
}
