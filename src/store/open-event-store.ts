/** Opens a store and puts its parts together. Data goes one way: face, schema, commit pipeline, format, kv; and back. */

import { Deciders } from "../decider/deciders.ts";
import type { StreamState } from "../decider/face.ts";
import { SnapshotReader } from "../decider/snapshot-reader.ts";
import type { LoadedState } from "../decider/state-loader.ts";
import { StorageUnavailableError, StoreClosedError } from "../errors.ts";
import { type ErasedHistory, type HistorySource, historyOf, viewOf } from "../history/histories.ts";
import { provenLog } from "../history/verify.ts";
import type { KeyValueStore, KvStatus } from "../kv/kv.ts";
import { LazyObjects } from "../kv/lazy-objects.ts";
import { openMemoryKv } from "../kv/memory-kv.ts";
import { openMemoryObjects } from "../kv/memory-objects.ts";
import { type ObjectStoreStats, withLease } from "../kv/object-store-stats.ts";
import { type ObjectAccess, openObjects } from "../kv/objects.ts";
import { openSlateKv } from "../kv/slatedb-kv.ts";
import { Lifecycle } from "../lifecycle/lifecycle.ts";
import { ArchiveReader } from "../log/archive-reader.ts";
import { checkOptions } from "../log/arguments.ts";
import { prepareCommit } from "../log/commit.ts";
import { CommitPipeline } from "../log/commit-pipeline.ts";
import { Erasures } from "../log/erasures.ts";
import type { StoreHealth } from "../log/event-store.ts";
import { explainConflict } from "../log/explain.ts";
import { IdempotencyKeys } from "../log/idempotency-keys.ts";
import { RetentionRules } from "../log/retention-rules.ts";
import { submitSealed } from "../log/sealed-commits.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { StoreReader } from "../log/store-reader.ts";
import { StreamHeads } from "../log/stream-heads.ts";
import { warmTables } from "../log/table-warmer.ts";
import type { SettledCommit } from "../log/waiting-commit.ts";
import { Forgetting, withoutKeys } from "../privacy/forget.ts";
import { rotateKeys } from "../privacy/rotate-keys.ts";
import { openStoreKeys, type StoreKeys } from "../privacy/store-keys.ts";
import { type ErasedFace, Processing } from "../processors/processing.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventBus } from "../subscriptions/event-bus.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import { checkMoment } from "../vocabulary/moment.ts";
import { frozenAt } from "./as-of.ts";
import type { EventStore, EventStoreView } from "./event-store.ts";
import { FencingWatch } from "./fencing-watch.ts";
import { forkStore, type OpenFork } from "./fork-store.ts";
import type { Lease } from "./lease.ts";
import {
  checkLocation,
  checkSettings,
  checkStorage,
  checkTakeover,
  type OpenOptions,
  type Settings,
} from "./open-options.ts";
import { type Recovered, recover } from "./recover.ts";
import { buildCore, type CoreParts } from "./store-core.ts";
import { takeLease } from "./take-lease.ts";

const appendOptionNames = ["expectedVersion", "failIfMatch", "idempotencyKey", "signal"];

/**
 * Opens the store at `url` for writing, and makes it where there is none. One process at a time writes to a store: opening
 * it fences an earlier writer, which then acknowledges nothing any more. With `takeover: "when-idle"` it first waits until there
 * is none.
 *
 * Throws `invalid-argument` (options, or a folder that holds something else), `storage-unavailable` (no answer, no bucket,
 * no permission), `storage-corrupt` (no store of this format), `writer-fenced` (another opened it meanwhile), `writer-active`
 * (another still wrote after `takeoverTimeoutMs`), or the reason of `signal`.
 */
export async function openEventStore<const Definitions extends EventDefinitions = never>(
  options: OpenOptions<Definitions>,
): Promise<EventStore<Definitions>> {
  const location = checkLocation(options);
  const settings = checkSettings(options as Omit<OpenOptions<EventDefinitions>, "url">);
  const takeover = checkTakeover(options, location);
  const storage = checkStorage(options as OpenOptions<EventDefinitions>);
  takeover.signal?.throwIfAborted();
  const { clock } = settings;
  const s3 = options.s3 ?? {};
  const objects = new LazyObjects(() => openObjects(location, s3));
  if (location.kind === "memory")
    return (await orClose(openMemoryKv(), (kv) => assemble<Definitions>(kv, settings, objects))).store;
  const lease = await takeLease({ location, s3, takeover, clock });
  try {
    const kv = await openSlateKv({ location, s3, clock, ...storage });
    const warmed = location.kind === "s3";
    return (await orClose(kv, () => assemble<Definitions>(kv, settings, objects, { lease, warmed }))).store;
  } catch (error) {
    await lease.abandon();
    throw error;
  }
}

