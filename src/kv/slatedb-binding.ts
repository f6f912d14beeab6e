/**
 * The sole importer of the engine's binding. What the adapters need of it stands here under names of ours; nothing here
 * waits, retries or judges. A new version of the binding shows here first.
 */

import type {
  Db,
  DbBuilder,
  DbIterator,
  DbReader,
  DbReaderBuilder,
  DbSnapshot,
  DefaultMetricsRecorder,
  ObjectStore,
  ReadOptions,
  ScanOptions,
  Settings,
  WriteBatch,
} from "@slatedb/uniffi";
import { InternalError } from "../errors.ts";
import type { ScanPurpose } from "./kv.ts";
import { loadBinding } from "./native-declarations.ts";
import { sameSetting } from "./slatedb-settings.ts";

const binding = loadBinding() as typeof import("@slatedb/uniffi");

export type NativeDatabase = Db;
export type NativeIterator = DbIterator;
export type NativeReader = DbReader;
export type NativeSnapshot = DbSnapshot;
export type NativeReaderBuilder = DbReaderBuilder;
export const NativeReaderBuilder: typeof DbReaderBuilder = binding.DbReaderBuilder;
export type NativeMetrics = DefaultMetricsRecorder;
export const NativeMetrics: typeof DefaultMetricsRecorder = binding.DefaultMetricsRecorder;
export type NativeObjectStore = ObjectStore;
export const NativeObjectStore: typeof ObjectStore = binding.ObjectStore;
export type NativeBatch = WriteBatch;
export const NativeBatch: typeof WriteBatch = binding.WriteBatch;

/** Whatever rows can be read from. */
export type NativeSource = Pick<Db | DbReader | DbSnapshot, "get_with_options" | "scan_with_options">;

/** "Remote" hides rows that are in memory and not yet on the object store. */
export const readOptions: ReadOptions = { durability_filter: "Remote", dirty: false, cache_blocks: true };

const lookupOptions: ScanOptions = {
  ...readOptions,
  cache_blocks: true,
  read_ahead_bytes: 1,
  max_fetch_tasks: 1,
  order: "Ascending",
};

export const scanOptions: Readonly<Record<ScanPurpose, ScanOptions>> = {
  replay: {
    ...readOptions,
    cache_blocks: false,
    read_ahead_bytes: 1024 * 1024,
    max_fetch_tasks: 4,
    order: "Ascending",
  },
  lookup: lookupOptions,
  settled: lookupOptions,
};

function settingAt(settings: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined), settings);
}

/** The default settings with `wanted` put over them, by dotted path; throws where the engine did not take one. */
export function nativeSettings(wanted: Readonly<Record<string, unknown>>): Settings {
  const settings = binding.Settings.default();
  const before: unknown = JSON.parse(settings.to_json_string());
  for (const [path, value] of Object.entries(wanted)) settings.set(path, JSON.stringify(value));
  const after: unknown = JSON.parse(settings.to_json_string());
  for (const [path, value] of Object.entries(wanted)) {
    const found = settingAt(after, path);
    // Some settings are left out where they are null: then it was there before, and is gone.
    const removed = value === null && found === undefined && settingAt(before, path) !== undefined;
    if (!removed && !sameSetting(value, found)) throw new InternalError(`The engine did not take the setting ${path}`);
  }
  return settings;
}

/**
 * A builder of a database for writing. Its own cache, 512 MiB of blocks and 128 MiB of filters and indexes, takes in all that is
 * written, cannot be sized, and is there or not.
 */
export function databaseBuilder(
  path: string,
  store: ConstructorParameters<typeof DbBuilder>[1],
  settings: Readonly<Record<string, unknown>>,
  metrics: DefaultMetricsRecorder,
  engineCache: boolean,
): DbBuilder {
  const builder = new binding.DbBuilder(path, store);
  builder.with_settings(nativeSettings(settings));
  // The engine asks it for counters while it is built, and counts in native code from then on.
  builder.with_metrics_recorder(metrics);
  builder.with_sst_block_size("Block16Kib");
  if (!engineCache) builder.with_db_cache_disabled();
  return builder;
}
