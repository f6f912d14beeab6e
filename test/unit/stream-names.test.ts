/** The filter of stream names: it never denies a stream that exists, through reopening, damage and stores older than it. */

import { beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { nameDirectoryKey, nameSegmentKey, storeHeaderKey } from "../../src/format/key-families.ts";
import { hashName, NameSegment, segmentNamesMax } from "../../src/format/name-filter.ts";
import { decodeStoreHeader, encodeStoreHeader } from "../../src/format/records.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { loadStreamNames, StreamNames } from "../../src/log/stream-names.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";

setDefaultTimeout(60_000);

let storage: MemoryStorage;
beforeEach(() => {
  storage = createMemoryStorage();
});

const open = (): Promise<EventStore> => openEventStoreOn(openMemoryKv(storage), {});
const textOf = (key: Uint8Array): string => Buffer.from(key).toString("latin1");
const born = { expectedVersion: "no-stream" } as const;

/** Appends the first event of streams `from` to `to`, some hundred a group. */
async function bear(store: EventStore, from: number, to: number): Promise<void> {
  for (let next = from; next < to; next += 500) {
    const names = Array.from({ length: Math.min(500, to - next) }, (_, index) => `cart-${next + index}`);
    await Promise.all(names.map((name) => store.append(name, [{ type: "Opened", data: {} }], born)));
  }
}

/** That the store knows each of the streams, by being refused to make it again. */
async function expectKnown(store: EventStore, count: number): Promise<void> {
  for (let next = 0; next < count; next += 500) {
    const numbers = Array.from({ length: Math.min(500, count - next) }, (_, index) => next + index);
    const results = await Promise.allSettled(
      numbers.map((number) => store.append(`cart-${number}`, [{ type: "Opened", data: {} }], born)),
    );
    expect(results.filter((result) => result.status === "fulfilled")).toEqual([]);
  }
}

test("A segment finds every name that it was given, and few others", () => {
  const segment = new NameSegment();
  for (let number = 0; number < segmentNamesMax; number += 1) segment.add(hashName(`order-${number}`));
  expect(segment.isFull).toBe(true);
  let found = 0;
  let wrong = 0;
  for (let number = 0; number < segmentNamesMax; number += 1) {
    if (segment.mayHave(hashName(`order-${number}`))) found += 1;
    if (segment.mayHave(hashName(`payment-${number}`))) wrong += 1;
  }
  expect(found).toBe(segmentNamesMax);
  expect(wrong).toBeLessThan(segmentNamesMax / 500);
});

test("An append to a new stream asks the storage nothing", async () => {
  await using store = await open();
  const before = store.stats().storage.gets;
  await bear(store, 0, 2_000);
  expect(store.stats().storage.gets).toBe(before);
});

test("Streams born before and after the filter was last stored are known when the store is opened again", async () => {
  const count = 20_500;
  {
    await using store = await open();
    await bear(store, 0, count);
  }
  const stored = await loadStreamNames(openMemoryKv(storage));
  expect(stored?.coveredTo).toBeGreaterThan(segmentNamesMax);
  expect(stored?.coveredTo).toBeLessThan(count);
  await using store = await open();
  await expectKnown(store, count);
  const { streamVersion } = await store.append("cart-3", [{ type: "Closed", data: {} }], { expectedVersion: 1 });
  expect(streamVersion).toBe(2);
  expect(await store.streamInfo("cart-20499")).toMatchObject({ version: 1 });
  expect(await store.streamInfo("cart-20500")).toBeUndefined();
});

const damages: readonly (readonly [string, () => void])[] = [
  ["its directory is gone", () => storage.rows.delete(textOf(nameDirectoryKey))],
  ["a segment is gone", () => storage.rows.delete(textOf(nameSegmentKey(0)))],
  ["a segment is damaged", () => flip(nameSegmentKey(1))],
  ["its directory is damaged", () => flip(nameDirectoryKey)],
  [
    "a segment stands in another's place",
    () => storage.rows.set(textOf(nameSegmentKey(0)), storage.rows.get(textOf(nameSegmentKey(1))) ?? Buffer.of()),
  ],
  [
    "the store is older than it",
    () => {
      const header = decodeStoreHeader(storage.rows.get(textOf(storeHeaderKey)) ?? Buffer.of());
      const families = header.families.filter((family) => family !== "streamNames");
      storage.rows.set(textOf(storeHeaderKey), encodeStoreHeader({ ...header, families }));
      for (const key of [nameDirectoryKey, nameSegmentKey(0), nameSegmentKey(1)]) storage.rows.delete(textOf(key));
    },
  ],
];

function flip(key: Uint8Array): void {
  const bytes = Buffer.from(storage.rows.get(textOf(key)) ?? Buffer.of());
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
  storage.rows.set(textOf(key), bytes);
}

for (const [damage, apply] of damages) {
  test(`The filter is made anew where ${damage}`, async () => {
    const count = 25_000;
    {
      await using store = await open();
      await bear(store, 0, count);
    }
    apply();
    {
      await using store = await open();
      await expectKnown(store, count);
    }
    const stored = await loadStreamNames(openMemoryKv(storage));
    expect(stored?.coveredTo).toBe(count);
    expect(stored?.mayExist("cart-24999")).toBe(true);
    const header = decodeStoreHeader(storage.rows.get(textOf(storeHeaderKey)) ?? Buffer.of());
    expect(header.families).toContain("streamNames");
  });
}

test("With more names than the filter may hold it denies none, and is stored as such", async () => {
  const full = Array.from({ length: 1_024 }, () => new NameSegment(new Uint8Array(32_768), segmentNamesMax));
  const names = new StreamNames(full, { coveredTo: 0, overflowed: false });
  expect(names.mayExist("one-more")).toBe(false);
  names.add("one-more");
  expect(names.mayExist("one-more")).toBe(true);
  expect(names.mayExist("any-other")).toBe(true);
  const kv = openMemoryKv(storage);
  await kv.write(names.rows(0, 7));
  expect((await loadStreamNames(kv))?.mayExist("never-seen")).toBe(true);
});
