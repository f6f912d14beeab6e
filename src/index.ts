/** The public face of Strata. Named exports only, no logic. */

// Backups
export { type BackupOptions, backupStore, type RestoreOptions, restoreStore } from "./backup/backup-store.ts";
export type { CopyProgress, CopyReport } from "./backup/copy-store.ts";
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
  EncryptionKeyError,
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
  StreamDeletedError,
  StreamTruncatedError,
  UnreadableEventError,
  type WriteOutcome,
  WriterActiveError,
  WriterFencedError,
} from "./errors.ts";
// History
export type {
  Blame,
  BlameLine,
  BlameOptions,
  CauseLink,
  DiffOptions,
  HistoryEntry,
  HistoryOptions,
  HistoryReader,
  MergedData,
  PastDocumentReader,
  PastDocuments,
  PastDocumentsOptions,
  StateOptions,
  StreamDiff,
  Trace,
  TraceNode,
  TraceOptions,
} from "./history/face.ts";
export type { StateChange, StateDiff } from "./history/state-diff.ts";
export { type VerifyStoreOptions, verifyStore } from "./history/verify-store.ts";
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
export type {
  KvReaderStats,
  KvStats,
  ReclaimPhase,
  ReclaimProgress,
  ReclaimReport,
} from "./kv/kv.ts";
export type { S3Options } from "./kv/object-store.ts";
export type { ObjectStoreStats, RequestCounts, RequestPurpose } from "./kv/object-store-stats.ts";
export type { StorageProfile } from "./kv/slatedb-settings.ts";
// The life cycle
export type { CompactionOptions } from "./lifecycle/compaction-options.ts";
export type { CompactionReport } from "./lifecycle/compactor.ts";
export type { CompactOptions, LifecycleFace } from "./lifecycle/face.ts";
export type { CompactionCounts } from "./lifecycle/lifecycle-step.ts";
export type {
  ArchiveOptions,
  ArchiveResult,
  DeleteOptions,
  DeleteResult,
  LifecycleOptions,
  RetentionFace,
  StreamChangeResult,
  TruncateOptions,
  TruncateResult,
} from "./lifecycle/retention-face.ts";
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
export {
  type EventLog,
  type EventReader,
  type GapReason,
  isLogGap,
  type LeaseHealth,
  type ListStreamsOptions,
  type LogGap,
  type ReadAllOptions,
  type ReadAllWithGapsOptions,
  type ReadDirection,
  type ReadStreamOptions,
  type StoreHealth,
  type StoreStats,
  type StreamDeletion,
  type StreamInfo,
  type SubscribeFrom,
  type SubscribeOptions,
  type SubscribeWithGapsOptions,
} from "./log/event-store.ts";
export type { EventLogReader, ReaderHealth, ReaderStats, WaitOptions } from "./log/event-store-reader.ts";
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
  PartitionReceipt,
  PartitionRole,
  ReadPartitionsOptions,
  SubscribePartitionsOptions,
} from "./partitions/partitioned-event-store.ts";
// Personal data
export type { EncryptionOptions } from "./privacy/encryption.ts";
export type { ForgetOptions, ForgetReceipt, PersonalDataFace, RotationReport } from "./privacy/face.ts";
export { type KeyService, localKeyService, type MasterKey, type WrappedKey } from "./privacy/key-service.ts";
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
  type PersonalDocuments,
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
  DocumentSource,
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
  type AnyEventDefinition,
  defineEvents,
  type Erasable,
  type EventDefinition,
  type EventDefinitions,
  type EventOptions,
  type EventTypeOf,
  event,
  type NewEventOf,
  type PersonalDefinition,
  type PersonalOptions,
  type RecordedEventOf,
  type Split,
  type SplitPart,
  type StoredData,
  split,
  type UpcastContext,
  type Upcaster,
} from "./schema/define-events.ts";
// Opening and using a store
export type { EventStore, EventStoreReader, EventStoreView, ForkOptions } from "./store/event-store.ts";
export type { FencedInfo } from "./store/fencing-watch.ts";
export { openEventStore } from "./store/open-event-store.ts";
export { openEventStoreReader, type ReaderOptions } from "./store/open-event-store-reader.ts";
export type { OpenOptions } from "./store/open-options.ts";
export { readWriterLease, type WriterLeaseOptions } from "./store/read-writer-lease.ts";
// Words
export type { ChainHead, KeptHead } from "./vocabulary/chain-head.ts";
export type { EventMetadata, NewEvent, PersonalPart, RecordedEvent } from "./vocabulary/event.ts";
export type { ExpectedVersion } from "./vocabulary/expected-version.ts";
export type { EventFilter, FilterClause } from "./vocabulary/filter.ts";
export type { SubjectForgotten } from "./vocabulary/forgotten.ts";
export type { AsOf, Moment } from "./vocabulary/moment.ts";
export { categoryOf } from "./vocabulary/names.ts";
export type { Retention, RetentionInfo } from "./vocabulary/retention.ts";
export type {
  ProvenLog,
  VerifyBreak,
  VerifyBreakKind,
  VerifyOptions,
  VerifyProgress,
  VerifyReport,
} from "./vocabulary/verification.ts";
export type { WriterLease } from "./vocabulary/writer-lease.ts";
