/** What a cold open has to replay is bounded by memtable flushes of our own; after a clean close it is nothing. */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { StoreChild } from "../support/child.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { allRows, openOnStandIn, standInCredentials } from "./stores.ts";

setDefaultTimeout(60_000);

const groups = 200;
const flushGroups = 16;

/** How many WAL objects an open reads, the fence of its own aside; and that every group is there after it. */
async function replayedAtOpen(standIn: S3StandIn): Promise<number> {
  const from = standIn.requests.length;
  const kv = await openOnStandIn(standIn);
  const read = standIn.requests.slice(from).filter(({ method, key }) => method === "GET" && key.includes("/wal/"));
  expect((await allRows(kv)).length).toBe(groups);
  await kv.close();
  return new Set(read.map(({ key }) => key)).size;
}

/** A child writes groups, and is then killed or closed. */
async function writeGroups(standIn: S3StandIn, tuning: Partial<SlateTuning>, end: "kill" | "close"): Promise<void> {
  await using child = new StoreChild();
  await child.open(
    standIn.location,
    { memtableFlushSpacingMs: 0, ...tuning },
    {
      endpoint: standIn.endpoint,
      ...standInCredentials,
    },
  );
  for (let key = 0; key < groups; key += 1) await child.write([key]);
  await child[end]();
}

test("After a crash an open replays the groups since the last memtable flushes, and no more", async () => {
  await using standIn = startS3StandIn();
  await writeGroups(standIn, { memtableFlushGroups: flushGroups }, "kill");
  const replayed = await replayedAtOpen(standIn);
  // Those since the last flush, those it was under way with, and fences.
  expect(replayed).toBeLessThanOrEqual(2 * flushGroups + 4);
});

test("Without these flushes an open replays every group there is", async () => {
  await using standIn = startS3StandIn();
  await writeGroups(standIn, { memtableFlushGroups: 1_000_000 }, "kill");
  expect(await replayedAtOpen(standIn)).toBeGreaterThanOrEqual(groups);
});

test("After a clean close an open replays nothing but fences", async () => {
  await using standIn = startS3StandIn();
  await writeGroups(standIn, { memtableFlushGroups: 1_000_000 }, "close");
  expect(await replayedAtOpen(standIn)).toBeLessThanOrEqual(2);
});

test("An open moves what it has replayed into a table at once, so that the next crash does not add to it", async () => {
  await using standIn = startS3StandIn();
  await writeGroups(standIn, { memtableFlushGroups: 1_000_000 }, "kill");
  await using child = new StoreChild();
  await child.open(standIn.location, {}, { endpoint: standIn.endpoint, ...standInCredentials });
  await child.kill();
  expect(await replayedAtOpen(standIn)).toBeLessThanOrEqual(2);
});
