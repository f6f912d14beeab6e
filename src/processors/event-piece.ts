/**
 * A piece of the log in memory, shared by all processors that are about there. Events stay as they are stored until somebody
 * wants them, and are decoded once for all who do: what no handler asks for is never decoded.
 */

import { StorageCorruptError, UnreadableEventError } from "../errors.ts";
import { readSummary, type StoredEvent } from "../format/envelope.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, type Filterable, matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { ReadBatch } from "./processor.ts";

/** What somebody wants of a piece. */
export interface Wanted {
  /** As given: what was decoded must pass it. */
  readonly filter: CheckedFilter;
  /** The same over the names that events are stored under. */
  readonly storedFilter: CheckedFilter;
  readonly batchEventsMax: number;
}

/** Decodes a stored event: mostly one event, several or none where an upcaster split it. Throws `unreadable-event`. */
export type Decode = (stored: StoredEvent) => readonly RecordedEvent[];

export class PieceEntry {
  readonly stored: StoredEvent;
  #summary: Filterable | undefined;
  #decoded: readonly RecordedEvent[] | UnreadableEventError | undefined;

  constructor(stored: StoredEvent) {
    this.stored = stored;
  }

  /** What filters look at, under the names that it is stored with. Throws `storage-corrupt` where they are damaged. */
  get summary(): Filterable {
    if (this.#summary === undefined) {
      const { type, tags } = readSummary(this.stored.bytes);
      this.#summary = { type, tags, category: categoryOf(this.stored.streamName) };
    }
    return this.#summary;
  }

  /** The type that it is stored under; `undefined` where that is damaged. */
  get type(): string | undefined {
    try {
      return this.summary.type;
    } catch (error) {
      if (error instanceof StorageCorruptError) return undefined;
      throw error;
    }
  }

  /** Whether it may be wanted; of one whose names cannot be read nobody knows, so everybody comes to hear of it. */
  mayMatch(storedFilter: CheckedFilter): boolean {
    if (storedFilter === undefined) return true;
    try {
      return matches(storedFilter, this.summary);
    } catch (error) {
      if (error instanceof StorageCorruptError) return true;
      throw error;
    }
  }

  /** The events, or why they cannot be read. */
  decoded(decode: Decode): readonly RecordedEvent[] | UnreadableEventError {
    if (this.#decoded === undefined) {
      try {
        this.#decoded = decode(this.stored);
      } catch (error) {
        if (!(error instanceof UnreadableEventError)) throw error;
        this.#decoded = error;
      }
    }
    return this.#decoded;
  }
}

/** All events from `from` to `to`, and the bytes that they have. */
export interface Piece {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  readonly entries: readonly PieceEntry[];
}

/** What of a piece, from a position on, somebody wants; it ends before the first event that is wanted and cannot be read. */
export function batchFrom(
  piece: Piece,
  { filter, storedFilter, batchEventsMax }: Wanted,
  from: number,
  registry: EventRegistry,
  decode: Decode,
): ReadBatch {
  const events: RecordedEvent[] = [];
  let to = from - 1;
  for (const entry of piece.entries) {
    const { position } = entry.stored;
    if (position < from) continue;
    if (entry.mayMatch(storedFilter)) {
      // Only between stored events: the parts of a split one come together.
      if (events.length >= batchEventsMax) return { events, fromPosition: from, toPosition: to };
      const decoded = entry.decoded(decode);
      if (decoded instanceof UnreadableEventError)
        return { events, fromPosition: from, toPosition: position - 1, unreadable: decoded };
      for (const event of decoded) if (registry.passes(filter, event)) events.push(event);
    }
    to = position;
  }
  return { events, fromPosition: from, toPosition: piece.to };
}

/** The types that a filter is about; `undefined` where it may be about any. */
export function typesOf(filter: CheckedFilter): ReadonlySet<string> | undefined {
  if (filter === undefined || filter.some((clause) => clause.types === undefined)) return undefined;
  return new Set(filter.flatMap((clause) => clause.types ?? []));
}
