/** Merged rows of the index: they answer every filter as the rows did that they were made of. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { globalPageSpan, storeHeaderKey } from "../../src/format/key-families.ts";
import { decodeStoreHeader } from "../../src/format/records.ts";
import type { EventFilter, EventStore } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import { memoryBackend, slateFolderBackend } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import { familiesOf, positionsOf } from "./support.ts";

setDefaultTimeout(60_000);

const off = { compaction: false } as const;
const stretches = 2 * 16 * 1_024;

/** Names that occur everywhere, now and then, in one place only, and hardly ever. */
function tagsOf(position: number): readonly string[] {
  const tags = [`often:${position % 3}`, `customer:${(position * 7_919) % 300}`];
  if (position % 5_000 === 17) tags.push("rare");
  if (position > 9_000 && position < 9_100) tags.push("here");
  return tags;
}

async function fill(store: EventStore, count: number, from = 0): Promise<void> {
  for (let done = from; done < from + count; done += 1_000) {
    const events = Array.from({ length: Math.min(1_000, from + count - done) }, (_, index) => ({
      type: `T${(done + index) % 4}`,
      data: 0,
      tags: tagsOf(done + index + 1),
    }));
    await store.append(`a-${(done / 1_000) % 5}`, events, { expectedVersion: "any" });
  }
}

const filters: readonly EventFilter[] = [
  { tags: ["rare"] },
  { tags: ["here"] },
  { tags: ["customer:42"] },
  { tags: ["customer:42", "often:1"] },
  { types: ["T1"], tags: ["customer:7"] },
  { types: ["T2", "T3"], tags: ["rare"] },
  [{ tags: ["customer:1"] }, { tags: ["customer:299"], types: ["T0"] }],
  { categories: ["a"], tags: ["customer:8"] },
  { tags: ["nobody"] },
];

/** What the filters find, from several places and in both directions. */
async function findings(store: EventStore): Promise<unknown> {
  const found: unknown[] = [];
  for (const filter of filters) {
    for (const fromPosition of [1, 16_384, 20_000]) {
      found.push(positionsOf(await collect(store.readAll({ filter, fromPosition, limit: 200 }))));
      found.push(
        positionsOf(await collect(store.readAll({ filter, fromPosition, direction: "backwards", limit: 50 }))),
      );
    }
  }
  return found;
}

for (const backend of [memoryBackend, slateFolderBackend]) {
  describe(`On ${backend.name} the index`, () => {
    test("has fewer rows, and the same answers, before and behind a restart and what comes later", async () => {
      await using storage = await backend.create();
      const { store, core } = await openWithCore(await storage.open(), off);
      await fill(store, stretches + 3_000);
      const before = await findings(store);
      const rows = (await familiesOf(core.rows))["40"]?.rows ?? 0;
      const report = await store.compact();
      const families = await familiesOf(core.rows);
      expect(families["40"]?.rows).toBe(rows - report.indexRowsMerged + report.indexRowsWritten);
      expect(families["40"]?.rows ?? rows).toBeLessThan(rows / 4);
      expect(await findings(store)).toEqual(before);
      expect(await store.compact()).toMatchObject({ indexRowsMerged: 0 });
      await store.close();
      const again = await openEventStoreOn(await storage.open(), off);
      expect(await findings(again)).toEqual(before);
      await fill(again, 18_000, stretches + 3_000);
      const later = await findings(again);
      expect((await again.compact()).indexRowsMerged).toBeGreaterThan(1_000);
      expect(await findings(again)).toEqual(later);
      const rare = positionsOf(await collect(again.readAll({ filter: { tags: ["rare"] } })));
      expect(rare).toEqual([17, 5_017, 10_017, 15_017, 20_017, 25_017, 30_017, 35_017, 40_017, 45_017, 50_017]);
      await again.close();
    }, 180_000);
  });
}

test("A condition by query over merged rows holds as before", async () => {
  await using store = await openEventStoreOn(openMemoryKv(), off);
  await fill(store, stretches);
  await store.compact();
  const events = [{ type: "T", data: 0 }];
  const failIfMatch = { filter: { tags: ["rare"] }, afterPosition: 100 };
  const refused = await errorOf(store.append("b-1", events, { expectedVersion: "any", failIfMatch }));
  expect(refused).toMatchObject({ code: "conflict" });
  const holds = { filter: { tags: ["here"] }, afterPosition: 9_100 };
  expect(await store.append("b-1", events, { expectedVersion: "any", failIfMatch: holds })).toMatchObject({
    position: stretches + 1,
  });
});

test("The header lists merged rows from the first of them on, so that early versions keep their hands off", async () => {
  const storage = createMemoryStorage();
  const families = (): readonly string[] =>
    decodeStoreHeader(storage.rows.get(storeHeaderKey.toString("latin1")) ?? new Uint8Array(0)).families;
  await using store = await openEventStoreOn(openMemoryKv(storage), off);
  await fill(store, 5_000);
  await store.compact();
  expect(families()).not.toContain("mergedIndex");
  await fill(store, stretches, 5_000);
  await store.compact();
  expect(families()).toContain("mergedIndex");
});

test("Rows of a stretch with a damaged page stay, because they say what the page does not", async () => {
  const storage = createMemoryStorage();
  const { store, core } = await openWithCore(openMemoryKv(storage), { ...off, onError: () => {} });
  await fill(store, stretches);
  const before = await findings(store);
  const cursor = await core.rows.scan(globalPageSpan(3_500), "lookup");
  const [row] = await cursor.next(1);
  cursor.close();
  const key = Buffer.from(row?.key ?? []).toString("latin1");
  const good = storage.rows.get(key) ?? new Uint8Array(0);
  storage.rows = storage.rows.clone();
  storage.rows.set(key, good.slice(0, -1));
  const { indexRowsMerged } = await store.compact();
  storage.rows.set(key, good);
  expect(indexRowsMerged).toBeGreaterThan(1_000);
  expect(await findings(store)).toEqual(before);
  await store.close();
});
