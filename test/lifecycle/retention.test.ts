/** Rules of retention: what they take, from whom, when; and what readers of the log see where events were. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { streamHeadKey, streamPageSpan } from "../../src/format/key-families.ts";
import {
  defineProcessManager,
  defineProjection,
  defineReactor,
  defineSqlProjection,
  type EventStore,
  InvalidArgumentError,
  isLogGap,
  type LogGap,
  type RecordedEvent,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { lifecycleStreamName } from "../../src/log/system-events.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { testClock } from "../../src/testing/test-doubles.ts";
import { collect, errorOf, take, until } from "../support/collect.ts";
import { rowsIn } from "../support/dropping.ts";
import { sqliteDatabase } from "../support/reporting.ts";

setDefaultTimeout(60_000);

const hour = 3_600_000;
const start = new Date("2026-01-01");
const counted = (data: unknown = 1) => ({ type: "Counted", data });
const any = { expectedVersion: "any" } as const;
const versionsOf = async (store: EventStore, name: string): Promise<number[]> =>
  (await collect(store.readStream(name))).map(({ version }) => version);
const positionsIn = async (events: AsyncIterable<RecordedEvent>): Promise<number[]> =>
  (await collect(events)).map(({ position }) => position);
/** As `1` for an event, `2-4 excess` for a gap. */
const told = (item: RecordedEvent | LogGap): string =>
  isLogGap(item) ? `${item.fromPosition}-${item.toPosition} ${item.reason}` : `${item.position}`;

describe("Retention by count", () => {
  test("holds with the very append that is one too many, and for what was there before", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    for (const name of ["cart", "cart-1", "cart-2", "cartoon-1"]) {
      for (let count = 0; count < 5; count += 1) await store.append(name, [counted()], any);
    }
    await store.setRetention("cart", { maxCount: 3 }, { metadata: { actor: "kim" } });
    await store.setRetention("cart-2", { maxCount: 4 });
    for (const when of ["at once", "behind a pass", "behind another opening"]) {
      expect(await versionsOf(store, "cart")).toEqual([3, 4, 5]);
      expect(await versionsOf(store, "cart-1")).toEqual([3, 4, 5]);
      expect(await versionsOf(store, "cart-2")).toEqual([2, 3, 4, 5]);
      expect(await versionsOf(store, "cartoon-1")).toEqual([1, 2, 3, 4, 5]);
      if (when === "at once") expect((await store.compact()).eventsDropped).toBe(5);
      expect((await collect(store.readAll({ filter: { types: ["Counted"] } }))).length).toBe(15);
    }
    await store.append("cart-1", [counted(), counted()], { expectedVersion: 5 });
    expect(await versionsOf(store, "cart-1")).toEqual([5, 6, 7]);
    expect((await store.streamInfo("cart-1"))?.truncatedBefore).toBe(5);
    expect((await store.compact()).eventsDropped).toBe(2);
    // A stream that is longer than that within one append.
    await store.append(
      "cart-3",
      Array.from({ length: 40 }, () => counted()),
      any,
    );
    expect(await versionsOf(store, "cart-3")).toEqual([38, 39, 40]);
    expect((await store.compact()).eventsDropped).toBe(37);
    expect(await versionsOf(store, "cart-3")).toEqual([38, 39, 40]);
    await store.append("cart-3", [counted()], { expectedVersion: 40 });
    expect(await collect(store.readStream(lifecycleStreamName))).toMatchObject([
      { type: "$retention-set", data: { scope: "category", name: "cart", maxCount: 3 }, metadata: { actor: "kim" } },
      { type: "$retention-set", data: { scope: "stream", name: "cart-2", maxCount: 4 } },
    ]);
  });

  test("is put off in the background until it is worth a page, and done when somebody asks", async () => {
    const clock = testClock(start);
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {
      clock,
      compaction: { everyEvents: 256 },
    });
    await store.setRetention("cart", { maxCount: 2 });
    const fill = async (name: string, count: number): Promise<void> => {
      for (let left = count; left > 0; left -= 1) await store.append(name, [counted()], any);
    };
    const passedTo = async (): Promise<number> =>
      (await store.processors()).find(({ name }) => name === "$compactor")?.position ?? 0;
    const left = async (): Promise<number> => (await collect(store.readAll({ filter: { types: ["Counted"] } }))).length;
    await fill("cart-1", 200);
    await fill("order-1", 100);
    await until(async () => (await passedTo()) >= 256);
    expect(await left()).toBe(300);
    await fill("cart-1", 200);
    await fill("order-1", 100);
    await until(async () => (await passedTo()) >= 512 && (await left()) < 300);
    await store.compact();
    expect(await left()).toBe(202);
  });
});

