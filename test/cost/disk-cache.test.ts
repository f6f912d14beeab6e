/** The disk cache: warm after a restart, bounded, never a source of wrong data, and refused where it could not work. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StorageCorruptError } from "../../src/errors.ts";
import { openEventStore } from "../../src/index.ts";
import { type DiskCacheOptions, diskCacheBytesMin } from "../../src/kv/disk-cache.ts";
import type { KeyValueStore, KvRow } from "../../src/kv/kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type S3StandIn, startS3StandIn } from "../kv/s3-stand-in.ts";
import { bytes, drain, failureOf, noise, put, standInCredentials, temporaryFolder, until } from "../kv/stores.ts";
import { minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

const maxBytes = 64 * 1024 * 1024;

function openCached(
  standIn: S3StandIn,
  cache?: DiskCacheOptions,
  own: Partial<SlateTuning> = {},
): Promise<KeyValueStore> {
  const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
  const tuning = { closeTimeoutMs: 2_000, ...own };
  return openSlateKv({ location: standIn.location, s3, clock: systemClock, tuning, ...(cache && { cache }) });
}

/** Whether the manifests have been listed five times from now on. */
function looks(standIn: S3StandIn): () => boolean {
  const from = standIn.requests.length;
  return () => standIn.requests.slice(from).filter(({ key }) => key === "").length >= 5;
}

function tableReads(standIn: S3StandIn, from: number): number {
  return standIn.requests.slice(from).filter(({ method, key }) => method === "GET" && key.includes("/compacted/"))
    .length;
}

const key = (row: number): string => `k${String(row).padStart(6, "0")}`;

/** Fills a store with one table of so many rows of 4 KiB, and closes it. */
async function fill(standIn: S3StandIn, rows: number): Promise<void> {
  const kv = await openCached(standIn);
  for (let from = 0; from < rows; from += 256) {
    await kv.write(Array.from({ length: Math.min(256, rows - from) }, (_, row) => put(key(from + row), noise(4_096))));
  }
  await kv.close();
}

async function readAll(kv: KeyValueStore): Promise<readonly KvRow[]> {
  return await drain(await kv.scan({ start: bytes("k") }, "lookup"));
}

/** All files below a folder whose names match. */
async function filesOf(folder: string, name: RegExp): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && name.test(join(entry.parentPath, entry.name)))
    .map((entry) => join(entry.parentPath, entry.name));
}

async function sizeOf(folder: string): Promise<number> {
  let total = 0;
  for (const path of await filesOf(folder, /./)) total += (await stat(path).catch(() => undefined))?.size ?? 0;
  return total;
}

