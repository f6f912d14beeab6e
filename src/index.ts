/** The public face of Strata. Named exports only, no logic. */

export {
  type Command,
  type CommandOf,
  type CommandSchemas,
  type Decide,
  type DecideContext,
  type Decider,
  type DeciderOptions,
  defineDecider,
  type Evolve,
  type SnapshotPolicy,
} from "./decider/define-decider.ts";
// Deciders
export type {
  DecidedAppend,
  DecideOptions,
  Decision,
  DecisionContext,
  DecisionMaker,
  DecisionResult,
  ExecuteOptions,
  ExecuteResult,
  StateReader,
  StreamState,
} from "./decider/face.ts";
export { DomainRefusal, refuse } from "./decider/refusal.ts";
// Errors
export {
  ConflictError,
  type EventIssue,
  EventStoreError,
  type EventStoreErrorCode,
  InternalError,
  InvalidArgumentError,
  InvalidCommandError,
  InvalidDocumentError,
  InvalidEventError,
  OverloadedError,
  StorageCorruptError,
  StorageUnavailableError,
  StoreClosedError,
  StoreNotFoundError,
  UnreadableEventError,
  type WriteOutcome,
  WriterActiveError,
  WriterFencedError,
} from "./errors.ts";
export {
  type CostEstimate,
  type CostProjection,
  estimateCost,
  type MonthlyRequests,
  type ObjectStorePrices,
  type PlannedLoad,
  projectCost,
  s3StandardPrices,
  storageCost,
} from "./kv/cost.ts";
export type { DiskCacheOptions } from "./kv/disk-cache.ts";
export type { KvReaderStats, KvStats } from "./kv/kv.ts";
export type { S3Options } from "./kv/object-store.ts";
export type { ObjectStoreStats, RequestCounts, RequestPurpose } from "./kv/object-store-stats.ts";
export type { StorageProfile } from "./kv/slatedb-settings.ts";
// The life cycle
export type { CompactionOptions } from "./lifecycle/compaction-options.ts";
export type { CompactionReport } from "./lifecycle/compactor.ts";
export type { CompactOptions, LifecycleFace } from "./lifecycle/face.ts";
export type { CompactionCounts } from "./lifecycle/lifecycle-step.ts";
export type {
  AppendOptions,
  AppendResult,
  CommitRequest,
  CommitResult,
  FailIfMatch,
  StreamAppend,
  StreamCheck,
} from "./log/commit.ts";
export type { CommitStats } from "./log/commit-pipeline.ts";
export type {
  EventLog,
  EventReader,
  LeaseHealth,
  ListStreamsOptions,
  ReadAllOptions,
  ReadDirection,
  ReadStreamOptions,
  StoreHealth,
  StoreStats,
  StreamInfo,
  SubscribeFrom,
  SubscribeOptions,
} from "./log/event-store.ts";
export type { EventStoreReader, ReaderHealth, ReaderStats, WaitOptions } from "./log/event-store-reader.ts";
// Partitions
export {
  openPartitionedEventStore,
  type PartitionedOpenOptions,
} from "./partitions/open-partitioned-event-store.ts";
export type {
  FailIfMatchWithin,
  PartitionAppendOptions,
  PartitionCommitRequest,
  PartitionedEvent,
  PartitionedEventStore,
  PartitionedReads,
  PartitionHealth,
  PartitionPositions,
  PartitionRole,
  ReadPartitionsOptions,
  SubscribePartitionsOptions,
} from "./partitions/partitioned-event-store.ts";
export {
  type DueTimer,
  defineProcessManager,
  type ProcessContext,
  type ProcessManager,
  type ProcessManagerOptions,
  type ScheduleOptions,
} from "./processors/define-process-manager.ts";
// Projections and processors
export {
  type DocumentChanges,
  defineProjection,
  type EventHandlers,
  type HandledEvent,
  type Projection,
  type ProjectionMode,
  type ProjectionOptions,
} from "./processors/define-projection.ts";
export {
  defineReactor,
  type ReactionContext,
  type Reactor,
  type ReactorMode,
  type ReactorOptions,
} from "./processors/define-reactor.ts";
export type { ProcessorDefinition } from "./processors/definition.ts";
export type {
  DocumentReader,
  FindDocumentsOptions,
  Fold,
  Folded,
  ListDocumentsOptions,
  ParkingLot,
  ProcessorControls,
  ProcessorFace,
  ProcessorInfo,
  ProcessorState,
  ReadDocumentOptions,
  RebuildProgress,
  RebuildResult,
  WaitForOptions,
} from "./processors/face.ts";
export type { ParkedEvent, ReplayResult } from "./processors/parking.ts";
export type { ProcessingOptions } from "./processors/processing.ts";
export type { ProcessorKind } from "./processors/processor.ts";
export type { RetryPolicy } from "./processors/retries.ts";
// Reporting databases
export {
  defineSqlProjection,
  type ReportingDatabaseOption,
  type SqlCreateContext,
  type SqlHandler,
  type SqlHandlerContext,
  type SqlName,
  type SqlProjection,
  type SqlProjectionOptions,
} from "./reporting/define-sql-projection.ts";
export type { ProjectionSource } from "./reporting/log-feed.ts";
export type { ParkedSqlEvent } from "./reporting/projection-registry.ts";
export {
  type RunSqlProjectionsOptions,
  runSqlProjections,
  type SqlProjections,
  type SqlWaitOptions,
} from "./reporting/run-sql-projections.ts";
export type { SqlProjectionInfo, SqlProjectionState, SqlRebuildProgress } from "./reporting/sql-projection-runner.ts";
export type { SqlProjectionError } from "./reporting/sql-track.ts";
export type { Clock } from "./runtime/clock.ts";
export type { IdSource } from "./runtime/ids.ts";
export type { Random } from "./runtime/random.ts";
// Defining events
export {
  defineEvents,
  type EventDefinition,
  type EventDefinitions,
  type EventOptions,
  type EventTypeOf,
  event,
  type NewEventOf,
  type RecordedEventOf,
  type Split,
  type SplitPart,
  type StoredData,
  split,
  type UpcastContext,
  type Upcaster,
} from "./schema/define-events.ts";
// Opening and using a store
export type { EventStore, EventStoreView } from "./store/event-store.ts";
export type { FencedInfo } from "./store/fencing-watch.ts";
export { openEventStore } from "./store/open-event-store.ts";
export { openEventStoreReader, type ReaderOptions } from "./store/open-event-store-reader.ts";
export type { OpenOptions } from "./store/open-options.ts";
export { readWriterLease, type WriterLeaseOptions } from "./store/read-writer-lease.ts";
// Words
export type { ChainHead, KeptHead } from "./vocabulary/chain-head.ts";
export type { EventMetadata, NewEvent, RecordedEvent } from "./vocabulary/event.ts";
export type { ExpectedVersion } from "./vocabulary/expected-version.ts";
export type { EventFilter, FilterClause } from "./vocabulary/filter.ts";
export { categoryOf } from "./vocabulary/names.ts";
export type {
  ProvenLog,
  VerifyBreak,
  VerifyBreakKind,
  VerifyOptions,
  VerifyProgress,
  VerifyReport,
} from "./vocabulary/verification.ts";
export type { WriterLease } from "./vocabulary/writer-lease.ts";
