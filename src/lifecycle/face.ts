/** What a store offers for the life cycle of its events, as its users see it. Pure types. */

import type { ReclaimProgress } from "../kv/kv.ts";
import type { CompactionReport } from "./compactor.ts";
import type { RetentionFace } from "./retention-face.ts";

/** What may be said beside a pass of the compactor. */
export interface CompactOptions {
  /** Ends the pass between two of its commits: rejects with the signal's reason, and what was done stays done. */
  readonly signal?: AbortSignal;
  /**
   * Whether to have the storage itself give the bytes back afterwards, instead of whenever the engine comes to it: everything is
   * rewritten without what was deleted, and what that replaced is waited for until it is gone, which takes a quarter of an hour
   * at least. Reads and writes go on, and wait three times for a second or so. Default: false.
   */
  readonly reclaim?: boolean;
  /** Told what `reclaim` does and waits for, every few seconds. */
  readonly onProgress?: (progress: ReclaimProgress) => void;
}

/** Looking after what was stored. */
export interface LifecycleFace extends RetentionFace {
  /**
   * One pass of the compactor over what was appended since the last one, now, to the end of the log: small pages are merged, and
   * snapshots kept. It also works while the compactor is paused or switched off. What readers see does not change. Resolves when
   * all of it is durable; the engine gives the bytes back some time later, or at once with `reclaim`. Throws as `commit`, the signal's
   * reason, and with `reclaim` `storage-unavailable` where another process still has the store open.
   */
  compact(options?: CompactOptions): Promise<CompactionReport>;
}
