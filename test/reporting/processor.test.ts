/** SQL projections as processors of an open store: listed, waited for, paused and rebuilt like all others. */

import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import {
  defineEvents,
  defineSqlProjection,
  type EventStore,
  event,
  type ProjectionSource,
  type RecordedEvent,
  runSqlProjections,
  type SqlProjection,
  split,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import {
  databaseKinds,
  eventually,
  foldTotals,
  numberedOrders,
  order,
  readLines,
  readTotals,
  sqliteDatabase,
  stopSharedPostgres,
  totals,
} from "../support/reporting.ts";

setDefaultTimeout(60_000);
afterAll(stopSharedPostgres);

type Orders = EventStore<typeof order>;

const opened: Orders[] = [];
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
});

async function open(
  projections: readonly SqlProjection[],
  storage = createMemoryStorage(),
  onError: (error: unknown) => unknown = () => {},
): Promise<Orders> {
  const options = { events: [order], projections, onError, compaction: false } as const;
  const store = await openEventStoreOn(openMemoryKv(storage), options);
  opened.push(store);
  return store;
}

/** Keeps the positions of orders; parks those that it fails at. */
function parkingOf(database: string, isBroken: () => boolean): SqlProjection {
  return defineSqlProjection("parking", {
    ...{ version: 1, database, onFailure: "park", retries: { attempts: 1 } },
    create: (sql, { table }) => sql`create table ${table("parking")} (position bigint primary key)`,
    on: {
      OrderPlaced: (e, _sql, { insert }) => {
        if (isBroken()) throw new Error(`no ${e.position}`);
        insert("parking", { position: e.position });
      },
    },
  });
}

/** Has five orders fail; then two of the first stream are truncated, and one of the second is archived. */
async function parkedAndDropped(store: Orders, handled: () => Promise<void>): Promise<{ readonly last: number }> {
  const placed = { type: "OrderPlaced", data: { customer: "c", total: 1 } } as const;
  await store.append("order-1", [placed, placed, placed], { expectedVersion: "no-stream" });
  const { position } = await store.append("order-2", [placed, placed], { expectedVersion: "no-stream" });
  await handled();
  await store.truncateStream("order-1", { beforeVersion: 3 });
  await store.archiveStream("order-2", { beforeVersion: 2 });
  expect((await store.compact()).eventsDropped).toBe(3);
  return { last: position };
}

