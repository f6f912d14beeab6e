/** Opens a store and puts its parts together. Data goes one way: face, schema, commit pipeline, format, kv; and back. */

import { Deciders } from "../decider/deciders.ts";
import type { StreamState } from "../decider/face.ts";
import type { LoadedState } from "../decider/state-loader.ts";
import { InvalidArgumentError, printable, StorageUnavailableError, StoreClosedError } from "../errors.ts";
import type { KeyValueStore, KvStatus } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory-kv.ts";
import { parseStoreUrl, type S3Options } from "../kv/object-store.ts";
import { openSlateKv } from "../kv/slatedb-kv.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { prepareCommit } from "../log/commit.ts";
import { CommitPipeline, type SettledCommit } from "../log/commit-pipeline.ts";
import type { StoreHealth } from "../log/event-store.ts";
import { explainConflict } from "../log/explain.ts";
import { IdempotencyKeys, idempotencyWindowMsDefault } from "../log/idempotency-keys.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { StoreReader } from "../log/store-reader.ts";
import { StreamHeads } from "../log/stream-heads.ts";
import {
  type ErasedFace,
  Processing,
  type ProcessingOptions,
  processingOptionNames,
} from "../processors/processing.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { type IdSource, systemIds } from "../runtime/ids.ts";
import { type Random, systemRandom } from "../runtime/random.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import { EventBus } from "../subscriptions/event-bus.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import type { EventStore, EventStoreView } from "./event-store.ts";
import { recover } from "./recover.ts";
import { buildCore, type CoreParts } from "./store-core.ts";

/** How to open a store. Unknown options are refused. */
export interface OpenOptions<Definitions extends EventDefinitions = never> extends ProcessingOptions {
  /** `memory:`, `file:DIR` or `s3://bucket/prefix`. */
  readonly url: string;
  /** The events of each category. Left out, the store takes any event; given, it takes only these. */
  readonly events?: readonly Definitions[];
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. */
  readonly s3?: S3Options;
  /** Waits so long for more commits to share a group: trades latency for fewer PUTs. Default: 0 ms, at most 10,000. */
  readonly commitLingerMs?: number;
  /** How long a commit may take before its caller is told `storage-unavailable`. Default: 30,000 ms. */
  readonly commitTimeoutMs?: number;
  /** How long an `idempotencyKey` is remembered at least. Default: seven days. */
  readonly idempotencyWindowMs?: number;
  /** Told what handlers of `on` throw, and of what fails in the background. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may bring their own clock, ids and chance. */
  readonly clock?: Clock;
  readonly ids?: IdSource;
  readonly random?: Random;
}

const optionNames = [
  "url",
  "events",
  "s3",
  "commitLingerMs",
  "commitTimeoutMs",
  "idempotencyWindowMs",
  "onError",
  "clock",
  "ids",
  "random",
  ...processingOptionNames,
];
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
  const settings = checkSettings(options);
  const clock = settings.clock;
  const kv = location.kind === "memory" ? openMemoryKv() : await openSlateKv({ location, s3: options.s3 ?? {}, clock });
  return await openEventStoreOn(kv, options);
}

interface Settings {
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: Random;
  readonly lingerMs: number;
  readonly timeoutMs: number;
  readonly idempotencyWindowMs: number;
  readonly onError: (error: unknown) => void;
}

function checkSettings(options: Omit<OpenOptions<EventDefinitions>, "url">): Settings {
  const ids = options.ids ?? systemIds;
  const lingerMs = checkInteger(options.commitLingerMs, "commitLingerMs", 0) ?? 0;
  if (lingerMs > commitLingerMsMax)
    throw new InvalidArgumentError("commitLingerMs", `must be at most ${commitLingerMsMax}, not ${lingerMs}`);
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
    random: options.random ?? systemRandom,
    lingerMs,
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
  return (await openWithCore<Definitions>(kv, options)).store;
}

/** A store together with what the layers above the log get of it. For tests and tools. */
export interface OpenedStore<Definitions extends EventDefinitions = never> {
  readonly store: EventStore<Definitions>;
  readonly core: StoreCore;
}

/** As `openEventStoreOn`, with the inside of the store beside it. */
export async function openWithCore<const Definitions extends EventDefinitions = never>(
  kv: KeyValueStore,
  options: Omit<OpenOptions<Definitions>, "url" | "s3">,
): Promise<OpenedStore<Definitions>> {
  try {
    const settings = checkSettings(options as Omit<OpenOptions<EventDefinitions>, "url">);
    return await assemble<Definitions>(kv, settings, options);
  } catch (error) {
    await kv.close().catch(() => {});
    throw error;
  }
}

