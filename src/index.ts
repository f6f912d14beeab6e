/** The public face of Strata. Named exports only, no logic. */

// Errors
export {
  ConflictError,
  type EventIssue,
  EventStoreError,
  type EventStoreErrorCode,
  InternalError,
  InvalidArgumentError,
  InvalidEventError,
  OverloadedError,
  StorageCorruptError,
  StorageUnavailableError,
  StoreClosedError,
  UnreadableEventError,
  type WriteOutcome,
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
export type { KvStats } from "./kv/kv.ts";
export type { S3Options } from "./kv/object-store.ts";
export type { ObjectStoreStats, RequestCounts, RequestPurpose } from "./kv/object-store-stats.ts";
export type { StorageProfile } from "./kv/slatedb-settings.ts";
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
  EventReader,
  EventStore,
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
export type { Clock } from "./runtime/clock.ts";
export type { IdSource } from "./runtime/ids.ts";

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
export { type OpenOptions, openEventStore } from "./store/open-event-store.ts";
// Words
export type { EventMetadata, NewEvent, RecordedEvent } from "./vocabulary/event.ts";
export type { ExpectedVersion } from "./vocabulary/expected-version.ts";
export type { EventFilter, FilterClause } from "./vocabulary/filter.ts";
export { categoryOf } from "./vocabulary/names.ts";
