/** Opens a store and puts its parts together. Data goes one way: face, schema, commit pipeline, format, kv; and back. */

import { InvalidArgumentError, printable, StorageUnavailableError, StoreClosedError } from "../errors.ts";
import { checkDiskCache, type DiskCacheOptions } from "../kv/disk-cache.ts";
import type { KeyValueStore, KvStatus } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory-kv.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { openSlateKv, type SlateKvOptions } from "../kv/slatedb-kv.ts";
import { type StorageProfile, storageProfiles } from "../kv/slatedb-settings.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { prepareCommit } from "../log/commit.ts";
import { CommitPipeline, type SettledCommit } from "../log/commit-pipeline.ts";
import type { EventReader, EventStore, StoreHealth } from "../log/event-store.ts";
import { explainConflict } from "../log/explain.ts";
import { IdempotencyKeys, idempotencyWindowMsDefault } from "../log/idempotency-keys.ts";
import { AdaptiveLinger, fixedLinger, type Linger } from "../log/linger.ts";
import { StoreReader } from "../log/store-reader.ts";
import { StreamHeads } from "../log/stream-heads.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { type IdSource, systemIds } from "../runtime/ids.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import { EventBus } from "../subscriptions/event-bus.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import { recover } from "./recover.ts";

/** How to open a store. Unknown options are refused. */
export interface OpenOptions<Definitions extends EventDefinitions = never> {
  /** `memory:`, `file:DIR` or `s3://bucket/prefix`. */
  readonly url: string;
  /** The events of each category. Left out, the store takes any event; given, it takes only these. */
  readonly events?: readonly Definitions[];
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. */
  readonly s3?: S3Options;
  /**
   * What a store on a bucket is tuned for. `"low-latency"` polls every few seconds, `"low-cost"` every 30: an idle store then costs a
   * quarter. It also makes `"adaptive"` the default of `commitLingerMs`, on every kind of storage. Default: `"low-latency"`.
   */
  readonly storage?: StorageProfile;
  /** Keeps what was read from a bucket on a local disk as well, across restarts; buckets only. Default: in memory only. */
  readonly cache?: DiskCacheOptions;
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
  /** Told what handlers of `on` throw. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may turn their own clock and ids. */
  readonly clock?: Clock;
  readonly ids?: IdSource;
}

const optionNames = [
  "url",
  "events",
  "s3",
  "storage",
  "cache",
  "commitLingerMs",
  "commitTimeoutMs",
  "idempotencyWindowMs",
  "onError",
  "clock",
  "ids",
] as const;
const appendOptionNames = ["expectedVersion", "failIfMatch", "idempotencyKey", "signal"];
const s3OptionNames = ["endpoint", "region", "accessKeyId", "secretAccessKey", "sessionToken", "createBucket"];

const commitTimeoutMsDefault = 30_000;
const commitLingerMsMax = 10_000;
/** What a timer can hold. */
const millisecondsMax = 2 ** 31 - 1;

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: "StrataHandlerError" });
}

