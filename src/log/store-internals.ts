/**
 * What an open store offers to the layers above the log (deciders, processors, the life cycle): commits with rows of their
 * own, reads of rows, the log itself. Built once, where the store is opened. It is no part of the public face: who holds it
 * can write rows, those of the log only as maintenance.
 */

import type { StoredEvent } from "../format/envelope.ts";
import type { LaterFamily, UpperFamily } from "../format/key-families.ts";
import type { CommitRecord } from "../format/records.ts";
import type { KvReader, ReclaimOptions, ReclaimReport } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { Random } from "../runtime/random.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import type { CommitRequest } from "./commit.ts";
import type { CommitExtras, GroupDecorator } from "./commit-extras.ts";
import type { Erasures } from "./erasures.ts";
import type { EventReader } from "./event-store.ts";
import type { RetentionRules } from "./retention-rules.ts";

/** A commit with what the layers above may add. `appends` may be left out: such a commit takes no position. */
export interface CoreCommit<Definitions extends EventDefinitions = never>
  extends Omit<CommitRequest<Definitions>, "appends">,
    CommitExtras {
  readonly appends?: CommitRequest<Definitions>["appends"];
}

/** What a commit has come to. All of it is durable; one without events and rows had nothing to make so. */
export interface CoreCommitResult {
  readonly record: CommitRecord;
  readonly replayed: boolean;
  /** The events as readers see them, in order; none where it was `replayed`. Decoded when asked for. */
  events(): readonly RecordedEvent[];
}

export interface StoreCore {
  /**
   * Puts a commit through the pipeline: same queue, group, fencing and outcomes as `commit`, and the same errors. Besides
   * them it rejects with what the guard returned, or what the rows' `compute` threw.
   */
  submit(commit: CoreCommit): Promise<CoreCommitResult>;
  /** Rows as they are durable. */
  readonly rows: KvReader;
  /**
   * Runs what reads pages and rewrites them by `maintenance`, after all that was asked for before: one at a time, so that what
   * it has read holds until it has committed. It must not ask for a turn itself.
   */
  inMaintenance<T>(work: () => Promise<T>): Promise<T>;
  /**
   * Notes in the header that the store holds rows of these families, so that a version that does not know them keeps its
   * hands off. To be awaited before the first row; costs one commit, the first time ever.
   */
  useFamilies(families: readonly (UpperFamily | LaterFamily)[]): Promise<void>;
  /** Gives back the storage of deleted rows, as the byte store does it; `undefined` where that has none to give back. */
  reclaim(options: ReclaimOptions): Promise<ReclaimReport | undefined>;
  /** Whether the header says that there are rows of the family. */
  usesFamily(family: UpperFamily | LaterFamily): boolean;
  /** The first result under an idempotency key, if it is remembered. */
  findByKey(idempotencyKey: string): Promise<CommitRecord | undefined>;
  /** Adds rows to every group from now on. To be called while the store opens. */
  addDecorator(decorator: GroupDecorator): void;
  /**
   * Calls `hook` with the events of each commit once it is durable; where it answers with a promise, which must not reject,
   * the commit's own promise waits for that. To be called while the store opens.
   */
  addAfterCommit(hook: (events: () => readonly RecordedEvent[]) => Promise<void> | undefined): void;
  /** The reads as of now. */
  readonly reader: EventReader;
  /** The same, frozen at a position. */
  readerAt(position: number): EventReader;
  /**
   * The events from `from` to `to`, which must be there, as they are stored, in lists; those that match a filter out of the
   * index, where one is given: it must be of names as they are stored, and events are to pass their own when they are decoded.
   * Without a filter it ends early where the signal is aborted or the store closes.
   */
  stored(from: number, to: number, filter: CheckedFilter, signal?: AbortSignal): AsyncIterable<readonly StoredEvent[]>;
  /** What readers see of a stored event: mostly one event. What is recent is decoded once for all. Throws `unreadable-event`. */
  decode(stored: StoredEvent): readonly RecordedEvent[];
  /**
   * Resolves once there are events behind `position`, or the signal is aborted, or the store closes; rejects where it has
   * failed or was fenced. Waiting costs nothing.
   */
  grown(position: number, signal?: AbortSignal): Promise<void>;
  /** The position of the last durable event. */
  lastPosition(): number;
  /** The last position before the first event that was recorded later; the last of all where none was. */
  positionAt(timeMs: number): Promise<number>;
  /** Those of one stream, as far as it has them. Throws `stream-deleted`. */
  storedStream(streamName: string, from: number, to: number): AsyncIterable<readonly StoredEvent[]>;
  /** How many events a stream had when the log ended at a position, be it deleted or not; as many as are gone at least. */
  streamVersionAt(streamName: string, position: number): Promise<number>;
  /**
   * The first version that a stream still has, where it had events when the log ended at a position, and all of those are
   * truncated. Throws `stream-deleted`.
   */
  truncatedBehind(streamName: string, position: number): Promise<number | undefined>;
  /** Lets go of events in memory that are dropped from the log, and tells those who keep some of their own. */
  forget(positions: readonly number[]): void;
  /** Calls `hook` with the positions whose events are dropped, once that is durable. */
  onForget(hook: (positions: ReadonlySet<number>) => void): void;
  /** The rules of retention as they hold. */
  readonly rules: RetentionRules;
  /** The objects beside the store. */
  objects(): Promise<ObjectAccess>;
  /** Throws where the store is closed, fenced or has failed. */
  assertOpen(): void;
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: Random;
  /** How long a commit, and whatever else waits for the storage, may take. */
  readonly timeoutMs: number;
  /** Tells of what went wrong where there is no caller to throw at. */
  warn(error: unknown): void;
  /** What was decoded before a subject was forgotten. */
  readonly erasures: Erasures;
  /** Runs when the store closes, while commits are still taken; the last added runs first. What it throws is told to `warn`. */
  onClose(hook: () => Promise<void> | void): void;
}
