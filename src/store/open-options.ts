/** The options of opening a store: what they are, and the checks that nothing is misspelt or out of its bounds. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { expiresAfterMsMax } from "../format/lease-record.ts";
import { checkDiskCache, type DiskCacheOptions } from "../kv/disk-cache.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { type ReadCache, readCacheBytesMax, type StorageProfile, storageProfiles } from "../kv/slatedb-settings.ts";
import { type CompactionOptions, type CompactionSettings, checkCompaction } from "../lifecycle/compaction-options.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import { idempotencyWindowMsDefault } from "../log/idempotency-keys.ts";
import { AdaptiveLinger, fixedLinger, type Linger } from "../log/linger.ts";
import { assertEncrypted, checkEncryption, type EncryptionOptions } from "../privacy/encryption.ts";
import type { KeyService } from "../privacy/key-service.ts";
import { type ProcessingOptions, processingOptionNames } from "../processors/processing.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import { type IdSource, systemIds } from "../runtime/ids.ts";
import { type Random, systemRandom } from "../runtime/random.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import type { FencedInfo } from "./fencing-watch.ts";
import { expiresAfterIntervals } from "./lease.ts";

/** How to open a store. Unknown options are refused. */
export interface OpenOptions<Definitions extends EventDefinitions = never> extends ProcessingOptions {
  /** `memory:`, `file:DIR` or `s3://bucket/prefix`. */
  readonly url: string;
  /** The events of each category. Left out, the store takes any event; given, it takes only these. */
  readonly events?: readonly Definitions[];
  /** What wraps the keys of personal fields; to be given where events have such, and to read those that are stored. */
  readonly encryption?: EncryptionOptions;
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. Credentials that end are renewed. */
  readonly s3?: S3Options;
  /**
   * What a store on a bucket is tuned for. `"low-latency"` polls every few seconds, `"low-cost"` every 30: an idle store then costs a
   * quarter. It also makes `"adaptive"` the default of `commitLingerMs`, on every kind of storage. Default: `"low-latency"`.
   */
  readonly storage?: StorageProfile;
  /** Keeps what was read from a bucket on a local disk as well, across restarts; buckets only. Default: in memory only. */
  readonly cache?: DiskCacheOptions;
  /**
   * What a writer keeps in memory of what it has read. A number: at most so many bytes of rows, 0 to 1 GiB, and the process stays small
   * whatever is written; a look for what is not among them reads a filter a table, an index and a block, which are near in a folder
   * and in `cache`, and a request each without them. `"engine"`: the engine's own cache, which takes in all that is written and
   * grows to 640 MiB. Default: 16 MiB; for a bucket without `cache`, `"engine"`.
   */
  readonly readCache?: number | "engine";
  /**
   * How long a commit waits for others to share its group, which is one PUT: 0 to 10,000 ms, each time; or `"adaptive"`, only
   * while commits keep arriving, up to as long as the storage takes for a group, at most 25 ms. Default: 0, the least
   * latency; with `storage: "low-cost"`, `"adaptive"`.
   */
  readonly commitLingerMs?: number | "adaptive";
  /** How long a commit may take before its caller is told `storage-unavailable`. Default: 30,000 ms. */
  readonly commitTimeoutMs?: number;
  /** How long an `idempotencyKey` is remembered at least. Default: seven days. */
  readonly idempotencyWindowMs?: number;
  /**
   * How the compactor works in the background: small pages become large ones, snapshots are kept. `false`: only when `compact` is
   * called. Default: a pass each 4,096 events, in at most a quarter of the writer's time.
   */
  readonly compaction?: false | CompactionOptions;
  /** Made by `defineDecider`: known from the beginning, and not only once they are used, so that snapshots are kept for them. */
  readonly deciders?: readonly object[];
  /** How long after its deletion a stream can be had back; then its events are dropped. From 0. Default: thirty days. */
  readonly deletionGraceMs?: number;
  /** Told what handlers of `on`, and `onFenced`, throw, and of what fails in the background. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /**
   * Where another writer has the store. `"always"` opens it all the same and so fences that writer; `"when-idle"` waits as a
   * standby until nobody holds the store's lease (closed, or not renewed for three of its intervals). Default: `"always"`.
   */
  readonly takeover?: "always" | "when-idle";
  /** With `"when-idle"`: gives up with `writer-active` after so long; 0 looks once. Default: waits for ever. */
  readonly takeoverTimeoutMs?: number;
  /** Gives up waiting with the signal's reason. It does nothing once the store is being opened. */
  readonly signal?: AbortSignal;
  /**
   * Told once, within some seconds, when another writer has fenced this one, and by whom; never once the store is being closed. Close
   * the store then, and open it again with `"when-idle"` to stand by. What it throws or rejects with goes to `onError`.
   */
  readonly onFenced?: (info: FencedInfo) => unknown;
  /** What the lease calls this writer, for people: 1 to 128 characters. Default: none; host and process id are always there. */
  readonly writerName?: string;
  /**
   * How often the lease is renewed, one PUT each time; it expires after three times that, and standbys look at a fifth of theirs.
   * From 100 to 200,000. Default: 10,000 ms for a bucket, 2,000 ms for a folder. `memory:` has no lease.
   */
  readonly leaseIntervalMs?: number;
  /** Tests may bring their own clock, ids and chance. */
  readonly clock?: Clock;
  readonly ids?: IdSource;
  readonly random?: Random;
}

