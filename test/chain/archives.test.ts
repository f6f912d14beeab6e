/** What is archived is verified as well: its objects are the only copy of their events. And copies of a store have them, or fail. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { archiveObjectName, decodeArchiveObject, encodeArchiveObject } from "../../src/format/archive-object.ts";
import { archivePartKey } from "../../src/format/lifecycle-keys.ts";
import { decodeArchivePart, encodeArchivePart } from "../../src/format/lifecycle-records.ts";
import { backupStore, type EventStore, openEventStore, openEventStoreReader, verifyStore } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { altered, families, flipped, rowsOf, setRow } from "../support/tampering.ts";

setDefaultTimeout(60_000);

const any = { expectedVersion: "any" } as const;
const name = archiveObjectName("cart-1", 1, 30);

/** Two streams, of which one is archived up to its 30th event. */
async function fill(store: EventStore, compacted = true): Promise<void> {
  for (const n of range(1, 40)) {
    await store.append("cart-1", [{ type: "Noted", data: { n } }], any);
    await store.append("cart-2", [{ type: "Noted", data: { n } }], any);
  }
  await store.archiveStream("cart-1", { beforeVersion: 31 });
  if (compacted) await store.compact();
}

test.each([true, false])("A store's archive is compared with the log, dropped there or not (%p)", async (compacted) => {
  const storage = createMemoryStorage();
  const objects = openMemoryObjects(systemClock);
  const kv = openMemoryKv(storage);
  await using store = await openEventStoreOn(kv, {}, objects);
  await fill(store, compacted);
  expect(await store.verify()).toMatchObject({ holds: true, archiveObjects: 1, breaks: [] });
  const good = (await objects.get(name))?.bytes ?? new Uint8Array(0);
  const key = archivePartKey("cart-1", 30);
  const row = (await kv.get(key)) ?? new Uint8Array(0);
  const only = async (): Promise<unknown> => {
    const { breaks, breakCount } = await store.verify();
    expect(breakCount).toBe(1);
    return breaks[0];
  };
  const place = { kind: "archive", streamName: "cart-1", row: key.toString("hex") };
  await objects.delete(name);
  expect(await only()).toMatchObject({ ...place, version: 30, fromPosition: 1, toPosition: 59 });
  await objects.put(name, flipped(good, 50));
  expect(await only()).toMatchObject({ ...place, reason: expect.stringContaining("is not the one that was stored") });
  // Somebody who makes all checksums right.
  const events = await decodeArchiveObject(name, "cart-1", good);
  const forged = await encodeArchiveObject(
    name,
    events.map((event) => (event.version === 7 ? altered(event) : event)),
  );
  const digest = new Bun.CryptoHasher("sha256").update(forged).digest();
  await objects.put(name, forged);
  setRow(storage, key, encodeArchivePart(key, { ...decodeArchivePart({ key, value: row }), digest }));
  expect(await only()).toMatchObject({ ...place, version: 7, fromPosition: 13, toPosition: 13 });
  await objects.put(name, good);
  setRow(storage, key, flipped(row, row.length - 1));
  expect(await only()).toMatchObject({ ...place, reason: expect.stringContaining("is damaged") });
  setRow(storage, key, undefined);
  expect(await only()).toMatchObject({ ...place, row: expect.any(String), version: 1 });
  setRow(storage, key, row);
  expect(await store.verify()).toMatchObject({ holds: true });
  // Damage of the log is not that of the archive.
  const pages = compacted ? families.dropped : families.log;
  for (const { key: page, value } of await rowsOf(kv, pages)) {
    setRow(storage, page, flipped(value, value.length - 1));
    expect((await store.verify()).breaks.map(({ kind }) => kind)).not.toContain("archive");
    setRow(storage, page, value);
  }
  // What is to go may be gone.
  await store.truncateStream("cart-1", { beforeVersion: 35 });
  await objects.delete(name);
  expect(await store.verify()).toMatchObject({ holds: true });
});

test("Without its archive a store on a folder does not verify, is not backed up and not forked", async () => {
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}/store`;
  await using store = await openEventStore({ url, compaction: false });
  await fill(store);
  const whole = await backupStore({ from: url, to: `file:${folder.path}/whole` });
  expect(whole.objects).toBe(1);
  expect(await verifyStore({ url: `file:${folder.path}/whole` })).toMatchObject({ holds: true, archiveObjects: 1 });
  await rm(`${folder.path}/store/archive`, { recursive: true });
  const broken = { holds: false, breaks: [{ kind: "archive", streamName: "cart-1", version: 30 }] };
  expect(await store.verify()).toMatchObject(broken);
  expect(await verifyStore({ url })).toMatchObject(broken);
  await using replica = await openEventStoreReader({ url });
  expect(await replica.verify()).toMatchObject(broken);
  const copies = [() => backupStore({ from: url, to: `file:${folder.path}/backup` }), () => store.fork("memory:")];
  for (const copy of copies) {
    const refused = await errorOf(copy);
    expect(refused.code).toBe("storage-corrupt");
    expect(refused.message).toContain(name);
  }
});

test("A replica that lags behind does not take for damage what was dropped", async () => {
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}/store`;
  await using store = await openEventStore({ url, compaction: false });
  await fill(store);
  await using replica = await openEventStoreReader({ url, pollIntervalMs: 60_000 });
  await store.truncateStream("cart-1", { beforeVersion: 35 });
  await store.compact();
  expect((await replica.verify()).breaks).toEqual([]);
});

test("A copy begins again where a stream was truncated between its rows and its objects", async () => {
  const inner = openMemoryObjects(systemClock);
  let listed = 0;
  const objects: ObjectAccess = {
    ...inner,
    list: (prefix) => {
      if (prefix !== "archive/") return inner.list(prefix);
      return (async function* () {
        listed += 1;
        if (listed === 1) {
          await store.truncateStream("cart-1", { beforeVersion: 35 });
          await store.compact();
        }
        yield* inner.list(prefix);
      })();
    },
  };
  const kv: KeyValueStore = openMemoryKv(createMemoryStorage());
  await using store = await openEventStoreOn(kv, {}, objects);
  await fill(store);
  await using fork = await store.fork("memory:");
  expect(listed).toBe(2);
  expect(await fork.verify()).toMatchObject({ holds: true });
  const versions = (await collect(fork.readStream("cart-1"))).map(({ version }) => version);
  expect(versions).toEqual([...range(35, 40)]);
});
