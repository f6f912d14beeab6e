/**
 * What the store has recorded of events that are gone from the log: readers that meet a hole ask here whether it is one that
 * was made on purpose. Records only grow, so what was read once stays true, and only what was not found is asked for again.
 */

import { type DroppedRun, type DroppedSegment, decodeDroppedRuns, decodeDroppedSegment } from "../format/dropped.ts";
import {
  droppedDigestsKey,
  droppedRunsKey,
  droppedRunsSpan,
  segmentOf,
  segmentOfDroppedKey,
} from "../format/key-families.ts";
import type { KvReader } from "../kv/kv.ts";

/** The most segments of which the dropped positions are kept in memory. */
const segmentsKept = 256;
/** Segments read at once along a long gap. */
const rowsAtOnce = 32;

export class DroppedEvents {
  readonly #kv: KvReader;
  readonly #known = new Map<number, readonly DroppedRun[]>();

  constructor(kv: KvReader) {
    this.#kv = kv;
  }

  /** The first position from `from` to `to` that is not recorded as dropped; `undefined` where all of them are. */
  async firstMissing(from: number, to: number): Promise<number | undefined> {
    let next = this.#passKnown(from, to);
    if (next > to) return undefined;
    for await (const run of this.runs(next, to)) {
      if (run.fromPosition > next) break;
      next = run.toPosition + 1;
    }
    return next > to ? undefined : next;
  }

  /** The runs of dropped positions from `from` to `to`, cut to that range; one that crosses a segment comes in parts. */
  async *runs(from: number, to: number): AsyncGenerator<DroppedRun> {
    if (from > to) return;
    const lastSegment = segmentOf(to);
    const cursor = await this.#kv.scan(droppedRunsSpan(segmentOf(from)), "lookup");
    try {
      for (let rowsMax = 1; ; rowsMax = rowsAtOnce) {
        const rows = await cursor.next(rowsMax);
        if (rows.length === 0) return;
        for (const row of rows) {
          const segment = segmentOfDroppedKey(row.key);
          if (segment > lastSegment) return;
          const { runs } = decodeDroppedRuns(row);
          this.#keep(segment, runs);
          yield* cut(runs, from, to);
        }
      }
    } finally {
      cursor.close();
    }
  }

  /** The first position from `from` on that memory does not know as dropped. */
  #passKnown(from: number, to: number): number {
    let next = from;
    while (next <= to) {
      const run = this.#known.get(segmentOf(next))?.find((one) => one.fromPosition <= next && next <= one.toPosition);
      if (run === undefined) break;
      next = run.toPosition + 1;
    }
    return next;
  }

  #keep(segment: number, runs: readonly DroppedRun[]): void {
    this.#known.delete(segment);
    this.#known.set(segment, runs);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= segmentsKept) break;
      this.#known.delete(oldest);
    }
  }
}

function* cut(runs: readonly DroppedRun[], from: number, to: number): Generator<DroppedRun> {
  for (const run of runs) {
    const fromPosition = Math.max(run.fromPosition, from);
    const toPosition = Math.min(run.toPosition, to);
    if (fromPosition <= toPosition) yield { ...run, fromPosition, toPosition };
  }
}

/** What is recorded of these segments, digests included, of those that have anything. */
export async function loadDropped(
  kv: KvReader,
  segments: readonly number[],
): Promise<ReadonlyMap<number, DroppedSegment>> {
  const keys = segments.flatMap((segment) => [droppedRunsKey(segment), droppedDigestsKey(segment)]);
  const values = await kv.getMany(keys);
  const found = new Map<number, DroppedSegment>();
  for (const [index, segment] of segments.entries()) {
    const [runs, digests] = [values[index * 2], values[index * 2 + 1]];
    if (runs === undefined) continue;
    const digestsRow = { key: droppedDigestsKey(segment), value: digests ?? new Uint8Array(0) };
    found.set(segment, decodeDroppedSegment({ key: droppedRunsKey(segment), value: runs }, digestsRow));
  }
  return found;
}