const optionNames = [
  "url",
  "events",
  "encryption",
  "s3",
  "storage",
  "cache",
  "readCache",
  "commitLingerMs",
  "commitTimeoutMs",
  "idempotencyWindowMs",
  "compaction",
  "deciders",
  "deletionGraceMs",
  "onError",
  "takeover",
  "takeoverTimeoutMs",
  "signal",
  "onFenced",
  "writerName",
  "leaseIntervalMs",
  "clock",
  "ids",
  "random",
  ...processingOptionNames,
];
export const s3OptionNames: readonly string[] = [
  "endpoint",
  "region",
  "accessKeyId",
  "secretAccessKey",
  "sessionToken",
  "forcePathStyle",
  "createBucket",
  "reuseConnections",
];

const commitTimeoutMsDefault = 30_000;
const commitLingerMsMax = 10_000;
const deletionGraceMsDefault: number = 30 * 24 * 60 * 60 * 1_000;
const writerNameLengthMax = 128;
const leaseIntervalMsMin = 100;
const leaseIntervalMsMax: number = expiresAfterMsMax / expiresAfterIntervals;
const leaseIntervalMsDefaults = { memory: 10_000, folder: 2_000, s3: 10_000 } as const;

export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: "StrataHandlerError" });
}

export function checkDefinitions(events: unknown): readonly EventDefinitions[] {
  if (events === undefined) return [];
  if (!Array.isArray(events))
    throw new InvalidArgumentError("events", `must be a list of defineEvents(...), not ${printable(events)}`);
  for (const [index, definitions] of events.entries()) {
    if (
      typeof definitions?.category !== "string" ||
      typeof definitions?.types !== "object" ||
      definitions.types === null
    ) {
      throw new InvalidArgumentError(`events[${index}]`, "must be made by defineEvents(...)");
    }
  }
  return events;
}

/** Throws `invalid-argument` for what `s3` does not have. */
export function checkS3Options(s3: unknown): void {
  checkOptions(s3, s3OptionNames, "s3");
}

/** Where the store lives. Throws `invalid-argument` for a URL that is none, and for options that there are not. */
export function checkLocation(options: unknown): StoreLocation {
  const given = checkOptions(options, optionNames);
  const location = parseStoreUrl(given.url);
  checkS3Options(given.s3);
  return location;
}

/** How this process comes to write, as the options have it. */
export interface TakeoverSettings {
  readonly takeover: "always" | "when-idle";
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly writerName: string | undefined;
  readonly leaseIntervalMs: number;
}

