/** Opens a read replica of a store and puts its parts together: the readers and subscriptions of a store, without a pipeline. */

import { SnapshotReader } from "../decider/snapshot-reader.ts";
import { InvalidArgumentError, printable, StoreClosedError } from "../errors.ts";
import { storeHeaderKey } from "../format/key-families.ts";
import { decodeStoreHeader } from "../format/records.ts";
import { type ErasedHistory, historyOf, loadThrough, viewOf } from "../history/histories.ts";
import { provenLog } from "../history/verify.ts";
import type { KeyValueReader, KvStatus } from "../kv/kv.ts";
import { LazyObjects } from "../kv/lazy-objects.ts";
import { parseStoreUrl, type S3Options } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import { openSlateReaderKv } from "../kv/slatedb-reader-kv.ts";
import { pollMsDefault, type SlateReaderTuning } from "../kv/slatedb-reader-tuning.ts";
import { ArchiveReader } from "../log/archive-reader.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { Erasures } from "../log/erasures.ts";
import type { ReaderHealth } from "../log/event-store-reader.ts";
import { LogFollower } from "../log/log-follower.ts";
import { RetentionRules } from "../log/retention-rules.ts";
import { StoreReader } from "../log/store-reader.ts";
import { StreamHeads } from "../log/stream-heads.ts";
import { openTables, warmTables } from "../log/table-warmer.ts";
import { assertEncrypted, checkEncryption, type EncryptionOptions } from "../privacy/encryption.ts";
import { ForgottenElsewhere } from "../privacy/forgotten-elsewhere.ts";
import type { KeyService } from "../privacy/key-service.ts";
import { openStoreKeys, type StoreKeys } from "../privacy/store-keys.ts";
import type { AnyProjection, Projection } from "../processors/define-projection.ts";
import type { DocumentReader } from "../processors/face.ts";
import { checkReplicaProjections, replicaDocuments } from "../processors/replica-documents.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import { systemRandom } from "../runtime/random.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import { EventBus } from "../subscriptions/event-bus.ts";
import { LiveFeed } from "../subscriptions/live-feed.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import { checkMoment } from "../vocabulary/moment.ts";
import { frozenAt } from "./as-of.ts";
import type { EventStoreReader, EventStoreView } from "./event-store.ts";
import { LogWatch } from "./log-watch.ts";
import { checkDefinitions, s3OptionNames, warn } from "./open-options.ts";
import { waitForPosition } from "./wait-for-position.ts";

/** How to open a reader. Unknown options are refused. */
export interface ReaderOptions<Definitions extends EventDefinitions = never> {
  /** `file:DIR` or `s3://bucket/prefix`. A store in memory has no readers but the process that it is in. */
  readonly url: string;
  /** The events of each category, as for `openEventStore`; types and upcasts come from here. */
  readonly events?: readonly Definitions[];
  /**
   * Projections whose documents are to be read here; a writer opened with the same ones keeps them. They are not run: only
   * those of mode `"live"` are folded here.
   */
  readonly projections?: readonly Projection<unknown, never>[];
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. */
  readonly s3?: Omit<S3Options, "createBucket">;
  /**
   * What unwraps the keys of personal fields; `"hide"` has them read as `null`, for who must not see them. Without it, events that
   * have such fields cannot be read. When the writer forgets a subject, its data is gone here once the receipt is seen, one poll
   * later; at the latest after two minutes, even if the log is not followed any more.
   */
  readonly encryption?: EncryptionOptions | "hide";
  /** How often the storage is asked for new events. Default: 1,000 ms; from 10 to 600,000. */
  readonly pollIntervalMs?: number;
  /** Told what handlers of `on` throw, and of a log that cannot be followed. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may turn their own clock. */
  readonly clock?: Clock;
}

const optionNames = ["url", "events", "projections", "encryption", "s3", "pollIntervalMs", "onError", "clock"] as const;
const readerS3OptionNames = s3OptionNames.filter((name) => name !== "createBucket");
const pollMsMin = 10;
const pollMsMax = 600_000;

/** What opening took up; `tuning` is for tests. */
interface Opening {
  readonly projections: readonly AnyProjection[];
  readonly keyService: KeyService | "hide" | undefined;
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly pollMs: number;
  readonly onError: (error: unknown) => void;
}

