/** Archives: events leave the log and the stream's pages for objects beside the database, and stay readable. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { archiveBytesMax, archiveObjectName, archivePrefix, archivePrefixOf } from "../../src/format/archive-object.ts";
import { globalPageSpan, streamPageSpan } from "../../src/format/key-families.ts";
import { archivePartSpan, dueStreamSpan } from "../../src/format/lifecycle-keys.ts";
import {
  type EventStore,
  InvalidArgumentError,
  isLogGap,
  openEventStore,
  openEventStoreReader,
  type RecordedEvent,
  StorageCorruptError,
  StorageUnavailableError,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import { type ObjectAccess, openObjects } from "../../src/kv/objects.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import { testClock } from "../../src/testing/test-doubles.ts";
import { folderPlace, kinds, openReader, openWriter, stopServer } from "../replica/places.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { rowsIn } from "../support/dropping.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const any = { expectedVersion: "any" } as const;
const counted = (number: number, bytes = 40) => ({
  type: "Counted",
  data: { number, note: crypto.getRandomValues(new Uint8Array(bytes / 2)).toHex() },
});
const fill = async (store: EventStore, name: string, count: number, bytes?: number): Promise<void> => {
  for (let number = 1; number <= count; number += 100) {
    const some = Array.from({ length: Math.min(100, count - number + 1) }, (_, index) =>
      counted(number + index, bytes),
    );
    await store.append(name, some, any);
  }
};
const read = (store: Pick<EventStore, "readStream">, name: string, options = {}): Promise<RecordedEvent[]> =>
  collect(store.readStream(name, options));

describe("Archiving a stream", () => {
  test("moves its events into objects, and readers of the stream see no difference", async () => {
    const objects = openMemoryObjects(testClock(new Date("2026-01-01")));
    const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), {}, objects);
    await fill(store, "cart-1", 250);
    await fill(store, "cart-2", 10);
    const all = await read(store, "cart-1");
    const result = await store.archiveStream("cart-1", { beforeVersion: 201, metadata: { actor: "kim" } });
    expect(result).toMatchObject({
      ...{ streamName: "cart-1", streamVersion: 250, archivedBefore: 201, events: 200, objects: 1, replayed: false },
    });
    expect(result.objectBytes).toBeLessThan(result.bytes);
    const [entry] = await collect(objects.list(archivePrefix));
    expect(entry?.name).toBe(archiveObjectName("cart-1", 1, 200));
    for (const when of ["before a pass", "behind a pass"]) {
      expect(await read(store, "cart-1")).toEqual(all);
      expect(await read(store, "cart-1", { fromVersion: 150, limit: 60 })).toEqual(all.slice(149, 209));
      expect(await read(store, "cart-1", { direction: "backwards" })).toEqual(all.toReversed());
      expect(await read(store, "cart-1", { direction: "backwards", fromVersion: 90, limit: 3 })).toEqual(
        all.slice(87, 90).toReversed(),
      );
      for (const position of [1, 77, 200, 201, 249]) {
        expect(await read(store.asOf(position), "cart-1")).toEqual(all.slice(0, position));
        expect((await store.asOf(position).streamInfo("cart-1"))?.version).toBe(position);
      }
      expect(await store.streamInfo("cart-1")).toMatchObject({ version: 250, truncatedBefore: 1, archivedBefore: 201 });
      if (when === "before a pass") expect((await store.compact()).eventsDropped).toBe(200);
    }
    const gaps = (await collect(store.readAll({ gaps: "report" }))).filter(isLogGap);
    expect(gaps).toEqual([{ gap: true, fromPosition: 1, toPosition: 200, reason: "archived" }]);
    expect((await rowsIn(core.rows, streamPageSpan("cart-1", 1))).length).toBeLessThan(3);
    expect(await store.archiveStream("cart-1", { beforeVersion: 100 })).toMatchObject({
      ...{ replayed: true, archivedBefore: 201, events: 0, objects: 0 },
    });
    expect(await collect(store.readStream("$strata-lifecycle"))).toMatchObject([
      {
        type: "$stream-archived",
        data: { streamName: "cart-1", fromVersion: 1, beforeVersion: 201 },
        metadata: { actor: "kim" },
      },
    ]);
    // The rest of it, and then it goes on.
    expect(await store.archiveStream("cart-1")).toMatchObject({ archivedBefore: 251, events: 50 });
    await store.compact();
    await store.append("cart-1", [counted(251)], { expectedVersion: 250 });
    expect((await read(store, "cart-1")).slice(0, 250)).toEqual(all);
    expect((await read(store, "cart-1", { fromVersion: 250 })).map(({ version }) => version)).toEqual([250, 251]);
    await store.close();
  });

  test("makes an object of each eight megabytes, and goes on where it was ended", async () => {
    const ending = new AbortController();
    const puts: string[] = [];
    const inner = openMemoryObjects(testClock(new Date("2026-01-01")));
    const put: ObjectAccess["put"] = async (name, ...rest) => {
      puts.push(name);
      ending.abort(new RangeError("enough"));
      return await inner.put(name, ...rest);
    };
    const { store } = await openWithCore(openMemoryKv(createMemoryStorage()), {}, { ...inner, put });
    for (let round = 0; round < 3; round += 1) await fill(store, "cart-1", 100, 80_000);
    const bytes = 300 * 80_000;
    const ended = store.archiveStream("cart-1", { signal: ending.signal }).catch((error: unknown) => error);
    expect(await ended).toEqual(new RangeError("enough"));
    expect(puts.length).toBe(1);
    expect((await store.streamInfo("cart-1"))?.archivedBefore).toBeGreaterThan(1);
    const result = await store.archiveStream("cart-1");
    expect(result.replayed).toBe(false);
    expect(puts.length).toBe(Math.ceil(bytes / archiveBytesMax));
    expect(new Set(puts).size).toBe(puts.length);
    await store.compact();
    expect((await read(store, "cart-1")).map(({ version }) => version)).toEqual(
      Array.from({ length: 300 }, (_, index) => index + 1),
    );
    await store.close();
  });

  test("loses nothing where nobody knows whether an object was stored, and is done when it is repeated", async () => {
    const inner = openMemoryObjects(testClock(new Date("2026-01-01")));
    const failures: Error[] = [];
    const put: ObjectAccess["put"] = async (...given) => {
      const done = await inner.put(...given);
      const failure = failures.pop();
      if (failure !== undefined) throw failure;
      return done;
    };
    const { store } = await openWithCore(openMemoryKv(createMemoryStorage()), {}, { ...inner, put });
    await fill(store, "cart-1", 50);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      failures.push(new StorageUnavailableError("simulated", { outcome: "unknown" }));
      expect((await errorOf(store.archiveStream("cart-1"))).code).toBe("storage-unavailable");
      expect((await store.compact()).eventsDropped).toBe(0);
      expect((await read(store, "cart-1")).length).toBe(50);
    }
    await store.archiveStream("cart-1");
    expect((await store.compact()).eventsDropped).toBe(50);
    expect((await read(store, "cart-1")).length).toBe(50);
    await store.close();
  });

  test("is undone in storage when what is archived is truncated or deleted", async () => {
    const objects = openMemoryObjects(testClock(new Date("2026-01-01")));
    const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), { deletionGraceMs: 0 }, objects);
    await fill(store, "cart-1", 30);
    const names = async (): Promise<number> => (await collect(objects.list(archivePrefixOf("cart-1")))).length;
    for (const beforeVersion of [11, 21]) await store.archiveStream("cart-1", { beforeVersion });
    await store.compact();
    expect(await names()).toBe(2);
    await store.truncateStream("cart-1", { beforeVersion: 16 });
    expect((await read(store, "cart-1")).map(({ version }) => version)).toEqual(
      Array.from({ length: 15 }, (_, index) => index + 16),
    );
    await store.compact();
    expect(await names()).toBe(1);
    expect((await read(store, "cart-1")).length).toBe(15);
    await store.deleteStream("cart-1", { expectedVersion: 30 });
    await store.compact();
    expect(await names()).toBe(0);
    expect(await rowsIn(core.rows, archivePartSpan("cart-1", 1))).toEqual([]);
    expect((await rowsIn(core.rows, globalPageSpan(1))).length).toBeGreaterThan(0);
    await store.close();
  });

  test("takes with it what a rule hides, so that there is no hole in it, with the rule or without", async () => {
    const objects = openMemoryObjects(testClock(new Date("2026-01-01")));
    const { store } = await openWithCore(openMemoryKv(createMemoryStorage()), { compaction: false }, objects);
    await fill(store, "cart-1", 30);
    await store.archiveStream("cart-1", { beforeVersion: 3 });
    await store.setRetention("cart-1", { maxCount: 2 });
    // What the archive has already may come back.
    await store.archiveStream("cart-1", { beforeVersion: 3 });
    expect(await store.archiveStream("cart-1")).toMatchObject({ events: 2, archivedBefore: 31 });
    expect((await store.verify()).breaks).toEqual([]);
    await store.setRetention("cart-1", null);
    for (let pass = 1; pass <= 2; pass += 1) {
      expect((await read(store, "cart-1")).map(({ version }) => version)).toEqual([29, 30]);
      expect(await store.streamInfo("cart-1")).toMatchObject({ truncatedBefore: 29, archivedBefore: 31 });
      expect((await store.verify()).breaks).toEqual([]);
      await store.compact();
    }
    await store.close();
  });

  test("loses its objects behind their rows, also where a pass was broken off in between", async () => {
    const inner = openMemoryObjects(testClock(new Date("2026-01-01")));
    const failures: Error[] = [];
    const rowsAtDelete: number[] = [];
    const remove: ObjectAccess["delete"] = async (name) => {
      const failure = failures.pop();
      if (failure !== undefined) throw failure;
      rowsAtDelete.push((await rowsIn(core.rows, archivePartSpan("cart-1", 1))).length);
      await inner.delete(name);
    };
    const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), {}, { ...inner, delete: remove });
    await fill(store, "cart-1", 40);
    for (const beforeVersion of [11, 21, 31]) await store.archiveStream("cart-1", { beforeVersion });
    await store.compact();
    await store.truncateStream("cart-1", { beforeVersion: 25 });
    failures.push(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
    expect((await errorOf(store.compact())).message).toBe("simulated");
    const names = async (): Promise<number> => (await collect(inner.list(archivePrefixOf("cart-1")))).length;
    const due = async (): Promise<number> => (await rowsIn(core.rows, dueStreamSpan)).length;
    expect([await names(), await due()]).toEqual([3, 1]);
    expect((await read(store, "cart-1")).map(({ version }) => version)[0]).toBe(25);
    expect((await store.verify()).breaks).toEqual([]);
    await store.compact();
    expect(rowsAtDelete).toEqual([1, 1]);
    expect([await names(), await due()]).toEqual([1, 0]);
    expect((await read(store, "cart-1")).length).toBe(16);
    await store.close();
  });

  test("that is damaged or gone is told of by name, and other streams are read on", async () => {
    const objects = openMemoryObjects(testClock(new Date("2026-01-01")));
    const { store } = await openWithCore(openMemoryKv(createMemoryStorage()), {}, objects);
    await fill(store, "cart-1", 30);
    await fill(store, "cart-2", 30);
    await store.archiveStream("cart-1");
    await store.compact();
    const name = archiveObjectName("cart-1", 1, 30);
    const bytes = (await objects.get(name))?.bytes ?? new Uint8Array(0);
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    await objects.put(name, bytes);
    const damaged = await errorOf(read(store, "cart-1"));
    expect(damaged).toBeInstanceOf(StorageCorruptError);
    expect(damaged.message).toContain(name);
    await objects.delete(name);
    const missing = await errorOf(read(store, "cart-1"));
    expect(missing).toBeInstanceOf(StorageCorruptError);
    expect(missing.message).toContain(name);
    expect((await read(store, "cart-2")).length).toBe(30);
    await store.close();
  });

  test("is refused for what is not there, past the end, and for nonsense", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    await fill(store, "cart-1", 3);
    const refused = [
      () => store.archiveStream("cart-9"),
      () => store.archiveStream("cart-1", { beforeVersion: 5 }),
      () => store.archiveStream("cart-1", { beforeVersion: 0 }),
      () => store.archiveStream("cart-1", { beforeVersion: "2" as never }),
      () => store.archiveStream("$strata-lifecycle"),
      () => store.archiveStream("cart-1", { before: 2 } as never),
    ];
    for (const work of refused) expect(await errorOf(work)).toBeInstanceOf(InvalidArgumentError);
    expect(await errorOf(store.archiveStream("cart-1", { expectedVersion: 2 }))).toMatchObject({ code: "conflict" });
    expect(await store.lastPosition()).toBe(3);
  });
});

test("A replica that has not seen yet that archived events are gone says so, and then reads on", async () => {
  await using place = await folderPlace();
  await using store = await openEventStore({ url: place.url, s3: place.s3, compaction: false });
  await fill(store, "cart-1", 40);
  await store.archiveStream("cart-1", { beforeVersion: 20 });
  await store.compact();
  await using behind = await openEventStoreReader({ url: place.url, s3: place.s3, pollIntervalMs: 60_000 });
  await store.truncateStream("cart-1", { beforeVersion: 30 });
  await store.compact();
  expect(await errorOf(read(behind, "cart-1"))).toMatchObject({ code: "storage-unavailable" });
  await using newer = await openEventStoreReader({ url: place.url, s3: place.s3 });
  expect((await collect(newer.readStream("cart-1"))).map(({ version }) => version)[0]).toBe(30);
});

for (const kind of kinds) {
  describe.skipIf(!kind.available)(`Archives and drops ${kind.name}`, () => {
    test("are read by the writer, by another opening, and by a replica that lags behind both", async () => {
      await using place = await kind.create();
      const positions = async (events: AsyncIterable<RecordedEvent>): Promise<number[]> =>
        (await collect(events)).map(({ position }) => position);
      {
        await using store = await openWriter(place);
        await fill(store, "cart-1", 120);
        await fill(store, "cart-2", 40);
        const all = await read(store, "cart-1");
        await using reader = await openReader(place);
        const walking = reader.readAll();
        expect((await walking.next()).value?.position).toBe(1);
        await store.archiveStream("cart-1", { beforeVersion: 101 });
        await store.truncateStream("cart-2", { beforeVersion: 31 });
        expect((await store.compact()).eventsDropped).toBe(130);
        // A scan under way goes on, over what is still there for it.
        const rest = await positions({ [Symbol.asyncIterator]: () => walking });
        expect(rest.slice(-10)).toEqual([151, 152, 153, 154, 155, 156, 157, 158, 159, 160]);
        expect(rest).toEqual(rest.toSorted((one, other) => one - other));
        const { position } = await store.append("cart-2", [counted(41)], any);
        await reader.waitForPosition(position);
        expect(await read(reader, "cart-1")).toEqual(all);
        expect(await read(store, "cart-1")).toEqual(all);
        expect((await read(reader, "cart-2")).map(({ version }) => version)[0]).toBe(31);
        const gaps = (await collect(reader.readAll({ gaps: "report" }))).filter(isLogGap);
        expect(gaps).toEqual([
          { gap: true, fromPosition: 1, toPosition: 100, reason: "archived" },
          { gap: true, fromPosition: 121, toPosition: 150, reason: "truncated" },
        ]);
        await store.setRetention("cart", { maxCount: 500 });
        await until(async () => (await reader.retentions()).length > 0);
        expect(await reader.retentions()).toEqual(await store.retentions());
        await store.deleteStream("cart-2", { expectedVersion: 41 });
        await until(async () => (await reader.streamInfo("cart-2"))?.deleted !== undefined);
        expect(await errorOf(read(reader, "cart-2"))).toMatchObject({ code: "stream-deleted" });
      }
      await using store = await openEventStore({ url: place.url, s3: place.s3 });
      expect((await read(store, "cart-1")).length).toBe(120);
      await using objects: ObjectAccess = await openObjects(place.location, place.s3);
      expect((await collect(objects.list(archivePrefix))).length).toBe(1);
    });
  });
}