describe("The disk cache", () => {
  test("answers after a restart what was read before it, without asking the bucket for tables", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    const cache = { folder: folder.directory, maxBytes };
    await fill(standIn, 512);
    const first = await openCached(standIn, cache);
    const cold = standIn.requests.length;
    const rows = await readAll(first);
    expect(rows.length).toBe(512);
    const coldReads = tableReads(standIn, cold);
    expect(coldReads).toBeGreaterThan(3);
    await first.close();
    const second = await openCached(standIn, cache);
    const warm = standIn.requests.length;
    expect(await readAll(second)).toEqual(rows);
    expect(await second.get(bytes(key(100)))).toEqual(rows[100]?.value);
    expect(tableReads(standIn, warm)).toBe(0);
    await second.close();
    // Without it a restart reads the bucket again.
    const without = await openCached(standIn);
    const again = standIn.requests.length;
    await readAll(without);
    expect(tableReads(standIn, again)).toBeGreaterThan(3);
    await without.close();
  });

  test("lets hundreds of cold reads be under way at once", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    await fill(standIn, 2_048);
    const kv = await openCached(standIn, { folder: folder.directory, maxBytes });
    const keys = Array.from({ length: 2_048 }, (_, row) => bytes(key(row)));
    const found = await Promise.all([0, 512, 1_024, 1_536].map((from) => kv.getMany(keys.slice(from, from + 512))));
    expect(found.flat().filter((value) => value?.length === 4_096).length).toBe(2_048);
    await kv.close();
  });

  test("stays within its bound, whatever is read", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    await fill(standIn, 10_240);
    const kv = await openCached(standIn, { folder: folder.directory, maxBytes: diskCacheBytesMin });
    expect((await readAll(kv)).length).toBe(10_240);
    // What is over the bound goes in the background.
    await until("the cache is within its bound", async () => (await sizeOf(folder.directory)) <= diskCacheBytesMin);
    expect(await sizeOf(folder.directory)).toBeGreaterThan(1024 * 1024);
    await kv.close();
  });

  const damages: Readonly<Record<string, (path: string) => Promise<void>>> = {
    "other bytes": async (path) => {
      const content = await readFile(path);
      for (let at = 0; at < content.length; at += 100) content[at] = (content[at] ?? 0) ^ 0xff;
      await writeFile(path, content);
    },
    "half of it": async (path) => truncate(path, Math.floor((await stat(path)).size / 2)),
    nothing: (path) => truncate(path, 0),
  };

  const headDamages: typeof damages = {
    ...damages,
    "a smaller size": async (path) => {
      const content = await readFile(path, "utf8");
      await writeFile(
        path,
        content.replace(/"size":(\d+)/, (_found, size) => `"size":${Math.floor(Number(size) / 3)}`),
      );
      expect(await readFile(path, "utf8")).not.toBe(content);
    },
    "a larger size": async (path) => {
      const content = await readFile(path, "utf8");
      await writeFile(
        path,
        content.replace(/"size":(\d+)/, (_found, size) => `"size":${Number(size) * 3}`),
      );
      expect(await readFile(path, "utf8")).not.toBe(content);
    },
  };

  for (const [kind, name, kinds] of [
    ["parts", /compacted.*_part/, damages],
    ["heads", /compacted.*_head$/, headDamages],
  ] as const) {
    for (const [what, damage] of Object.entries(kinds)) {
      test(`gives no wrong data where its ${kind} hold ${what}, and is whole again after it`, async () => {
        await using standIn = startS3StandIn();
        await using folder = await temporaryFolder();
        const cache = { folder: folder.directory, maxBytes };
        await fill(standIn, 512);
        const first = await openCached(standIn, cache);
        const rows = await readAll(first);
        await first.close();
        const files = await filesOf(folder.directory, name);
        expect(files.length).toBeGreaterThan(0);
        for (const path of files) await damage(path);
        const second = await openCached(standIn, cache);
        expect(await second.get(bytes(key(300)))).toEqual(rows[300]?.value);
        expect(await readAll(second)).toEqual(rows);
        await second.close();
      });
    }
  }

  test("fails a scan that meets damage once, as something to try again", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    const cache = { folder: folder.directory, maxBytes };
    await fill(standIn, 512);
    const first = await openCached(standIn, cache);
    const rows = await readAll(first);
    await first.close();
    for (const path of await filesOf(folder.directory, /compacted.*_part/)) await damages["other bytes"]?.(path);
    const second = await openCached(standIn, cache);
    expect(await failureOf(readAll(second))).toMatchObject({
      code: "storage-unavailable",
      message: expect.stringContaining("the disk cache was emptied"),
    });
    expect(await readAll(second)).toEqual(rows);
    await second.close();
  });

  test("does not hide damage in the bucket itself", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    await fill(standIn, 512);
    standIn.intercept(({ method, key: asked, headers }) => {
      if (method !== "GET" || !asked.includes("/compacted/")) return undefined;
      const [, first = "0", last = "0"] = /bytes=(\d+)-(\d+)/.exec(headers.get("range") ?? "") ?? [];
      const end = Math.min(Number(last), 3_000_000);
      const body = new Uint8Array(end - Number(first) + 1);
      const range = {
        "content-range": `bytes ${first}-${end}/4000000`,
        etag: '"x"',
        "last-modified": new Date().toUTCString(),
      };
      return new Response(body, { status: 206, headers: range });
    });
    const kv = await openCached(standIn, { folder: folder.directory, maxBytes });
    await failureOf(readAll(kv));
    const failures = [await failureOf(readAll(kv)), await failureOf(kv.getMany([bytes(key(1))]))];
    for (const failure of failures) expect(failure).toBeInstanceOf(StorageCorruptError);
    await kv.close();
  });

  test("keeps nothing but tables over a restart: a store made anew at the same place does not meet the old one", async () => {
    await using folder = await temporaryFolder();
    const cache = { folder: folder.directory, maxBytes };
    await using standIn = startS3StandIn();
    const flushed = { manifestPollMs: 20, memtableFlushGroups: 1, memtableFlushSpacingMs: 0 };
    const old = await openCached(standIn, cache, flushed);
    for (let flush = 0; flush < 5; flush += 1) {
      await old.write([put("which", "old"), put(`old-${flush}`, noise(100))]);
      await until("it looks at its manifest", looks(standIn));
    }
    await old.close();
    const reopened = await openCached(standIn, cache, flushed);
    await until("it looks at its manifest", looks(standIn));
    expect(await reopened.get(bytes("which"))).toEqual(bytes("old"));
    await reopened.close();
    expect(await filesOf(folder.directory, /\/manifest\//)).not.toEqual([]);
    standIn.clear();
    const fresh = await openCached(standIn, cache, flushed);
    await fresh.write([put("which", "new")]);
    await until("it looks at its manifest", looks(standIn));
    expect(fresh.status().state).toBe("open");
    expect(await fresh.get(bytes("which"))).toEqual(bytes("new"));
    await fresh.close();
    const again = await openCached(standIn, cache);
    expect((await drain(await again.scan({ start: bytes("a") }, "lookup"))).length).toBe(1);
    await again.close();
  });

  test("is refused where its folder cannot be made or written to, and for bounds that make no sense", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    await writeFile(join(folder.directory, "file"), "");
    const refused = async (cache: DiskCacheOptions): Promise<void> => {
      const failure = await failureOf(openCached(standIn, cache));
      expect(failure.code).toBe("invalid-argument");
      expect(failure.message).toContain("cache.");
    };
    await refused({ folder: join(folder.directory, "file"), maxBytes });
    await refused({ folder: join(folder.directory, "file", "below"), maxBytes });
    await refused({ folder: "relative", maxBytes });
    await refused({ folder: folder.directory, maxBytes: diskCacheBytesMin - 1 });
    await refused({ folder: folder.directory, maxBytes: Number.NaN });
    const asRoot = process.getuid?.() === 0;
    const closed = join(folder.directory, "closed");
    await mkdir(closed);
    await chmod(closed, 0o500);
    if (!asRoot) await refused({ folder: closed, maxBytes });
    await chmod(closed, 0o700);
    await rm(closed, { recursive: true });
    const options = { url: "memory:", cache: { folder: "relative", maxBytes } };
    expect(await failureOf(openEventStore(options))).toMatchObject({ code: "invalid-argument" });
  });
});

describe.skipIf(!minioAvailable)("The disk cache of a store on MinIO", () => {
  test("serves its events after a restart", async () => {
    await using minio = await startMinio();
    await using folder = await temporaryFolder();
    const url = `s3://${await minio.createBucket()}/shop`;
    const options = { url, s3: minio.s3, cache: { folder: folder.directory, maxBytes }, storage: "low-cost" } as const;
    const events = Array.from({ length: 500 }, (_, n) => ({ type: "Counted", data: { n, text: "x".repeat(500) } }));
    await using first = await openEventStore(options);
    await first.append("count-1", events, { expectedVersion: "no-stream" });
    await first.close();
    const counts: number[] = [];
    for (let round = 0; round < 2; round += 1) {
      await using store = await openEventStore(options);
      const read: unknown[] = [];
      for await (const { data } of store.readStream("count-1")) read.push(data);
      expect(read).toEqual(events.map(({ data }) => data));
      const requests = store.stats().objectStore?.byPurpose.reads;
      counts.push((requests?.gets ?? Number.NaN) + (requests?.heads ?? Number.NaN));
    }
    expect(counts[0]).toBeGreaterThan(0);
    expect(await filesOf(folder.directory, /compacted.*_part/)).not.toEqual([]);
  });
});
