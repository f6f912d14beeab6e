/** The engine ignores settings it does not know, so each is read back; and the settings keep the distances they rest on. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { InternalError } from "../../src/errors.ts";
import type { StoreLocation } from "../../src/kv/object-store.ts";
import { nativeSettings } from "../../src/kv/slatedb-binding.ts";
import { engineSettings, type ReadCache, readCacheFor, sameSetting, tuningFor } from "../../src/kv/slatedb-settings.ts";

setDefaultTimeout(60_000);

const locations: readonly StoreLocation[] = [
  { kind: "memory", url: "memory:" },
  { kind: "folder", url: "file:/x", directory: "/x" },
  { kind: "s3", url: "s3://bucket", bucket: "bucket", prefix: "" },
];

test("The engine takes every setting of every kind of location", () => {
  for (const location of locations) {
    const settings = nativeSettings(engineSettings(tuningFor(location), "engine"));
    expect(JSON.parse(settings.to_json_string())).toMatchObject({
      flush_interval: null,
      l0_sst_size_bytes: 4_000_000_000,
    });
  }
});

test("A setting whose name the engine does not know is refused, and named", () => {
  for (const name of ["l0_sst_size_byte", "garbage_collector_options.wal_options.min_ages", "garbage.min_age"]) {
    const build = (): unknown => nativeSettings({ min_filter_keys: 1, [name]: 5 });
    expect(build).toThrow(InternalError);
    expect(build).toThrow(name);
  }
});

test("A setting that the engine took as another value is refused", () => {
  expect(sameSetting("1500ms", "1s+500ms")).toBe(true);
  expect(sameSetting("86400000ms", "86400s")).toBe(true);
  expect(sameSetting("60s", "1m")).toBe(true);
  expect(sameSetting("60s", "60000s")).toBe(false);
  expect(sameSetting("60s", undefined)).toBe(false);
  expect(sameSetting("Zstd", "Lz4")).toBe(false);
  expect(sameSetting("Zstd", null)).toBe(false);
  expect(sameSetting(64, "64")).toBe(false);
});

test("A writer keeps rows in a small cache of ours, and only where tables are far the engine's large one", () => {
  const [memory, folder, bucket] = locations;
  for (const location of [memory, folder]) {
    if (location === undefined) throw new Error("There is no such location");
    expect(readCacheFor(location, false)).toBe(16 * 1024 * 1024);
  }
  if (bucket === undefined) throw new Error("There is no bucket");
  expect(readCacheFor(bucket, false)).toBe("engine");
  expect(readCacheFor(bucket, true)).toBe(16 * 1024 * 1024);
});

test("Tables are small where a look reads their filters and indexes anew", () => {
  for (const location of locations) {
    const sizeWith = (readCache: ReadCache): unknown =>
      engineSettings(tuningFor(location), readCache)["compactor_options.max_sst_size"];
    expect(sizeWith("engine")).toBe(64 * 1024 * 1024);
    expect(sizeWith(readCacheFor(location, true))).toBe(8 * 1024 * 1024);
    expect(sizeWith(0)).toBe(8 * 1024 * 1024);
  }
});

test("Recovery fills one memtable only: the most that can be unflushed is far below a table's size", () => {
  for (const location of locations) {
    const tuning = tuningFor(location);
    expect(tuning.l0SstSizeBytes).toBeGreaterThanOrEqual(10 * tuning.memtableBytesMax);
    expect(tuning.memtableBytesMax).toBeGreaterThan(tuning.memtableFlushBytes);
    expect(tuning.flushAfterOpen).toBe(true);
  }
});

test("A writer that may have been fenced unseen stops long before a fence can be collected", () => {
  for (const location of locations) {
    const tuning = tuningFor(location);
    expect(tuning.heartbeat).toBe(true);
    expect(tuning.garbageMinAgeMs).toBeGreaterThanOrEqual(10 * 60_000);
    expect(tuning.manifestPollMs).toBeLessThanOrEqual(tuning.garbageMinAgeMs / 100);
    expect(tuning.writeTimeoutMs).toBeLessThanOrEqual(tuning.garbageMinAgeMs / 4);
    const settings = engineSettings(tuning, "engine");
    const ages = ["wal_options", "manifest_options"].map(
      (kind) => settings[`garbage_collector_options.${kind}.min_age`],
    );
    expect(ages).toEqual([`${tuning.garbageMinAgeMs}ms`, `${tuning.garbageMinAgeMs}ms`]);
  }
});
