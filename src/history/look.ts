/** How a store is looked at: now, or as of a moment. All history is read through one of these, on writers and replicas alike. */

import { weigh } from "../decider/freeze.ts";
import type { SnapshotFinder } from "../decider/snapshot-reader.ts";
import { OverloadedError } from "../errors.ts";
import type { Erasures } from "../log/erasures.ts";
import type { EventReader } from "../log/event-store.ts";
import type { EventPlace } from "../log/store-reader.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { happenedAtMs } from "../vocabulary/moment.ts";

export interface Look {
  /** The reads, as of then. */
  readonly reader: EventReader;
  /** The order in which states and documents are folded. */
  readonly order: "occurred" | "recorded";
  /** Where states may begin from; `undefined` where not all events count, or not in the order of recording. */
  readonly snapshots: SnapshotFinder | undefined;
  readonly registry: EventRegistry;
  /** What was folded before one of these is not handed out any more. */
  readonly erasures: Erasures;
  /** The events from one position to another that mention one of these texts anywhere; all that are there then. */
  mentioning(texts: readonly string[], from: number, to: number, signal?: AbortSignal): AsyncIterable<RecordedEvent>;
  /** The ids of the events from one position to another, whether or not they had happened. */
  ids(from: number, to: number, signal?: AbortSignal): AsyncIterable<EventPlace>;
  /**
   * The first version that a stream still has, where it had events then, and all of those are truncated. Throws
   * `stream-deleted`.
   */
  truncatedBehind(streamName: string): Promise<number | undefined>;
  /** The last position that was recorded at or before a time. */
  positionAt(timeMs: number): Promise<number>;
}

/** The most events, and bytes of them, that are held in memory to put them in the order in which they happened. */
export const orderedEventsMax = 100_000;
export const orderedBytesMax: number = 64 * 1024 * 1024;

/** Events in the order in which they happened; those of one moment, in that of recording. Throws `overloaded` for too many. */
export async function inOrderOfHappening(
  events: AsyncIterable<RecordedEvent>,
  eventsMax: number = orderedEventsMax,
): Promise<readonly RecordedEvent[]> {
  const held: RecordedEvent[] = [];
  let bytes = 0;
  for await (const event of events) {
    held.push(event);
    bytes += weigh(event.data) ?? orderedBytesMax;
    if (held.length > eventsMax || bytes > orderedBytesMax) {
      const bounds = `${eventsMax} events and ${orderedBytesMax} bytes`;
      throw new OverloadedError(`The order in which events happened can be had of at most ${bounds}`);
    }
  }
  // Sorting is stable, so the parts of a split event stay in order.
  return held.sort((one, other) => happenedAtMs(one) - happenedAtMs(other) || one.position - other.position);
}
