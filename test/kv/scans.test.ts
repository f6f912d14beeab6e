/** Scans ascend only, read ahead or use the cache by their purpose, and leave room for the rest of the process. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { KeyValueStore, ScanPurpose } from "../../src/kv/kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { bytes, drain, noise, openOnFolder, openOnStandIn, put, temporaryFolder } from "./stores.ts";

setDefaultTimeout(60_000);

test("No source file asks the engine for a descending scan, which returns rows in the wrong order", async () => {
  const source = join(import.meta.dir, "../../src");
  const offenders: string[] = [];
  let files = 0;
  for await (const path of new Bun.Glob("**/*.ts").scan(source)) {
    files += 1;
    if (/["'\x60]descending["'\x60]/i.test(await Bun.file(join(source, path)).text())) offenders.push(path);
  }
  expect(files).toBeGreaterThan(10);
  expect(offenders).toEqual([]);
});

const rowCount = 1_024;
const rowBytes = 4_096;

/** A store with four megabytes in tables, and nothing of it in memory. */
async function openCold(standIn: S3StandIn): Promise<KeyValueStore> {
  const writer = await openOnStandIn(standIn);
  const rows = Array.from({ length: rowCount }, (_, row) => put(`k${String(row).padStart(6, "0")}`, noise(rowBytes)));
  await writer.write(rows);
  await writer.close();
  return await openOnStandIn(standIn);
}

/** How many requests for parts of tables a scan of everything, or of its first rows, costs. */
async function requestsFor(standIn: S3StandIn, kv: KeyValueStore, purpose: ScanPurpose, end: string): Promise<number> {
  const from = standIn.requests.length;
  await drain(await kv.scan({ start: bytes("k"), end: bytes(end) }, purpose));
  return standIn.requests.slice(from).filter(({ method, key }) => method === "GET" && key.includes("/compacted/"))
    .length;
}

test("A replay reads ahead: a few large requests instead of one a block", async () => {
  await using standIn = startS3StandIn();
  const kv = await openCold(standIn);
  const requests = await requestsFor(standIn, kv, "replay", "l");
  expect(requests).toBeGreaterThan(0);
  expect(requests).toBeLessThan(20);
  await kv.close();
});

test("A replay does not fill the cache, and a lookup does: its second time costs no request", async () => {
  await using standIn = startS3StandIn();
  const kv = await openCold(standIn);
  const few = "k000008";
  expect(await requestsFor(standIn, kv, "replay", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "replay", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "lookup", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "lookup", few)).toBe(0);
  await kv.close();
});

test("Where rows are kept by us, the engine keeps nothing: a lookup asks again, a settled scan and a key do not", async () => {
  await using standIn = startS3StandIn();
  const first = await openCold(standIn);
  await first.close();
  const kv = await openOnStandIn(standIn, {}, systemClock, 1024 * 1024);
  const few = "k000008";
  expect(await requestsFor(standIn, kv, "lookup", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "lookup", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "settled", few)).toBeGreaterThan(0);
  expect(await requestsFor(standIn, kv, "settled", few)).toBe(0);
  const value = await kv.get(bytes("k000900"));
  const before = standIn.requests.length;
  expect(await kv.get(bytes("k000900"))).toEqual(value);
  expect(standIn.requests.length).toBe(before);
  await kv.close();
});

/** Whether a timer of no delay fires while `work` goes on, again and again for a while. */
async function letsTimersRun(work: () => Promise<unknown>): Promise<boolean> {
  let fired = false;
  setTimeout(() => {
    fired = true;
  }, 0);
  for (const endMs = performance.now() + 40; performance.now() < endMs; ) await work();
  return fired;
}

test("A long scan and many reads in a row let timers run, though the engine answers them from memory", async () => {
  await using folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  const keys = Array.from({ length: 20_000 }, (_, row) => `k${String(row).padStart(6, "0")}`);
  await kv.write(keys.map((key) => put(key, "v")));
  expect(await letsTimersRun(async () => drain(await kv.scan({ start: bytes("k") }, "replay")))).toBe(true);
  expect(await letsTimersRun(async () => drain(await kv.scan({ start: bytes("k") }, "lookup")))).toBe(true);
  const getEach = async (): Promise<void> => {
    for (const key of keys.slice(0, 5_000)) await kv.get(bytes(key));
  };
  expect(await letsTimersRun(getEach)).toBe(true);
  // Now they come from our own cache.
  expect(await letsTimersRun(getEach)).toBe(true);
  const scanEach = async (): Promise<void> => {
    for (const key of keys.slice(0, 5_000)) {
      const cursor = await kv.scan({ start: bytes(key), end: bytes(`${key}-`) }, "settled");
      await cursor.next(1);
      cursor.close();
    }
  };
  expect(await letsTimersRun(scanEach)).toBe(true);
  expect(await letsTimersRun(scanEach)).toBe(true);
  await kv.close();
});
