/**
 * What is kept of events that are gone from the log: which positions they had, why they went, and their digests, so that a
 * hole can be told from damage and the hash chain still holds. In segments of 1,024 positions, each in two rows, because who
 * passes over a gap needs no digests, and those are 32 bytes each.
 *
 * runs: seal | count | { step from the end of the run before, length, reason (1) } x count | extension
 * digests: seal | { digest (32) } x positions, in their order
 */

import { InternalError, StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { digestBytes } from "./chain.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { droppedDigestsKey, droppedRunsKey, indexSegmentSize, segmentOfDroppedKey } from "./key-families.ts";
import type { PageRow, StoredRow } from "./pages.ts";

const runsKind = 0x34;
const digestsKind = 0x35;

/**
 * Why an event is gone: it was too old or one too many for its stream's retention, its stream was truncated or deleted, or it
 * lives on in an archive.
 */
export type DropReason = "expired" | "excess" | "truncated" | "deleted" | "archived";

const reasonCodes: Readonly<Record<DropReason, number>> = {
  expired: 1,
  excess: 2,
  truncated: 3,
  deleted: 4,
  archived: 5,
};

const reasonsByCode: ReadonlyMap<number, DropReason> = new Map(
  Object.entries(reasonCodes).map(([reason, code]) => [code, reason as DropReason]),
);

/** Consecutive positions without an event, gone for one reason. */
export interface DroppedRun {
  readonly fromPosition: number;
  readonly toPosition: number;
  readonly reason: DropReason;
}

/** The dropped positions of a segment, ascending. */
export interface DroppedRuns {
  readonly segment: number;
  readonly runs: readonly DroppedRun[];
  /** What a later version has put here: kept as it is. */
  readonly extension: Uint8Array;
}

/** The same with the digests, 32 bytes each, in the order of the positions. */
export interface DroppedSegment extends DroppedRuns {
  readonly digests: Uint8Array;
}

export function droppedCount(runs: readonly DroppedRun[]): number {
  return runs.reduce((sum, run) => sum + run.toPosition - run.fromPosition + 1, 0);
}

/** Both rows of a segment. */
export function encodeDroppedSegment(dropped: DroppedSegment): readonly [runs: PageRow, digests: PageRow] {
  const { segment, runs, digests, extension } = dropped;
  if (droppedCount(runs) * digestBytes !== digests.length) {
    throw new InternalError("A segment of dropped events has not as many digests as positions");
  }
  const writer = new ByteWriter(64 + digests.length);
  beginSealed(writer, runsKind);
  writer.varint(runs.length);
  let before = segment * indexSegmentSize;
  for (const { fromPosition, toPosition, reason } of runs) {
    writer.varint(fromPosition - before);
    writer.varint(toPosition - fromPosition + 1);
    writer.byte(reasonCodes[reason]);
    before = toPosition;
  }
  writer.block(extension);
  const runsKey = droppedRunsKey(segment);
  const runsRow = { key: runsKey, value: seal(writer, runsKey) };
  writer.reset();
  beginSealed(writer, digestsKind);
  writer.raw(digests);
  const digestsKey = droppedDigestsKey(segment);
  return [runsRow, { key: digestsKey, value: seal(writer, digestsKey) }];
}

/** Throws `storage-corrupt` for what is damaged, or lies outside its segment. */
export function decodeDroppedRuns(row: StoredRow): DroppedRuns {
  const what = "A list of dropped events";
  const reader = openSealed(row.key, row.value, runsKind, what);
  const segment = segmentOfDroppedKey(row.key);
  const runs: DroppedRun[] = [];
  let before = segment * indexSegmentSize;
  for (let left = reader.varint(); left > 0; left -= 1) {
    const fromPosition = before + reader.varint();
    const toPosition = fromPosition + reader.varint() - 1;
    const reason = reasonsByCode.get(reader.byte());
    if (reason === undefined) throw new StorageCorruptError(`${what} was stored by a newer version of Strata`);
    const inside = fromPosition > before && toPosition >= fromPosition;
    if (!inside || toPosition > (segment + 1) * indexSegmentSize) {
      throw new StorageCorruptError(`${what} names positions outside its segment`);
    }
    runs.push({ fromPosition, toPosition, reason });
    before = toPosition;
  }
  return { segment, runs, extension: Uint8Array.from(reader.block()) };
}

/** Both rows of a segment, as they were read together. Throws `storage-corrupt` also where they do not fit each other. */
export function decodeDroppedSegment(runsRow: StoredRow, digestsRow: StoredRow): DroppedSegment {
  const dropped = decodeDroppedRuns(runsRow);
  const what = "A list of digests of dropped events";
  const reader = openSealed(digestsRow.key, digestsRow.value, digestsKind, what);
  const digests = reader.raw(reader.remaining);
  if (
    segmentOfDroppedKey(digestsRow.key) !== dropped.segment ||
    digests.length !== droppedCount(dropped.runs) * digestBytes
  ) {
    throw new StorageCorruptError(`${what} does not fit the positions that were dropped`);
  }
  return { ...dropped, digests };
}
