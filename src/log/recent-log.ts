/**
 * The newest durable events in memory, in the segments of the index: what has not been indexed yet, the window in which
 * event ids are remembered, what conditions by query look at first, and what live subscribers share. Bounded by segments;
 * the events' bytes, and what was decoded of them, by bytes.
 */

import { type EventSummary, readHeader, type StoredEvent } from "../format/envelope.ts";
import { indexSegmentSize, segmentOf } from "../format/key-families.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import { type Postings, TermIndex } from "./term-index.ts";

/** Ids of the events of at least so many whole segments, the newest ones, are remembered (and at most a segment more). */
export const recentSegmentsMin = 10;
/** The most bytes of encoded events that stay for live subscribers. */
export const recentBytesMax: number = 8 * 1024 * 1024;

export interface RecentEvent extends EventSummary {
  readonly streamName: string;
  readonly category: string;
  readonly version: number;
  readonly position: number;
  readonly recordedAtMs: number;
  /** Present while it is among the newest `recentBytesMax` bytes. */
  stored: StoredEvent | undefined;
  /** Decoded once, for all who ask. */
  recorded: readonly RecordedEvent[] | undefined;
  /** The id, where the caller chose it. */
  readonly givenId: string | undefined;
}

/** Ids are those of a stream: two sources may well use the same. */
export function idKey(streamName: string, id: string): string {
  return `${streamName.length}:${streamName}${id}`;
}

interface Segment {
  readonly segment: number;
  readonly events: RecentEvent[];
  readonly terms: TermIndex;
  /** The id keys of events that were dropped: remembered, and forgotten with the segment. */
  readonly droppedIds: string[];
}

export function toRecent(
  stored: StoredEvent,
  recordedAtMs: number,
  known: EventSummary & { id: string; idGiven: boolean },
): RecentEvent {
  return {
    type: known.type,
    tags: known.tags,
    streamName: stored.streamName,
    category: categoryOf(stored.streamName),
    version: stored.version,
    position: stored.position,
    recordedAtMs,
    stored,
    recorded: undefined,
    givenId: known.idGiven ? known.id : undefined,
  };
}

/** An event read back from storage. */
export function recentFromStored(stored: StoredEvent): RecentEvent {
  const header = readHeader(stored.bytes);
  return toRecent(stored, header.recordedAtMs, header);
}

export class RecentLog {
  #segments: Segment[] = [];
  #ids = new Map<string, RecentEvent>();
  #lastPosition: number;
  #bytes = 0;
  /** From here on everything is here that was not dropped. */
  #firstPosition: number;
  /** From here on events have their bytes. */
  #firstWithBytes: number;

  /** `lastPosition`: that of the event before the first one that will be added. */
  constructor(lastPosition: number) {
    this.#lastPosition = lastPosition;
    this.#firstPosition = lastPosition + 1;
    this.#firstWithBytes = lastPosition + 1;
  }

  get lastPosition(): number {
    return this.#lastPosition;
  }

  /** All events from this position on are here; `lastPosition + 1` where none is. */
  get firstPosition(): number {
    return this.#firstPosition;
  }

  /** All events from this position on can be handed out from here. */
  get firstReadable(): number {
    return this.#firstWithBytes;
  }

  /**
   * Adds durable events in order; forgets whole old segments, but none after `indexedTo`. `upTo`: the position that the log has
   * come to with them, where the last ones were dropped; positions in between that no event has were dropped, too.
   */
  add(events: readonly RecentEvent[], indexedTo: number, upTo?: number): void {
    for (const event of events) {
      const last = this.#segmentAt(event.position);
      last.events.push(event);
      last.terms.add(event.position, event);
      if (event.givenId !== undefined) this.#ids.set(idKey(event.streamName, event.givenId), event);
      this.#bytes += event.stored?.bytes.length ?? 0;
      this.#lastPosition = event.position;
    }
    if (upTo !== undefined && upTo > this.#lastPosition) {
      this.#segmentAt(upTo);
      this.#lastPosition = upTo;
    }
    this.#forgetSegments(indexedTo);
    this.#forgetBytes();
  }

  /** Takes over all of another log and forgets its own, for who has fallen too far behind to go on from here. */
  takeOver(other: RecentLog): void {
    this.#segments = other.#segments;
    this.#ids = other.#ids;
    this.#lastPosition = other.#lastPosition;
    this.#bytes = other.#bytes;
    this.#firstPosition = other.#firstPosition;
    this.#firstWithBytes = other.#firstWithBytes;
  }

  /** The event at a position; `undefined` where it is not here, or was dropped. */
  find(position: number): RecentEvent | undefined {
    const events = this.#segmentOf(position)?.events;
    return events?.[indexIn(events, position)];
  }

