/**
 * Takes events out of pages of the log: which rows change, and what is kept of the events. Pure: pages in, operations out, to
 * be written in one batch, because a hole that is not recorded is damage. Positions that were dropped before stay as they are.
 */

import { digestBytes, eventDigest } from "./chain.ts";
import { type DroppedRun, type DroppedSegment, type DropReason, encodeDroppedSegment } from "./dropped.ts";
import type { StoredEvent } from "./envelope.ts";
import { segmentOf } from "./key-families.ts";
import { decodeGlobalPage, encodeGlobalPage, type RowOperation, type StoredRow } from "./pages.ts";

export interface DropPlan {
  /** Pages put and deleted, and the records of what is gone: all of it, or none. */
  readonly operations: readonly RowOperation[];
  /** The events that are gone with it, in the order of their positions. */
  readonly dropped: readonly StoredEvent[];
}

/** The segments whose records `dropFromPages` needs to know: those in which something is to be dropped. */
export function segmentsOfDrops(positions: Iterable<number>): readonly number[] {
  return [...new Set(Array.from(positions, segmentOf))].sort((left, right) => left - right);
}

/**
 * Takes the events at the positions in `reasons` out of `pages`, rows of the global log in ascending order. `known`: what is
 * recorded of the segments of those positions so far, where anything is. Positions that no page holds are left alone.
 */
export function dropFromPages(
  pages: readonly StoredRow[],
  reasons: ReadonlyMap<number, DropReason>,
  known: ReadonlyMap<number, DroppedSegment>,
): DropPlan {
  const operations: RowOperation[] = [];
  const dropped: StoredEvent[] = [];
  for (const page of pages) {
    const events = decodeGlobalPage(page);
    const kept = events.filter(({ position }) => !reasons.has(position));
    if (kept.length === events.length) continue;
    for (const event of events) if (reasons.has(event.position)) dropped.push(event);
    const row = kept.length === 0 ? undefined : encodeGlobalPage(kept);
    if (row !== undefined) operations.push({ kind: "put", ...row });
    if (row === undefined || !row.key.equals(page.key)) operations.push({ kind: "delete", key: page.key });
  }
  for (const [segment, events] of Map.groupBy(dropped, ({ position }) => segmentOf(position))) {
    const entries = [...entriesOf(known.get(segment)), ...newEntries(events, reasons)];
    const merged = mergeEntries(segment, entries, known.get(segment)?.extension ?? new Uint8Array(0));
    for (const row of encodeDroppedSegment(merged)) operations.push({ kind: "put", ...row });
  }
  return { operations, dropped };
}

interface DroppedEntry {
  readonly position: number;
  readonly reason: DropReason;
  readonly digest: Uint8Array;
}

/** The dropped positions of a segment, each with its digest. */
export function* entriesOf(dropped: DroppedSegment | undefined): Generator<DroppedEntry> {
  if (dropped === undefined) return;
  let at = 0;
  for (const { fromPosition, toPosition, reason } of dropped.runs) {
    for (let position = fromPosition; position <= toPosition; position += 1, at += digestBytes) {
      yield { position, reason, digest: dropped.digests.subarray(at, at + digestBytes) };
    }
  }
}

function newEntries(events: readonly StoredEvent[], reasons: ReadonlyMap<number, DropReason>): DroppedEntry[] {
  return events.flatMap((event) => {
    const reason = reasons.get(event.position);
    return reason === undefined ? [] : [{ position: event.position, reason, digest: eventDigest(event) }];
  });
}

function mergeEntries(segment: number, entries: readonly DroppedEntry[], extension: Uint8Array): DroppedSegment {
  const sorted = entries.toSorted((left, right) => left.position - right.position);
  const runs: DroppedRun[] = [];
  for (const { position, reason } of sorted) {
    const last = runs.at(-1);
    const continues = last !== undefined && last.toPosition + 1 === position && last.reason === reason;
    if (continues) runs[runs.length - 1] = { ...last, toPosition: position };
    else runs.push({ fromPosition: position, toPosition: position, reason });
  }
  return { segment, runs, digests: Buffer.concat(sorted.map(({ digest }) => digest)), extension };
}
