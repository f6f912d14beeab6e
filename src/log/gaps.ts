/**
 * Tells a reader of the log what it does not get: between the events that it reads, the positions whose events were dropped,
 * and why. What lies between two events is looked up once the later one is read, so that nothing which was dropped while it
 * read goes untold.
 */

import { indexSegmentSize } from "../format/key-families.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { DroppedEvents } from "./dropped-events.ts";
import type { LogGap } from "./event-store.ts";

/** Backwards, gaps are looked up in windows of so many positions. */
const windowPositions: number = 64 * indexSegmentSize;

/** The gaps from `from` to `to`, ascending; neighbours that have the same reason are one. */
export async function* gapsBetween(dropped: DroppedEvents, from: number, to: number): AsyncGenerator<LogGap> {
  let gap: LogGap | undefined;
  for await (const { fromPosition, toPosition, reason } of dropped.runs(from, to)) {
    if (gap?.reason === reason && gap.toPosition + 1 === fromPosition) gap = { ...gap, toPosition };
    else {
      if (gap !== undefined) yield gap;
      gap = { gap: true, fromPosition, toPosition, reason };
    }
  }
  if (gap !== undefined) yield gap;
}

/** The same, descending. One that is longer than a window comes in parts. */
async function* gapsBackwards(dropped: DroppedEvents, from: number, to: number): AsyncGenerator<LogGap> {
  for (let upper = to; upper >= from; upper -= windowPositions) {
    const lower = Math.max(from, upper - windowPositions + 1);
    yield* (await Array.fromAsync(gapsBetween(dropped, lower, upper))).reverse();
  }
}

/** Where a read begins and ends, and the most events that it hands out. */
export interface ReadRange {
  readonly from: number;
  readonly to: number;
  readonly backwards: boolean;
  readonly count: number | undefined;
}

/** The events that were read from a range, and the gaps between them; behind the last event unless `count` ended the read. */
export async function* withGaps(
  events: AsyncIterable<RecordedEvent> | Iterable<RecordedEvent>,
  dropped: DroppedEvents,
  { from, to, backwards, count }: ReadRange,
): AsyncGenerator<RecordedEvent | LogGap> {
  let next = backwards ? to : from;
  let seen = 0;
  const gapsTo = (position: number): AsyncGenerator<LogGap> =>
    backwards ? gapsBackwards(dropped, position, next) : gapsBetween(dropped, next, position);
  for await (const event of events) {
    const { position } = event;
    if (backwards ? position < next : position > next) yield* gapsTo(backwards ? position + 1 : position - 1);
    next = backwards ? Math.min(next, position - 1) : Math.max(next, position + 1);
    yield event;
    seen += 1;
  }
  if (count !== undefined && seen >= count) return;
  if (backwards ? next >= from : next <= to) yield* gapsTo(backwards ? from : to);
}
