/** Opens a read replica of a store and puts its parts together: the readers and subscriptions of a store, without a pipeline. */

import { InvalidArgumentError, printable, StoreClosedError } from "../errors.ts";
import { provenLog } from "../history/verify.ts";
import type { KeyValueReader, KvStatus } from "../kv/kv.ts";
import { parseStoreUrl, type S3Options } from "../kv/object-store.ts";
import { openSlateReaderKv } from "../kv/slatedb-reader-kv.ts";
import { pollMsDefault, type SlateReaderTuning } from "../kv/slatedb-reader-tuning.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { EventStoreReader, ReaderHealth } from "../log/event-store-reader.ts";
import { LogFollower } from "../log/log-follower.ts";
import { StoreReader } from "../log/store-reader.ts";
import { StreamHeads } from "../log/stream-heads.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import { EventBus } from "../subscriptions/event-bus.ts";
import { LiveFeed } from "../subscriptions/live-feed.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import { frozenAt } from "./as-of.ts";
import { LogWatch } from "./log-watch.ts";
import { checkDefinitions, s3OptionNames, warn } from "./open-options.ts";
import { waitForPosition } from "./wait-for-position.ts";

/** How to open a reader. Unknown options are refused. */
export interface ReaderOptions<Definitions extends EventDefinitions = never> {
  /** `file:DIR` or `s3://bucket/prefix`. A store in memory has no readers but the process that it is in. */
  readonly url: string;
  /** The events of each category, as for `openEventStore`; types and upcasts come from here. */
  readonly events?: readonly Definitions[];
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. */
  readonly s3?: Omit<S3Options, "createBucket">;
  /** How often the storage is asked for new events. Default: 1,000 ms; from 10 to 600,000. */
  readonly pollIntervalMs?: number;
  /** Told what handlers of `on` throw, and of a log that cannot be followed. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may turn their own clock. */
  readonly clock?: Clock;
}

const optionNames = ["url", "events", "s3", "pollIntervalMs", "onError", "clock"] as const;
const readerS3OptionNames = s3OptionNames.filter((name) => name !== "createBucket");
const pollMsMin = 10;
const pollMsMax = 600_000;

/** What opening took up; `tuning` is for tests. */
interface Opening {
  readonly options: Omit<ReaderOptions<EventDefinitions>, "url" | "s3">;
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
  };
  const kv = await openSlateReaderKv({ location, s3, clock, view, tuning: { ...tuning, pollMs } });
  try {
    follower = await LogFollower.open(kv, location.url);
  } catch (error) {
    await kv.close();
    throw error;
  }
  return assemble(kv, follower, opening) as unknown as EventStoreReader<Definitions>;
}

function checkReaderOptions(options: ReaderOptions<EventDefinitions>): Opening {
  const pollMs = checkInteger(options.pollIntervalMs, "pollIntervalMs", pollMsMin) ?? pollMsDefault;
  if (pollMs > pollMsMax)
    throw new InvalidArgumentError("pollIntervalMs", `must be at most ${pollMsMax}, not ${pollMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function") {
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  }
  return {
    options,
    registry: new EventRegistry(checkDefinitions(options.events), systemIds),
    clock: options.clock ?? systemClock,
    pollMs,
    onError: options.onError ?? warn,
  };
}

function assemble(kv: KeyValueReader, follower: LogFollower, opening: Opening): EventStoreReader {
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
  const reader = new StoreReader({ kv, registry, heads: new StreamHeads(kv), recent, end, assertReadable });
  const subscriptions = new Subscriptions({ reader, registry, recent, lastPosition, status });
  const bus = new EventBus({ subscriptions, registry, lastPosition, onError, hasStopped: isClosed });
  const feed = new LiveFeed(status);
  const onAdvance = (): void => {
    subscriptions.notify();
    feed.notify();
  };
  const watch = new LogWatch({ kv, follower, clock, pollMs, onAdvance, onError });
  const health = (): ReaderHealth => {
    const state = kv.status();
    if (state.state === "closed") return { state: "closed", lastPosition: lastPosition() };
    const error = state.state === "stalled" ? state.error : watch.failure;
    return { state: error === undefined ? "open" : "stalled", ...(error && { error }), lastPosition: lastPosition() };
  };
  const store: EventStoreReader = {
    ...reader.view<never>(async () => lastPosition()),
    ...provenLog({ kv, end, assertReadable }),
    subscribe: (options) => {
      assertReadable();
      return subscriptions.subscribe(options);
    },
    on: (filter, handler) => {
      assertReadable();
      return bus.on(filter, handler);
    },
    asOf: (when) => reader.view<never>(frozenAt(when, reader, follower)),
    waitForPosition: async (position, options) => {
      watch.look();
      await waitForPosition({ feed, lastPosition, isClosed }, position, options);
    },
    health,
    stats: () => ({ storage: kv.stats(), ...watch.stats() }),
    close: async () => {
      watch.stop();
      subscriptions.end();
      const closing = kv.close();
      feed.notify();
      await closing;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
  return store;
}
