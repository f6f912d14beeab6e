/** Forks an open store: a copy at another place, opened at once, that shares nothing with what it was copied from. */

import { archivesPrefix, keysPrefix } from "../backup/copy-objects.ts";
import { openStoreSource } from "../backup/copy-source.ts";
import { copyStore } from "../backup/copy-store.ts";
import { type CopyTarget, openTarget } from "../backup/copy-target.ts";
import type { KeyValueStore } from "../kv/kv.ts";
import { LazyObjects } from "../kv/lazy-objects.ts";
import { createMemoryStorage, openMemoryKv } from "../kv/memory-kv.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import { openSlateKv } from "../kv/slatedb-kv.ts";
import { checkOptions, checkSignal } from "../log/arguments.ts";
import { type ProcessingOptions, processingOptionNames } from "../processors/processing.ts";
import { systemIds } from "../runtime/ids.ts";
import type { EventStore } from "./event-store.ts";
import type { Lease } from "./lease.ts";
import { checkS3Options, checkTakeover, type Settings } from "./open-options.ts";
import { takeLease } from "./take-lease.ts";

/** Where the fork is to be. */
interface StorePlace {
  readonly location: StoreLocation;
  readonly s3: S3Options;
}

/** Opens a store on a byte store that is open, with the objects beside it; closes both where it fails. */
export type OpenFork = (
  kv: KeyValueStore,
  settings: Settings,
  objects: LazyObjects,
  opened: { readonly lease?: Lease },
) => Promise<EventStore>;

export interface ForkedStore {
  readonly kv: KeyValueStore;
  readonly settings: Settings;
  /** Those beside the store. */
  readonly objects: LazyObjects;
  readonly open: OpenFork;
}

/** What `EventStore.fork` does. */
export async function forkStore(forked: ForkedStore, url: unknown, options: unknown): Promise<EventStore> {
  const given = checkOptions(options, ["s3", "signal", ...processingOptionNames]);
  const location = parseStoreUrl(url);
  checkS3Options(given.s3);
  const place: StorePlace = { location, s3: (given.s3 ?? {}) as S3Options };
  const processing = Object.fromEntries(processingOptionNames.map((name) => [name, given[name]])) as ProcessingOptions;
  // Its keys are its own: what is forgotten in one is not forgotten in the other.
  const registry = forked.settings.registry.withoutKeys();
  const settings: Settings = { ...forked.settings, registry, onFenced: undefined, processing };
  const memory = createMemoryStorage();
  // Those in memory are there only as long as somebody holds them.
  const objects = new LazyObjects(() => openObjects(location, place.s3));
  try {
    await copyTo(forked, place, objects, () => openMemoryKv(memory), checkSignal(given.signal));
  } catch (error) {
    await objects.close();
    throw error;
  }
  const { clock } = settings;
  if (location.kind === "memory") return await forked.open(openMemoryKv(memory), settings, objects, {});
  const lease = await takeLease({ location, s3: place.s3, takeover: checkTakeover({}, location), clock });
  try {
    const kv = await openSlateKv({ location, s3: place.s3, clock });
    return await forked.open(kv, settings, objects, { lease });
  } catch (error) {
    await lease.abandon();
    throw error;
  }
}

async function copyTo(
  { kv, settings, objects }: ForkedStore,
  { location, s3 }: StorePlace,
  targetObjects: LazyObjects,
  openMemory: () => KeyValueStore,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clock } = settings;
  const open = async (sourceStoreId: string): Promise<CopyTarget> =>
    location.kind === "memory"
      ? { kv: openMemory(), resumes: false }
      : await openTarget({ location, s3, clock }, "fork", sourceStoreId);
  await copyStore({
    ...{ source: openStoreSource(kv, await objects.get()), openTarget: open, clock, signal },
    targetObjects: await targetObjects.get(),
    purpose: "fork",
    // Not from the store's own source of ids, which a test may have made repeat.
    storeId: systemIds.next(),
    pausesProcessors: true,
    objectPrefixes: [keysPrefix, archivesPrefix],
    checkSource: () => {},
    onProgress: () => {},
  });
}