/** Objects beside a store that is opened on a byte store: those that are opened with it are closed with it; by default its own, in memory. */
export type GivenObjects = ObjectAccess | (() => Promise<ObjectAccess>);

/** Opens a store on a byte store that is open already, and closes that with it. For tests and tools. */
export async function openEventStoreOn<const Definitions extends EventDefinitions = never>(
  kv: KeyValueStore,
  options: Omit<OpenOptions<Definitions>, "url" | "s3">,
  objects?: GivenObjects,
): Promise<EventStore<Definitions>> {
  return (await openWithCore<Definitions>(kv, options, objects)).store;
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
  objects?: GivenObjects,
): Promise<OpenedStore<Definitions>> {
  return await orClose(kv, () => {
    const settings = checkSettings(options as Omit<OpenOptions<EventDefinitions>, "url">);
    const open =
      typeof objects === "function" ? objects : async () => keptOpen(objects ?? openMemoryObjects(settings.clock));
    return assemble<Definitions>(kv, settings, new LazyObjects(open));
  });
}

/** Objects for who must not close them. */
function keptOpen(objects: ObjectAccess): ObjectAccess {
  const close = async (): Promise<void> => {};
  return { ...objects, close, [Symbol.asyncDispose]: close };
}

/** What `work` answers; where it fails, the byte store is closed. */
async function orClose<T>(kv: KeyValueStore, work: (kv: KeyValueStore) => Promise<T>): Promise<T> {
  try {
    return await work(kv);
  } catch (error) {
    await kv.close().catch(() => {});
    throw error;
  }
}

/** What a store has that is opened by its URL; `warmed`: a request to its storage takes long enough to be made beforehand. */
interface Opened {
  readonly lease?: Lease;
  readonly warmed?: boolean;
}

async function assemble<Definitions extends EventDefinitions>(
  kv: KeyValueStore,
  settings: Settings,
  objects: LazyObjects,
  { lease, warmed = false }: Opened = {},
): Promise<OpenedStore<Definitions>> {
  // Before the log is read: what both need is read by whoever comes first.
  let newest = "";
  if (warmed) {
    const isClosed = (): boolean => kv.status().state !== "open";
    warmTables({ kv, changes: () => kv.stats().memtableFlushes, newest: () => newest, isClosed });
  }
  const recovered = await recover(kv, settings.clock, settings.ids);
  newest = recovered.recent.newestStream;
  let storeKeys: StoreKeys | undefined;
  try {
    storeKeys = await keysOf(settings, recovered.header, objects);
    return await assembleOn<Definitions>({ kv, settings, objects, recovered, storeKeys, lease });
  } catch (error) {
    storeKeys?.close();
    await objects.close();
    throw error;
  }
}

/** The keys of personal fields, where the options say what wraps them. */
async function keysOf(
  { keyService, clock, random, registry }: Settings,
  { storeId, families }: Recovered["header"],
  lazyObjects: LazyObjects,
): Promise<StoreKeys | undefined> {
  if (keyService === undefined) return undefined;
  const mode = families.includes("erasures") ? "used" : "new";
  const objects = await lazyObjects.get();
  const keys = await openStoreKeys({ service: keyService, storeId, objects, clock, random, mode });
  registry.useCipher(keys.keys);
  return keys;
}

interface Assembly {
  readonly kv: KeyValueStore;
  readonly settings: Settings;
  readonly objects: LazyObjects;
  readonly recovered: Recovered;
  readonly storeKeys: StoreKeys | undefined;
  readonly lease: Lease | undefined;
}

