/**
 * A recovery that needs more than one memtable marks the first as holding what only the later ones hold: once the first is
 * stored and the process ends, the next open skips acknowledged rows. Real processes, really killed.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { StoreChild } from "../support/child.ts";
import { type Folder, temporaryFolder, until } from "./stores.ts";

setDefaultTimeout(60_000);

const rows = 45;
const rowBytes = 10_000;
/** So that only recovery's own flush counts here. */
const noFlush: Partial<SlateTuning> = { memtableFlushGroups: 1_000_000 };

async function filesIn(folder: Folder, kind: "wal" | "compacted" | "manifest"): Promise<readonly string[]> {
  const names: string[] = await readdir(join(folder.directory, "db", kind)).catch(() => []);
  return names.filter((name) => /^[^#]+\.(sst|manifest)$/.test(name));
}

/** Waits until nothing new has been stored for a while. */
async function untilAtRest(folder: Folder): Promise<void> {
  let before = "";
  let since = performance.now();
  await until("the store is at rest", async () => {
    const now = [...(await filesIn(folder, "compacted")), ...(await filesIn(folder, "manifest"))].join();
    if (now !== before) since = performance.now();
    before = now;
    return performance.now() - since > 250;
  });
}

/** A child writes rows of which none reaches a table, and is killed. */
async function writeAndCrash(folder: Folder): Promise<void> {
  await using child = new StoreChild();
  await child.open(folder.location, noFlush);
  for (let key = 0; key < rows; key += 1) await child.write([key], rowBytes);
  await child.kill();
  expect(await filesIn(folder, "compacted")).toEqual([]);
}

/** Opens it with that tuning, has it killed or closed once it is at rest, and says how many rows the next open finds. */
async function rowsAfterReopening(tuning: Partial<SlateTuning>, end: "kill" | "close"): Promise<number> {
  await using folder = await temporaryFolder();
  await writeAndCrash(folder);
  await using recovering = new StoreChild();
  await recovering.open(folder.location, { ...noFlush, ...tuning });
  expect((await recovering.keys()).length).toBe(rows);
  await untilAtRest(folder);
  await recovering[end]();
  await recovering.kill();
  await using next = new StoreChild();
  await next.open(folder.location, noFlush);
  return (await next.keys()).length;
}

const broken: Partial<SlateTuning> = { l0SstSizeBytes: 100_000, flushAfterOpen: false };

test("With small tables and no flush after recovery, acknowledged rows are lost at the second crash", async () => {
  expect(await rowsAfterReopening(broken, "kill")).toBeLessThan(rows);
});

test("With the shipped settings all of them are there after the second crash", async () => {
  expect(await rowsAfterReopening({}, "kill")).toBe(rows);
});

test("Tables above any backlog keep them all even where the flush after recovery does not happen", async () => {
  expect(await rowsAfterReopening({ flushAfterOpen: false }, "kill")).toBe(rows);
});

test("With the shipped settings all of them are there after a recovery and a clean close", async () => {
  expect(await rowsAfterReopening({}, "close")).toBe(rows);
});

test("A process that is killed again and again while it recovers loses nothing", async () => {
  await using folder = await temporaryFolder();
  await writeAndCrash(folder);
  for (let round = 0; round < 8; round += 1) {
    await using recovering = new StoreChild();
    const opening = recovering.open(folder.location).catch(() => {});
    // Killed at another point of its opening each time, from its first millisecond to after it.
    await Promise.race([opening, Bun.sleep(40 + round * 20)]);
    await recovering.kill();
  }
  await using next = new StoreChild();
  await next.open(folder.location);
  expect((await next.keys()).length).toBe(rows);
});
