/**
 * What an open database has asked of its object storage, by kind of request and by purpose. The engine counts what it PUTs,
 * GETs, HEADs and DELETEs, each attempt by itself; it counts neither listings nor what a request is for. Those are derived
 * from what it does in each step (ARCHITECTURE.md, "What requests it makes"), and each field says which of the two it is.
 */

import type { Clock } from "../runtime/clock.ts";
import type { MergeState } from "./slatedb-reclaim.ts";
import type { SlateTuning } from "./slatedb-settings.ts";

/** Requests by kind, as a bucket bills them: PUT and LIST at one price, GET and HEAD at another, DELETE at none. */
export interface RequestCounts {
  readonly puts: number;
  readonly gets: number;
  readonly lists: number;
  readonly heads: number;
  readonly deletes: number;
}

/**
 * `opening`: taking over and recovering. `commitGroups`: one PUT each. `memtableFlushes`: two PUTs each, a table and a
 * manifest. `compaction`: merging tables. `polling`: looking for a newer writer and for work to compact.
 * `garbageCollection`: finding and deleting what nobody needs. `reads`: parts of tables that no cache held. `lease`: saying who
 * writes, which is done beside the database.
 */
export type RequestPurpose =
  | "opening"
  | "commitGroups"
  | "memtableFlushes"
  | "compaction"
  | "polling"
  | "garbageCollection"
  | "reads"
  | "lease";

/**
 * What an open store has asked of its object storage since it began to open. On a folder the requests are calls of the file
 * system, and cost nothing. Not in it: the few requests that look at the bucket before.
 */
export interface ObjectStoreStats {
  /** From when the engine was open until now, or until the store was closed. */
  readonly uptimeMs: number;
  /** How often a round of the garbage collector comes; the first comes with the opening. */
  readonly garbageIntervalMs: number;
  /**
   * All requests. PUTs, GETs, HEADs and DELETEs are counted, each attempt of the engine by itself; attempts that its S3
   * client repeats on its own are not seen. Listings are derived. A HEAD may count as a GET, which costs the same.
   */
  readonly requests: RequestCounts;
  /** Attempts that failed, "there already" and "not there" among them. Counted. */
  readonly failed: number;
  /**
   * The same by purpose. Counted: what opening asks (but listings), the PUTs of commit groups, all DELETEs, the lease. The PUTs of
   * memtable flushes are counted flushes, two each. All else is derived, and adds up to `requests`.
   */
  readonly byPurpose: Readonly<Record<RequestPurpose, RequestCounts>>;
  readonly bytesWritten: {
    /** Derived: keys and values before compression, so mostly more than was stored. */
    readonly commitGroups: number;
    /** Counted, as stored. */
    readonly memtableFlushes: number;
    /** Counted, as stored: the data of tables that compaction wrote. */
    readonly compaction: number;
  };
}

/** A metric as the engine's recorder tells it. */
export interface EngineMetric {
  readonly name: string;
  readonly labels: readonly { readonly key: string; readonly value: string }[];
  readonly value: { readonly tag: string; readonly ""?: unknown };
}

/** What of the engine's metrics is needed here. */
interface EngineCounters {
  readonly puts: number;
  /** Whole objects: manifests and the compactor's state; with a disk cache all objects. */
  readonly objectGets: number;
  /** Parts of tables and of WAL objects. */
  readonly partGets: number;
  readonly heads: number;
  readonly deletes: number;
  readonly failed: number;
  readonly walFlushes: number;
  readonly memtableFlushes: number;
  readonly manifestsDeleted: number;
  readonly walDeleted: number;
  readonly flushedBytes: number;
  readonly compactedBytes: number;
}

/** What the engine says of its merges; a gauge that it does not have is zero. */
export function readMergeState(metrics: readonly EngineMetric[]): MergeState {
  const value = (name: string): number =>
    metrics
      .filter((metric) => metric.name === `slatedb.${name}`)
      .reduce((sum, metric) => sum + Number(metric.value[""]), 0);
  return {
    l0Tables: value("db.l0_sst_count"),
    running: value("compactor.running_compactions"),
    bytesMerged: value("compactor.bytes_compacted"),
  };
}

const putApis = ["put", "multipart_init", "multipart_part", "multipart_complete"];

function readCounters(metrics: readonly EngineMetric[]): EngineCounters {
  const sum = (name: string, key?: string, values: readonly string[] = []): number => {
    let total = 0;
    for (const metric of metrics) {
      if (metric.name !== `slatedb.${name}` || metric.value.tag !== "Counter") continue;
      if (key !== undefined && !metric.labels.some((label) => label.key === key && values.includes(label.value)))
        continue;
      total += Number(metric.value[""]);
    }
    return total;
  };
  const requests = (...apis: string[]): number => sum("object_store.request_count", "api", apis);
  return {
    puts: requests(...putApis),
    objectGets: requests("get"),
    partGets: requests("get_range", "get_ranges"),
    heads: requests("head"),
    deletes: requests("delete"),
    failed: sum("object_store.error_count"),
    walFlushes: sum("db.wal_buffer_flushes"),
    memtableFlushes: sum("db.immutable_memtable_flushes"),
    manifestsDeleted: sum("gc.deleted_count", "resource", ["manifest"]),
    walDeleted: sum("gc.deleted_count", "resource", ["wal"]),
    flushedBytes: sum("db.l0_flush_bytes"),
    compactedBytes: sum("compactor.bytes_compacted"),
  };
}

