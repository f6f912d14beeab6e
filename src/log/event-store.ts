/** The public face of a log: what can be read, and what can be written. Pure types. */

import type { EventStoreError } from "../errors.ts";
import type { KvStats } from "../kv/kv.ts";
import type { ObjectStoreStats } from "../kv/object-store-stats.ts";
import type {
  CategoryOf,
  EventDefinitions,
  EventTypeOf,
  NewEventOf,
  RecordedEventOf,
} from "../schema/define-events.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { WriterLease } from "../vocabulary/writer-lease.ts";
import type { AppendOptions, AppendResult, CommitRequest, CommitResult } from "./commit.ts";
import type { CommitStats } from "./commit-pipeline.ts";

/** `"forwards"`: the oldest first. `"backwards"`: the newest first. */
export type ReadDirection = "forwards" | "backwards";

/** Which part of a stream to read, and how. Versions count from 1. */
export interface ReadStreamOptions {
  /** Where to begin, this version included. Default: 1; backwards, the newest. */
  readonly fromVersion?: number;
  /** Default: `"forwards"`. */
  readonly direction?: ReadDirection;
  /** The most events. Default: all there are when the read begins. */
  readonly limit?: number;
  /** Ends the read with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Which part of the log to read, and how. Positions count from 1. */
export interface ReadAllOptions<Type extends string = string> {
  /** Where to begin, this position included. Default: 1; backwards, the last. */
  readonly fromPosition?: number;
  readonly direction?: ReadDirection;
  /** The most events that match. Default: all there are when the read begins. */
  readonly limit?: number;
  readonly filter?: EventFilter<Type>;
  /** What to make of positions whose events were dropped. Default: they are passed over. */
  readonly gaps?: "pass-over";
  readonly signal?: AbortSignal;
}

/**
 * The same, and to be told of gaps: where events were dropped comes a `LogGap` in their place, whatever the filter, because
 * nobody knows any more whether they would have matched. `limit` counts events alone. With a filter it costs a look-up between
 * any two events.
 */
export interface ReadAllWithGapsOptions<Type extends string = string> extends Omit<ReadAllOptions<Type>, "gaps"> {
  readonly gaps: "report";
}

/** Why events are gone from the log: too old or too many for a retention, truncated or deleted, or only in the archive. */
export type GapReason = "expired" | "excess" | "truncated" | "deleted" | "archived";

/** Positions of the log, both included, whose events were dropped for one reason. */
export interface LogGap {
  readonly gap: true;
  readonly fromPosition: number;
  readonly toPosition: number;
  readonly reason: GapReason;
}

/** Whether what a reader was handed is a gap, and no event. */
export function isLogGap(item: object): item is LogGap {
  return "gap" in item && item.gap === true;
}

/** What is known of a stream without reading its events. */
export interface StreamInfo {
  readonly streamName: string;
  /** How many events it has ever had. */
  readonly version: number;
  /** When its first event was recorded. */
  readonly created: Date;
  /** The position of its newest event. */
  readonly lastPosition: number;
  /** When its newest event was recorded. */
  readonly lastRecordedAt: Date;
  /** Versions before this one are gone; 1 where none is. */
  readonly truncatedBefore: number;
  /** Versions before this one are in the archive, as far as they are not gone; absent where none is. */
  readonly archivedBefore?: number;
  /** Present where it is deleted: then it cannot be read, and nothing is appended to it. */
  readonly deleted?: StreamDeletion;
}

/** When a stream was deleted, and until when that can be taken back; without `undeletableUntil` its events are dropped. */
export interface StreamDeletion {
  readonly at: Date;
  readonly undeletableUntil?: Date;
}

/** Which streams to list; all parts given must hold. */
export interface ListStreamsOptions {
  /** Only streams of this category. */
  readonly category?: string;
  /** Only streams whose names begin so. */
  readonly prefix?: string;
  /** Only streams whose names sort after this one (by their UTF-8 bytes), for paging. */
  readonly after?: string;
  readonly limit?: number;
  /** Deleted ones as well. Default: `false`. */
  readonly deleted?: boolean;
}

/** What can be read of a store, now or as of then. Reads see durable events only. */
export interface EventReader<Definitions extends EventDefinitions = never> {
  /**
   * The events of one stream, in order; none where there is no such stream. What is truncated is gone, in views of the past,
   * too; what is archived is read from there, an object of up to 8 MiB at a time.
   * Throws `stream-deleted`, `invalid-argument`, `unreadable-event`, `storage-unavailable`, `storage-corrupt`, `store-closed`, `writer-fenced`.
   */
  readStream<StreamName extends string>(
    streamName: StreamName,
    options?: ReadStreamOptions,
  ): AsyncIterableIterator<RecordedEventOf<Definitions, CategoryOf<StreamName>>>;
  /**
   * The events of all streams, in the order of their positions. A filter is answered from the index. Positions of events that
   * retention, truncation, deletion or archiving has dropped are passed over, or told of with `gaps: "report"`; a hole that
   * nobody made is `storage-corrupt`. Throws as `readStream`.
   */
  readAll(
    options: ReadAllWithGapsOptions<EventTypeOf<Definitions>>,
  ): AsyncIterableIterator<RecordedEventOf<Definitions> | LogGap>;
  readAll(options?: ReadAllOptions<EventTypeOf<Definitions>>): AsyncIterableIterator<RecordedEventOf<Definitions>>;
  /** What is known of a stream, or `undefined` where it has no events. */
  streamInfo(streamName: string): Promise<StreamInfo | undefined>;
  /** The streams, sorted by the UTF-8 bytes of their names. */
  listStreams(options?: ListStreamsOptions): AsyncIterableIterator<StreamInfo>;
  /** The position of the last event; 0 where there is none. */
  lastPosition(): Promise<number>;
}

/** Where a subscription begins. `{ position: n }`: with n itself. `{ after: n }`: behind n, as checkpoints want it. */
export type SubscribeFrom = "start" | "end" | { readonly position: number } | { readonly after: number };

/** Where a subscription begins, and what it is told of. */
export interface SubscribeOptions<Type extends string = string> {
  readonly from: SubscribeFrom;
  readonly filter?: EventFilter<Type>;
  /** As for `readAll`. */
  readonly gaps?: "pass-over";
  /** Ends the subscription quietly. */
  readonly signal?: AbortSignal;
}

/** The same, and to be told of gaps, as `readAll` tells of them. */
export interface SubscribeWithGapsOptions<Type extends string = string> extends Omit<SubscribeOptions<Type>, "gaps"> {
  readonly gaps: "report";
}

/** `open`: all is well. `stalled`: a commit waits longer than callers do. `fenced`, `failed`: open the store again. */
export interface StoreHealth {
  readonly state: "open" | "stalled" | "fenced" | "failed" | "closed";
  /** Why it is not open. */
  readonly error?: EventStoreError;
  readonly lastPosition: number;
  /** Commits that wait for their group. */
  readonly queued: number;
  /** Absent for `memory:`, which has none. A lease that fails does not change `state`: fencing alone decides who writes. */
  readonly lease?: LeaseHealth;
}

/**
 * How this writer's lease fares. `held`: stored and renewed. `failing`: the last attempt to store it failed, and the next interval
 * tries again. `lost`: another writer's record stands there, so this one is fenced, or is about to be. `released`: closed.
 */
export interface LeaseHealth {
  readonly state: "held" | "failing" | "lost" | "released";
  /** This writer's own, as others see it in the lease. */
  readonly instanceId: string;
  /** When it was last stored. */
  readonly renewedAt?: Date;
  /** Why the last attempt failed. */
  readonly error?: EventStoreError;
  /** Whose record stands there instead, where that can be read. */
  readonly takenBy?: WriterLease;
}

/** Counted since the store was opened. */
export interface StoreStats {
  readonly commits: CommitStats;
  readonly storage: KvStats;
  /** What was asked of the object storage, which is what a bucket bills; `undefined` for `memory:`. */
  readonly objectStore: ObjectStoreStats | undefined;
}

/** The log of an open store: what `EventStore` has without the layers above it. */
export interface EventLog<Definitions extends EventDefinitions = never>
  extends EventReader<Definitions>,
    AsyncDisposable {
  /**
   * Appends events to one stream, all or none, and resolves when they are durable on the object store.
   *
   * Throws `conflict` (the expectation or `failIfMatch` did not hold), `invalid-argument`, `invalid-event`, `overloaded`,
   * `storage-unavailable`, `writer-fenced`, `store-closed`; each says by `outcome` whether the events may be stored.
   * Repeating an append with the same event ids is harmless: within the newest 10,240 events of the store whatever is
   * expected, and for ever with the same exact `expectedVersion`; with an `idempotencyKey`, for the store's window.
   * A signal that is aborted while the append waits in the queue rejects it with the signal's reason.
   */
  append<StreamName extends string>(
    streamName: StreamName,
    events: readonly NewEventOf<Definitions, CategoryOf<StreamName>>[],
    options: AppendOptions,
  ): Promise<AppendResult>;
  /** Appends to several streams in one atomic step, with conditions. Throws as `append`. */
  commit(request: CommitRequest<Definitions>): Promise<CommitResult>;
  /**
   * All events from a place on, and then each new one once it is durable, without a seam, until the signal is aborted, the
   * loop is left or the store is closed. A slow consumer holds up nobody: it is fed from the log. Throws as `readStream`.
   */
  subscribe(
    options: SubscribeWithGapsOptions<EventTypeOf<Definitions>>,
  ): AsyncIterableIterator<RecordedEventOf<Definitions> | LogGap>;
  subscribe(options: SubscribeOptions<EventTypeOf<Definitions>>): AsyncIterableIterator<RecordedEventOf<Definitions>>;
  /**
   * Calls `handler` for each new durable event that matches, in order, from now on; the answer stops it. What the handler
   * appends is marked as caused by the event. What it throws goes to the store's `onError` and stops nothing. Promises are
   * not waited for. Nothing is remembered across restarts: use `subscribe` with a checkpoint for that.
   */
  on(
    filter: EventFilter<EventTypeOf<Definitions>> | undefined,
    handler: (event: RecordedEventOf<Definitions>) => unknown,
  ): () => void;
  /** The same reads, frozen at a position or at a time of recording. */
  asOf(when: Date | number): EventReader<Definitions>;
  health(): StoreHealth;
  stats(): StoreStats;
  /** Waits for the commits that are under way, ends subscriptions, closes, and releases the lease. Idempotent. */
  close(): Promise<void>;
}
