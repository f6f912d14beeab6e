/** Opens the byte store on SlateDB for writing: finds the place, fences an earlier writer, flushes what was recovered. */

import type { Clock } from "../runtime/clock.ts";
import { prepareBucket } from "./bucket-access.ts";
import { CachingKv } from "./caching-kv.ts";
import { assertUndamaged, assertUndamagedFolder } from "./damage-check.ts";
import { DiskCache, type DiskCacheOptions } from "./disk-cache.ts";
import { prepareFolder } from "./folder.ts";
import { type FolderOpener, holdOpen } from "./folder-openers.ts";
import type { KeyValueStore } from "./kv.ts";
import { openWithin } from "./late-opens.ts";
import { assertWrapped } from "./native-declarations.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import { RequestMeter, readMergeState } from "./object-store-stats.ts";
import { openObjects } from "./objects.ts";
import { databaseBuilder, type NativeDatabase, NativeMetrics } from "./slatedb-binding.ts";
import { maySayNoSuchBucket, openError } from "./slatedb-errors.ts";
import { bucketPlace, folderPlace, memoryPlace, type NativePlace } from "./slatedb-place.ts";
import type { ReclaimPlace } from "./slatedb-reclaim.ts";
import {
  engineSettings,
  type ReadCache,
  readCacheFor,
  type SlateTuning,
  type StorageProfile,
  tuningFor,
} from "./slatedb-settings.ts";
import { type OpenedWriter, SlateStore } from "./slatedb-store.ts";
import { SlateWriter } from "./slatedb-writer.ts";

export interface SlateKvOptions {
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly clock: Clock;
  /** Default: `"low-latency"`. Buckets only. */
  readonly profile?: StorageProfile;
  /** Default: none. Buckets only. */
  readonly cache?: DiskCacheOptions;
  /** Default: 16 MiB of rows, and for a bucket without a disk cache the engine's. */
  readonly readCache?: ReadCache;
  /** Tests shorten ages and break single rules; services leave it alone. */
  readonly tuning?: Partial<SlateTuning>;
}

interface WriterPlace extends NativePlace {
  /** Who else has a folder open; nothing for other places. */
  readonly opener?: FolderOpener;
}

async function withOpener(location: StoreLocation & { kind: "folder" }, opener: FolderOpener): Promise<WriterPlace> {
  try {
    return { ...folderPlace(location), release: () => opener.release(), opener };
  } catch (error) {
    await opener.release();
    throw error;
  }
}

async function resolvePlace({ location, s3 }: SlateKvOptions, tuning: SlateTuning): Promise<WriterPlace> {
  switch (location.kind) {
    case "memory":
      return memoryPlace();
    case "folder":
      await prepareFolder(location.directory);
      await assertUndamagedFolder(location);
      return withOpener(location, await holdOpen(location.directory));
    case "s3": {
      const access = await prepareBucket(location, s3, {
        timeoutMs: tuning.openTimeoutMs,
        requestTimeoutMs: tuning.requestTimeoutMs,
        inspect: (objects) => assertUndamaged(objects, location),
      });
      try {
        return bucketPlace(location, access, tuning.reuseConnections);
      } catch (error) {
        await access.release();
        throw error;
      }
    }
  }
}

interface OpenedDatabase {
  readonly db: NativeDatabase;
  readonly place: WriterPlace;
  readonly metrics: NativeMetrics;
  readonly cache: DiskCache | undefined;
  readonly startedMs: number;
}

/**
 * Opens the database for writing and fences an earlier writer.
 * Throws `invalid-argument` for a folder that holds something else, `storage-unavailable` where the storage does not answer,
 * `storage-corrupt` where an object of the database is damaged or gone, and then has written nothing to it.
 */
export async function openSlateKv(options: SlateKvOptions): Promise<KeyValueStore> {
  assertWrapped();
  const { reuseConnections = true } = options.s3;
  const tuning: SlateTuning = {
    ...tuningFor(options.location, options.profile),
    reuseConnections,
    ...options.tuning,
  };
  const { clock, location } = options;
  const first = await openSlateWriter(options, tuning);
  const open = (wanted: SlateTuning): Promise<OpenedWriter> => openSlateWriter(options, wanted);
  const kv = new SlateStore({ url: location.url, tuning, clock, first, open, place: reclaimPlace(options) });
  const readCache = readCacheOf(options);
  return readCache === "engine" || readCache === 0 ? kv : new CachingKv(kv, readCache);
}

/** Memory that is opened again is another memory, so there is nothing to give back. */
function reclaimPlace({ location, s3 }: SlateKvOptions): ReclaimPlace | undefined {
  if (location.kind === "memory") return undefined;
  return {
    async *list(prefix) {
      await using objects = await openObjects(location, s3);
      yield* objects.list(prefix);
    },
  };
}

/** The engine alone, as one of the writers that a store has one after the other. Throws as `openSlateKv` does. */
export async function openSlateWriter(options: SlateKvOptions, tuning: SlateTuning): Promise<OpenedWriter> {
  const { clock } = options;
  const { url } = options.location;
  const { db, place, metrics, cache, startedMs } = await openDatabase(options, tuning)
    // Where the bucket itself may have been gone for a moment, what is gone for good is still gone the second time.
    .catch((error) => (maySayNoSuchBucket(error) ? openDatabase(options, tuning) : Promise.reject(error)))
    .catch((cause) => Promise.reject(openError(cause, url)));
  const { release } = place;
  const meter = new RequestMeter({ metrics: () => metrics.snapshot(), tuning, clock, diskCache: cache !== undefined });
  const writer = new SlateWriter({ url, db, tuning, clock, meter, cache, release });
  if (tuning.flushAfterOpen) {
    try {
      await writer.flushRecovered(Math.max(1, tuning.openTimeoutMs - (clock.monotonic() - startedMs)));
    } catch (cause) {
      // Not waited for: where a flush hangs, closing hangs as well.
      writer.close().catch(() => {});
      throw openError(cause, url);
    }
  }
  return {
    writer,
    mergeState: () => readMergeState(metrics.snapshot()),
    alone: async () => (await place.opener?.alone()) ?? true,
  };
}

function readCacheOf({ location, cache, readCache }: SlateKvOptions): ReadCache {
  return readCache ?? readCacheFor(location, cache !== undefined);
}

async function openDatabase(options: SlateKvOptions, tuning: SlateTuning): Promise<OpenedDatabase> {
  const metrics = new NativeMetrics();
  const place = await resolvePlace(options, tuning);
  const cache = await prepareCache(options, place).catch(async (error) => {
    await place.release();
    throw error;
  });
  const startedMs = options.clock.monotonic();
  const settings = { ...engineSettings(tuning, readCacheOf(options)), ...cache?.settings };
  const engineCache = readCacheOf(options) === "engine";
  const db = await openWithin({
    key: `${options.location.url} ${place.bucketUrl}`,
    // An opener that stalls for longer than this might fence nothing any more: its handle is thrown away.
    timeoutMs: Math.min(tuning.openTimeoutMs, tuning.garbageMinAgeMs / 4),
    clock: options.clock,
    open: () => databaseBuilder(place.path, place.store, settings, metrics, engineCache).build(),
    discard: (tooLate) => tooLate.shutdown(),
    release: place.release,
  });
  return { db, place, metrics, cache, startedMs };
}

async function prepareCache(
  { location, cache }: SlateKvOptions,
  { bucketUrl }: NativePlace,
): Promise<DiskCache | undefined> {
  if (cache === undefined || location.kind !== "s3") return undefined;
  return await DiskCache.prepare(cache, location, bucketUrl);
}
