/** Opens the byte store on SlateDB for writing: finds the place, fences an earlier writer, flushes what was recovered. */

import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { prepareBucket } from "./bucket-access.ts";
import { DiskCache, type DiskCacheOptions } from "./disk-cache.ts";
import { prepareFolder } from "./folder.ts";
import type { KeyValueStore } from "./kv.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import { RequestMeter } from "./object-store-stats.ts";
import { databaseBuilder, type NativeDatabase, NativeMetrics } from "./slatedb-binding.ts";
import { openError } from "./slatedb-errors.ts";
import { bucketPlace, folderPlace, memoryPlace, type NativePlace } from "./slatedb-place.ts";
import { engineSettings, type SlateTuning, type StorageProfile, tuningFor } from "./slatedb-settings.ts";
import { SlateWriter } from "./slatedb-writer.ts";

export interface SlateKvOptions {
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly clock: Clock;
  /** Default: `"low-latency"`. Buckets only. */
  readonly profile?: StorageProfile;
  /** Default: none. Buckets only. */
  readonly cache?: DiskCacheOptions;
  /** Tests shorten ages and break single rules; services leave it alone. */
  readonly tuning?: Partial<SlateTuning>;
}

async function resolvePlace({ location, s3 }: SlateKvOptions, tuning: SlateTuning): Promise<NativePlace> {
  switch (location.kind) {
    case "memory":
      return memoryPlace();
    case "folder":
      await prepareFolder(location.directory);
      return folderPlace(location);
    case "s3": {
      const access = await prepareBucket(location, s3, { timeoutMs: tuning.openTimeoutMs });
      try {
        return bucketPlace(location, access, tuning.reuseConnections);
      } catch (error) {
        await access.release();
        throw error;
      }
    }
  }
}

/**
 * Opens the database for writing and fences an earlier writer.
 * Throws `invalid-argument` for a folder that holds something else, `storage-unavailable` where the storage does not answer.
 */
export async function openSlateKv(options: SlateKvOptions): Promise<KeyValueStore> {
  const tuning: SlateTuning = { ...tuningFor(options.location, options.profile), ...options.tuning };
  const url = options.location.url;
  let startedMs = options.clock.monotonic();
  const metrics = new NativeMetrics();
  let place: NativePlace | undefined;
  let cache: DiskCache | undefined;
  let db: NativeDatabase;
  try {
    place = await resolvePlace(options, tuning);
    cache = await prepareCache(options, place);
    startedMs = options.clock.monotonic();
    db = await buildDatabase(place, tuning, { ...engineSettings(tuning), ...cache?.settings }, metrics);
  } catch (cause) {
    await place?.release();
    throw openError(cause, url);
  }
  const { clock } = options;
  const { release } = place;
  const meter = new RequestMeter({ metrics: () => metrics.snapshot(), tuning, clock, diskCache: cache !== undefined });
  const kv = new SlateWriter({ url, db, tuning, clock, meter, cache, release });
  if (tuning.flushAfterOpen) {
    try {
      await kv.flushRecovered(Math.max(1, tuning.openTimeoutMs - (options.clock.monotonic() - startedMs)));
    } catch (cause) {
      // Not waited for: where a flush hangs, closing hangs as well.
      kv.close().catch(() => {});
      throw openError(cause, url);
    }
  }
  return kv;
}

async function prepareCache(
  { location, cache }: SlateKvOptions,
  { bucketUrl }: NativePlace,
): Promise<DiskCache | undefined> {
  if (cache === undefined || location.kind !== "s3") return undefined;
  return await DiskCache.prepare(cache, location, bucketUrl);
}

async function buildDatabase(
  { store, path }: NativePlace,
  tuning: SlateTuning,
  settings: Readonly<Record<string, unknown>>,
  metrics: NativeMetrics,
): Promise<NativeDatabase> {
  const building = databaseBuilder(path, store, settings, metrics).build();
  // An opener that stalls for longer than this might fence nothing any more: its handle is thrown away.
  const deadlineMs = Math.min(tuning.openTimeoutMs, tuning.garbageMinAgeMs / 4);
  try {
    return await withDeadline(building, deadlineMs, "Opening");
  } catch (error) {
    building.then((late) => late.shutdown()).catch(() => {});
    throw error;
  }
}
