/**
 * What requests and bytes cost a month: of a store that runs, by its statistics, or of one that is planned, by what the engine
 * does for each step. Pure functions over a table of prices that everybody can replace. A month has 30 days.
 */

import {
  garbageRounds,
  getsPerCompaction,
  listingsPerGarbageRound,
  listPageObjects,
  looksPerCompaction,
  looksPerGarbageRound,
  type ObjectStoreStats,
  putsPerCompaction,
  type RequestCounts,
  type RequestPurpose,
} from "./object-store-stats.ts";
import { type StorageProfile, tuningFor } from "./slatedb-settings.ts";

/** What an object storage charges, in `currency`. Requests are priced by the million, bytes by the gigabyte of 10^9 and the month. */
export interface ObjectStorePrices {
  readonly name: string;
  /** Where the prices are from, and of when. */
  readonly source: string;
  readonly currency: string;
  readonly perMillionPuts: number;
  readonly perMillionLists: number;
  /** GET and HEAD. */
  readonly perMillionGets: number;
  readonly perMillionDeletes: number;
  readonly perGigabyteMonth: number;
}

/** Amazon S3 Standard in us-east-1, its first 50 TB. Transfer within the region is free, and not part of it. */
export const s3StandardPrices: ObjectStorePrices = {
  name: "Amazon S3 Standard, us-east-1",
  source: "https://aws.amazon.com/s3/pricing/ as quoted by others, read on 2026-11-21; look it up before relying on it",
  currency: "USD",
  perMillionPuts: 5,
  perMillionLists: 5,
  perMillionGets: 0.4,
  perMillionDeletes: 0,
  perGigabyteMonth: 0.023,
};

const secondsPerMonth = 30 * 24 * 60 * 60;

/** Requests in a month, and their price. */
export interface MonthlyRequests {
  readonly requests: RequestCounts;
  readonly cost: number;
}

function costOf({ puts, gets, lists, heads, deletes }: RequestCounts, prices: ObjectStorePrices): number {
  const read = (gets + heads) * prices.perMillionGets;
  return (
    (puts * prices.perMillionPuts + lists * prices.perMillionLists + read + deletes * prices.perMillionDeletes) / 1e6
  );
}

function times(counts: Partial<RequestCounts>, factor: number): RequestCounts {
  const { puts = 0, gets = 0, lists = 0, heads = 0, deletes = 0 } = counts;
  return {
    puts: puts * factor,
    gets: gets * factor,
    lists: lists * factor,
    heads: heads * factor,
    deletes: deletes * factor,
  };
}

/** A month of requests at a rate a second. */
function monthly(perSecond: Partial<RequestCounts>, prices: ObjectStorePrices): MonthlyRequests {
  const requests = times(perSecond, secondsPerMonth);
  return { requests, cost: costOf(requests, prices) };
}

/** What a running store's requests come to in a month, if it goes on as it did since it was opened. */
export interface CostEstimate {
  readonly currency: string;
  /** Without opening, which happens once. */
  readonly byPurpose: Readonly<Record<Exclude<RequestPurpose, "opening">, MonthlyRequests>>;
  readonly monthlyCost: number;
  /** What opening has cost, once. */
  readonly openingCost: number;
}

/**
 * Takes `store.stats().objectStore` to a month; storage is not in it. The longer the store has been open, the better. Rounds of the
 * garbage collector are counted as often as they come, not by the uptime: the first is there at once. Default prices: `s3StandardPrices`.
 */
export function estimateCost(stats: ObjectStoreStats, prices: ObjectStorePrices = s3StandardPrices): CostEstimate {
  const perSecond = 1_000 / Math.max(1, stats.uptimeMs);
  const garbageMs = garbageRounds(stats.uptimeMs, stats.garbageIntervalMs) * stats.garbageIntervalMs;
  const month = (purpose: RequestPurpose): MonthlyRequests =>
    monthly(times(stats.byPurpose[purpose], perSecond), prices);
  const byPurpose = {
    commitGroups: month("commitGroups"),
    memtableFlushes: month("memtableFlushes"),
    compaction: month("compaction"),
    polling: month("polling"),
    garbageCollection: monthly(times(stats.byPurpose.garbageCollection, 1_000 / garbageMs), prices),
    reads: month("reads"),
    lease: month("lease"),
  };
  return {
    currency: prices.currency,
    byPurpose,
    monthlyCost: Object.values(byPurpose).reduce((sum, { cost }) => sum + cost, 0),
    openingCost: costOf(stats.byPurpose.opening, prices),
  };
}

/** A load to plan for. All of it is taken to be steady, around the clock. */
export interface PlannedLoad {
  /** Commits a second that arrive independently of one another. Default: 0. */
  readonly appendsPerSecond?: number;
  /** As `commitLingerMs` of the store. Default: that of the storage profile. */
  readonly lingerMs?: number | "adaptive";
  /** How long the storage takes for a PUT. Default: 25 ms. */
  readonly putMs?: number;
  readonly storage?: StorageProfile;
  /** Stores that are open beside it and do nothing. Default: 0. */
  readonly idleStores?: number;
  /** Read replicas of it. Default: 0. */
  readonly replicas?: number;
  /** How often each looks for news. Default: 1,000 ms. */
  readonly replicaPollMs?: number;
}

