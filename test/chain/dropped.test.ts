/** Events that were dropped on purpose are passed over by whoever reads the log; any other hole is damage. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { dropFromPages } from "../../src/format/drop-events.ts";
import { globalPageSpan, indexSegmentSize } from "../../src/format/key-families.ts";
import { decodeGlobalPage } from "../../src/format/pages.ts";
import type { EventFilter, EventStore, RecordedEvent } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { strata, Workplace } from "../cli/support.ts";
import { kinds, openReader, stopServer } from "../replica/places.ts";
import { memoryBackend, type Storage, slateFolderBackend } from "../support/backends.ts";
import { collect, errorOf, take } from "../support/collect.ts";
import { dropPositions, range, reasonsFor, rowsIn } from "../support/dropping.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const eventCount = 5_500;
const minuteMs = 60_000;
const startMs = Date.UTC(2026, 0, 1);
const born = { expectedVersion: "any" } as const;

/** Three events a minute in groups of various sizes. */
async function fill(kv: KeyValueStore): Promise<readonly RecordedEvent[]> {
  let nowMs = startMs;
  const clock = { now: () => nowMs, monotonic: () => performance.now() };
  await using store = await openEventStoreOn(kv, { clock });
  for (let next = 1; next <= eventCount; ) {
    const size = next % 7 === 0 ? 300 : 1 + (next % 50);
    const events = range(next, Math.min(eventCount, next + size - 1));
    nowMs = startMs + Math.floor(next / 3) * (minuteMs / 4);
    await store.append(
      `cart-${next % 11}`,
      events.map((n) => ({ type: n % 3 === 0 ? "Third" : "Other", data: { n }, tags: [`n:${n % 100}`] })),
      born,
    );
    next += events.length;
  }
  return await collect(store.readAll());
}

/** Whole segments, single positions, the first one, ends of pages, runs over the edge of a segment, and the newest. */
const gone: ReadonlySet<number> = new Set([
  ...range(1, 5),
  ...range(40, 41),
  50,
  ...range(1_000, 1_100),
  ...range(2_049, 4_096),
  ...range(4_100, 4_110).filter((n) => n % 2 === 0),
  ...range(5_301, 5_400),
  ...range(5_490, eventCount),
]);

const filters: readonly EventFilter[] = [
  { types: ["Third"] },
  { categories: ["cart"], tags: ["n:7"] },
  [{ tags: ["n:1"] }, { types: ["Third"], tags: ["n:50"] }],
];

const numbers = (events: readonly RecordedEvent[]): readonly number[] => events.map((event) => event.position);