/**
 * Opens the store at `url` for reading only, from this process or any other, on any machine, beside its writer or without
 * one. A writer is not fenced, and a new writer does not disturb a reader.
 *
 * Staleness: an event is seen at the first poll after it was acknowledged, once that poll is through. While the storage
 * answers promptly that is somewhat more than half of `pollIntervalMs` in the median and little more than one in the worst
 * case; each commit group since the last poll costs some five requests, so on a slow bucket beside a busy writer it is more
 * (figures in ARCHITECTURE.md). `waitForPosition` waits for a position that an append has answered.
 *
 * A reader writes to the storage, though no events: it leaves a checkpoint in the database's manifest, which keeps the
 * garbage collector from what it reads, renews it, and removes it on close. So it needs the right to put objects. One that
 * died without closing keeps old objects from being collected for an hour. Open one reader in a process and share it.
 *
 * Throws `store-not-found` (nothing there yet), `invalid-argument` (options, a `memory:` URL, a folder that holds something
 * else), `storage-unavailable` (no answer, no bucket, no permission), `storage-corrupt` (no store of this format).
 */
export async function openEventStoreReader<const Definitions extends EventDefinitions = never>(
  options: ReaderOptions<Definitions>,
): Promise<EventStoreReader<Definitions>> {
  return await openTunedReader(options, {});
}

/** For tests, which shorten the intervals of the byte store. */
export async function openTunedReader<const Definitions extends EventDefinitions = never>(
  options: ReaderOptions<Definitions>,
  tuning: Partial<SlateReaderTuning>,
): Promise<EventStoreReader<Definitions>> {
  const given = checkOptions(options, optionNames);
  const location = parseStoreUrl(given.url);
  const s3 = checkOptions(given.s3, readerS3OptionNames, "s3") as S3Options;
  const opening = checkReaderOptions(options as ReaderOptions<EventDefinitions>);
  if (location.kind === "memory") {
    throw new InvalidArgumentError(
      "url",
      'must be "file:DIR" or "s3://bucket/prefix": only its own process can read "memory:"',
    );
  }
  const { clock, pollMs } = opening;
  let follower: LogFollower | undefined;
  const view = {
    measure: async (reader: Parameters<LogFollower["measure"]>[0]) => (await follower?.measure(reader)) ?? 0,
    reached: () => follower?.reached ?? 0,
    prepare: async (reader: Parameters<LogFollower["measure"]>[0]) => {
      if (location.kind === "s3") await openTables(reader, follower?.recent.newestStream ?? "");
    },
  };
  const kv = await openSlateReaderKv({ location, s3, clock, view, tuning: { ...tuning, pollMs } });
  if (location.kind === "s3") {
    // Before the log is read: what both need is read by whoever comes first.
    const newest = (): string => follower?.recent.newestStream ?? "";
    warmTables({ kv, changes: () => kv.progress(), newest, isClosed: () => kv.status().state === "closed" });
  }
  try {
    follower = await LogFollower.open(kv, location.url);
    const objects = new LazyObjects(() => openObjects(location, s3));
    const keys = await keysOf(opening, follower.storeId, objects);
    const newest = () => openSlateReaderKv({ location, s3, clock });
    return assemble(kv, follower, opening, objects, keys, newest) as unknown as EventStoreReader<Definitions>;
  } catch (error) {
    await kv.close();
    throw error;
  }
}

/** The keys of personal fields, where the options say what unwraps them. */
async function keysOf(
  { keyService: service, registry, clock }: Opening,
  storeId: string,
  lazyObjects: LazyObjects,
): Promise<StoreKeys | undefined> {
  if (service === "hide") registry.useCipher(service);
  if (service === undefined || service === "hide") return undefined;
  try {
    const objects = await lazyObjects.get();
    const keys = await openStoreKeys({ service, storeId, objects, clock, random: systemRandom, mode: "reading" });
    registry.useCipher(keys.keys);
    return keys;
  } catch (error) {
    await lazyObjects.close();
    throw error;
  }
}

