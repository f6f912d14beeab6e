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
  /** The oldest event whose bytes are still here. */
  #firstWithBytes: number;

  /** `lastPosition`: that of the event before the first one that will be added. */
  constructor(lastPosition: number) {
    this.#lastPosition = lastPosition;
    this.#firstWithBytes = lastPosition + 1;
  }

  get lastPosition(): number {
    return this.#lastPosition;
  }

  /** The oldest event that is here; `lastPosition + 1` where none is. */
  get firstPosition(): number {
    return this.#segments[0]?.events[0]?.position ?? this.#lastPosition + 1;
  }

  /** The oldest event that can be handed out from here. */
  get firstReadable(): number {
    return this.#firstWithBytes;
  }

  /** Adds durable events in order; forgets whole old segments, but none after `indexedTo`. */
  add(events: readonly RecentEvent[], indexedTo: number): void {
    for (const event of events) {
      const segment = segmentOf(event.position);
      let last = this.#segments.at(-1);
      if (last === undefined || last.segment !== segment) {
        last = { segment, events: [], terms: new TermIndex() };
        this.#segments.push(last);
      }
      last.events.push(event);
      last.terms.add(event.position, event);
      if (event.givenId !== undefined) this.#ids.set(idKey(event.streamName, event.givenId), event);
      this.#bytes += event.stored?.bytes.length ?? 0;
      this.#lastPosition = event.position;
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
    this.#firstWithBytes = other.#firstWithBytes;
  }

  /** Forgets what was decoded, though not the events. */
  dropDecoded(): void {
    for (const { events } of this.#segments) for (const event of events) event.recorded = undefined;
  }

  find(position: number): RecentEvent | undefined {
    const first = this.#segments[0]?.segment;
    if (first === undefined) return undefined;
    const events = this.#segments[segmentOf(position) - first]?.events;
    const start = events?.[0]?.position;
    return start === undefined ? undefined : events?.[position - start];
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

  #forgetSegments(indexedTo: number): void {
    while (this.#segments.length > recentSegmentsMin + 1) {
      const oldest = this.#segments[0];
      if (oldest === undefined || (oldest.segment + 1) * indexSegmentSize > indexedTo) return;
      for (const event of oldest.events) {
        const key = event.givenId === undefined ? undefined : idKey(event.streamName, event.givenId);
        if (key !== undefined && this.#ids.get(key) === event) this.#ids.delete(key);
        this.#bytes -= event.stored?.bytes.length ?? 0;
      }
      this.#segments.shift();
      this.#firstWithBytes = Math.max(this.#firstWithBytes, this.firstPosition);
    }
  }

  #forgetBytes(): void {
    while (this.#bytes > recentBytesMax) {
      const event = this.find(this.#firstWithBytes);
      if (event === undefined) return;
      this.#bytes -= event.stored?.bytes.length ?? 0;
      event.stored = undefined;
      event.recorded = undefined;
      this.#firstWithBytes += 1;
    }
  }
}
