/**
 * Merges the rows of the index: of each name that occurs in several segments of a stretch of the log, the rows become one. What
 * stands in them is worked out from the log anew, so events that are gone are gone from the index, too; where a page of the
 * stretch is damaged its rows stay as they are, because they say what the page does not.
 */

import { StorageCorruptError } from "../errors.ts";
import { readSummary } from "../format/envelope.ts";
import {
  globalPageSpan,
  indexKey,
  indexSegmentSize,
  lastPositionOfGlobalPageKey,
  logEndKey,
  segmentOf,
} from "../format/key-families.ts";
import { decodeGlobalPage } from "../format/pages.ts";
import { decodeLogEnd, encodeMergedPostings, encodePostings } from "../format/records.ts";
import type { KvOperation } from "../kv/kv.ts";
import { type IndexTerm, type Postings, TermIndex } from "../log/term-index.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { LifecyclePass } from "./lifecycle-step.ts";

/** So many positions are merged at once: sixteen segments. */
export const indexStretch: number = 16 * indexSegmentSize;
/** A stretch with more names than this stays as it is: most of them occur once, and merging them would take too much memory. */
const namesMax = 200_000;
const rowsAtOnce = 16;

/** Merges the stretch behind `from`, if the index is complete up to its end; answers up to where the index is merged then. */
export async function mergeIndex(pass: LifecyclePass, from: number): Promise<number> {
  const to = from + indexStretch;
  const value = await pass.core.rows.get(logEndKey);
  if (value === undefined || decodeLogEnd(value).indexedTo < to) return from;
  const terms = await termsOf(pass, from + 1, to);
  if (terms === undefined) return to;
  let noted = false;
  for (const { term, positions } of terms.entries()) {
    const segments = Map.groupBy(positions, segmentOf);
    if (segments.size < 2) continue;
    if (!noted) await pass.core.useFamilies(["mergedIndex"]);
    noted = true;
    await mergeTerm(pass, term, positions, segments);
  }
  return to;
}

async function mergeTerm(
  pass: LifecyclePass,
  { kind, value }: IndexTerm,
  positions: Postings,
  segments: ReadonlyMap<number, Postings>,
): Promise<void> {
  const last = Math.max(...segments.keys());
  const key = indexKey(kind, value, last);
  const merged = encodeMergedPostings(key, positions);
  const operations: KvOperation[] = [];
  let bytesFreed = -merged.length;
  for (const [segment, own] of segments) {
    const old = indexKey(kind, value, segment);
    bytesFreed += encodePostings(old, segment, own).length;
    if (segment === last) continue;
    bytesFreed += old.length;
    operations.push({ kind: "delete", key: old });
  }
  operations.push({ kind: "put", key, value: merged });
  await pass.maintain(operations, { indexRowsMerged: segments.size, indexRowsWritten: 1, bytesFreed });
}

/** The names of the events from `from` to `to`; none where that cannot be told, or would be too much. */
async function termsOf(pass: LifecyclePass, from: number, to: number): Promise<TermIndex | undefined> {
  const terms = new TermIndex();
  const names = new Set<string>();
  const cursor = await pass.core.rows.scan(globalPageSpan(from), "replay");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      for (const row of rows) {
        for (const { streamName, position, bytes } of decodeGlobalPage(row)) {
          if (position < from || position > to) continue;
          const { type, tags } = readSummary(bytes);
          terms.add(position, { type, category: categoryOf(streamName), tags });
          for (const tag of tags) names.add(tag);
        }
        if (names.size > namesMax) return undefined;
        if (lastPositionOfGlobalPageKey(row.key) >= to) return terms;
      }
      await pass.breathe();
    }
    return terms;
  } catch (error) {
    if (error instanceof StorageCorruptError) return undefined;
    throw error;
  } finally {
    cursor.close();
  }
}
