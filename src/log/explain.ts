/** A commit whose conditions did not hold: does it repeat one that is stored already, and if not, what stands in its way? */

import { ConflictError, EventStoreError, printable } from "../errors.ts";
import { readHeader, type StoredEvent } from "../format/envelope.ts";
import type { CommitRecord } from "../format/records.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { PreparedAppend, PreparedCommit } from "./commit.ts";
import type { Conflict } from "./judge.ts";
import type { StoreReader } from "./store-reader.ts";

/** The most events that a `ConflictError` carries. */
export const conflictingEventsMax = 16;

export interface ExplainOptions {
  readonly reader: StoreReader;
  readonly registry: EventRegistry;
}

interface Place {
  readonly version: number;
  readonly position: number;
  readonly recordedAtMs: number;
}

/** The first result, where the commit's ids show that it is a retry; else the `ConflictError` to throw. */
export async function explainConflict(
  commit: PreparedCommit,
  conflict: Conflict,
  options: ExplainOptions,
): Promise<CommitRecord | EventStoreError> {
  const repeated = await findRepeated(commit, conflict, options);
  if (repeated !== undefined) return repeated;
  const conflictingEvents = await findConflicting(commit, conflict, options);
  if (conflict.kind === "match") {
    const message = `An event that must not be there is at position ${conflict.position}`;
    return new ConflictError(message, { conflictingEvents });
  }
  const { streamName, expectedVersion, actualVersion } = conflict;
  const message = `Stream ${printable(streamName)} is at version ${actualVersion}, not as expected: ${expectedVersion}`;
  return new ConflictError(message, { streamName, expectedVersion, actualVersion, conflictingEvents });
}

async function findRepeated(
  commit: PreparedCommit,
  conflict: Conflict,
  options: ExplainOptions,
): Promise<CommitRecord | undefined> {
  if (!commit.appends.every((append) => append.events.every((event) => event.idGiven))) return undefined;
  const streams: { streamName: string; streamVersion: number }[] = [];
  let last: Place | undefined;
  for (const append of commit.appends) {
    const place = await lastPlaceOf(append, commit, conflict, options);
    if (place === undefined) return undefined;
    streams.push({ streamName: append.streamName, streamVersion: place.version });
    if (last === undefined || place.position > last.position) last = place;
  }
  if (last === undefined) return undefined;
  return { position: last.position, recordedAtMs: last.recordedAtMs, streams, eventCount: commit.eventCount };
}

/** Where the last event of an append stands, if all of them are stored, in order. */
async function lastPlaceOf(
  append: PreparedAppend,
  commit: PreparedCommit,
  conflict: Conflict,
  options: ExplainOptions,
): Promise<Place | undefined> {
  const { events, expectedVersion, streamName } = append;
  if (expectedVersion === "any" || expectedVersion === "stream-exists") {
    return conflict.kind === "match" ? await lastMatched(append, commit, conflict, options) : undefined;
  }
  const base = expectedVersion === "no-stream" ? 0 : expectedVersion;
  const stored = await options.reader.streamRange(streamName, base + 1, base + events.length);
  if (stored.length !== events.length || (stored.at(-1)?.position ?? 0) > conflict.judgedAt) return undefined;
  return stored.every((event, index) => readHeader(event.bytes).id === events[index]?.id)
    ? placeOf(stored.at(-1))
    : undefined;
}

function placeOf(stored: StoredEvent | undefined): Place | undefined {
  if (stored === undefined) return undefined;
  return { version: stored.version, position: stored.position, recordedAtMs: readHeader(stored.bytes).recordedAtMs };
}

/** A retry under a condition by query, older than the recent ids: its own events are what the query finds first. */
async function lastMatched(
  append: PreparedAppend,
  commit: PreparedCommit,
  conflict: Conflict & { readonly kind: "match" },
  options: ExplainOptions,
): Promise<Place | undefined> {
  const wanted = new Set(append.events.map((event) => event.id));
  let last: Place | undefined;
  let looked = 0;
  // By their headers: an event that cannot be read is no reason not to know what became of the commit.
  for await (const list of options.reader.stored(conflict.position, conflict.judgedAt, commit.failIfMatch?.filter)) {
    for (const stored of list) {
      looked += 1;
      if (stored.streamName === append.streamName && wanted.delete(readHeader(stored.bytes).id)) last = placeOf(stored);
      if (wanted.size === 0) return last;
      if (looked >= conflictingEventsMax + append.events.length) return undefined;
    }
  }
  return undefined;
}

async function findConflicting(
  commit: PreparedCommit,
  conflict: Conflict,
  { reader, registry }: ExplainOptions,
): Promise<readonly RecordedEvent[]> {
  const found: RecordedEvent[] = [];
  try {
    if (conflict.kind === "match") {
      for await (const event of reader.read(conflict.position, conflict.judgedAt, commit.failIfMatch?.filter)) {
        found.push(event);
        if (found.length >= conflictingEventsMax) break;
      }
    } else if (conflict.expectedVersion === "no-stream" || typeof conflict.expectedVersion === "number") {
      const base = conflict.expectedVersion === "no-stream" ? 0 : conflict.expectedVersion;
      const stored = await reader.streamRange(
        conflict.streamName,
        base + 1,
        Math.min(conflict.actualVersion, base + conflictingEventsMax),
      );
      await registry.fetchKeys(stored);
      for (const event of stored) found.push(...registry.read(event));
    }
  } catch (error) {
    // The conflict is certain; that an event in its way cannot be read does not change it.
    if (!(error instanceof EventStoreError) || error.code !== "unreadable-event") throw error;
  }
  return found.slice(0, conflictingEventsMax);
}