/**
 * What the engine does in each step, read in its code and measured. A look at the manifest, or at the compactor's state, is a
 * LIST and a GET. A round of the garbage collector looks 8 times and lists three folders more; in two of its four parts
 * it also reads the manifest of each checkpoint that is alive, and each compaction leaves one for 15 minutes.
 */
export const looksPerGarbageRound: number = 8;
export const listingsPerGarbageRound: number = 11;
const checkpointReadsPerGarbageRound = 2;
const checkpointLifeMs = 15 * 60_000;
/** A merge writes its state three times, the manifest twice and, as a rule, one table; with the flushes that led to it, it looks seven times. */
export const putsPerCompaction: number = 6;
export const looksPerCompaction: number = 7;
/** It reads each of its tables, six on average, in two parts or more. */
export const getsPerCompaction: number = 12;
const compactionFetchBytes = 4 * 1024 * 1024;
/** A listing is one request for each of its pages. */
export const listPageObjects: number = 1_000;
/** Opening lists the WAL twice on top of its looks. */
const listingsAtOpening = 2;

export const noRequests: RequestCounts = { puts: 0, gets: 0, lists: 0, heads: 0, deletes: 0 };

function add(left: RequestCounts, right: RequestCounts): RequestCounts {
  return {
    puts: left.puts + right.puts,
    gets: left.gets + right.gets,
    lists: left.lists + right.lists,
    heads: left.heads + right.heads,
    deletes: left.deletes + right.deletes,
  };
}

/** The rounds of the garbage collector so far. */
export function garbageRounds(uptimeMs: number, garbageIntervalMs: number): number {
  return 1 + Math.floor(uptimeMs / garbageIntervalMs);
}

/** The same with what a lease has asked for: before the store was open, and since. */
export function withLease(
  stats: ObjectStoreStats,
  { opening, running }: { readonly opening: RequestCounts; readonly running: RequestCounts },
): ObjectStoreStats {
  const { requests, byPurpose: purposes } = stats;
  return {
    ...stats,
    requests: add(requests, add(opening, running)),
    byPurpose: { ...purposes, opening: add(purposes.opening, opening), lease: add(purposes.lease, running) },
  };
}

/** What was asked between two counts. */
export function requestsSince(now: RequestCounts, before: RequestCounts): RequestCounts {
  return {
    puts: now.puts - before.puts,
    gets: now.gets - before.gets,
    lists: now.lists - before.lists,
    heads: now.heads - before.heads,
    deletes: now.deletes - before.deletes,
  };
}

export type PollTuning = Pick<SlateTuning, "manifestPollMs" | "compactorPollMs" | "garbageIntervalMs">;

interface Derivation {
  readonly opened: EngineCounters;
  readonly now: EngineCounters;
  readonly uptimeMs: number;
  readonly tuning: PollTuning;
  readonly diskCache: boolean;
}

function byPurpose({ opened, now, uptimeMs, tuning, diskCache }: Derivation): Record<RequestPurpose, RequestCounts> {
  const since = (key: keyof EngineCounters): number => now[key] - opened[key];
  const flushPuts = 2 * since("memtableFlushes");
  const compactionPuts = Math.max(0, since("puts") - since("walFlushes") - flushPuts);
  const compactions = compactionPuts / putsPerCompaction;
  const rounds = garbageRounds(uptimeMs, tuning.garbageIntervalMs);
  // Compactions are taken as spread evenly over the uptime.
  const alive = compactions * Math.min(0.5, checkpointLifeMs / Math.max(1, uptimeMs));
  const garbageReads = rounds * alive * checkpointReadsPerGarbageRound;
  const manifestDeletes = since("manifestsDeleted");
  const scheduledLooks = uptimeMs / tuning.manifestPollMs + (2 * uptimeMs) / tuning.compactorPollMs;
  const garbageLooks = rounds * looksPerGarbageRound + manifestDeletes;
  // Without a disk cache each look is a counted GET; with one, most are answered from the disk and only the plan is left.
  const looks = diskCache
    ? scheduledLooks + compactions * looksPerCompaction
    : Math.max(0, since("objectGets") - garbageLooks - garbageReads);
  const allGets = since("objectGets") + since("partGets");
  const garbageGets = diskCache ? 0 : Math.min(since("objectGets"), garbageLooks + garbageReads);
  const pollGets = diskCache ? 0 : looks;
  const tableGets = allGets - garbageGets - pollGets;
  const mergedParts = compactions * getsPerCompaction + since("compactedBytes") / compactionFetchBytes;
  const compactionGets = Math.min(tableGets, compactions < 1 ? 0 : mergedParts);
  // One of the listings is of the WAL, in pages. Until the first of its objects is deleted, it grows from nothing.
  const walObjects = Math.max(0, since("walFlushes") - since("walDeleted")) / (since("walDeleted") > 0 ? 1 : 2);
  const garbageLists = rounds * (listingsPerGarbageRound + Math.floor(walObjects / listPageObjects)) + manifestDeletes;
  return {
    opening: {
      puts: opened.puts,
      gets: opened.objectGets + opened.partGets,
      lists: opened.objectGets + listingsAtOpening,
      heads: opened.heads,
      deletes: opened.deletes,
    },
    commitGroups: { ...noRequests, puts: since("walFlushes") },
    memtableFlushes: { ...noRequests, puts: flushPuts },
    compaction: { ...noRequests, puts: compactionPuts, gets: compactionGets },
    polling: { ...noRequests, gets: pollGets, lists: looks },
    garbageCollection: { ...noRequests, gets: garbageGets, lists: garbageLists, deletes: since("deletes") },
    reads: { ...noRequests, gets: tableGets - compactionGets, heads: since("heads") },
    lease: noRequests,
  };
}

