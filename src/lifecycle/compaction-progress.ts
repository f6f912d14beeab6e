/**
 * Up to where the compactor has come: one row, written behind what it says. A pass that is broken off before begins again
 * where the row says, and finds what it has merged already merged. A row that is damaged costs a walk over the log, no more.
 */

import { decodeCompactionRecord, encodeCompactionRecord } from "../format/compaction-record.ts";
import { compactionKey } from "../format/key-families.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";

export interface CompactionProgress {
  /** The pages of the log up to here are as large as they will be. */
  readonly logTo: number;
  /** The streams that were appended to up to here have been looked after. */
  readonly streamsTo: number;
  /** The index up to here is merged: a multiple of what is merged at once. */
  readonly indexTo: number;
  readonly paused: boolean;
}

export const noProgress: CompactionProgress = { logTo: 0, streamsTo: 0, indexTo: 0, paused: false };

const progressKey: Buffer = compactionKey("progress");

/** The progress as it is stored; none where there is none, or where it is damaged, of which `warn` is told. */
export async function loadProgress(core: StoreCore): Promise<CompactionProgress> {
  const value = await core.rows.get(progressKey);
  if (value === undefined) return noProgress;
  try {
    const kept = decodeCompactionRecord({ key: progressKey, value });
    const upTo = (position: unknown): number =>
      typeof position === "number" && position > 0 ? Math.min(position, core.lastPosition()) : 0;
    return {
      logTo: upTo(kept.logTo),
      streamsTo: upTo(kept.streamsTo),
      indexTo: upTo(kept.indexTo),
      paused: kept.paused === true,
    };
  } catch (error) {
    core.warn(error);
    return noProgress;
  }
}

/** The row of a progress. */
export function progressRow(progress: CompactionProgress): KvOperation {
  return { kind: "put", ...encodeCompactionRecord(progressKey, progress) };
}