/** Throws `invalid-argument` for the first option of a takeover that cannot be. */
export function checkTakeover(
  options: Pick<OpenOptions, "takeover" | "takeoverTimeoutMs" | "signal" | "writerName" | "leaseIntervalMs">,
  location: StoreLocation,
): TakeoverSettings {
  const { takeover = "always", writerName } = options;
  if (takeover !== "always" && takeover !== "when-idle")
    throw new InvalidArgumentError("takeover", `must be "always" or "when-idle", not ${printable(takeover)}`);
  const timeoutMs = checkInteger(options.takeoverTimeoutMs, "takeoverTimeoutMs", 0);
  if (timeoutMs !== undefined && timeoutMs > millisecondsMax)
    throw new InvalidArgumentError("takeoverTimeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
  if (timeoutMs !== undefined && takeover === "always")
    throw new InvalidArgumentError("takeoverTimeoutMs", 'is for takeover "when-idle": "always" waits for nobody');
  if (writerName !== undefined) {
    const fits = typeof writerName === "string" && writerName !== "" && writerName.length <= writerNameLengthMax;
    const problem = `must be a string of 1 to ${writerNameLengthMax} characters`;
    if (!fits) throw new InvalidArgumentError("writerName", `${problem}, not ${printable(writerName)}`);
  }
  const leaseIntervalMs =
    checkInteger(options.leaseIntervalMs, "leaseIntervalMs", leaseIntervalMsMin) ??
    leaseIntervalMsDefaults[location.kind];
  if (leaseIntervalMs > leaseIntervalMsMax)
    throw new InvalidArgumentError("leaseIntervalMs", `must be at most ${leaseIntervalMsMax}, not ${leaseIntervalMs}`);
  return { takeover, timeoutMs, signal: checkSignal(options.signal), writerName, leaseIntervalMs };
}

const lingerDefaults = { "low-latency": 0, "low-cost": "adaptive" } as const;

function profileOf(given: unknown): StorageProfile {
  const profile = given === undefined ? "low-latency" : storageProfiles.find((known) => known === given);
  if (profile !== undefined) return profile;
  throw new InvalidArgumentError("storage", `must be "low-latency" or "low-cost", not ${printable(given)}`);
}

function lingerOf(asked: unknown, profile: StorageProfile, clock: Clock): Linger {
  const given = asked === undefined ? lingerDefaults[profile] : asked;
  if (given === "adaptive") return new AdaptiveLinger(clock);
  if (typeof given === "string") {
    throw new InvalidArgumentError("commitLingerMs", `must be a number or "adaptive", not ${printable(given)}`);
  }
  const lingerMs = checkInteger(given, "commitLingerMs", 0) ?? 0;
  if (lingerMs <= commitLingerMsMax) return fixedLinger(lingerMs);
  throw new InvalidArgumentError("commitLingerMs", `must be at most ${commitLingerMsMax}, not ${lingerMs}`);
}

function readCacheOf(given: unknown): ReadCache | undefined {
  if (given === "engine") return given;
  if (typeof given === "string")
    throw new InvalidArgumentError("readCache", `must be a number of bytes or "engine", not ${printable(given)}`);
  const bytes = checkInteger(given, "readCache", 0);
  if (bytes === undefined || bytes <= readCacheBytesMax) return bytes;
  throw new InvalidArgumentError("readCache", `must be at most ${readCacheBytesMax}, not ${bytes}`);
}

/** How the engine is to deal with its storage. Throws `invalid-argument` for a profile or a cache that cannot be. */
export function checkStorage(options: OpenOptions<EventDefinitions>): {
  readonly profile: StorageProfile;
  readonly cache?: DiskCacheOptions;
  readonly readCache?: ReadCache;
} {
  const { storage, cache } = options;
  checkOptions(cache, ["folder", "maxBytes"], "cache");
  if (cache !== undefined) checkDiskCache(cache);
  const readCache = readCacheOf(options.readCache);
  return {
    profile: profileOf(storage),
    ...(cache === undefined ? {} : { cache }),
    ...(readCache === undefined ? {} : { readCache }),
  };
}

function checkDeciders(deciders: unknown): readonly unknown[] {
  if (deciders === undefined || Array.isArray(deciders)) return deciders ?? [];
  throw new InvalidArgumentError("deciders", `must be a list of defineDecider(...), not ${printable(deciders)}`);
}

/** The options as they hold: checked, with their defaults. */
export interface Settings {
  readonly registry: EventRegistry;
  /** The same for a copy of the store, with processors of its own: nothing that a store changes is shared. */
  readonly forFork: (processing: ProcessingOptions) => Settings;
  readonly keyService: KeyService | undefined;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: Random;
  readonly linger: Linger;
  readonly timeoutMs: number;
  readonly idempotencyWindowMs: number;
  readonly onError: (error: unknown) => void;
  readonly onFenced: ((info: FencedInfo) => unknown) | undefined;
  readonly processing: ProcessingOptions;
  readonly compaction: CompactionSettings;
  readonly deciders: readonly unknown[];
  readonly deletionGraceMs: number;
}

/** Throws `invalid-argument` for the first option that cannot be. */
export function checkSettings(options: Omit<OpenOptions<EventDefinitions>, "url">): Settings {
  const ids = options.ids ?? systemIds;
  const timeoutMs = checkInteger(options.commitTimeoutMs, "commitTimeoutMs", 1) ?? commitTimeoutMsDefault;
  if (timeoutMs > millisecondsMax)
    throw new InvalidArgumentError("commitTimeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function") {
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  }
  if (options.onFenced !== undefined && typeof options.onFenced !== "function") {
    throw new InvalidArgumentError("onFenced", `must be a function, not ${printable(options.onFenced)}`);
  }
  const registry = new EventRegistry(checkDefinitions(options.events), ids);
  assertEncrypted(registry.hasPersonalFields, options.encryption);
  return {
    registry,
    forFork: (processing) => {
      const { projections: _p, reactors: _r, processManagers: _m, onFenced: _f, ...rest } = options;
      return checkSettings({ ...rest, ...processing });
    },
    keyService: checkEncryption(options.encryption),
    clock: options.clock ?? systemClock,
    ids,
    random: options.random ?? systemRandom,
    linger: lingerOf(options.commitLingerMs, profileOf(options.storage), options.clock ?? systemClock),
    timeoutMs,
    idempotencyWindowMs:
      checkInteger(options.idempotencyWindowMs, "idempotencyWindowMs", 1) ?? idempotencyWindowMsDefault,
    onError: options.onError ?? warn,
    onFenced: options.onFenced,
    processing: options,
    compaction: checkCompaction(options.compaction),
    deciders: checkDeciders(options.deciders),
    deletionGraceMs: checkInteger(options.deletionGraceMs, "deletionGraceMs", 0) ?? deletionGraceMsDefault,
  };
}