function rounded(counts: RequestCounts): RequestCounts {
  const { puts, gets, lists, heads, deletes } = counts;
  return { puts, gets: Math.round(gets), lists: Math.round(lists), heads, deletes };
}

/** What two handles of one database have asked, one after the other. */
export function addObjectStoreStats(left: ObjectStoreStats, right: ObjectStoreStats): ObjectStoreStats {
  const purpose = (name: RequestPurpose): RequestCounts => add(left.byPurpose[name], right.byPurpose[name]);
  return {
    uptimeMs: left.uptimeMs + right.uptimeMs,
    garbageIntervalMs: right.garbageIntervalMs,
    requests: add(left.requests, right.requests),
    failed: left.failed + right.failed,
    byPurpose: {
      opening: purpose("opening"),
      commitGroups: purpose("commitGroups"),
      memtableFlushes: purpose("memtableFlushes"),
      compaction: purpose("compaction"),
      polling: purpose("polling"),
      garbageCollection: purpose("garbageCollection"),
      reads: purpose("reads"),
      lease: purpose("lease"),
    },
    bytesWritten: {
      commitGroups: left.bytesWritten.commitGroups + right.bytesWritten.commitGroups,
      memtableFlushes: left.bytesWritten.memtableFlushes + right.bytesWritten.memtableFlushes,
      compaction: left.bytesWritten.compaction + right.bytesWritten.compaction,
    },
  };
}

export interface RequestMeterOptions {
  readonly metrics: () => readonly EngineMetric[];
  readonly tuning: PollTuning;
  readonly clock: Clock;
  readonly diskCache: boolean;
}

/** Reads the engine's counters; what they say when it is made is what opening took. */
export class RequestMeter {
  readonly #options: RequestMeterOptions;
  readonly #opened: EngineCounters;
  readonly #openedMs: number;
  #stoppedMs: number | undefined;

  constructor(options: RequestMeterOptions) {
    this.#options = options;
    this.#opened = readCounters(options.metrics());
    this.#openedMs = options.clock.monotonic();
  }

  /** The database is closed: nothing is polled any more. */
  stop(): void {
    this.#stoppedMs ??= this.#options.clock.monotonic();
  }

  /** `rowBytes`: keys and values written since it was made. */
  read(rowBytes: number): ObjectStoreStats {
    const { metrics, tuning, clock, diskCache } = this.#options;
    const now = readCounters(metrics());
    const uptimeMs = (this.#stoppedMs ?? clock.monotonic()) - this.#openedMs;
    const purposes = byPurpose({ opened: this.#opened, now, uptimeMs, tuning, diskCache });
    const total = Object.values(purposes).reduce(add, noRequests);
    return {
      uptimeMs,
      garbageIntervalMs: tuning.garbageIntervalMs,
      requests: rounded({ ...total, gets: now.objectGets + now.partGets }),
      failed: now.failed,
      byPurpose: {
        opening: rounded(purposes.opening),
        commitGroups: rounded(purposes.commitGroups),
        memtableFlushes: rounded(purposes.memtableFlushes),
        compaction: rounded(purposes.compaction),
        polling: rounded(purposes.polling),
        garbageCollection: rounded(purposes.garbageCollection),
        reads: rounded(purposes.reads),
        lease: purposes.lease,
      },
      bytesWritten: {
        commitGroups: rowBytes,
        memtableFlushes: now.flushedBytes,
        compaction: now.compactedBytes,
      },
    };
  }
}