describe("Retention by age", () => {
  test("takes what is too old when a pass comes to it, from all streams of a category and no other", async () => {
    const clock = testClock(start);
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { clock });
    await store.setRetention("cart", { maxAgeMs: 2 * hour });
    for (const name of ["cart-1", "cart-2", "order-1"]) await store.append(name, [counted(), counted()], any);
    clock.advance(hour);
    for (const name of ["cart-1", "order-1"]) await store.append(name, [counted()], any);
    expect((await store.compact()).eventsDropped).toBe(0);
    clock.advance(hour);
    expect((await store.compact()).eventsDropped).toBe(4);
    expect(await versionsOf(store, "cart-1")).toEqual([3]);
    expect(await versionsOf(store, "cart-2")).toEqual([]);
    expect(await store.streamInfo("cart-2")).toMatchObject({ version: 2, truncatedBefore: 3 });
    expect(await versionsOf(store, "order-1")).toEqual([1, 2, 3]);
    clock.advance(2 * hour);
    expect((await store.compact()).eventsDropped).toBe(1);
    expect((await store.append("cart-2", [counted()], { expectedVersion: 2 })).streamVersion).toBe(3);
    expect((await store.compact()).eventsDropped).toBe(0);
    expect(await versionsOf(store, "cart-2")).toEqual([3]);
  });

  test("of one stream holds instead of its category's, until it is removed", async () => {
    const clock = testClock(start);
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { clock });
    await store.setRetention("cart", { maxAgeMs: hour });
    await store.setRetention("cart-1", { maxAgeMs: 10 * hour });
    for (const name of ["cart-1", "cart-2"]) await store.append(name, [counted()], any);
    clock.advance(5 * hour);
    expect((await store.compact()).eventsDropped).toBe(1);
    expect(await versionsOf(store, "cart-1")).toEqual([1]);
    await store.append("cart-1", [counted()], any);
    clock.advance(6 * hour);
    expect((await store.compact()).eventsDropped).toBe(1);
    expect(await versionsOf(store, "cart-1")).toEqual([2]);
    await store.setRetention("cart-1", null);
    expect((await store.compact()).eventsDropped).toBe(1);
    expect(await versionsOf(store, "cart-1")).toEqual([]);
    expect((await store.retentions()).map(({ name }) => name)).toEqual(["cart"]);
  });
});