describe.each([memoryBackend, slateFolderBackend])("A log with dropped events, $name", ({ create }) => {
  let storage: Storage;
  let store: EventStore;
  let kept: readonly RecordedEvent[];
  const matching = (filter: EventFilter): readonly number[] => {
    const clauses = Array.isArray(filter) ? filter : [filter];
    return numbers(
      kept.filter((event) =>
        clauses.some(
          ({ types, tags }) =>
            (types === undefined || types.includes(event.type)) &&
            (tags === undefined || tags.every((tag: string) => event.tags.includes(tag))),
        ),
      ),
    );
  };

  beforeAll(async () => {
    storage = await create();
    const all = await fill(await storage.open());
    kept = all.filter((event) => !gone.has(event.position));
    const kv = await storage.open();
    // Twice: what is recorded of a segment grows.
    const positions = [...gone];
    await dropPositions(kv, reasonsFor(positions.filter((n) => n % 3 !== 0)));
    await dropPositions(
      kv,
      reasonsFor(
        positions.filter((n) => n % 3 === 0),
        "truncated",
      ),
    );
    await kv.close();
    store = await openEventStoreOn(await storage.open(), {});
  });
  afterAll(async () => {
    await store.close();
    await storage[Symbol.asyncDispose]();
  });

  test("keeps its end", async () => {
    expect(await store.lastPosition()).toBe(eventCount);
  });

  test("is read forwards and backwards, whole and in parts", async () => {
    expect(await collect(store.readAll())).toEqual([...kept]);
    expect(await collect(store.readAll({ direction: "backwards" }))).toEqual(kept.toReversed());
    for (const fromPosition of [1, 3, 6, 41, 1_050, 1_101, 2_049, 3_000, 4_096, 4_097, 4_104, 5_350, 5_490, 5_500]) {
      const behind = numbers(kept).filter((n) => n >= fromPosition);
      expect(numbers(await collect(store.readAll({ fromPosition, limit: 20 })))).toEqual(behind.slice(0, 20));
      const before = numbers(kept).filter((n) => n <= fromPosition);
      const backwards = store.readAll({ fromPosition, direction: "backwards", limit: 20 });
      expect(numbers(await collect(backwards))).toEqual(before.toReversed().slice(0, 20));
    }
  });

  test.each(filters.map((filter) => ({ filter })))(
    "answers a filter forwards and backwards: $filter",
    async ({ filter }) => {
      const wanted = matching(filter);
      expect(wanted.length).toBeGreaterThan(20);
      expect(numbers(await collect(store.readAll({ filter })))).toEqual(wanted);
      expect(numbers(await collect(store.readAll({ filter, direction: "backwards" })))).toEqual(wanted.toReversed());
      const fromPosition = 4_104;
      expect(numbers(await collect(store.readAll({ filter, fromPosition })))).toEqual(
        wanted.filter((n) => n >= fromPosition),
      );
    },
  );

  test("is seen as of positions and times, those of dropped events included", async () => {
    for (const position of [0, 3, 5, 50, 1_050, 2_048, 3_000, 4_096, 5_350, eventCount]) {
      const seen = await collect(store.asOf(position).readAll());
      expect(numbers(seen)).toEqual(numbers(kept).filter((n) => n <= position));
    }
    const last = (kept.at(-1)?.recordedAt.getTime() ?? 0) + 10 * minuteMs;
    for (let timeMs = startMs - 1; timeMs <= last; timeMs += 17 * minuteMs + 123) {
      const seen = await collect(store.asOf(new Date(timeMs)).readAll());
      expect(numbers(seen)).toEqual(numbers(kept.filter((event) => event.recordedAt.getTime() <= timeMs)));
    }
  });

  test("is followed, from the start, from within a gap and behind the end", async () => {
    const { length } = kept;
    expect(await take(store.subscribe({ from: "start" }), length)).toEqual([...kept]);
    for (const after of [0, 4, 1_050, 4_101, 5_310, 5_489]) {
      const wanted = numbers(kept).filter((n) => n > after);
      const found = await take(store.subscribe({ from: { after } }), wanted.length);
      expect(numbers(found)).toEqual(wanted);
    }
    const filter = { types: ["Third"] };
    const wanted = matching(filter).filter((n) => n >= 4_000);
    expect(numbers(await take(store.subscribe({ from: { position: 4_000 }, filter }), wanted.length))).toEqual(wanted);
  });

  test("goes on where it ended", async () => {
    const heard = take(store.subscribe({ from: { after: 5_300 } }), 89 + 3);
    const { position } = await store.append("cart-new", [{ type: "Third", data: { n: 0 } }], born);
    expect(position).toBe(eventCount + 1);
    await store.append(
      "cart-new",
      [
        { type: "Other", data: {} },
        { type: "Third", data: {} },
      ],
      born,
    );
    expect(numbers(await heard)).toEqual([...range(5_401, 5_489), ...range(eventCount + 1, eventCount + 3)]);
    const filter = { types: ["Third"] };
    const found = numbers(await collect(store.readAll({ filter })));
    expect(found).toEqual([...matching(filter), eventCount + 1, eventCount + 3]);
    kept = await collect(store.readAll());
  });

  test("is indexed further, where a segment lost all its events before it was indexed", async () => {
    await store.close();
    const kv = await storage.open();
    await dropPositions(kv, reasonsFor(range(5 * indexSegmentSize + 1, eventCount + 3), "deleted"));
    await kv.close();
    store = await openEventStoreOn(await storage.open(), {});
    for (let group = 0; group < 12; group += 1) {
      const events = range(1, 200).map((n) => ({ type: n === 1 ? "Rare" : "Other", data: { n } }));
      await store.append(`late-${group}`, events, born);
    }
    const rare = await collect(store.readAll({ filter: { types: ["Rare"] } }));
    expect(numbers(rare)).toEqual(range(0, 11).map((group) => eventCount + 4 + group * 200));
    const before = kept.filter((event) => event.position <= 5 * indexSegmentSize);
    const filter = { types: ["Third"] };
    expect(numbers(await collect(store.readAll({ filter })))).toEqual(
      numbers(before.filter((event) => event.type === "Third")),
    );
  });

  test("knows streams of which nothing but the head is left", async () => {
    const refused = await errorOf(
      store.append("cart-new", [{ type: "Third", data: {} }], { expectedVersion: "no-stream" }),
    );
    expect(refused.code).toBe("conflict");
  });
});

