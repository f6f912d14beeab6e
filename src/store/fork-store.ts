/** Forks an open store: a copy at another place, opened at once, that shares nothing with what it was copied from. */

import { archivesPrefix, keysPrefix } from "../backup/copy-objects.ts";
import { openStoreSource } from "../backup/copy-source.ts";
import { copyStore } from "../backup/copy-store.ts";
import { type CopyTarget, openTarget } from "../backup/copy-target.ts";
import type { KeyValueStore } from "../kv/kv.ts";
import { LazyObjects } from "../kv/lazy-objects.ts";
import { createMemoryStorage, openMemoryKv } from "../kv/memory-kv.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { type ObjectAccess, openObjects } from "../kv/objects.ts";
import { openSlateKv } from "../kv/slatedb-kv.ts";
import { checkOptions, checkSignal } from "../log/arguments.ts";
import { type ProcessingOptions, processingOptionNames } from "../processors/processing.ts";
import type { EventStore } from "./event-store.ts";
import type { Lease } from "./lease.ts";
import { checkS3Options, checkTakeover, type Settings } from "./open-options.ts";
import { takeLease } from "./take-lease.ts";

/** Opens a store on a byte store that is open; closes that where it fails. */
export type OpenFork = (
  kv: KeyValueStore,
  settings: Settings,
  objects: LazyObjects,
  lease?: Lease,
) => Promise<EventStore>;

export interface ForkedStore {
  readonly kv: KeyValueStore;
  readonly settings: Settings;
  /** Those beside the store; they stay open. */
  readonly objects: () => Promise<ObjectAccess>;
  readonly open: OpenFork;
}

/** What `EventStore.fork` does. */
export async function forkStore(forked: ForkedStore, url: unknown, options: unknown): Promise<EventStore> {
  const given = checkOptions(options, ["s3", "signal", ...processingOptionNames]);
  const location = parseStoreUrl(url);
  checkS3Options(given.s3);
  const s3 = (given.s3 ?? {}) as S3Options;
  const processing = Object.fromEntries(
    processingOptionNames.filter((name) => given[name] !== undefined).map((name) => [name, given[name]]),
  ) as ProcessingOptions;
  const settings = forked.settings.forFork(processing);
  const memory = createMemoryStorage();
  const objects = new LazyObjects(() => openObjects(location, s3));
  const { clock } = settings;
  let lease: Lease | undefined;
  try {
    await copyTo({
      ...{ forked, location, s3, signal: checkSignal(given.signal) },
      openMemory: () => openMemoryKv(memory),
      targetObjects: await objects.get(),
    });
    if (location.kind === "memory") return await forked.open(openMemoryKv(memory), settings, objects);
    lease = await takeLease({ location, s3, takeover: checkTakeover({}, location), clock });
    return await forked.open(await openSlateKv({ location, s3, clock }), settings, objects, lease);
  } catch (error) {
    await lease?.abandon();
    await objects.close();
    throw error;
  }
}

interface ForkCopy {
  readonly forked: ForkedStore;
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly openMemory: () => KeyValueStore;
  readonly targetObjects: ObjectAccess;
  readonly signal: AbortSignal | undefined;
}

async function copyTo({ forked, location, s3, openMemory, targetObjects, signal }: ForkCopy): Promise<void> {
  const { kv, settings } = forked;
  const { clock } = settings;
  const open = async (sourceStoreId: string): Promise<CopyTarget> =>
    location.kind === "memory"
      ? { kv: openMemory(), resumes: false }
      : await openTarget({ location, s3, clock }, "fork", sourceStoreId);
  await copyStore({
    ...{ source: openStoreSource(kv, await forked.objects()), openTarget: open, targetObjects, clock, signal },
    purpose: "fork",
    pausesProcessors: true,
    objectPrefixes: [keysPrefix, archivesPrefix],
    checkSource: () => {},
    onProgress: () => {},
  });
}