  /**
   * Up to `eventsMax` events from position `from`, which is readable here, to `to`, with their bytes; and where to go on, which
   * is behind those that were dropped.
   */
  slice(
    from: number,
    to: number,
    eventsMax: number,
  ): { readonly events: readonly (readonly [RecentEvent, StoredEvent])[]; readonly next: number } {
    const events: (readonly [RecentEvent, StoredEvent])[] = [];
    let next = from;
    while (next <= to && events.length < eventsMax) {
      const event = this.find(next);
      if (event !== undefined && event.stored === undefined) break;
      if (event?.stored !== undefined) events.push([event, event.stored]);
      next += 1;
    }
    return { events, next };
  }

  /** Lets go of events that were dropped from the log. Their ids are remembered as long as those of others. */
  drop(positions: Iterable<number>): void {
    for (const position of positions) {
      const events = this.#segmentOf(position)?.events ?? [];
      const index = indexIn(events, position);
      const event = events[index];
      if (event === undefined) continue;
      if (event.givenId !== undefined) {
        this.#segmentOf(position)?.droppedIds.push(idKey(event.streamName, event.givenId));
      }
      this.#bytes -= event.stored?.bytes.length ?? 0;
      event.stored = undefined;
      event.recorded = undefined;
      events.splice(index, 1);
    }
  }

  /** The event that a caller stored in the stream under this id, if it is recent. */
  findGivenId(streamName: string, id: string): RecentEvent | undefined {
    return this.#ids.get(idKey(streamName, id));
  }

  /** Positions after `afterPosition`, at most `toPosition`, that match; both within what is here. */
  matching(filter: CheckedFilter & object, afterPosition: number, toPosition: number): Postings {
    const found: number[] = [];
    for (const { segment, terms } of this.#segments) {
      if ((segment + 1) * indexSegmentSize <= afterPosition) continue;
      if (segment * indexSegmentSize >= toPosition) break;
      for (const position of terms.evaluate(filter)) {
        if (position > afterPosition && position <= toPosition) found.push(position);
      }
    }
    return found;
  }

  /** The terms of a segment that is complete, for the index. */
  completeSegment(segment: number): TermIndex | undefined {
    if ((segment + 1) * indexSegmentSize > this.#lastPosition) return undefined;
    const first = this.#segments[0]?.segment;
    return first === undefined ? undefined : this.#segments[segment - first]?.terms;
  }

  #segmentOf(position: number): Segment | undefined {
    const first = this.#segments[0]?.segment;
    return first === undefined ? undefined : this.#segments[segmentOf(position) - first];
  }

  /** The segment that a position behind all others belongs to; those before it, whose events were dropped, are there, too. */
  #segmentAt(position: number): Segment {
    const wanted = segmentOf(position);
    for (;;) {
      const last = this.#segments.at(-1);
      if (last?.segment === wanted) return last;
      const segment = last === undefined ? segmentOf(this.#lastPosition + 1) : last.segment + 1;
      this.#segments.push({ segment, events: [], terms: new TermIndex(), droppedIds: [] });
    }
  }

  #forgetSegments(indexedTo: number): void {
    while (this.#segments.length > recentSegmentsMin + 1) {
      const oldest = this.#segments[0];
      if (oldest === undefined || (oldest.segment + 1) * indexSegmentSize > indexedTo) return;
      for (const event of oldest.events) {
        const key = event.givenId === undefined ? undefined : idKey(event.streamName, event.givenId);
        if (key !== undefined && this.#ids.get(key) === event) this.#ids.delete(key);
        this.#bytes -= event.stored?.bytes.length ?? 0;
      }
      for (const key of oldest.droppedIds) this.#ids.delete(key);
      this.#segments.shift();
      this.#firstPosition = (oldest.segment + 1) * indexSegmentSize + 1;
      this.#firstWithBytes = Math.max(this.#firstWithBytes, this.#firstPosition);
    }
  }

  #forgetBytes(): void {
    while (this.#bytes > recentBytesMax && this.#firstWithBytes <= this.#lastPosition) {
      const event = this.find(this.#firstWithBytes);
      this.#firstWithBytes += 1;
      if (event === undefined) continue;
      this.#bytes -= event.stored?.bytes.length ?? 0;
      event.stored = undefined;
      event.recorded = undefined;
    }
  }
}

/** Where the event of a position is among those of its segment; -1 where it was dropped. Without drops it is one look. */
function indexIn(events: readonly RecentEvent[], position: number): number {
  const start = events[0]?.position ?? 0;
  const place = position - start;
  if (events[place]?.position === position) return place;
  let lower = 0;
  let upper = events.length - 1;
  while (lower <= upper) {
    const middle = Math.floor((lower + upper) / 2);
    const found = events[middle]?.position ?? 0;
    if (found === position) return middle;
    if (found < position) lower = middle + 1;
    else upper = middle - 1;
  }
  return -1;
}