describe.each(kinds)("A replica $name", ({ available, create }) => {
  test.skipIf(!available)(
    "reads a log with dropped events as its writer does, and follows while events go",
    async () => {
      await using place = await create();
      const options = { location: place.location, s3: place.s3, clock: systemClock };
      const all = await fill(await openSlateKv(options));
      const kv = await openSlateKv(options);
      await dropPositions(kv, reasonsFor(gone));
      const kept = numbers(all).filter((n) => !gone.has(n));
      await using reader = await openReader(place);
      expect(numbers(await collect(reader.readAll()))).toEqual(kept);
      const filter = { types: ["Third"] };
      expect(numbers(await collect(reader.readAll({ filter })))).toEqual(kept.filter((n) => n % 3 === 0));
      // In the middle of a scan, and of a subscription, events go that they have not come to.
      const scan = reader.readAll();
      const first = await scan.next();
      expect(first.value?.position).toBe(6);
      await dropPositions(kv, reasonsFor(range(200, 900)));
      const rest = numbers(await collect(scan));
      expect(rest.filter((n) => n > 900)).toEqual(kept.filter((n) => n > 900));
      await kv.close();
      await using writer = await openEventStoreOn(await openSlateKv(options), {});
      const heard = take(reader.subscribe({ from: { after: 5_400 } }), 90);
      await writer.append("cart-new", [{ type: "Third", data: {} }], born);
      expect(numbers(await heard)).toEqual([...range(5_401, 5_489), eventCount + 1]);
    },
  );
});

describe.each([memoryBackend, slateFolderBackend])("A hole that nobody recorded, $name", ({ create }) => {
  test("is damage for every way of reading", async () => {
    await using storage = await create();
    await fill(await storage.open());
    const kv = await storage.open();
    // Its compactor would go on with pages that it had read before.
    await using store = await openEventStoreOn(kv, { compaction: false });
    // The record of one of the dropped positions is missing.
    const pages = await rowsIn(kv, globalPageSpan(1));
    const plan = dropFromPages(pages, reasonsFor([...range(300, 309), 4_000]), new Map());
    const less = dropFromPages(pages, reasonsFor([...range(300, 304), ...range(306, 309), 4_000]), new Map());
    await kv.write(plan.operations.filter(({ key }) => key[0] === 0x30));
    await kv.write(less.operations.filter(({ key }) => key[0] === 0x32));
    const filter = { categories: ["cart"] };
    const reads: readonly (() => Promise<unknown>)[] = [
      () => collect(store.readAll()),
      () => collect(store.readAll({ direction: "backwards" })),
      () => collect(store.readAll({ filter })),
      () => collect(store.readAll({ filter, direction: "backwards" })),
      () => collect(store.readAll({ fromPosition: 302, limit: 3 })),
    ];
    for (const read of reads) {
      const error = await errorOf(read);
      expect(error.code).toBe("storage-corrupt");
      expect(error.message).toContain("no event at position 305");
    }
    expect(await collect(store.readAll({ fromPosition: 306 }))).toHaveLength(eventCount - 310);
    const reopened = await storage.open();
    expect((await errorOf(openEventStoreOn(reopened, {}))).message).toContain("no event at position 305");
  });

  test("is damage where the newest pages are gone, and the store is not opened", async () => {
    await using storage = await create();
    await fill(await storage.open());
    const kv = await storage.open();
    const last = (await rowsIn(kv, globalPageSpan(1))).at(-1);
    expect(last).toBeDefined();
    if (last === undefined) return;
    const lost = decodeGlobalPage(last);
    await kv.write([{ kind: "delete", key: last.key }]);
    await kv.close();
    const error = await errorOf(storage.open().then((again) => openEventStoreOn(again, {})));
    expect(error.message).toContain(`no event at position ${lost[0]?.position}`);
  });
});

test("The command line exports what is left, and imports it elsewhere", async () => {
  await using place = await Workplace.make();
  const options = { location: { kind: "folder", url: place.url, directory: place.path("store") }, s3: {} } as const;
  await fill(await openSlateKv({ ...options, clock: systemClock }));
  const kv = await openSlateKv({ ...options, clock: systemClock });
  await dropPositions(kv, reasonsFor(gone));
  await kv.close();
  const file = place.path("left.jsonl");
  expect((await strata(["export", "--url", place.url, "--output", file])).exitCode).toBe(0);
  const copy = place.urlOf("copy");
  expect((await strata(["import", file, "--url", copy])).exitCode).toBe(0);
  const left = await place.events();
  expect(left).toHaveLength(eventCount - gone.size);
  const ids = (events: readonly RecordedEvent[]): readonly string[] => events.map(({ id }) => id).toSorted();
  expect(ids(await place.events(copy))).toEqual(ids(left));
});
