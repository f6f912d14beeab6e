/** The public face of a store in partitions: what can be said over all of them, and what only within one. Pure types. */

import type { CommandOf, CommandSchemas, Decider } from "../decider/define-decider.ts";
import type { ExecuteOptions, ExecuteResult, StreamState } from "../decider/face.ts";
import type { EventStoreError } from "../errors.ts";
import type { AppendOptions, AppendResult, CommitRequest, CommitResult, FailIfMatch } from "../log/commit.ts";
import type {
  ListStreamsOptions,
  ReadDirection,
  ReadStreamOptions,
  StoreHealth,
  StreamInfo,
} from "../log/event-store.ts";
import type { ReaderHealth } from "../log/event-store-reader.ts";
import type { ForgetOptions, ForgetReceipt } from "../privacy/face.ts";
import type {
  CategoryOf,
  EventDefinitions,
  EventTypeOf,
  NewEventOf,
  RecordedEventOf,
} from "../schema/define-events.ts";
import type { EventStore } from "../store/event-store.ts";
import type { EventFilter } from "../vocabulary/filter.ts";

/** That a subject was forgotten in one partition. */
export interface PartitionReceipt {
  readonly partition: number;
  readonly receipt: ForgetReceipt;
}

/**
 * A place in a partitioned store: for each partition, the position of the last event that was seen, 0 for none. There is no
 * position over all of them. Plain data, to be kept as a checkpoint.
 */
export type PartitionPositions = readonly number[];

/** An event, and where the reader of it is. */
export interface PartitionedEvent<Event> {
  readonly event: Event;
  readonly partition: number;
  /**
   * To go on behind this event, in the direction of the read: the checkpoint that belongs to it. On a part of a split event that
   * is not the last, the event itself comes again, whole.
   */
  readonly positions: PartitionPositions;
}

/** Which events of all partitions to read. */
export interface ReadPartitionsOptions<Type extends string = string> {
  /** Behind these positions; backwards, from these positions down, themselves included, 0 for none left. Default: all events. */
  readonly from?: PartitionPositions;
  /** Default: `"forwards"`. */
  readonly direction?: ReadDirection;
  /** The most events that match. */
  readonly limit?: number;
  readonly filter?: EventFilter<Type>;
  readonly signal?: AbortSignal;
}

/** Where a subscription to all partitions begins, and what it is told of. */
export interface SubscribePartitionsOptions<Type extends string = string> {
  readonly from: "start" | "end" | { readonly after: PartitionPositions };
  readonly filter?: EventFilter<Type>;
  /** Ends the subscription quietly. */
  readonly signal?: AbortSignal;
}

/** A condition by query holds within the partition of the commit only, and says so. */
export interface FailIfMatchWithin extends FailIfMatch {
  readonly within: "partition";
}

/** As `AppendOptions`, with a condition that names its bounds. */
export interface PartitionAppendOptions extends Omit<AppendOptions, "failIfMatch"> {
  readonly failIfMatch?: FailIfMatchWithin;
}

/** As `CommitRequest`; all its streams must live in one partition. */
export interface PartitionCommitRequest<Definitions extends EventDefinitions = never>
  extends Omit<CommitRequest<Definitions>, "failIfMatch"> {
  readonly failIfMatch?: FailIfMatchWithin;
}

/** What this process is to a partition: its writer, waiting to be it, or a reader. */
export type PartitionRole = "writer" | "standby" | "reader";

/** How a partition is, as this process has it. */
export interface PartitionHealth {
  readonly partition: number;
  readonly role: PartitionRole;
  /** Of the writer or the reader that is open; absent while none is. */
  readonly store?: StoreHealth | ReaderHealth;
  /** Why this process could not become the writer that it was asked to be. */
  readonly error?: EventStoreError;
}