async function assembleOn<Definitions extends EventDefinitions>({
  kv,
  settings,
  objects,
  recovered,
  storeKeys,
  lease,
}: Assembly): Promise<OpenedStore<Definitions>> {
  const { registry, clock } = settings;
  const { header, end, recent, names } = recovered;
  const heads = new StreamHeads(kv, names);
  const durableEnd = (): typeof end => pipeline.end;
  const lastPosition = (): number => pipeline.end.lastPosition;
  const assertReadable = (): void => assertOpen(kv);
  const archive = new ArchiveReader(kv, () => objects.get(), false);
  const rules = await RetentionRules.load(kv, header);
  const firstKept: RetentionRules["firstKept"] = (streamName, version) => rules.firstKept(streamName, version);
  const reader = new StoreReader({
    ...{ kv, registry, heads, recent, archive, firstKept, assertReadable },
    end: durableEnd,
  });
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
    rules,
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
  const closeHooks: CoreParts["closeHooks"] = [() => objects.close()];
  const assertUsable = (): void => assertOpen(kv);
  const erasures = new Erasures();
  erasures.add(() => recent.dropDecoded());
  const core = buildCore({
    ...{ kv, header, reader, subscriptions, pipeline, keys, recent, rules, erasures, registry, clock },
    ...{ closeHooks, assertUsable },
    objects: () => objects.get(),
    ids: settings.ids,
    random: settings.random,
    timeoutMs: settings.timeoutMs,
    onError: settings.onError,
  });
  const inside = { kv, settings, reader, subscriptions, pipeline, core, bus, lease, storeKeys, closeHooks };
  try {
    return { store: face<Definitions>(await begin(inside)), core };
  } catch (error) {
    // What processors and others have taken besides the store is given back.
    await runHooks(closeHooks, settings.timeoutMs, core.warn);
    throw error;
  }
}

type Inside = Omit<Parts, "deciders" | "processing" | "forgetting" | "lifecycle" | "history" | "watch">;

/** Starts what works by itself on a log that can be read and written. */
async function begin(inside: Inside): Promise<Parts> {
  const { kv, settings, reader, subscriptions, pipeline, core, lease, storeKeys } = inside;
  const { registry } = settings;
  const deciders = new Deciders(core, settings.deciders);
  const processing = new Processing(core, settings.processing, (...given) => deciders.execute(...given));
  await processing.start();
  const forgetting = storeKeys && new Forgetting(core, storeKeys.keys, processing);
  // So that from the first sealed event on a version that does not know them keeps its hands off.
  if (registry.hasPersonalFields) await core.useFamilies(["erasures"]);
  const lifecycle = new Lifecycle(core, settings, deciders);
  lifecycle.start();
  void forgetting?.resume().catch(core.warn);
  const { onFenced, onError } = settings;
  const status = (): KvStatus => statusOf(kv, pipeline);
  const onStopped = (): void => subscriptions.notify();
  const history = { reader, registry, erasures: core.erasures, snapshots: new SnapshotReader(core.rows, core.warn) };
  const watch: FencingWatch = new FencingWatch({ status, lease, onFenced, onError, onStopped });
  lease?.opened();
  return { ...inside, deciders, processing, lifecycle, history, watch, forgetting };
}

/** The latest first. None keeps the others waiting for longer than `timeoutMs`. */
async function runHooks(
  hooks: CoreParts["closeHooks"],
  timeoutMs: number,
  warn: (error: unknown) => void,
): Promise<void> {
  for (const hook of hooks.toReversed()) {
    await withDeadline(Promise.try(hook), timeoutMs, "A part of the store").catch(warn);
  }
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
  readonly history: HistorySource;
  readonly lifecycle: Lifecycle;
  readonly closeHooks: CoreParts["closeHooks"];
  readonly lease: Lease | undefined;
  readonly watch: FencingWatch;
  readonly storeKeys: StoreKeys | undefined;
  readonly forgetting: Forgetting | undefined;
}

