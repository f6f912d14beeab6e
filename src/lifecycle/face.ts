/** What a store offers for the life cycle of its events, as its users see it. Pure types. */

import type { CompactionReport } from "./compactor.ts";
import type { RetentionFace } from "./retention-face.ts";

/** What may be said beside a pass of the compactor. */
export interface CompactOptions {
  /** Ends the pass between two of its commits: rejects with the signal's reason, and what was done stays done. */
  readonly signal?: AbortSignal;
}

/** Looking after what was stored. */
export interface LifecycleFace extends RetentionFace {
  /**
   * One pass of the compactor over what was appended since the last one, now, to the end of the log: small pages are merged, and
   * snapshots kept. It also works while the compactor is paused or switched off. What readers see does not change. Resolves when
   * all of it is durable; the engine gives the bytes back some time later. Throws as `commit`, and the signal's reason.
   */
  compact(options?: CompactOptions): Promise<CompactionReport>;
}
