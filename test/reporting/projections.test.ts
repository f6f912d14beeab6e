/** SQL projections on SQLite and PostgreSQL: what their tables hold is what the log says, whatever fails on the way. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { SQL } from "bun";
import { defineSqlProjection, type EventStore, openEventStore, runSqlProjections } from "../../src/index.ts";
import { collect, errorOf } from "../support/collect.ts";
import {
  databaseKinds,
  eventually,
  foldTotals,
  order,
  readLines,
  readTotals,
  stopSharedPostgres,
  totals,
} from "../support/reporting.ts";

setDefaultTimeout(60_000);
afterAll(stopSharedPostgres);

type Orders = EventStore<typeof order>;

async function openOrders(): Promise<Orders> {
  return await openEventStore({ url: "memory:", events: [order] });
}

/** Appends orders, two events each; answers the last position. */
async function place(store: Orders, count: number, customers = 7): Promise<number> {
  let position = await store.lastPosition();
  for (let n = 0; n < count; n += 1) {
    const events = [
      { type: "OrderPlaced", data: { customer: `c${n % customers}`, total: n } },
      { type: "OrderPaid", data: { amount: n } },
    ] as const;
    const streamName = `order-${position}` as const;
    ({ position } = await store.append(streamName, events, { expectedVersion: "no-stream" }));
  }
  return position;
}