describe("Rules", () => {
  test("are listed, survive another opening, and are removed", async () => {
    const storage = createMemoryStorage();
    const clock = testClock(start);
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
      expect(await store.retentions()).toEqual([]);
      await store.setRetention("order", { maxAgeMs: hour });
      await store.setRetention("cart-7", { maxCount: 5 });
      await store.setRetention("cart", { maxAgeMs: hour, maxCount: 2 });
      await store.setRetention("cart", { maxAgeMs: hour, maxCount: 2 });
    }
    await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
    expect(await store.retentions()).toEqual([
      { scope: "category", name: "cart", maxAgeMs: hour, maxCount: 2, setAt: start },
      { scope: "category", name: "order", maxAgeMs: hour, setAt: start },
      { scope: "stream", name: "cart-7", maxCount: 5, setAt: start },
    ]);
    for (let count = 0; count < 4; count += 1) await store.append("cart-1", [counted()], any);
    expect(await versionsOf(store, "cart-1")).toEqual([3, 4]);
    await store.setRetention("cart", null);
    await store.setRetention("cart", null);
    for (let count = 0; count < 3; count += 1) await store.append("cart-1", [counted()], any);
    expect(await versionsOf(store, "cart-1")).toEqual([3, 4, 5, 6, 7]);
    expect((await collect(store.readStream(lifecycleStreamName))).map(({ type }) => type)).toEqual([
      ...["$retention-set", "$retention-set", "$retention-set", "$retention-removed"],
    ]);
  });

  test("of nonsense are refused, and nothing is written", async () => {
    await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), {});
    const nonsense: readonly unknown[] = [
      ...[undefined, {}, 3, "1 day", [], { maxAgeMs: 0 }, { maxAgeMs: -1 }, { maxAgeMs: Number.POSITIVE_INFINITY }],
      ...[{ maxCount: 0 }, { maxCount: 1.5 }, { maxCount: "3" }, { maxCount: Number.NaN }, { maxCount: null }],
      ...[{ maxAge: 3 }, { maxCount: 3, keep: true }],
    ];
    for (const rule of nonsense) {
      const error = await errorOf(store.setRetention("cart", rule as null));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.outcome).toBe("not-applied");
    }
    for (const name of ["", "$strata", lifecycleStreamName, 7, null, "x".repeat(600)]) {
      expect(await errorOf(store.setRetention(name as string, { maxCount: 1 }))).toBeInstanceOf(InvalidArgumentError);
    }
    expect(await store.lastPosition()).toBe(0);
    expect(await store.retentions()).toEqual([]);
  });
});