async function assemble<Definitions extends EventDefinitions>(
  kv: KeyValueStore,
  settings: Settings,
  processors: ProcessingOptions,
): Promise<OpenedStore<Definitions>> {
  const { registry, clock } = settings;
  const { header, end, recent, names } = await recover(kv, clock, settings.ids);
  const heads = new StreamHeads(kv, names);
  const durableEnd = (): typeof end => pipeline.end;
  const lastPosition = (): number => pipeline.end.lastPosition;
  const assertReadable = (): void => assertOpen(kv);
  const reader = new StoreReader({ kv, registry, heads, recent, end: durableEnd, assertReadable });
  const status = (): KvStatus => statusOf(kv, pipeline);
  const subscriptions = new Subscriptions({ reader, registry, recent, lastPosition, status });
  const keys = new IdempotencyKeys(kv, settings.idempotencyWindowMs);
  const pipeline: CommitPipeline = new CommitPipeline({
    kv,
    clock,
    heads,
    names,
    recent,
    index: reader.index,
    keys,
    end,
    lingerMs: settings.lingerMs,
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
  const closeHooks: CoreParts["closeHooks"] = [];
  const assertUsable = (): void => assertOpen(kv);
  const core = buildCore({
    ...{ kv, header, reader, subscriptions, pipeline, keys, registry, clock, closeHooks, assertUsable },
    ids: settings.ids,
    random: settings.random,
    timeoutMs: settings.timeoutMs,
    onError: settings.onError,
  });
  const deciders = new Deciders(core);
  const processing = new Processing(core, processors, (...given) => deciders.execute(...given));
  try {
    await processing.start();
  } catch (error) {
    // What processors have taken besides the store is given back.
    for (const hook of closeHooks.toReversed()) await Promise.try(hook).catch(core.warn);
    throw error;
  }
  const parts: Parts = { kv, settings, reader, subscriptions, bus, pipeline, core, closeHooks, deciders, processing };
  return { store: face<Definitions>(parts), core };
}

interface Parts {
  readonly kv: KeyValueStore;
  readonly settings: Settings;
  readonly reader: StoreReader;
  readonly subscriptions: Subscriptions;
  readonly bus: EventBus;
  readonly pipeline: CommitPipeline;
  readonly core: StoreCore;
  readonly deciders: Deciders;
  readonly processing: Processing;
  readonly closeHooks: CoreParts["closeHooks"];
}

function face<Definitions extends EventDefinitions>(parts: Parts): EventStore<Definitions> {
  const { kv, settings, reader, subscriptions, bus, pipeline, deciders } = parts;
  const { registry } = settings;
  let closing: Promise<void> | undefined;
  const store: ErasedStore = {
    ...reader.view<never>(async () => pipeline.end.lastPosition),
    ...parts.processing.face(),
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
    asOf: (when) => asOf(when, parts),
    execute: (decider, id, command, options) => deciders.execute(decider, id, command, options),
    decide: (decision, options) => deciders.decide(decision, options),
    load: (decider, id) => deciders.load(decider, id).then(stateOf),
    snapshot: (decider, id) => deciders.snapshot(decider, id),
    health: () => health(kv, pipeline, closing !== undefined),
    stats: () => ({ commits: pipeline.stats(), storage: kv.stats() }),
    close: () => {
      closing ??= close(parts);
      return closing;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
  return store as unknown as EventStore<Definitions>;
}

/** The face without the types of its deciders, which only callers know. */
type ErasedStore = Omit<EventStore, keyof ErasedDeciders | keyof ErasedFace> & ErasedDeciders & ErasedFace;

interface ErasedDeciders extends ErasedLoad {
  execute(decider: unknown, id: unknown, command: unknown, options?: unknown): Promise<unknown>;
  decide(decision: unknown, options?: unknown): Promise<unknown>;
  snapshot(decider: unknown, id: unknown): Promise<unknown>;
  asOf(when: unknown): EventStoreView;
}

interface ErasedLoad {
  load(decider: unknown, id: unknown): Promise<unknown>;
}

function stateOf({ state, version }: LoadedState): StreamState<unknown> {
  return { state, version };
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

function asOf(when: unknown, { reader, pipeline, deciders }: Parts): EventStoreView {
  const { lastPosition } = pipeline.end;
  const viewAt = (position: () => Promise<number>): EventStoreView => {
    const view = reader.view<never>(position);
    const load: ErasedLoad["load"] = (decider, id) => deciders.loadFrom(view, decider, id).then(stateOf);
    return { ...view, load } as EventStoreView;
  };
  if (when instanceof Date && !Number.isNaN(when.getTime())) {
    // Looked up once, so that the view stays where it is; the caller's Date may change.
    const timeMs = when.getTime();
    let position: number | undefined;
    return viewAt(async () => {
      position ??= Math.min(await reader.positionAt(timeMs), lastPosition);
      return position;
    });
  }
  if (typeof when === "number" && Number.isSafeInteger(when) && when >= 0) {
    const position = Math.min(when, lastPosition);
    return viewAt(async () => position);
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

async function close({ kv, settings, subscriptions, pipeline, core, closeHooks }: Parts): Promise<void> {
  for (const hook of closeHooks.toReversed()) {
    await withDeadline(Promise.try(hook), settings.timeoutMs, "A part of the store").catch(core.warn);
  }
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
