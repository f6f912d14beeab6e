/**
 * The port to an ordered byte store: keys and values are bytes, keys sort as unsigned bytes, one writer at a time.
 * It has never heard of events. Reads see durable rows only. Scans ascend and hand out rows in batches, so that a faster
 * adapter can cross into native code once a batch instead of once a row.
 */

import { type EventStoreError, InternalError, type WriteOutcome } from "../errors.ts";
import type { ObjectStoreStats } from "./object-store-stats.ts";

/** Keys have 1 to this many bytes; values, up to 4 GB, may be empty. */
const keyBytesMax = 65_535;

/** Throws `internal` for a key that no adapter could keep: callers build keys from bounded parts. */
export function assertKeyFits(key: Uint8Array, outcome?: WriteOutcome): void {
  if (key.length > 0 && key.length <= keyBytesMax) return;
  throw new InternalError(`A key has ${key.length} bytes`, outcome === undefined ? {} : { outcome });
}

export type KvOperation =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Uint8Array };

export interface KvRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * From `start`, inclusive, to `end`, exclusive; without `end` to the last key. Both bounds have at least one byte.
 * Where `end` is not behind `start` there are no rows.
 */
export interface KvRange {
  readonly start: Uint8Array;
  readonly end?: Uint8Array;
}

/**
 * `replay`: long and sequential, reads ahead, caches nothing. `lookup`: a few rows. `settled`: a few rows that hardly ever
 * change, for a reader who takes newer ones as well: they may be kept in memory, and those that were not handed out yet may be
 * newer than the scan.
 */
export type ScanPurpose = "replay" | "lookup" | "settled";

/**
 * An ascending scan over the rows as they were when it was opened (`settled` ones apart). Not for concurrent use. Once a call has failed, all do:
 * rows may have been read that nobody got.
 */
export interface KvCursor {
  /** Up to `rowsMax` further rows; an empty list means the end of the range, for good. */
  next(rowsMax: number): Promise<readonly KvRow[]>;
  /** Goes forward to the first row at or after `key`, which must lie in the range and behind the last row handed out. */
  seek(key: Uint8Array): Promise<void>;
  /** Frees what the scan holds; there are no rows afterwards. May be called at any time, any number of times. */
  close(): void;
}

export interface KvReader {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** As `get` for each key, in order, at the price of one wait. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>;
  scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor>;
}

/** The rows as they were at one moment. Close it: an open snapshot keeps old rows from being collected. */
export interface KvSnapshot extends KvReader {
  /** Whether it can be read no more though the store is in use: another one can be taken. Absent: that never happens. */
  isLost?(): boolean;
  close(): void;
}

export type KvStatus =
  | { readonly state: "open" }
  /** Closed by `close()`. */
  | { readonly state: "closed" }
  /** Another writer took over: nothing is acknowledged any more. */
  | { readonly state: "fenced"; readonly error: EventStoreError }
  /** It stopped for another reason, and must be opened again. */
  | { readonly state: "failed"; readonly error: EventStoreError };

/** What an adapter has counted since it was opened. */
export interface KvStats {
  readonly writes: number;
  readonly rowsWritten: number;
  readonly bytesWritten: number;
  readonly gets: number;
  readonly scans: number;
  readonly rowsScanned: number;
  /** Background flushes of what a cold open would otherwise have to replay. */
  readonly memtableFlushes: number;
}

/**
 * `merging`: everything becomes one run. `waiting`: what that replaced is kept for a while by the engine. `collecting`: its
 * collection is waited for.
 */
export type ReclaimPhase = "merging" | "waiting" | "collecting";

/** How far giving space back has come. */
export interface ReclaimProgress {
  readonly phase: ReclaimPhase;
  /** Objects that are still to go, and their bytes; while merging, all there are. */
  readonly objectsLeft: number;
  readonly bytesLeft: number;
  /** It will not wait for longer than this. Absent while it merges. */
  readonly waitMsMax?: number;
}

export interface ReclaimOptions {
  /** Interrupts it: what was merged stays merged, and what it replaced goes in time. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ReclaimProgress) => void;
  /** How long to wait for old objects to go once everything is merged. Default: 25 minutes. */
  readonly waitMaxMs?: number;
}

/** Tables and logs of the database before and after. */
export interface ReclaimReport {
  readonly objectsBefore: number;
  readonly bytesBefore: number;
  readonly objectsAfter: number;
  readonly bytesAfter: number;
  /** Objects from before that were still there when it stopped waiting. 0: nothing of what was deleted is left. */
  readonly objectsLeft: number;
  readonly elapsedMs: number;
}

export interface KeyValueStore extends KvReader, AsyncDisposable {
  /** What people see of it: the URL without credentials. */
  readonly url: string;
  /**
   * Applies all operations or none, in order, and resolves when they are durable. The next write may be started only
   * after this one has settled. A rejection carries `outcome`; after `unknown` the store takes no further writes.
   */
  write(operations: readonly KvOperation[]): Promise<void>;
  snapshot(): Promise<KvSnapshot>;
  status(): KvStatus;
  stats(): KvStats;
  /** What it has asked of its object storage; adapters without one do not have it. */
  objectStoreStats?(): ObjectStoreStats;
  /**
   * Gives back the space of rows that were deleted or replaced: rewrites all there is, then waits until nothing of the old is left.
   * Reads and writes go on; they wait for a moment, three times. One at a time. Throws the signal's reason where that is
   * aborted, and `storage-unavailable` where another process still has the database open. Adapters whose rows are gone at once do not have it.
   */
  reclaim?(options: ReclaimOptions): Promise<ReclaimReport>;
  /** Resolves when everything written is durable and a cold open has little to replay. Idempotent. */
  close(): Promise<void>;
}

export type KvReaderStatus =
  | { readonly state: "open" }
  /** It cannot be followed at the moment, and is tried again and again. */
  | { readonly state: "stalled"; readonly error: EventStoreError }
  /** Closed by `close()`. */
  | { readonly state: "closed" };

/** What a reader has counted since it was opened. */
export interface KvReaderStats {
  readonly gets: number;
  readonly scans: number;
  readonly rowsScanned: number;
  /** Native readers put in service: the first, those that took over in time, and those opened after a failure. */
  readonly readersOpened: number;
  /** Native readers that closed themselves or met objects that were gone. */
  readonly readersLost: number;
}

/**
 * A byte store that somebody else writes to, as it was some moments ago. What one call saw, all later calls see: it never
 * goes back, and it never shows a part of a write. Its cursors may take over newer rows on their way.
 */
export interface KeyValueReader extends KvReader, AsyncDisposable {
  readonly url: string;
  /** A number that grows when there may be new rows. Asking costs nothing. */
  progress(): number;
  status(): KvReaderStatus;
  stats(): KvReaderStats;
  /** Never rejects. Idempotent. */
  close(): Promise<void>;
}
