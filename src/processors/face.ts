/** What a store offers for its processors, as its users see it. Pure types. */

import type { EventDefinitions, EventTypeOf, RecordedEventOf } from "../schema/define-events.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { Projection } from "./define-projection.ts";
import type { ParkedEvent, ReplayResult } from "./parking.ts";
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

/**
 * One processor, as it is at the moment. Live projections are none: nothing runs for them, so there is nothing to be behind, to
 * pause or to fail; a read folds what is new, and tells its reader what went wrong.
 */
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
  /** What it has done since the store was opened, by name; of the compactor only. */
  readonly counts?: Readonly<Record<string, number>>;
}

/** What may be said beside a position to wait for. */
export interface WaitForOptions {
  /** Default: 30,000 ms. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** How fresh documents must be. */
export interface ReadDocumentOptions extends WaitForOptions {
  /** Waits until the projection has handled everything up to this position: the one that an append answered. */
  readonly atLeast?: number;
}

/** Which documents to list, in the order of their keys' UTF-8 bytes; all parts given must hold. */
export interface ListDocumentsOptions extends ReadDocumentOptions {
  readonly prefix?: string;
  /** Keys from this one on. */
  readonly from?: string;
  /** Keys before this one. */
  readonly to?: string;
  /** Keys behind this one, for paging. */
  readonly after?: string;
  readonly limit?: number;
}

/** Which of the documents under a secondary key to find. */
export interface FindDocumentsOptions extends ReadDocumentOptions {
  /** Only those whose own key is behind this one, for paging. */
  readonly after?: string;
  readonly limit?: number;
}

/**
 * The documents of a projection, as they are durable. They are frozen. All of these throw `invalid-document` for one that is
 * damaged or does not satisfy the schema, naming its key; `overloaded` where `atLeast` is not reached within the time (by
 * default 30,000 ms), or an inline projection is not caught up yet; and what reads throw. While a new version is built, what
 * is read are the documents of the old one, in their old shape. On a replica, `invalid-argument` where the store serves a newer
 * version than the replica was opened with.
 */
export interface DocumentReader<Document, Index extends string = string> {
  get(key: string, options?: ReadDocumentOptions): Promise<Document | undefined>;
  /** In the order of the keys, `undefined` for those that there are not; at most 10,000. */
  getMany(keys: readonly string[], options?: ReadDocumentOptions): Promise<readonly (Document | undefined)[]>;
  /** Each with its key. Changes during the iteration may or may not be in it. */
  list(options?: ListDocumentsOptions): AsyncIterableIterator<readonly [key: string, document: Document]>;
  /** The documents that stand under `value` in an index of the projection, in the order of their own keys. */
  find(
    index: Index,
    value: string,
    options?: FindDocumentsOptions,
  ): AsyncIterableIterator<readonly [key: string, document: Document]>;
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
  /** All processors, in the order in which they were given, and the compactor last, where it works in the background. */
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

/** Looking after what processors have put aside. All of these throw `invalid-argument` for what is no name or id. */
export interface ParkingLot {
  /** The events that a processor has parked, in the order of the log. */
  parked(name: string): AsyncIterableIterator<ParkedEvent>;
  /**
   * Has a processor try its parked events again, in order: all of them, or, by the id of one, those of its key. What fails
   * again stays parked, and so does what waits behind it; what is gone from the log for good is skipped. Waits for the batch that the processor is at.
   */
  replayParked(nameOrId: string): Promise<ReplayResult>;
  /** Forgets a parked event; those that waited behind it are handled now. */
  skipParked(id: string): Promise<void>;
}

/** What `fold` is told: which events, and what they make of a state. */
export interface Fold<State, Definitions extends EventDefinitions = never> {
  /** Default: all events. */
  readonly filter?: EventFilter<EventTypeOf<Definitions>>;
  readonly initialState: () => State;
  /** Events of types that are not here leave the state as it is. */
  readonly evolve: {
    readonly [Type in EventTypeOf<Definitions>]?: (
      state: NoInfer<State>,
      event: Extract<RecordedEventOf<Definitions>, { readonly type: Type }>,
    ) => NoInfer<State>;
  };
  /** Where to end, this position included. Default: the last. */
  readonly toPosition?: number;
  readonly signal?: AbortSignal;
}

/** A state, and the position that it is of. */
export interface Folded<State> {
  /** Frozen. */
  readonly state: State;
  readonly position: number;
}

/** Whoever can read the documents of projections. */
export interface DocumentSource {
  /** The documents of a projection. Throws `invalid-argument` for one that the store was not opened with. */
  documents<Document, Index extends string>(projection: Projection<Document, Index>): DocumentReader<Document, Index>;
}

/** Read models, and what fills them. */
export interface ProcessorFace<Definitions extends EventDefinitions = never>
  extends ProcessorControls,
    ParkingLot,
    DocumentSource {
  /**
   * Folds the events that match into a state, now, and keeps nothing. Throws as `readAll`, and `invalid-argument` where `evolve`
   * throws or returns nothing.
   */
  fold<State>(fold: Fold<State, Definitions>): Promise<Folded<State>>;
}
