/**
 * Native iterators and snapshots keep memtables and old rows alive until they are disposed: each is, once, however its
 * scan ends. Counted at the binding itself.
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, spyOn, test } from "bun:test";
// Before the binding, as everywhere.
import "../../src/kv/slatedb-binding.ts";
import { Db, DbIterator, DbSnapshot } from "@slatedb/uniffi";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import {
  allRows,
  bytes,
  failureOf,
  noise,
  openOnFolder,
  openOnStandIn,
  put,
  temporaryFolder,
  until,
} from "./stores.ts";

setDefaultTimeout(60_000);

let disposals: ReturnType<typeof spyOn<typeof DbIterator.prototype, "dispose">>[] = [];

beforeEach(() => {
  disposals = [spyOn(DbIterator.prototype, "dispose"), spyOn(DbSnapshot.prototype, "dispose")];
});

afterEach(() => {
  for (const spy of disposals) spy.mockRestore();
});

/** How many native objects were freed; freeing one again counts for nothing. */
function freed(): number {
  const results = disposals.flatMap((spy) => spy.mock.results.map((result): unknown => result.value));
  return results.filter((value) => value === true).length;
}

const rowCount = 400;

async function fill(kv: KeyValueStore): Promise<void> {
  await kv.write(Array.from({ length: rowCount }, (_, row) => put(`k${String(row).padStart(4, "0")}`, noise(2_048))));
}

test("Every scan frees what it holds: read to its end, closed midway, closed during a call, never used", async () => {
  await using folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  await fill(kv);
  const rounds = 100;
  for (let round = 0; round < rounds; round += 1) {
    const cursors = await Promise.all(
      Array.from({ length: 4 }, (_, kind) => kv.scan({ start: bytes("k") }, kind % 2 === 0 ? "lookup" : "replay")),
    );
    const [whole, midway, during, unused] = cursors;
    await Promise.all([whole?.next(rowCount + 1), midway?.next(3)]);
    const pending = during?.next(rowCount);
    for (const cursor of [midway, during, unused, midway]) cursor?.close();
    await pending;
  }
  expect(kv.stats().scans).toBe(4 * rounds);
  expect(freed()).toBe(4 * rounds);
  expect((await allRows(kv)).length).toBe(rowCount);
  await kv.close();
});

test("Every snapshot frees what it holds: closed after its calls, during them, and more than once", async () => {
  await using folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  await fill(kv);
  const keys = Array.from({ length: 300 }, (_, row) => bytes(`k${String(row).padStart(4, "0")}`));
  const rounds = 50;
  for (let round = 0; round < rounds; round += 1) {
    const snapshot = await kv.snapshot();
    const values = snapshot.getMany(keys);
    const scanned = snapshot.scan({ start: bytes("k") }, "lookup").then((cursor) => cursor.close());
    snapshot.close();
    snapshot.close();
    expect((await values).every((value) => value?.length === 2_048)).toBe(true);
    await scanned;
  }
  expect(freed()).toBe(2 * rounds);
  await kv.close();
});

/** A store on the stand-in with rows on storage only. */
async function openCold(standIn: S3StandIn): Promise<KeyValueStore> {
  const writer = await openOnStandIn(standIn);
  await fill(writer);
  await writer.close();
  return await openOnStandIn(standIn, { readTimeoutMs: 200 });
}

test("A scan or a snapshot that came too late is freed when it comes after all", async () => {
  await using standIn = startS3StandIn();
  const kv = await openCold(standIn);
  standIn.freeze();
  const scanning = failureOf(kv.scan({ start: bytes("k") }, "replay"));
  const writing = kv.write([put("a", "1")]);
  const snapshotting = failureOf(kv.snapshot());
  expect((await scanning).code).toBe("storage-unavailable");
  expect((await snapshotting).code).toBe("storage-unavailable");
  expect(freed()).toBe(0);
  standIn.thaw();
  await writing;
  await until("both are freed", () => freed() === 2);
  await kv.close();
});

test("A cursor that has failed is freed, also where its call returns only later", async () => {
  await using standIn = startS3StandIn();
  const kv = await openCold(standIn);
  const cursor = await kv.scan({ start: bytes("k") }, "lookup");
  standIn.freeze();
  expect((await failureOf(cursor.next(rowCount))).code).toBe("storage-unavailable");
  standIn.thaw();
  await until("it is freed", () => freed() === 1);
  await kv.close();
});

test("A closed store gives back its caches at once, whatever is still open on it", async () => {
  const disposed = spyOn(Db.prototype, "dispose");
  await using folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  await fill(kv);
  const cursor = await kv.scan({ start: bytes("k") }, "lookup");
  const snapshot = await kv.snapshot();
  await kv.close();
  expect(disposed.mock.results.map((result): unknown => result.value)).toEqual([true]);
  expect((await failureOf(cursor.next(1))).code).toBe("store-closed");
  expect((await failureOf(snapshot.get(bytes("k")))).code).toBe("store-closed");
  cursor.close();
  snapshot.close();
  await kv.close();
  disposed.mockRestore();
});

test("Closing a store during scans, snapshots and reads ends all of them with their result or store-closed", async () => {
  for (let round = 0; round < 10; round += 1) {
    await using folder = await temporaryFolder();
    const kv = await openOnFolder(folder);
    await fill(kv);
    const cursors = await Promise.all(Array.from({ length: 8 }, () => kv.scan({ start: bytes("k") }, "lookup")));
    const work: Promise<unknown>[] = cursors.map((cursor) => cursor.next(rowCount));
    work.push(kv.get(bytes("k0000")), kv.snapshot(), kv.write([put("late", "1")]), allRows(kv));
    const ended = Promise.all(
      work.map((call) =>
        call.then(
          () => "done",
          async () => (await failureOf(call)).code,
        ),
      ),
    );
    await kv.close();
    expect((await ended).filter((end) => end !== "done" && end !== "store-closed")).toEqual([]);
  }
});
