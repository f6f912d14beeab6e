/** SQL projections as processors of an open store: listed, waited for, paused and rebuilt like all others. */

import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { defineSqlProjection, type EventStore, runSqlProjections, type SqlProjection } from "../../src/index.ts";
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
  readTotals,
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

async function open(projections: readonly SqlProjection[], storage = createMemoryStorage()): Promise<Orders> {
  const store = await openEventStoreOn(openMemoryKv(storage), { events: [order], projections, onError: () => {} });
  opened.push(store);
  return store;
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
    });
  },
);

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