describe.each(databaseKinds.map((kind) => [kind.name, kind] as const))(
  "A store with projections into %s",
  (_name, kind) => {
    describe.skipIf(!kind.available)("(needs its server)", () => {
      test("keeps them up to date, also after it was opened again", async () => {
        await using database = await kind.create();
        const storage = createMemoryStorage();
        const both = [totals(database.url), totals(database.url, { name: "second" })];
        const first = await open(both, storage);
        let last = await numberedOrders(first, 0, 500);
        await first.waitFor("totals", last);
        await first.waitFor("second", last);
        expect(first.processors()[0]).toMatchObject({
          ...{ name: "totals", kind: "sql-projection", version: 1, state: "running", position: last },
          ...{ lagEvents: 0, lagMs: 0, parked: 0, health: "ok", lastError: undefined },
        });
        await first.close();
        const second = await open(both, storage);
        last = await numberedOrders(second, last, 100);
        await second.waitFor("totals", last);
        await second.waitFor("second", last);
        const log = await collect(second.readAll());
        expect(await readTotals(database.sql)).toEqual(foldTotals(log));
        expect(await readTotals(database.sql, "second_totals")).toEqual(foldTotals(log));
      });

      test("rebuilds them beside what serves, on demand and for a new version", async () => {
        await using database = await kind.create();
        const storage = createMemoryStorage();
        const first = await open([totals(database.url)], storage);
        let last = await numberedOrders(first, 0, 500);
        await first.waitFor("totals", last);
        await database.sql`update ${database.sql("totals__1")} set total = -1`;
        const rebuilding = first.rebuild("totals");
        last = await numberedOrders(first, last, 50);
        expect(await rebuilding).toMatchObject({ name: "totals", version: 1, cancelled: false });
        last = await numberedOrders(first, last, 50);
        await first.waitFor("totals", last);
        expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(first.readAll())));
        await first.close();

        const second = await open([totals(database.url, { version: 2, factor: 3 })], storage);
        last = await numberedOrders(second, last, 50);
        await second.waitFor("totals", last);
        await eventually(() => second.processors()[0]?.rebuild === undefined);
        expect(second.processors()[0]).toMatchObject({ version: 2, state: "running", position: last });
        expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(second.readAll()), 3));
        await second.close();
        expect((await errorOf(open([totals(database.url)], storage))).code).toBe("invalid-argument");
      });

      test("finds the tables that another process has built anew", async () => {
        await using database = await kind.create();
        const store = await open([totals(database.url)]);
        let last = await numberedOrders(store, 0, 200);
        await store.waitFor("totals", last);
        // As another process would: it builds beside, and takes over.
        await using other = runSqlProjections(store, [totals(database.url)]);
        await eventually(() => other.projections()[0]?.state === "standby");
        await other.rebuild("totals");
        await eventually(async () => {
          const rows = await database.sql`select build from strata_projections where state = 'serving'`;
          return Number(rows[0]?.build) === 2;
        });
        await other.close();
        last = await numberedOrders(store, last, 50);
        await store.waitFor("totals", last);
        expect(store.processors()[0]).toMatchObject({ state: "running", lastError: undefined });
        expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
      });

      test("tells of an event that fails, goes on when told to, and parks where it may", async () => {
        await using database = await kind.create();
        let broken = true;
        const failing = (name: string, onFailure: "stop" | "park"): SqlProjection =>
          defineSqlProjection(name, {
            version: 1,
            database: database.url,
            retries: { attempts: 2, delayMs: 10 },
            onFailure,
            create: (sql, { table }) => sql`create table ${table(name)} (position bigint primary key)`,
            on: {
              OrderPlaced: (e, _sql, { insert }) => {
                insert(name, { position: e.position });
                if (broken && (e.position === 40 || e.position === 70)) throw new Error(`no ${e.position}`);
              },
            },
          });
        const one = await open([failing("failing", "stop"), failing("parking", "park")]);
        const last = await numberedOrders(one, 0, 100);
        await one.waitFor("parking", last);
        expect((await errorOf(one.waitFor("failing", last))).code).toBe("overloaded");
        expect(one.processors().filter(({ kind }) => kind === "sql-projection")).toMatchObject([
          { state: "failed", health: "failed", position: expect.any(Number), lastError: { position: 40 } },
          { state: "running", parked: 2 },
        ]);
        const [row] = await database.sql`select count(*) as count, max(position) as last from failing`;
        expect([Number(row?.count), Number(row?.last)]).toEqual([39, 39]);
        broken = false;
        await one.resumeProcessor("failing");
        await one.waitFor("failing", last);
        const [all] = await database.sql`select count(*) as count from failing`;
        expect(Number(all?.count)).toBe(100);
      });

      test("skips a parked event that is gone from the log, and replays an archived one", async () => {
        await using database = await kind.create();
        const errors: unknown[] = [];
        let broken = true;
        const parking = parkingOf(database.url, () => broken);
        const store = await open([parking], createMemoryStorage(), (error) => errors.push(error));
        const { last } = await parkedAndDropped(store, async () =>
          store.waitFor("parking", await store.lastPosition()),
        );
        expect(store.processors()[0]).toMatchObject({ state: "running", parked: 5 });
        const ids = (await collect(store.parked("parking"))).map(({ id }) => id);
        const [first = ""] = ids;
        errors.length = 0;
        const skipped = (position: number): string =>
          `EventGone: A parked event is skipped, because it is gone from the log (truncated): "OrderPlaced" at position ${position} of "order-1"`;
        expect(await store.replayParked(first)).toEqual({ replayed: 0, parked: 0, skipped: 1 });
        expect(errors.map(String)).toEqual([skipped(1)]);
        expect(await store.replayParked("parking")).toEqual({ replayed: 0, parked: 3, skipped: 1 });
        expect(errors.map(String)).toEqual([skipped(1), skipped(2)]);
        broken = false;
        expect(await store.replayParked("parking")).toEqual({ replayed: 3, parked: 0 });
        expect(await readLines(database.sql, "parking")).toEqual([3, 4, last]);
        expect(store.processors()[0]).toMatchObject({ parked: 0 });
        expect(await collect(store.parked("parking"))).toEqual([]);
      });

      test("skips such an event, and replays such another, where they run beside it", async () => {
        await using database = await kind.create();
        const errors: unknown[] = [];
        let broken = true;
        const store = await open([]);
        const parking = parkingOf(database.url, () => broken);
        await using running = runSqlProjections(store, [parking], { onError: (error) => errors.push(error) });
        const { last } = await parkedAndDropped(store, async () =>
          running.waitFor("parking", await store.lastPosition()),
        );
        await expect(running.replayParked("parking", 4)).rejects.toThrow("no 4");
        broken = false;
        expect(await running.replayParked("parking", 1)).toEqual({ replayed: 0, parked: 0, skipped: 1 });
        expect(errors.map(String)).toEqual([expect.stringContaining("gone from the log (truncated)")]);
        for (const position of [3, 4, last])
          expect(await running.replayParked("parking", position)).toEqual({ replayed: 1, parked: 0 });
        expect(await readLines(database.sql, "parking")).toEqual([3, 4, last]);
        expect((await running.parked("parking")).map(({ position }) => position)).toEqual([2]);
      });

      test("keeps a parked event that a source of less than a store does not have", async () => {
        await using database = await kind.create();
        const store = await open([]);
        const source: ProjectionSource = {
          lastPosition: () => store.lastPosition(),
          subscribe: (options) => store.subscribe(options),
          readAll: () => store.readAll(),
        };
        await using running = runSqlProjections(source, [parkingOf(database.url, () => true)]);
        await parkedAndDropped(store, async () => running.waitFor("parking", await store.lastPosition()));
        const error = await errorOf(running.replayParked("parking", 1));
        expect(error).toMatchObject({ code: "invalid-argument", argument: "position" });
        expect(await running.parked("parking")).toHaveLength(5);
      });
    });
  },
);

