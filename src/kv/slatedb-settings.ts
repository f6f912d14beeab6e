/**
 * The engine's settings as plain data, by kind of location, and why. SlateDB 0.12.1 loses acknowledged data unless these
 * hold together (ARCHITECTURE.md, "Driving SlateDB"): nothing here is a matter of taste unless it says so.
 */

import type { StoreLocation } from "./object-store.ts";

/** What decides when acknowledged data is safe. Tests break single rules to see that data is then lost. */
export interface SlateTuning {
  /**
   * Above any WAL backlog that can exist at open, so that recovery fills a single memtable: a recovery that needs two
   * loses acknowledged rows at the next restart. Nothing is allocated up front. Never lower it between two opens.
   */
  readonly l0SstSizeBytes: number;
  /** Flush what recovery replayed into L0 before serving. */
  readonly flushAfterOpen: boolean;
  /**
   * The least age at which the garbage collector removes WAL and manifest objects, the fences among them. A writer that
   * stood still for longer could write behind a fence that is gone, so none acknowledges after a quarter of this.
   */
  readonly garbageMinAgeMs: number;
  readonly garbageIntervalMs: number;
  /** Whether a writer that stood still for too long stops. Off only in the test that shows the loss. */
  readonly heartbeat: boolean;
  /** Whether connections to a bucket are pooled: `reuseConnections` of the S3 options. */
  readonly reuseConnections: boolean;
  /** How often the writer looks for a newer one, and for tables that were merged: at most a hundredth of `garbageMinAgeMs`. */
  readonly manifestPollMs: number;
  /** How often the compactor looks for tables to merge. With `manifestPollMs` it says how many flushes `l0_max_ssts` must hold. */
  readonly compactorPollMs: number;
  /** How the compactor chooses what to merge. Absent in service: the engine's own way. */
  readonly schedulerOptions?: Readonly<Record<string, string>>;
  /** Memtable flushes of our own bound what a cold open replays: by commit groups, bytes and time. */
  readonly memtableFlushGroups: number;
  readonly memtableFlushBytes: number;
  readonly memtableFlushMs: number;
  /** At least this long between two of them. */
  readonly memtableFlushSpacingMs: number;
  /** With this much unflushed a write first waits for the flush under way, but no longer than that. */
  readonly memtablePaceBytes: number;
  readonly memtablePaceMs: number;
  /** With this much unflushed the store takes no further writes: a flush hangs, and the engine itself would not stop. */
  readonly memtableBytesMax: number;
  /** How long the engine waits for the answer to one request to a bucket before it asks again. */
  readonly requestTimeoutMs: number;
  /** How long a read may take; the engine itself has no time-out. */
  readonly readTimeoutMs: number;
  /** How long a write may take, if a quarter of `garbageMinAgeMs` is not less. After that it is unknown, and the store fails. */
  readonly writeTimeoutMs: number;
  /** How long opening may take: 4,096 WAL objects, the most there can be to replay, at 20 ms a request take 107 s. */
  readonly openTimeoutMs: number;
  /** How long each step of closing may take. */
  readonly closeTimeoutMs: number;
}

const shared = {
  l0SstSizeBytes: 4_000_000_000,
  flushAfterOpen: true,
  heartbeat: true,
  reuseConnections: true,
  memtableFlushGroups: 128,
  memtableFlushMs: 10 * 60_000,
  memtablePaceMs: 2_000,
  memtableBytesMax: 256 * 1024 * 1024,
  requestTimeoutMs: 10_000,
  readTimeoutMs: 30_000,
  writeTimeoutMs: 150_000,
  openTimeoutMs: 120_000,
  closeTimeoutMs: 30_000,
} as const;

/** What an idle store on a bucket is tuned for: `storage` of `openEventStore`. */
export type StorageProfile = "low-latency" | "low-cost";

export const storageProfiles: readonly StorageProfile[] = ["low-latency", "low-cost"];

/** A folder or memory: listing costs nothing, so fences stay for a day and a writer may stand still for six hours. */
const localTuning: SlateTuning = {
  ...shared,
  garbageMinAgeMs: 24 * 60 * 60_000,
  garbageIntervalMs: 5 * 60_000,
  manifestPollMs: 1_000,
  // What waits to be flushed is in memory twice, so it is kept small where a flush costs no money.
  memtableFlushBytes: 8 * 1024 * 1024,
  memtablePaceBytes: 24 * 1024 * 1024,
  compactorPollMs: 5_000,
  memtableFlushSpacingMs: 500,
};

const bucket = {
  ...shared,
  memtableFlushBytes: 16 * 1024 * 1024,
  memtablePaceBytes: 48 * 1024 * 1024,
} as const;

/**
 * A bucket: each request has a price. A look is a LIST and a GET; the writer makes one each `manifestPollMs`, the compactor two
 * each `compactorPollMs`, and a round of the garbage collector some ten. Between a flush and the slot that a merge frees for
 * another lie both polls, and flushes in that time, at `memtableFlushSpacingMs`, must fit into the 64 tables of L0.
 */
