/** The public face of a store: the log, and what the layers above it add. Pure types. */

import type { DecisionMaker, StateReader } from "../decider/face.ts";
import type { HistoryReader, PastDocumentReader } from "../history/face.ts";
import type { S3Options } from "../kv/object-store.ts";
import type { LifecycleFace } from "../lifecycle/face.ts";
import type { EventLog, EventReader } from "../log/event-store.ts";
import type { EventLogReader } from "../log/event-store-reader.ts";
import type { PersonalDataFace } from "../privacy/face.ts";
import type { DocumentSource, ProcessorFace } from "../processors/face.ts";
import type { ProcessingOptions } from "../processors/processing.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { AsOf } from "../vocabulary/moment.ts";
import type { ProvenLog } from "../vocabulary/verification.ts";

/**
 * A store as it was at a moment: its events, states and documents folded from them, and their history. Where the moment says
 * what had happened by a time, events that happened later are not there, whatever their versions and positions; `lastPosition()`
 * is where the view is frozen. There `streamInfo` and `listStreams` read the streams that they tell of.
 */
export interface EventStoreView<Definitions extends EventDefinitions = never>
  extends EventReader<Definitions>,
    StateReader<Definitions>,
    PastDocumentReader,
    HistoryReader<Definitions> {}

/** How to fork a store. Unknown options are refused. */
export interface ForkOptions extends ProcessingOptions {
  /** How to reach the bucket of the fork. */
  readonly s3?: S3Options;
  /** Breaks off the copy, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * An open store: its one writer, and reads beside it. Close it, or declare it with `await using`; what is acknowledged is
 * durable whether or not it is closed.
 */
export interface EventStore<Definitions extends EventDefinitions = never>
  extends EventLog<Definitions>,
    DecisionMaker<Definitions>,
    ProcessorFace<Definitions>,
    HistoryReader<Definitions>,
    LifecycleFace,
    PersonalDataFace,
    ProvenLog {
  /**
   * Copies the store, as it is now, to a place where there is none, and opens the copy for writing: for tests, and for what-if. The
   * copy shares nothing with this store: it has keys, a lease and a future of its own. It is opened with the same events and,
   * unless `options` say so, without processors; reactors, process managers and SQL projections that this store has are paused in
   * it, so that nothing happens twice in the world outside. Everything is copied, so it costs what a backup costs.
   *
   * Throws as `backupStore`; `to` is `url` there.
   */
  fork(url: string, options?: ForkOptions): Promise<EventStore<Definitions>>;
  /**
   * The same reads, frozen: at a position, at a time of recording, or by what was known at one time about what had happened by
   * another. A moment before the store began is empty, one in the future is now. Throws `invalid-argument`.
   */
  asOf(when: AsOf): EventStoreView<Definitions>;
}

/**
 * A read replica: the reads and subscriptions of a store, from the storage itself, beside its writer or without one. It
 * sees what is durable, whole commits in their order, some time after they were acknowledged (see `openEventStoreReader`);
 * it never goes back, and sees nothing newer than its `lastPosition()`. It outlives writers that come and go. It has the
 * documents that the writer keeps: `atLeast` of one waits until this replica sees it; they may be some moments ahead of `lastPosition()`.
 */
export interface EventStoreReader<Definitions extends EventDefinitions = never>
  extends EventLogReader<Definitions>,
    StateReader<Definitions>,
    DocumentSource,
    HistoryReader<Definitions> {
  /** As `EventStore.asOf`. */
  asOf(when: AsOf): EventStoreView<Definitions>;
}
