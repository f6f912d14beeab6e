/** What a store offers for its processors, as its users see it. Pure types. */

import type { ProcessorKind } from "./processor.ts";

/**
 * `"running"`: it has handled everything, or what is newest. `"catching-up"`: it is behind. `"paused"`: by `pauseProcessor`.
 * `"failed"`: it has given up on an event; `resumeProcessor` has it try again. `"rebuilding"`: it has no read model of its
 * version yet, and builds it.
 */
export type ProcessorState = "running" | "catching-up" | "paused" | "failed" | "rebuilding";

/** The building of a read model, beside the one that serves. */
export interface RebuildProgress {
  readonly version: number;
  readonly startedAt: Date;
  readonly position: number;
  /** Where the log ends at the moment. */
  readonly lastPosition: number;
  /** From 0 to 1. */
  readonly done: number;
  /** At the pace so far, in milliseconds; `undefined` where nobody can tell yet. */
  readonly leftMs: number | undefined;
  readonly paused: boolean;
}

/** One processor, as it is at the moment. */
export interface ProcessorInfo {
  readonly name: string;
  readonly kind: ProcessorKind;
  readonly version: number;
  readonly state: ProcessorState;
  /** Everything up to here is handled, or does not concern it. */
  readonly position: number;
  /** How many events of the log are behind its position. */
  readonly lagEvents: number;
  /** How long ago the oldest of those that it is at was recorded; 0 where it has handled everything. */
  readonly lagMs: number;
  /** When it last handled events, since the store was opened. */
  readonly lastProgressAt: Date | undefined;
  /** What went wrong last, until it has gone well again. */
  readonly lastError:
    | { readonly message: string; readonly at: Date; readonly position: number | undefined; readonly attempts: number }
    | undefined;
  /** How many events it has parked. */
  readonly parked: number;
  /** `"stuck"`: it has something to do, and has not come any further for a minute. */
  readonly health: "ok" | "stuck" | "failed";
  /** Why it is not `"ok"`, in a sentence. */
  readonly reason: string | undefined;
  readonly rebuild: RebuildProgress | undefined;
}

/** What may be said beside a position to wait for. */
export interface WaitForOptions {
  /** Default: 30,000 ms. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What a rebuild has come to. */
export interface RebuildResult {
  readonly name: string;
  readonly version: number;
  /** Where the new read model stood when it took over; where it was cancelled, how far it had come. */
  readonly position: number;
  readonly cancelled: boolean;
}

/** Looking after processors. All of these throw `invalid-argument` for a name that is none. */
export interface ProcessorControls {
  /** All processors, in the order in which they were given. */
  processors(): readonly ProcessorInfo[];
  /**
   * Resolves once the processor has handled everything up to `position`. Throws `overloaded` where it has not within the time,
   * at once where it has failed or is paused on the way there; and the signal's reason.
   */
  waitFor(name: string, position: number, options?: WaitForOptions): Promise<void>;
  /** Stops it behind the batch under way, also across restarts, its rebuild included. Throws as `commit`. */
  pauseProcessor(name: string): Promise<void>;
  /** Has a paused one go on, and one that has failed try again. Throws as `commit`. */
  resumeProcessor(name: string): Promise<void>;
  /**
   * Builds the read model anew, beside the one that serves, and resolves when it has taken over. A rebuild that is under way
   * is joined. Throws `invalid-argument` for a processor without one.
   */
  rebuild(name: string, options?: { readonly signal?: AbortSignal }): Promise<RebuildResult>;
  /** Drops what is being built; what serves goes on. Whoever waits for the rebuild is told that it was cancelled. */
  cancelRebuild(name: string): Promise<void>;
}
