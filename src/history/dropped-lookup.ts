/**
 * Which positions the log has dropped, asked for by who walks in another order than the log's: streams show the compactor's work
 * half done, for an event goes from the log first and from its stream afterwards.
 */

import { type DroppedRun, decodeDroppedRuns } from "../format/dropped.ts";
import { droppedRunsKey, segmentOf } from "../format/key-families.ts";
import type { KvReader } from "../kv/kv.ts";

/** The most segments of which the dropped positions are in memory. */
const segmentsKept = 4_096;

export class DroppedLookup {
  readonly #kv: KvReader;
  readonly #runs = new Map<number, readonly DroppedRun[]>();

  constructor(kv: KvReader) {
    this.#kv = kv;
  }

  /** Those of the positions, at most a page's, that were not dropped when it was asked. */
  async notDropped(positions: readonly number[]): Promise<ReadonlySet<number>> {
    await this.#load(new Set(positions.map(segmentOf)));
    const isIn = (position: number, { fromPosition, toPosition }: DroppedRun): boolean =>
      fromPosition <= position && position <= toPosition;
    return new Set(
      positions.filter((position) => !this.#runs.get(segmentOf(position))?.some((run) => isIn(position, run))),
    );
  }

  async #load(segments: ReadonlySet<number>): Promise<void> {
    const missing = [...segments].filter((segment) => !this.#runs.has(segment));
    if (missing.length === 0) return;
    if (this.#runs.size + missing.length > segmentsKept) this.#runs.clear();
    const wanted = this.#runs.size === 0 ? [...segments] : missing;
    const values = await this.#kv.getMany(wanted.map(droppedRunsKey));
    for (const [index, segment] of wanted.entries()) {
      const value = values[index];
      const runs = value === undefined ? [] : decodeDroppedRuns({ key: droppedRunsKey(segment), value }).runs;
      this.#runs.set(segment, runs);
    }
  }
}
