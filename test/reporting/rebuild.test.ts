/** New tables beside the old ones: what serves goes on serving until the new ones have caught up, whatever happens meanwhile. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  type EventStore,
  openEventStore,
  type ProjectionSource,
  type ReadAllOptions,
  runSqlProjections,
  type SqlProjections,
} from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import {
  databaseKinds,
  eventually,
  foldTotals,
  order,
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

let streams = 0;
async function place(store: Orders, count: number): Promise<number> {
  let position = 0;
  for (let n = 0; n < count; n += 1) {
    streams += 1;
    const events = [{ type: "OrderPlaced", data: { customer: `c${n % 5}`, total: n } }] as const;
    ({ position } = await store.append(`order-${streams}`, events, { expectedVersion: "no-stream" }));
  }
  return position;
}

/** The log as a source that does not get past a position, until it is left. */
function readableUpTo(store: Orders, position: number): ProjectionSource {
  return {
    lastPosition: () => store.lastPosition(),
    subscribe: (options) => store.subscribe(options),
    readAll: async function* (options = {}) {
      for await (const event of store.readAll(options as ReadAllOptions<"OrderPlaced" | "OrderPaid">)) {
        if (event.position > position)
          await new Promise((resolve) => options.signal?.addEventListener("abort", resolve, { once: true }));
        if (options.signal?.aborted === true) return;
        yield event;
      }
    },
  };
}

const rebuilt = (running: SqlProjections): Promise<void> =>
  eventually(() => running.projections()[0]?.state === "running" && running.projections()[0]?.rebuild === undefined);

describe.each(databaseKinds.map((kind) => [kind.name, kind] as const))("A rebuild in %s", (_name, kind) => {
  describe.skipIf(!kind.available)("(needs its server)", () => {
    const tablesThere = async (sql: Bun.SQL): Promise<readonly string[]> => {
      const query =
        kind.name === "SQLite"
          ? "select name from sqlite_master where type = 'table' and name like '%totals%' order by name"
          : "select tablename as name from pg_tables where tablename like '%totals%' order by 1";
      const rows: readonly { name: string }[] = await sql.unsafe(query);
      return rows.map((row) => row.name);
    };

    test("of a new version serves the old tables until the new ones have caught up, and survives restarts", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const first = await place(store, 500);
      {
        await using running = runSqlProjections(store, [totals(database.url)]);
        await running.waitFor("totals", first);
      }
      const old = foldTotals(await collect(store.readAll()));
      await place(store, 2_000);
      const next = totals(database.url, { version: 2, factor: 10 });
      {
        // Stopped in the middle: what is built stays, and nobody sees it.
        await using running = runSqlProjections(readableUpTo(store, 1_500), [next]);
        await eventually(() => (running.projections()[0]?.rebuild?.position ?? 0) === 1_000);
        const progress = { version: 2, state: "running", position: 1_000 };
        expect(running.projections()).toMatchObject([{ state: "rebuilding", position: first, rebuild: progress }]);
        running.pause("totals");
        await eventually(() => running.projections()[0]?.rebuild?.state === "paused");
        expect(await readTotals(database.sql)).toEqual(old);
      }
      expect(await readTotals(database.sql)).toEqual(old);
      {
        await using running = runSqlProjections(readableUpTo(store, 1_500), [next]);
        await eventually(() => running.projections()[0]?.rebuild?.state === "running");
        await eventually(() => (running.projections()[0]?.rebuild?.position ?? 0) === 1_000);
        expect(await readTotals(database.sql)).toEqual(old);
      }
      await using running = runSqlProjections(store, [next]);
      const last = await place(store, 20);
      await running.waitFor("totals", last);
      await rebuilt(running);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll()), 10));
      expect(running.projections()[0]).toMatchObject({ version: 2, position: last });
      await eventually(async () => (await tablesThere(database.sql)).length === 1);
      expect(await tablesThere(database.sql)).toEqual(["totals__2"]);
    });

    test("of the same version goes on beside the one that is kept up to date, while events arrive", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      let last = await place(store, 400);
      await using running = runSqlProjections(store, [totals(database.url, { batchEvents: 10 })]);
      await running.waitFor("totals", last);
      await database.sql`update ${database.sql("totals__1")} set total = -1`;
      await running.rebuild("totals");
      for (let n = 0; n < 10; n += 1) {
        last = await place(store, 5);
        await running.waitFor("totals", last);
      }
      await rebuilt(running);
      await running.waitFor("totals", last);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
      await eventually(async () => (await tablesThere(database.sql))[0] === "totals__2");
    });

    test("can be cancelled, and begun again", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      const last = await place(store, 300);
      await using running = runSqlProjections(store, [totals(database.url)]);
      await running.waitFor("totals", last);
      running.pause("totals");
      await running.rebuild("totals");
      await eventually(() => running.projections()[0]?.rebuild?.state === "paused");
      expect(await tablesThere(database.sql)).toEqual(["totals__1", "totals__2"]);
      await running.cancelRebuild("totals");
      expect(await tablesThere(database.sql)).toEqual(["totals__1"]);
      expect(running.projections()[0]?.rebuild).toBeUndefined();
      running.resume("totals");
      await running.rebuild("totals");
      await rebuilt(running);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });

    test("to a lower version is refused, and stops an old process when a newer one has taken over", async () => {
      await using store = await openOrders();
      await using database = await kind.create();
      let last = await place(store, 50);
      const told: unknown[] = [];
      await using older = runSqlProjections(store, [totals(database.url, { version: 1 })], {
        onError: (error) => told.push(error),
        leaseMs: 500,
      });
      await older.waitFor("totals", last);
      await using newer = runSqlProjections(store, [totals(database.url, { version: 2, factor: 2 })]);
      await eventually(() => newer.projections()[0]?.state === "running");
      last = await place(store, 10);
      await newer.waitFor("totals", last);
      await eventually(() => older.projections()[0]?.state === "failed");
      expect(older.projections()[0]?.lastError?.message).toBe(
        'The version of "totals" goes back: the database has 2, the definition 1',
      );
      expect(told).toHaveLength(1);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll()), 2));
    });
  });
});