const bucketTunings: Readonly<Record<StorageProfile, SlateTuning>> = {
  "low-latency": {
    ...bucket,
    garbageMinAgeMs: 10 * 60_000,
    garbageIntervalMs: 5 * 60_000,
    manifestPollMs: 5_000,
    compactorPollMs: 10_000,
    memtableFlushSpacingMs: 250,
  },
  "low-cost": {
    ...bucket,
    garbageMinAgeMs: 60 * 60_000,
    garbageIntervalMs: 10 * 60_000,
    manifestPollMs: 30_000,
    compactorPollMs: 30_000,
    memtableFlushSpacingMs: 1_500,
  },
};

export function tuningFor(location: StoreLocation, profile: StorageProfile = "low-latency"): SlateTuning {
  return location.kind === "s3" ? bucketTunings[profile] : localTuning;
}

/**
 * Where a writer keeps what it has read: so many bytes of rows, in memory of ours; or `"engine"`, in the engine's cache, whose
 * 512 + 128 MiB fill with all that is written as well.
 */
export type ReadCache = number | "engine";

/** It is kept small: what it holds is alive, and the collector lets the process grow to several times that. */
const readCacheBytesDefault = 16 * 1024 * 1024;
export const readCacheBytesMax: number = 1024 * 1024 * 1024;

/**
 * Rows of ours where the files of tables are near, on a folder or in the disk cache: without the engine's cache each look reads
 * a filter a table, an index and a block anew, which are some requests to a bucket.
 */
export function readCacheFor(location: StoreLocation, diskCache: boolean): ReadCache {
  return location.kind === "s3" && !diskCache ? "engine" : readCacheBytesDefault;
}

/** Durations reach the engine as strings with a unit; a bare number would mean seconds. */
function milliseconds(value: number): string {
  return `${Math.max(1, Math.round(value))}ms`;
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What a duration such as "1m30s" or "1s+500ms" comes to; undefined where the text is none. */
function durationMs(text: string): number | undefined {
  if (!/^(?:\d+(?:ms|s|m|h|d)[ +]?)+$/.test(text)) return undefined;
  const parts = text.matchAll(/(\d+)(ms|s|m|h|d)/g);
  return [...parts].reduce((sum, [, count, unit = ""]) => sum + Number(count) * (unitMs[unit] ?? Number.NaN), 0);
}

/** Whether what the engine reports is what it was told: it writes the same duration in other units. */
export function sameSetting(wanted: unknown, found: unknown): boolean {
  if (wanted === found || Bun.deepEquals(wanted, found)) return true;
  if (typeof wanted !== "string" || typeof found !== "string") return false;
  const wantedMs = durationMs(wanted);
  return wantedMs !== undefined && wantedMs === durationMs(found);
}

/**
 * The size of a table that the compactor writes, which it builds in memory: small where its filter and index are read for each look,
 * of which hundreds may be under way. All tables are named in the manifest, which each flush writes.
 */
export const tableBytes: { readonly cached: number; readonly readAnew: number } = {
  cached: 64 * 1024 * 1024,
  readAnew: 8 * 1024 * 1024,
};

/** How many flushed memtables may wait to be merged; at more of them, flushes wait. */
export const l0TablesMax = 64;

/** The engine's own setting names, by dotted path. Unknown names are ignored by it without a word, so they are read back. */
export function engineSettings(tuning: SlateTuning, readCache: ReadCache): Readonly<Record<string, unknown>> {
  const minAge = milliseconds(tuning.garbageMinAgeMs);
  const interval = milliseconds(tuning.garbageIntervalMs);
  const sortedAge = milliseconds(Math.min(tuning.garbageMinAgeMs, 20 * 60_000));
  return {
    // Each commit group flushes the WAL explicitly; a timer would only add waiting or objects.
    flush_interval: null,
    l0_sst_size_bytes: tuning.l0SstSizeBytes,
    // With the default of 8, memtable flushes stall behind compaction.
    l0_max_ssts: l0TablesMax,
    manifest_poll_interval: milliseconds(tuning.manifestPollMs),
    manifest_update_timeout: "60s",
    // Small memtables get bloom filters too: a look at an absent key then reads no block.
    min_filter_keys: 1,
    compression_codec: "Zstd",
    max_unflushed_bytes: 1024 * 1024 * 1024,
    "compactor_options.poll_interval": milliseconds(tuning.compactorPollMs),
    "compactor_options.max_concurrent_compactions": 1,
    "compactor_options.max_sst_size": readCache === "engine" ? tableBytes.cached : tableBytes.readAnew,
    ...(tuning.schedulerOptions === undefined
      ? {}
      : { "compactor_options.scheduler_options": tuning.schedulerOptions }),
    "garbage_collector_options.wal_options.interval": interval,
    "garbage_collector_options.wal_options.min_age": minAge,
    "garbage_collector_options.manifest_options.interval": interval,
    "garbage_collector_options.manifest_options.min_age": minAge,
    "garbage_collector_options.compacted_options.interval": interval,
    "garbage_collector_options.compacted_options.min_age": sortedAge,
    "garbage_collector_options.compactions_options.interval": interval,
    "garbage_collector_options.compactions_options.min_age": sortedAge,
  };
}