describe("Where events were dropped", () => {
  const withGaps = async (): Promise<EventStore> => {
    const store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { deletionGraceMs: 0 });
    for (let round = 0; round < 4; round += 1) {
      for (const name of ["a-1", "b-1", "c-1"]) await store.append(name, [counted(round)], any);
    }
    await store.truncateStream("a-1", { beforeVersion: 4 });
    await store.deleteStream("b-1", { expectedVersion: 4 });
    await store.compact();
    return store;
  };

  test("a reader passes over them, or is told which positions are gone and why", async () => {
    await using store = await withGaps();
    expect(await positionsIn(store.readAll())).toEqual([3, 6, 9, 10, 12, 13, 14]);
    const report = async (options: object): Promise<string[]> =>
      (await collect(store.readAll({ ...options, gaps: "report" }))).map(told);
    const all = ["1-1 truncated", "2-2 deleted", "3", "4-4 truncated", "5-5 deleted", "6", "7-7 truncated"];
    const rest = ["8-8 deleted", "9", "10", "11-11 deleted", "12", "13", "14"];
    expect(await report({})).toEqual([...all, ...rest]);
    expect(await report({ direction: "backwards" })).toEqual([...all, ...rest].toReversed());
    expect(await report({ fromPosition: 5, limit: 2 })).toEqual([
      "5-5 deleted",
      "6",
      "7-7 truncated",
      "8-8 deleted",
      "9",
    ]);
    expect(await report({ filter: { categories: ["a"] } })).toEqual([
      ...["1-1 truncated", "2-2 deleted", "4-4 truncated", "5-5 deleted", "7-7 truncated", "8-8 deleted", "10"],
      "11-11 deleted",
    ]);
    const past = await collect(store.asOf(5).readAll({ gaps: "report" }));
    expect(past.map(told)).toEqual(all.slice(0, 5));
    const error = await errorOf(() => store.readAll({ gaps: "maybe" as "report" }));
    expect(error).toBeInstanceOf(InvalidArgumentError);
  });

  test("a subscription goes on behind them, from storage and from memory", async () => {
    await using store = await withGaps();
    expect((await take(store.subscribe({ from: "start" }), 7)).map(({ position }) => position)).toEqual([
      3, 6, 9, 10, 12, 13, 14,
    ]);
    const reported = await take(store.subscribe({ from: "start", gaps: "report" }), 9);
    expect(reported.map(told)).toEqual([
      ...[
        "1-1 truncated",
        "2-2 deleted",
        "3",
        "4-4 truncated",
        "5-5 deleted",
        "6",
        "7-7 truncated",
        "8-8 deleted",
        "9",
      ],
    ]);
    const following = store.subscribe({ from: { after: 10 }, gaps: "report" });
    const items: string[] = [];
    for await (const item of following) {
      items.push(told(item));
      if (items.length === 4) await store.append("c-1", [counted()], any);
      if (items.length === 5) break;
    }
    expect(items).toEqual(["11-11 deleted", "12", "13", "14", "15"]);
  });

  test("a long gap is one, and what was recorded by then is found by time on both of its sides", async () => {
    const clock = testClock(start);
    const storage = createMemoryStorage();
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), { clock, deletionGraceMs: 0 });
      await store.append("a-1", [counted()], any);
      clock.advance(hour);
      for (let count = 0; count < 4; count += 1) {
        await store.append(
          "b-1",
          Array.from({ length: 1_000 }, () => counted()),
          any,
        );
      }
      clock.advance(hour);
      await store.append("a-1", [counted()], any);
      await store.deleteStream("b-1", { expectedVersion: 4_000 });
      expect((await store.compact()).eventsDropped).toBe(4_000);
    }
    await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
    const items = await collect(store.readAll({ gaps: "report" }));
    expect(items.map(told)).toEqual(["1", "2-4001 deleted", "4002", "4003"]);
    expect(await positionsIn(store.asOf(new Date(start.getTime() + 1.5 * hour)).readAll())).toEqual([1]);
    expect(await positionsIn(store.asOf(new Date(start.getTime() + 2 * hour)).readAll())).toEqual([1, 4002, 4003]);
  });

  test("projections, inline and async, go on behind them, and a rebuild folds what is left", async () => {
    const totals = (name: string, mode: "inline" | "async") =>
      defineProjection(name, {
        ...{ version: 1, mode, filter: { types: ["Counted"] }, document: v.object({ count: v.number() }) },
        on: { Counted: (event, docs) => docs.update(event.streamName, (doc) => ({ count: (doc?.count ?? 0) + 1 })) },
      });
    const inline = totals("inline-totals", "inline");
    const behind = totals("async-totals", "async");
    const storage = createMemoryStorage();
    await using store = await openEventStoreOn(openMemoryKv(storage), { projections: [inline, behind] });
    for (let count = 0; count < 6; count += 1) await store.append("a-1", [counted()], any);
    await store.waitFor("async-totals", 6);
    await store.truncateStream("a-1", { beforeVersion: 5 });
    expect((await store.compact()).eventsDropped).toBe(4);
    const { position } = await store.append("a-1", [counted()], any);
    await store.waitFor("async-totals", position);
    for (const projection of [inline, behind])
      expect(await store.documents(projection).get("a-1")).toEqual({ count: 7 });
    for (const name of ["inline-totals", "async-totals"]) await store.rebuild(name);
    for (const projection of [inline, behind]) {
      expect(await store.documents(projection).get("a-1", { atLeast: position })).toEqual({ count: 3 });
    }
  });

  test("reactors, process managers and tables go on behind them, also where the log ends with them", async () => {
    await using database = await sqliteDatabase();
    const clock = testClock(start);
    const storage = createMemoryStorage();
    const told: number[] = [];
    const reactor = (name: string) =>
      defineReactor(name, {
        mode: "async",
        from: "start",
        on: { Counted: (event: RecordedEvent) => void told.push(event.position) },
      });
    const manager = defineProcessManager("counting", {
      correlate: { Counted: (event: RecordedEvent) => event.streamName },
      initialState: () => ({ count: 0 }),
      evolve: { Counted: (state: { count: number }) => ({ count: state.count + 1 }) },
      react: {},
    });
    const table = defineSqlProjection("counted", {
      ...{ version: 1, database: database.url, filter: { types: ["Counted"] } },
      create: (sql, context) => sql`create table ${context.table("counted")} (position integer primary key)`,
      on: {
        Counted: (event, sql, context) => sql`insert into ${context.table("counted")} values (${event.position})`,
      },
    });
    const options = { clock, projections: [table], processManagers: [manager] };
    let last = 0;
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), { ...options, reactors: [reactor("early")] });
      await store.setRetention("a", { maxAgeMs: hour });
      for (let count = 0; count < 5; count += 1) last = (await store.append("a-1", [counted()], any)).position;
      await store.append("b-1", [counted()], any);
      last = (await store.append("a-2", [counted(), counted()], any)).position;
      for (const name of ["early", "counting", "counted"]) await store.waitFor(name, last);
      clock.advance(hour);
      expect((await store.compact()).eventsDropped).toBe(7);
    }
    expect(told).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    const both = [reactor("early"), reactor("late")];
    await using store = await openEventStoreOn(openMemoryKv(storage), { ...options, reactors: both });
    expect(await store.lastPosition()).toBe(last);
    for (const name of ["early", "late", "counting", "counted"]) await store.waitFor(name, last);
    expect(told.slice(8)).toEqual([7]);
    const next = (await store.append("a-1", [counted()], { expectedVersion: 5 })).position;
    expect(next).toBe(last + 1);
    await store.rebuild("counted");
    for (const name of ["early", "late", "counting", "counted"]) await store.waitFor(name, next);
    expect(told.slice(9).toSorted()).toEqual([next, next]);
    const rows: { position: number }[] = await database.sql`select position from counted order by position`;
    expect(rows.map(({ position }) => position)).toEqual([7, next]);
    expect((await store.processors()).every(({ health }) => health === "ok")).toBe(true);
  });
});