test("A SQL projection replays all parts of an archived event, in their order", async () => {
  await using database = await sqliteDatabase();
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), {});
    const added = [{ type: "ItemAdded", data: { sku: "p", quantity: 2 } }];
    await store.append("item-1", added, { expectedVersion: "no-stream" });
    await store.append("item-1", added, { expectedVersion: 1 });
  }
  const item = defineEvents("item", {
    ItemAdded: event({
      version: 2,
      schema: v.never(),
      splitsInto: ["SkuAdded", "QuantitySet"],
      upcast: {
        1: ({ sku, quantity }) =>
          split([
            { type: "SkuAdded", data: { sku } },
            { type: "QuantitySet", data: { quantity } },
          ]),
      },
    }),
    SkuAdded: event({ schema: v.object({ sku: v.string() }) }),
    QuantitySet: event({ schema: v.object({ quantity: v.number() }) }),
  });
  let broken = true;
  const seen: string[] = [];
  const note = (e: RecordedEvent): void => {
    if (broken) throw new Error("no");
    seen.push(`${e.type} ${e.position}`);
  };
  const items = defineSqlProjection("items", {
    ...{ version: 1, database: database.url, onFailure: "park", retries: { attempts: 1 } },
    create: (sql, { table }) => sql`create table ${table("items")} (position bigint)`,
    on: { SkuAdded: note, QuantitySet: note },
  });
  const options = { events: [item], projections: [items], compaction: false, onError: () => {} } as const;
  await using store = await openEventStoreOn(openMemoryKv(storage), options);
  await store.waitFor("items", 2);
  await store.archiveStream("item-1", { beforeVersion: 2 });
  expect((await store.compact()).eventsDropped).toBe(1);
  broken = false;
  expect(await store.replayParked("items")).toEqual({ replayed: 2, parked: 0 });
  expect(seen).toEqual(["SkuAdded 1", "QuantitySet 1", "SkuAdded 2", "QuantitySet 2"]);
});

describe("A store whose reporting database is away", () => {
  test("opens all the same, and finds out later that the tables are of an older version", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "report.db");
    const storage = createMemoryStorage();
    const first = await open([totals(`sqlite:${path}`)], storage);
    let last = await numberedOrders(first, 0, 100);
    await first.waitFor("totals", last);
    await first.close();

    await using locked = new Bun.SQL(`sqlite:${path}`);
    const free = Promise.withResolvers<void>();
    const locking = locked.begin("immediate", async () => await free.promise);
    const second = await open([totals(`sqlite:${path}`, { version: 2, factor: 2 })], storage);
    last = await numberedOrders(second, last, 100);
    await eventually(() => second.processors()[0]?.lastError?.message === "database is locked");
    free.resolve();
    await locking;
    await second.waitFor("totals", last);
    const expected = foldTotals(await collect(second.readAll()), 2);
    await eventually(async () => Bun.deepEquals(await readTotals(locked), expected));
    last = await numberedOrders(second, last, 10);
    await second.waitFor("totals", last);
    expect(await readTotals(locked)).toEqual(foldTotals(await collect(second.readAll()), 2));
  });
});