/** Reads over all partitions. */
export interface PartitionedReads<Definitions extends EventDefinitions = never> {
  /** As `EventStore.readStream`: a stream lives in one partition, whole. */
  readStream<StreamName extends string>(
    streamName: StreamName,
    options?: ReadStreamOptions,
  ): AsyncIterableIterator<RecordedEventOf<Definitions, CategoryOf<StreamName>>>;
  /**
   * The events of all partitions: those of one in the order of their positions, across them by `recordedAt`, which is each
   * writer's own clock, and by partition where that is equal. Throws as `readStream`.
   */
  readAll(
    options?: ReadPartitionsOptions<EventTypeOf<Definitions>>,
  ): AsyncIterableIterator<PartitionedEvent<RecordedEventOf<Definitions>>>;
  /** As `EventStore.streamInfo`; positions are those of the stream's partition. */
  streamInfo(streamName: string): Promise<StreamInfo | undefined>;
  /** The streams of all partitions, sorted by the UTF-8 bytes of their names. */
  listStreams(options?: ListStreamsOptions): AsyncIterableIterator<StreamInfo>;
}

/**
 * A store in partitions: many stores under one folder or prefix, each with its own writer, which may live in different
 * processes or machines. A stream lives in one partition. Order, atomic commits and conditions hold within a partition.
 */
export interface PartitionedEventStore<Definitions extends EventDefinitions = never>
  extends PartitionedReads<Definitions>,
    AsyncDisposable {
  readonly partitions: number;
  /** Where a stream lives: 0 to `partitions` - 1. */
  partitionOf(streamName: string): number;
  /** As `EventStore.append`; throws `writer-active` too, where this process does not write the stream's partition. */
  append<StreamName extends string>(
    streamName: StreamName,
    events: readonly NewEventOf<Definitions, CategoryOf<StreamName>>[],
    options: PartitionAppendOptions,
  ): Promise<AppendResult>;
  /** As `EventStore.commit`, within one partition: streams of two are `invalid-argument`. Throws as `append`. */
  commit(request: PartitionCommitRequest<Definitions>): Promise<CommitResult>;
  /** As `EventStore.execute`. Throws `writer-active` too. */
  execute<State, Own extends Definitions, Commands extends CommandSchemas>(
    decider: Decider<State, Own, Commands>,
    id: string,
    command: CommandOf<Commands>,
    options?: ExecuteOptions,
  ): Promise<ExecuteResult<State, Own>>;
  /** As `EventStore.load`, where this process writes the partition; throws `writer-active` where it does not. */
  load<State, Own extends Definitions, Commands extends CommandSchemas>(
    decider: Decider<State, Own, Commands>,
    id: string,
  ): Promise<StreamState<State>>;
  /**
   * All events from a place on, and then each new one: those of one partition in order, across them as they come. Partitions
   * that this process does not write are followed by a read replica. What a partition's writer has acknowledged is seen once,
   * also while partitions change hands. Ends when the signal is aborted, the loop is left or the store is closed.
   */
  subscribe(
    options: SubscribePartitionsOptions<EventTypeOf<Definitions>>,
  ): AsyncIterableIterator<PartitionedEvent<RecordedEventOf<Definitions>>>;
  /** The reads as of a time of recording. */
  asOf(when: Date): PartitionedReads<Definitions>;
  /** The last position of each partition, as far as this process sees. */
  lastPositions(): Promise<PartitionPositions>;
  /**
   * As `EventStore.forget`, in all partitions, each of which has keys of its own; answers the receipts of those that had the subject's
   * data. Throws `writer-active` before anything is done where this process does not write all of them.
   */
  forget(subject: string, options?: ForgetOptions): Promise<readonly PartitionReceipt[]>;
  /** The partitions that this process writes now. */
  written(): readonly number[];
  /** The store of a partition that this process writes, for what is not here. Throws `writer-active` where it does not. */
  writerOf(partition: number): EventStore<Definitions>;
  /**
   * Makes this process the writer of a partition, as the option `takeover` has it: at once, or once nobody else is. Throws
   * what opening a store throws. No-op where it is the writer.
   */
  claim(partition: number, options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Stops writing to a partition, or waiting for it, and hands its lease back. It is read by a replica from then on. */
  release(partition: number): Promise<void>;
  health(): readonly PartitionHealth[];
  /** Closes all that is open. Idempotent. */
  close(): Promise<void>;
}