test("A damaged stream is told of and put off, and the others lose what they are to lose", async () => {
  const clock = testClock(start);
  const warned: unknown[] = [];
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
    for (const name of ["a-1", "a-2", "a-3"]) {
      await store.append(
        name,
        Array.from({ length: 40 }, () => counted()),
        any,
      );
      await store.truncateStream(name, { beforeVersion: 31 });
    }
  }
  {
    const kv = openMemoryKv(storage);
    const [page] = await rowsIn(kv, streamPageSpan("a-2", 1));
    const value = Buffer.from(page?.value ?? []);
    value[20] = (value[20] ?? 0) ^ 1;
    await kv.write([{ kind: "put", key: page?.key ?? Buffer.of(), value }]);
    await kv.close();
  }
  const options = { clock, onError: (error: unknown) => warned.push(error) };
  await using store = await openEventStoreOn(openMemoryKv(storage), options);
  expect((await store.compact()).eventsDropped).toBe(60);
  expect(warned.length).toBeGreaterThan(0);
  expect(await versionsOf(store, "a-1")).toEqual(await versionsOf(store, "a-3"));
  expect(await errorOf(versionsOf(store, "a-2"))).toMatchObject({ code: "storage-corrupt" });
  warned.length = 0;
  expect((await store.compact()).eventsDropped).toBe(0);
  clock.advance(25 * hour);
  await store.compact();
  expect(warned.some((error) => String(error).includes("damaged"))).toBe(true);
});

test("A stream whose head is damaged, with a rule of its own, keeps nothing from the others and comes again", async () => {
  const clock = testClock(start);
  const warned: unknown[] = [];
  const storage = createMemoryStorage();
  const key = streamHeadKey("a-2");
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
    for (const name of ["a-1", "a-2", "a-3"]) {
      await store.append(
        name,
        Array.from({ length: 40 }, () => counted()),
        any,
      );
      await store.setRetention(name, { maxAgeMs: hour });
    }
  }
  clock.advance(2 * hour);
  const kv = openMemoryKv(storage);
  const whole = Buffer.from((await kv.get(key)) ?? []);
  const damaged = Buffer.from(whole);
  damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
  await kv.write([{ kind: "put", key, value: damaged }]);
  await kv.close();
  {
    const options = { clock, onError: (error: unknown) => warned.push(error) };
    await using store = await openEventStoreOn(openMemoryKv(storage), options);
    expect((await store.compact()).eventsDropped).toBe(80);
    expect(warned.map(String).join()).toContain("The head of a stream is damaged");
    expect(await errorOf(versionsOf(store, "a-2"))).toMatchObject({ code: "storage-corrupt" });
  }
  const mended = openMemoryKv(storage);
  await mended.write([{ kind: "put", key, value: whole }]);
  await mended.close();
  clock.advance(25 * hour);
  await using store = await openEventStoreOn(openMemoryKv(storage), { clock });
  expect((await store.compact()).eventsDropped).toBe(40);
});
