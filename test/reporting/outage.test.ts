/** Databases that go away and come back: nothing is lost, nothing is done twice, and nothing else stops. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { SQL } from "bun";
import { runSqlProjections } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { postgresAvailable, startPostgres } from "../support/postgres.ts";
import {
  eventually,
  foldTotals,
  numberedOrders,
  openNumbered,
  readTotals,
  sqliteDatabase,
  totals,
} from "../support/reporting.ts";

setDefaultTimeout(60_000);

describe.skipIf(!postgresAvailable)("A PostgreSQL server (needs PostgreSQL)", () => {
  test("may be killed under load, stay away, and come back", async () => {
    await using server = await startPostgres();
    const url = await server.createDatabase();
    await using store = await openNumbered();
    await using other = await sqliteDatabase();
    const projections = [totals(url, { batchEvents: 5 }), totals(other.url, { name: "other" })];
    await using running = runSqlProjections(store, projections, { leaseMs: 2_000 });
    let last = await numberedOrders(store, 0, 500);
    for (let round = 0; round < 3; round += 1) {
      const before = running.projections()[0]?.position ?? 0;
      await eventually(() => (running.projections()[0]?.position ?? 0) > before);
      await server.kill();
      last = await numberedOrders(store, last, 200);
      await eventually(() => running.projections()[0]?.lastError !== undefined);
      expect(running.projections()[0]?.state).toBe("running");
      expect(running.projections()[0]?.lastError?.message).not.toBe("");
      // The other one has not noticed.
      await running.waitFor("other", last);
      await server.start();
      last = await numberedOrders(store, last, 200);
    }
    await running.waitFor("totals", last);
    expect(running.projections()[0]?.lastError).toBeUndefined();
    await using sql = new SQL(url, { max: 1 });
    expect(await readTotals(sql)).toEqual(foldTotals(await collect(store.readAll())));
  }, 120_000);

  test("need not be there yet", async () => {
    await using server = await startPostgres();
    const url = await server.createDatabase();
    await server.kill();
    await using store = await openNumbered();
    const last = await numberedOrders(store, 0, 100);
    await using running = runSqlProjections(store, [totals(url)]);
    await eventually(() => (running.projections()[0]?.lastError?.attempts ?? 0) >= 2);
    expect(running.projections()[0]?.state).toBe("starting");
    await server.start();
    await running.waitFor("totals", last);
    await using sql = new SQL(url, { max: 1 });
    expect(await readTotals(sql)).toEqual(foldTotals(await collect(store.readAll())));
  });
});

describe("A SQLite file", () => {
  test("may be locked by another process for a while", async () => {
    await using database = await sqliteDatabase();
    await using store = await openNumbered();
    await using running = runSqlProjections(store, [totals(database.url)]);
    let last = await numberedOrders(store, 0, 100);
    await running.waitFor("totals", last);
    // Another connection is as good as another process.
    const free = Promise.withResolvers<void>();
    const locking = database.sql.begin("immediate", async () => await free.promise);
    last = await numberedOrders(store, last, 100);
    await eventually(() => running.projections()[0]?.lastError?.message === "database is locked");
    expect(running.projections()[0]).toMatchObject({ state: "running", position: 100 });
    free.resolve();
    await locking;
    await running.waitFor("totals", last);
    expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    expect(running.projections()[0]?.lastError).toBeUndefined();
  });

  test("that is moved away is not written to any more; the tables are made again from the log", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "deep/er/report.db");
    await using store = await openNumbered();
    await using running = runSqlProjections(store, [totals(`sqlite:${path}`)], { leaseMs: 500 });
    let last = await numberedOrders(store, 0, 100);
    await running.waitFor("totals", last);
    for (const end of ["", "-wal", "-shm"]) await rename(`${path}${end}`, `${path}.old${end}`).catch(() => {});
    last = await numberedOrders(store, last, 100);
    await running.waitFor("totals", last);
    await using old = new SQL(`sqlite:${path}.old`);
    await using now = new SQL(`sqlite:${path}`);
    const log = await collect(store.readAll());
    expect(await readTotals(now)).toEqual(foldTotals(log));
    expect(await readTotals(old)).toEqual(foldTotals(log.slice(0, 100)));
  });

  test("that is put back from a backup is brought up to date from where that was", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "report.db");
    await using store = await openNumbered();
    await using running = runSqlProjections(store, [totals(`sqlite:${path}`)], { leaseMs: 500 });
    await running.waitFor("totals", await numberedOrders(store, 0, 100));
    {
      await using sql = new SQL(`sqlite:${path}`);
      await sql.unsafe(`vacuum into '${path}.backup'`);
    }
    await running.waitFor("totals", await numberedOrders(store, 100, 100));
    for (const end of ["", "-wal", "-shm"]) await rm(`${path}${end}`, { force: true });
    await rename(`${path}.backup`, path);
    await running.waitFor("totals", await numberedOrders(store, 200, 100));
    await using now = new SQL(`sqlite:${path}`);
    expect(await readTotals(now)).toEqual(foldTotals(await collect(store.readAll())));
  });
});