/** What a planned load comes to in a month, in requests. */
export interface CostProjection {
  readonly currency: string;
  readonly groupsPerSecond: number;
  readonly byPurpose: Readonly<{
    commitGroups: MonthlyRequests;
    /** Flushing memtables, merging tables, and deleting. */
    upkeep: MonthlyRequests;
    /** Polls and rounds of the garbage collector of the store itself. */
    polling: MonthlyRequests;
    idleStores: MonthlyRequests;
    replicas: MonthlyRequests;
  }>;
  readonly monthlyCost: number;
}

/**
 * Commit groups a second. While one is stored the next gathers; after it, and the linger, the next is cut. With arrivals
 * that know nothing of each other, exp(-rate x put time) is the chance that none came meanwhile and the first is waited for.
 */
function groupsPerSecond(rate: number, lingerMs: number | "adaptive", putMs: number): number {
  if (rate === 0) return 0;
  const perPut = (rate * putMs) / 1_000;
  const waits = lingerMs === "adaptive" ? (perPut < 2 ? 0 : Math.min(putMs, 25)) : lingerMs;
  return 1 / ((putMs + waits) / 1_000 + Math.exp(-perPut) / rate);
}

/** A replica that finds a new WAL object asks for its size and, in four parts, for its content. */
const requestsPerFollowedGroup = 5;
/** Compactions leave a checkpoint for 15 minutes, during which WAL objects stay. */
const walLifeMsMin = 15 * 60_000;

/** What the engine asks for by itself, a second, with so many WAL objects lying about. */
function upkeepPolls(profile: StorageProfile, walObjects: number): Partial<RequestCounts> {
  const { manifestPollMs, compactorPollMs, garbageIntervalMs } = bucketTuning(profile);
  const looks = 1_000 / manifestPollMs + 2_000 / compactorPollMs;
  const rounds = 1_000 / garbageIntervalMs;
  const morePages = Math.floor(walObjects / listPageObjects);
  return { gets: looks + rounds * looksPerGarbageRound, lists: looks + rounds * (listingsPerGarbageRound + morePages) };
}

function bucketTuning(profile: StorageProfile): ReturnType<typeof tuningFor> {
  return tuningFor({ kind: "s3", url: "", bucket: "", prefix: "" }, profile);
}

/** What a planned load costs a month, by what the engine was measured to do for each step. Default prices: `s3StandardPrices`. */
export function projectCost(load: PlannedLoad, prices: ObjectStorePrices = s3StandardPrices): CostProjection {
  const { appendsPerSecond = 0, putMs = 25, storage = "low-latency", idleStores = 0, replicas = 0 } = load;
  const { replicaPollMs = 1_000, lingerMs = storage === "low-cost" ? "adaptive" : 0 } = load;
  const tuning = bucketTuning(storage);
  const groups = groupsPerSecond(appendsPerSecond, lingerMs, putMs);
  const walObjects = (groups * (Math.max(walLifeMsMin, tuning.garbageMinAgeMs) + tuning.garbageIntervalMs)) / 1_000;
  const flushes = Math.min(groups / tuning.memtableFlushGroups, 1_000 / Math.max(1, tuning.memtableFlushSpacingMs));
  const merges = flushes / 6;
  const pages = 1 + Math.floor(walObjects / listPageObjects);
  const polls = 1_000 / replicaPollMs;
  // A poll that finds news lists the WAL a second time.
  const pollsWithNews = groups === 0 ? 0 : Math.min(polls, groups);
  const byPurpose = {
    commitGroups: monthly({ puts: groups }, prices),
    upkeep: monthly(
      {
        puts: 2 * flushes + putsPerCompaction * merges,
        gets: (getsPerCompaction + looksPerCompaction) * merges,
        lists: looksPerCompaction * merges,
        deletes: groups + 2 * flushes,
      },
      prices,
    ),
    polling: monthly(upkeepPolls(storage, walObjects), prices),
    idleStores: monthly(times(upkeepPolls(storage, 0), idleStores), prices),
    replicas: monthly(
      times(
        { lists: polls * (1 + pages) + pollsWithNews * pages, gets: polls + requestsPerFollowedGroup * groups },
        replicas,
      ),
      prices,
    ),
  };
  return {
    currency: prices.currency,
    groupsPerSecond: groups,
    byPurpose,
    monthlyCost: Object.values(byPurpose).reduce((sum, { cost }) => sum + cost, 0),
  };
}

/** What so many bytes cost a month. */
export function storageCost(bytes: number, prices: ObjectStorePrices = s3StandardPrices): number {
  return (bytes / 1e9) * prices.perGigabyteMonth;
}