describe.each(databaseKinds.map((kind) => [kind.name, kind] as const))("A projection into %s", (_name, kind) => {
  describe.skipIf(!kind.available)("(needs its server)", () => {
    test("holds what the log says, behind and live, and goes on where it was", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      let last = await place(store, 120);
      {
        await using running = runSqlProjections(store, [totals(database.url, { batchEvents: 50 })]);
        await running.waitFor("totals", last);
        for (let n = 0; n < 20; n += 1) {
          last = await place(store, 1);
          await running.waitFor("totals", last);
        }
        expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
        expect(running.projections()).toMatchObject([{ name: "totals", version: 1, state: "running", position: last }]);
        expect(running.projections()[0]).toMatchObject({ lastError: undefined, parked: 0, rebuild: undefined });
      }
      last = await place(store, 30);
      await using again = runSqlProjections(store, [totals(database.url)]);
      await again.waitFor("totals", last);
      const log = await collect(store.readAll());
      expect(await readTotals(database.sql)).toEqual(foldTotals(log));
      expect(await readLines(database.sql)).toEqual(
        log.filter((event) => event.type === "OrderPlaced").map((event) => event.position),
      );
    });

    test("shares a database, and a client that is open already, with others", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const last = await place(store, 400);
      const names = ["one", "two", "three", "four", "five"];
      const projections = names.map((name) => totals(name === "two" ? database.sql : database.url, { name }));
      await using running = runSqlProjections(store, projections);
      await Promise.all(names.map((name) => running.waitFor(name, last)));
      const expected = foldTotals(await collect(store.readAll()));
      for (const name of names) expect(await readTotals(database.sql, `${name}_totals`)).toEqual(expected);
      await running.close();
      // A client that was brought is left open.
      expect([...(await database.sql`select 1 as one`)]).toEqual([{ one: 1 }]);
    });

    test("is told of what its filter and its handlers ask for, and passes over the rest", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const rare = defineSqlProjection("rare", {
        version: 1,
        database: database.url,
        filter: { tags: ["rare"] },
        create: (sql, { table }) => sql`create table ${table("rare")} (position bigint, at text)`,
        on: { OrderPlaced: (e, _sql, { insert }) => insert("rare", { position: e.position, at: "x" }) },
      });
      await place(store, 100);
      await store.append("order-rare", [{ type: "OrderPlaced", data: { customer: "x", total: 1 }, tags: ["rare"] }], {
        expectedVersion: "no-stream",
      });
      await store.append("order-rare", [{ type: "OrderPaid", data: { amount: 1 }, tags: ["rare"] }], {
        expectedVersion: 1,
      });
      const last = await place(store, 100);
      await using running = runSqlProjections(store, [rare], { leaseMs: 500 });
      await running.waitFor("rare", last);
      expect(await readLines(database.sql, "rare")).toEqual([201]);
      // What was passed over is saved in an idle moment.
      await eventually(async () => {
        const [row] = await database.sql`select position from strata_projections where name = 'rare'`;
        return Number(row?.position) === last;
      });
    });

    test("may handle events of all types, or those of some categories", async () => {
      await using store = await openOrders();
      await using untyped = await openEventStore({ url: "memory:" });
      await using database = await kind.create();
      const audit = defineSqlProjection("audit", {
        version: 1,
        database: database.url,
        create: (sql, { table }) => sql`create table ${table("audit")} (position bigint primary key, type text)`,
        on: { OrderPlaced: (e, _sql, { insert }) => insert("audit", { position: e.position, type: "placed" }) },
        onAny: (e, _sql, { insert }) => insert("audit", { position: e.position, type: e.type }),
      });
      let last = await place(store, 10);
      await using running = runSqlProjections(store, [audit]);
      await running.waitFor("audit", last);
      const rows = await database.sql`select type, count(*) as count from audit group by type order by type`;
      expect([...rows].map((row) => [row.type, Number(row.count)])).toEqual([
        ["OrderPaid", 10],
        ["placed", 10],
      ]);
      // An event of that type in another category is another event.
      const placed = { type: "OrderPlaced", data: { customer: "x", total: 1 } };
      await untyped.append("order-1", [placed], { expectedVersion: "any" });
      ({ position: last } = await untyped.append("offer-1", [placed], { expectedVersion: "any" }));
      await using second = runSqlProjections(untyped, [totals(database.url)]);
      await second.waitFor("totals", last);
      expect(await readLines(database.sql)).toEqual([1]);
    });

    test("writes collected rows before the next statement, whatever their columns are", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const seen: number[] = [];
      const mixed = defineSqlProjection("mixed", {
        version: 1,
        database: database.url,
        events: [order],
        create: (sql, { table }) =>
          sql`create table ${table("mixed")} (position bigint primary key, total double precision, note text default 'none', at timestamp)`,
        on: {
          OrderPlaced: async (e, sql, { table, insert }) => {
            if (e.position % 4 === 1) insert("mixed", { position: e.position, total: e.data.total });
            else insert("mixed", { note: "given", position: e.position, at: e.recordedAt });
            if (e.position % 10 !== 1) return;
            const [row] = await sql`select count(*) as count from ${table("mixed")}`;
            seen.push(Number(row?.count));
          },
        },
      });
      const last = await place(store, 50);
      await using running = runSqlProjections(store, [mixed]);
      await running.waitFor("mixed", last);
      expect(seen).toEqual([1, 6, 11, 16, 21, 26, 31, 36, 41, 46]);
      const rows = [...(await database.sql`select position, total, note, at from mixed order by position`)];
      expect(rows.map((row) => row.note)).toEqual(
        rows.map((row) => (Number(row.position) % 4 === 1 ? "none" : "given")),
      );
      expect(rows.map((row) => row.total)).toEqual(rows.map((_, n) => (n % 2 === 0 ? n : null)));
      expect(rows.every((row, n) => (n % 2 === 0 ? row.at === null : row.at !== null))).toBe(true);
    });

    test("stops at an event that fails, says why, harms no other, and goes on when told to", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      let broken = true;
      let calls = 0;
      const failing = defineSqlProjection("failing", {
        version: 1,
        database: database.url,
        events: [order],
        retries: { attempts: 3, delayMs: 10 },
        create: (sql, { table }) => sql`create table ${table("failing")} (position bigint primary key)`,
        on: {
          OrderPlaced: (e, sql, { table, insert }) => {
            if (e.position === 41 && broken) {
              calls += 1;
              return sql`insert into ${table("failing")} (no_such_column) values (1)`;
            }
            insert("failing", { position: e.position });
            return undefined;
          },
        },
      });
      const last = await place(store, 50);
      const told: unknown[] = [];
      await using running = runSqlProjections(store, [failing, totals(database.url)], { onError: (e) => told.push(e) });
      await running.waitFor("totals", last);
      expect((await errorOf(running.waitFor("failing", last))).code).toBe("overloaded");
      expect(running.projections()[0]).toMatchObject({ state: "failed", position: 40 });
      expect(running.projections()[0]?.lastError).toMatchObject({ position: 41, attempts: 3 });
      expect(running.projections()[0]?.lastError?.message).toContain("no_such_column");
      expect(await readLines(database.sql, "failing")).toEqual(Array.from({ length: 20 }, (_, n) => 2 * n + 1));
      expect(told).toHaveLength(1);
      expect(calls).toBeGreaterThanOrEqual(3);
      broken = false;
      running.resume("failing");
      await running.waitFor("failing", last);
      expect(await readLines(database.sql, "failing")).toEqual(Array.from({ length: 50 }, (_, n) => 2 * n + 1));
      expect(running.projections()[0]).toMatchObject({ state: "running", lastError: undefined });
    });

    test("sets events aside that fail, where it may, and handles or forgets them later", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      let broken = true;
      const parking = defineSqlProjection("parking", {
        version: 1,
        database: database.url,
        events: [order],
        retries: { attempts: 2, delayMs: 10 },
        onFailure: "park",
        create: (sql, { table }) => sql`create table ${table("parking")} (position bigint primary key)`,
        on: {
          OrderPlaced: (e, _sql, { insert }) => {
            insert("parking", { position: e.position });
            if (broken && [1, 21, 23, 99].includes(e.position)) throw new Error(`no ${e.position}`);
          },
        },
      });
      const last = await place(store, 50);
      await using running = runSqlProjections(store, [parking]);
      await running.waitFor("parking", last);
      expect(running.projections()[0]).toMatchObject({ state: "running", parked: 4 });
      const parked = await running.parked("parking");
      expect(parked.map(({ position, type, error }) => [position, type, error])).toEqual(
        [1, 21, 23, 99].map((position) => [position, "OrderPlaced", `no ${position}`]),
      );
      await expect(running.replayParked("parking", 21)).rejects.toThrow("no 21");
      expect(await running.parked("parking")).toHaveLength(4);
      broken = false;
      await running.replayParked("parking", 21);
      await running.skipParked("parking", 23);
      expect((await errorOf(running.skipParked("parking", 23))).code).toBe("invalid-argument");
      expect((await running.parked("parking")).map(({ position }) => position)).toEqual([1, 99]);
      const all = Array.from({ length: 50 }, (_, n) => 2 * n + 1);
      expect(await readLines(database.sql, "parking")).toEqual(all.filter((n) => ![1, 23, 99].includes(n)));
    });

    test("finds the event whose rows the database refuses, also where it says so late", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const strict = defineSqlProjection("strict", {
        version: 1,
        database: database.url,
        events: [order],
        retries: { attempts: 1 },
        create: (sql, { table }) =>
          sql`create table ${table("strict")} (position bigint primary key, total double precision check (total < 30))`,
        on: {
          OrderPlaced: (e, _sql, { insert }) => insert("strict", { position: e.position, total: e.data.total }),
          // The error is hidden; PostgreSQL then refuses the commit, SQLite takes it.
          OrderPaid: (e, sql, { table }) =>
            e.data.amount === 10 ? sql`insert into ${table("strict")} values (1, 1)`.catch(() => {}) : undefined,
        },
      });
      const last = await place(store, 50);
      await using running = runSqlProjections(store, [strict], { onError: () => {} });
      await errorOf(running.waitFor("strict", last));
      const failedAt = kind.name === "SQLite" ? 61 : 22;
      expect(running.projections()[0]).toMatchObject({ state: "failed", position: failedAt - 1 });
      expect(running.projections()[0]?.lastError?.position).toBe(failedAt);
      expect(await readLines(database.sql, "strict")).toHaveLength(kind.name === "SQLite" ? 30 : 11);
    });

    test("can be paused, and closes in the middle", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      await place(store, 20);
      await using running = runSqlProjections(store, [totals(database.url, { batchEvents: 10 })]);
      running.pause("totals");
      await eventually(() => running.projections()[0]?.state === "paused");
      const last = await place(store, 200);
      expect((await errorOf(running.waitFor("totals", last))).code).toBe("overloaded");
      running.resume("totals");
      await running.waitFor("totals", 60);
      await running.close();
      await running.close();
      expect((await errorOf(running.waitFor("totals", last + 1))).code).toBe("store-closed");
      await using again = runSqlProjections(store, [totals(database.url)]);
      await again.waitFor("totals", last);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });

    test("refuses a create that does not name its tables, and tables that are another's", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      await place(store, 1);
      const loose = defineSqlProjection("loose", {
        version: 1,
        database: database.url,
        create: async (sql, { table }) => {
          await sql`create table ${table("named")} (a integer)`;
          await sql`create table loose (a integer)`;
        },
        on: { OrderPlaced: () => {} },
      });
      const none = defineSqlProjection("none", { ...base(database.url), create: () => {} });
      const twice = totals(database.url, { name: "totals" });
      const other = defineSqlProjection("other", {
        ...base(database.url),
        create: (sql, { table }) => sql`create table ${table("totals")} (a integer)`,
      });
      await using first = runSqlProjections(store, [twice]);
      await first.waitFor("totals", 2);
      await using running = runSqlProjections(store, [loose, none, other], { onError: () => {} });
      await eventually(() => running.projections().every((one) => one.state === "failed"));
      const messages = running.projections().map((one) => one.lastError?.message);
      expect(messages[0]).toContain('made "loose" without context.table');
      expect(messages[1]).toContain("names no table");
      expect(messages[2]).toContain('already that of the projection "totals"');
      // Nothing of them is left.
      expect([...(await database.sql`select name from strata_projections`)].map((row) => row.name)).toEqual(["totals"]);
    });
  });
});

function base(database: string): { version: number; database: string; on: { OrderPlaced: () => void } } {
  return { version: 1, database, on: { OrderPlaced: () => {} } };
}

test("A projection in memory has the client of its reader", async () => {
  await using store = await openOrders();
  const last = await place(store, 10);
  const sql = new SQL(":memory:");
  await using running = runSqlProjections(store, [totals(sql)]);
  await running.waitFor("totals", last);
  expect(await readTotals(sql)).toEqual(foldTotals(await collect(store.readAll())));
  await running.close();
  await sql.close();
});