function face<Definitions extends EventDefinitions>(parts: Parts): EventStore<Definitions> {
  const { kv, settings, reader, subscriptions, bus, pipeline, deciders } = parts;
  const { registry } = settings;
  let closing: Promise<void> | undefined;
  const store: ErasedStore = {
    ...reader.view<never>(async () => pipeline.end.lastPosition),
    ...historyOf(parts.history, async () => pipeline.end.lastPosition),
    ...parts.lifecycle.face(parts.processing.face()),
    ...provenLog({
      ...{ kv, objects: () => parts.core.objects() },
      end: () => pipeline.end,
      assertReadable: () => assertOpen(kv),
    }),
    append: async (streamName, events, options) => {
      const { expectedVersion, ...rest } = checkOptions(options, appendOptionNames, "options", {
        outcome: "not-applied",
      });
      const request = { appends: [{ streamName, events, expectedVersion }], ...rest };
      const { record, replayed } = await submitSealed(pipeline, registry, prepareCommit(request, registry, true));
      const streamVersion = record.streams.find((stream) => stream.streamName === streamName)?.streamVersion ?? 0;
      return { streamVersion, position: record.position, recordedAt: new Date(record.recordedAtMs), replayed };
    },
    commit: async (request) =>
      commitResult(await submitSealed(pipeline, registry, prepareCommit(request, registry, false))),
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
    forget: async (subject, options) => await (parts.forgetting ?? withoutKeys()).forget(subject, options),
    rotateKeys: async () => {
      assertOpen(kv);
      return await rotateKeys(parts.storeKeys ?? withoutKeys());
    },
    fork: async (url, options) => {
      assertOpen(kv);
      const open: OpenFork = async (forked, own, objects, forkLease) => {
        const opened = forkLease === undefined ? {} : { lease: forkLease };
        return (await orClose(forked, () => assemble(forked, own, objects, opened))).store;
      };
      return await forkStore({ kv, settings, objects: () => parts.core.objects(), open }, url, options);
    },
    health: () => health(parts, closing !== undefined),
    stats: () => ({ commits: pipeline.stats(), storage: kv.stats(), objectStore: requestsOf(parts) }),
    close: () => {
      closing ??= close(parts);
      return closing;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
  return store as unknown as EventStore<Definitions>;
}

/** The face without the types of its deciders, which only callers know. */
type ErasedStore = Omit<EventStore, keyof ErasedDeciders | keyof ErasedFace | keyof ErasedHistory> &
  ErasedDeciders &
  ErasedFace &
  ErasedHistory;

interface ErasedDeciders {
  load(decider: unknown, id: unknown): Promise<unknown>;
  execute(decider: unknown, id: unknown, command: unknown, options?: unknown): Promise<unknown>;
  decide(decision: unknown, options?: unknown): Promise<unknown>;
  snapshot(decider: unknown, id: unknown): Promise<unknown>;
  asOf(when: unknown): EventStoreView;
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

function asOf(when: unknown, { reader, pipeline, history }: Parts): EventStoreView {
  const moment = checkMoment(when);
  return viewOf(history, moment, frozenAt(moment, reader, pipeline)) as unknown as EventStoreView;
}

function health({ kv, pipeline, lease }: Parts, closed: boolean): StoreHealth {
  const status = statusOf(kv, pipeline);
  const leased = lease === undefined ? {} : { lease: lease.health() };
  const common = { lastPosition: pipeline.end.lastPosition, queued: pipeline.stats().queued, ...leased };
  if (closed || status.state === "closed") return { state: "closed", ...common };
  if (status.state !== "open") return { state: status.state, error: status.error, ...common };
  return { state: pipeline.stalled ? "stalled" : "open", ...common };
}

function requestsOf({ kv, lease }: Parts): ObjectStoreStats | undefined {
  const stats = kv.objectStoreStats?.();
  return stats === undefined || lease === undefined ? stats : withLease(stats, lease.requests());
}

async function close(parts: Parts): Promise<void> {
  const { kv, settings, subscriptions, pipeline, core, closeHooks, lease, watch } = parts;
  watch.end();
  await runHooks(closeHooks, settings.timeoutMs, core.warn);
  subscriptions.end();
  try {
    await withDeadline(pipeline.close(), settings.timeoutMs, "The commits under way");
  } catch (error) {
    if (!(error instanceof DeadlineExpired)) throw error;
    throw new StorageUnavailableError("The storage did not confirm the commits that were under way", { cause: error });
  } finally {
    parts.storeKeys?.close();
    await closeStorage(kv, lease);
  }
}

/** The lease is released last: then nothing is under way any more that another writer would have to fence. */
async function closeStorage(kv: KeyValueStore, lease: Lease | undefined): Promise<void> {
  const fenced = kv.status().state === "fenced";
  try {
    await kv.close();
  } finally {
    await (fenced ? lease?.leave() : lease?.release());
  }
}