function checkDefinitions(events: unknown): readonly EventDefinitions[] {
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

/**
 * Opens the store at `url` for writing, and makes it where there is none. One process at a time writes to a store: opening
 * it fences an earlier writer, which then acknowledges nothing any more.
 *
 * Throws `invalid-argument` (options, or a folder that holds something else), `storage-unavailable` (no answer, no bucket,
 * no permission), `storage-corrupt` (no store of this format), `writer-fenced` (another opened it meanwhile).
 */
export async function openEventStore<const Definitions extends EventDefinitions = never>(
  options: OpenOptions<Definitions>,
): Promise<EventStore<Definitions>> {
  const given = checkOptions(options, optionNames);
  const location = parseStoreUrl(given.url);
  checkOptions(given.s3, s3OptionNames, "s3");
  checkOptions(given.cache, ["folder", "maxBytes"], "cache");
  if (options.cache !== undefined) checkDiskCache(options.cache);
  const settings = checkSettings(options);
  const kv =
    location.kind === "memory" ? openMemoryKv() : await openSlateKv(storageOptions(location, options, settings));
  return await openEventStoreOn(kv, options);
}

/** What the engine is opened with. */
function storageOptions(
  location: StoreLocation,
  { s3 = {}, storage, cache }: OpenOptions<EventDefinitions>,
  { clock }: Settings,
): SlateKvOptions {
  return {
    location,
    s3,
    clock,
    ...(storage === undefined ? {} : { profile: storage }),
    ...(cache === undefined ? {} : { cache }),
  };
}

interface Settings {
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly linger: Linger;
  readonly timeoutMs: number;
  readonly idempotencyWindowMs: number;
  readonly onError: (error: unknown) => void;
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

function checkSettings(options: Omit<OpenOptions<EventDefinitions>, "url">): Settings {
  const ids = options.ids ?? systemIds;
  const timeoutMs = checkInteger(options.commitTimeoutMs, "commitTimeoutMs", 1) ?? commitTimeoutMsDefault;
  if (timeoutMs > millisecondsMax)
    throw new InvalidArgumentError("commitTimeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function") {
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  }
  return {
    registry: new EventRegistry(checkDefinitions(options.events), ids),
    clock: options.clock ?? systemClock,
    ids,
    linger: lingerOf(options.commitLingerMs, profileOf(options.storage), options.clock ?? systemClock),
    timeoutMs,
    idempotencyWindowMs:
      checkInteger(options.idempotencyWindowMs, "idempotencyWindowMs", 1) ?? idempotencyWindowMsDefault,
    onError: options.onError ?? warn,
  };
}

/** Opens a store on a byte store that is open already, and closes that with it. For tests and tools. */
export async function openEventStoreOn<const Definitions extends EventDefinitions = never>(
  kv: KeyValueStore,
  options: Omit<OpenOptions<Definitions>, "url" | "s3">,
): Promise<EventStore<Definitions>> {
  try {
    return await assemble<Definitions>(kv, checkSettings(options as Omit<OpenOptions<EventDefinitions>, "url">));
  } catch (error) {
    await kv.close().catch(() => {});
    throw error;
  }
}

async function assemble<Definitions extends EventDefinitions>(
  kv: KeyValueStore,
  settings: Settings,
): Promise<EventStore<Definitions>> {
  const { registry, clock } = settings;
  const { end, recent } = await recover(kv, clock, settings.ids);
  const heads = new StreamHeads(kv);
  const durableEnd = (): typeof end => pipeline.end;
  const lastPosition = (): number => pipeline.end.lastPosition;
  const assertReadable = (): void => assertOpen(kv);
  const reader = new StoreReader({ kv, registry, heads, recent, end: durableEnd, assertReadable });
  const status = (): KvStatus => statusOf(kv, pipeline);
  const subscriptions = new Subscriptions({ reader, registry, recent, lastPosition, status });
  const pipeline: CommitPipeline = new CommitPipeline({
    kv,
    clock,
    heads,
    recent,
    index: reader.index,
    keys: new IdempotencyKeys(kv, settings.idempotencyWindowMs),
    end,
    linger: settings.linger,
    timeoutMs: settings.timeoutMs,
    explain: (commit, conflict) => explainConflict(commit, conflict, { reader, registry }),
    onDurable: () => subscriptions.notify(),
    onStopped: () => subscriptions.notify(),
  });
  const bus = new EventBus({
    subscriptions,
    registry,
    lastPosition,
    onError: settings.onError,
    hasStopped: () => status().state !== "open",
  });
  return face<Definitions>({ kv, settings, reader, subscriptions, bus, pipeline });
}

interface Parts {
  readonly kv: KeyValueStore;
  readonly settings: Settings;
  readonly reader: StoreReader;
  readonly subscriptions: Subscriptions;
  readonly bus: EventBus;
  readonly pipeline: CommitPipeline;
}

function face<Definitions extends EventDefinitions>(parts: Parts): EventStore<Definitions> {
  const { kv, settings, reader, subscriptions, bus, pipeline } = parts;
  const { registry } = settings;
  let closing: Promise<void> | undefined;
  const store: EventStore = {
    ...reader.view<never>(async () => pipeline.end.lastPosition),
    append: async (streamName, events, options) => {
      const { expectedVersion, ...rest } = checkOptions(options, appendOptionNames, "options", {
        outcome: "not-applied",
      });
      const request = { appends: [{ streamName, events, expectedVersion }], ...rest };
      const { record, replayed } = await pipeline.submit(prepareCommit(request, registry, true));
      const streamVersion = record.streams.find((stream) => stream.streamName === streamName)?.streamVersion ?? 0;
      return { streamVersion, position: record.position, recordedAt: new Date(record.recordedAtMs), replayed };
    },
    commit: async (request) => commitResult(await pipeline.submit(prepareCommit(request, registry, false))),
    subscribe: (options) => {
      assertOpen(kv);
      return subscriptions.subscribe(options);
    },
    on: (filter, handler) => {
      assertOpen(kv);
      return bus.on(filter, handler);
    },
    asOf: (when) => asOf(when, reader, pipeline),
    health: () => health(kv, pipeline, closing !== undefined),
    stats: () => ({ commits: pipeline.stats(), storage: kv.stats(), objectStore: kv.objectStoreStats?.() }),
    close: () => {
      closing ??= close(parts);
      return closing;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
  return store as unknown as EventStore<Definitions>;
}

function assertOpen(kv: KeyValueStore): void {
  const status = kv.status();
  if (status.state === "closed") throw new StoreClosedError();
  if (status.state !== "open") throw status.error;
}

/** The storage's state, and failed where the fate of a group is unknown. */
function statusOf(kv: KeyValueStore, pipeline: CommitPipeline): KvStatus {
  const status = kv.status();
  const failure = pipeline.failure;
  return status.state === "open" && failure !== undefined ? { state: "failed", error: failure } : status;
}

function commitResult({ record, replayed }: SettledCommit): Awaited<ReturnType<EventStore["commit"]>> {
  return { streams: record.streams, position: record.position, recordedAt: new Date(record.recordedAtMs), replayed };
}

function asOf(when: unknown, reader: StoreReader, pipeline: CommitPipeline): EventReader {
  const { lastPosition } = pipeline.end;
  if (when instanceof Date && !Number.isNaN(when.getTime())) {
    // Looked up once, so that the view stays where it is; the caller's Date may change.
    const timeMs = when.getTime();
    let position: number | undefined;
    return reader.view<never>(async () => {
      position ??= Math.min(await reader.positionAt(timeMs), lastPosition);
      return position;
    });
  }
  if (typeof when === "number" && Number.isSafeInteger(when) && when >= 0) {
    const position = Math.min(when, lastPosition);
    return reader.view<never>(async () => position);
  }
  throw new InvalidArgumentError("when", `must be a valid Date or a position from 0, not ${printable(when)}`);
}

function health(kv: KeyValueStore, pipeline: CommitPipeline, closed: boolean): StoreHealth {
  const status = statusOf(kv, pipeline);
  const common = { lastPosition: pipeline.end.lastPosition, queued: pipeline.stats().queued };
  if (closed || status.state === "closed") return { state: "closed", ...common };
  if (status.state !== "open") return { state: status.state, error: status.error, ...common };
  return { state: pipeline.stalled ? "stalled" : "open", ...common };
}

async function close({ kv, settings, subscriptions, pipeline }: Parts): Promise<void> {
  subscriptions.end();
  try {
    await withDeadline(pipeline.close(), settings.timeoutMs, "The commits under way");
  } catch (error) {
    if (!(error instanceof DeadlineExpired)) throw error;
    throw new StorageUnavailableError("The storage did not confirm the commits that were under way", { cause: error });
  } finally {
    await kv.close();
  }
}