function checkReaderOptions(options: ReaderOptions<EventDefinitions>): Opening {
  const pollMs = checkInteger(options.pollIntervalMs, "pollIntervalMs", pollMsMin) ?? pollMsDefault;
  if (pollMs > pollMsMax)
    throw new InvalidArgumentError("pollIntervalMs", `must be at most ${pollMsMax}, not ${pollMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function") {
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  }
  const registry = new EventRegistry(checkDefinitions(options.events), systemIds);
  assertEncrypted(registry.hasPersonalFields, options.encryption);
  return {
    registry,
    projections: checkReplicaProjections({ registry }, options.projections),
    keyService: options.encryption === "hide" ? "hide" : checkEncryption(options.encryption),
    clock: options.clock ?? systemClock,
    pollMs,
    onError: options.onError ?? warn,
  };
}

/** The face without the types of its deciders, which only callers know. */
type ErasedReader = Omit<EventStoreReader, keyof ErasedHistory | "load"> &
  ErasedHistory & { load(decider: unknown, id: unknown): Promise<unknown> };

function assemble(
  kv: KeyValueReader,
  follower: LogFollower,
  opening: Opening,
  objects: LazyObjects,
  storeKeys: StoreKeys | undefined,
  newest: () => Promise<KeyValueReader>,
): EventStoreReader {
  const { registry, clock, pollMs, onError } = opening;
  const { recent } = follower;
  const isClosed = (): boolean => kv.status().state === "closed";
  const assertReadable = (): void => {
    if (isClosed()) throw new StoreClosedError();
  };
  const end = (): typeof follower.end => follower.end;
  const lastPosition = (): number => follower.end.lastPosition;
  // A replica that is stalled goes on by itself, so whoever waits for events goes on waiting.
  const status = (): KvStatus => ({ state: isClosed() ? "closed" : "open" });
  const archive = new ArchiveReader(kv, () => objects.get(), true);
  const reader = new StoreReader({ kv, registry, heads: new StreamHeads(kv), recent, archive, end, assertReadable });
  const subscriptions = new Subscriptions({ reader, registry, recent, lastPosition, status });
  const bus = new EventBus({ subscriptions, registry, lastPosition, onError, hasStopped: isClosed });
  const feed = new LiveFeed(status);
  const erasures = new Erasures();
  erasures.add(() => recent.dropDecoded());
  const forgotten = storeKeys && new ForgottenElsewhere(recent, storeKeys.keys, erasures);
  const onAdvance = (): void => {
    forgotten?.advance(lastPosition());
    subscriptions.notify();
    feed.notify();
  };
  const watch = new LogWatch({ kv, follower, clock, pollMs, onAdvance, onError });
  const reach = async (position: number, options?: unknown): Promise<void> => {
    watch.look();
    await waitForPosition({ feed, lastPosition, isClosed }, position, options);
  };
  const readerAt = (position: number) => reader.view<never>(async () => Math.min(position, lastPosition()));
  const parts = {
    rows: kv,
    registry,
    clock,
    pollMs,
    erasures,
    assertOpen: assertReadable,
    lastPosition,
    readerAt,
    reach,
  };
  const documents = replicaDocuments(parts, opening.projections);
  const health = (): ReaderHealth => {
    const state = kv.status();
    if (state.state === "closed") return { state: "closed", lastPosition: lastPosition() };
    const error = state.state === "stalled" ? state.error : watch.failure;
    return { state: error === undefined ? "open" : "stalled", ...(error && { error }), lastPosition: lastPosition() };
  };
  const history = { reader, registry, erasures, snapshots: new SnapshotReader(kv, onError) };
  const store: ErasedReader = {
    ...reader.view<never>(async () => lastPosition()),
    ...historyOf(history, async () => lastPosition()),
    ...provenLog({ kv, objects: () => objects.get(), newest, end, assertReadable }),
    subscribe: (options) => {
      assertReadable();
      return subscriptions.subscribe(options);
    },
    on: (filter, handler) => {
      assertReadable();
      return bus.on(filter, handler);
    },
    asOf: (when) => {
      const moment = checkMoment(when);
      return viewOf(history, moment, frozenAt(moment, reader, follower)) as unknown as EventStoreView;
    },
    retentions: async () => {
      assertReadable();
      const header = decodeStoreHeader((await kv.get(storeHeaderKey)) ?? new Uint8Array(0));
      return (await RetentionRules.load(kv, header)).infos();
    },
    load: (decider, id) => loadThrough(history, async () => lastPosition(), decider, id),
    documents: (projection) => documents(projection) as DocumentReader<never>,
    waitForPosition: reach,
    health,
    stats: () => ({ storage: kv.stats(), ...watch.stats() }),
    close: async () => {
      watch.stop();
      subscriptions.end();
      const closing = kv.close();
      feed.notify();
      storeKeys?.close();
      await objects.close();
      await closing;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
  return store as unknown as EventStoreReader;
}
