/** SQL projections in another process than the writer's: over a read replica. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore, openEventStoreReader, runSqlProjections } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { foldTotals, numberedOrders, order, readTotals, sqliteDatabase, totals } from "../support/reporting.ts";

setDefaultTimeout(60_000);

test("A projection follows a replica, and ends with it", async () => {
  await using folder = await temporaryFolder();
  await using database = await sqliteDatabase();
  const url = `file:${join(folder.path, "store")}`;
  await using store = await openEventStore({ url, events: [order] });
  let last = await numberedOrders(store, 0, 200);
  await using replica = await openEventStoreReader({ url, events: [order], pollIntervalMs: 50 });
  await using running = runSqlProjections(replica, [totals(database.url)]);
  await running.waitFor("totals", last);
  for (let round = 0; round < 5; round += 1) {
    last = await numberedOrders(store, last, 20);
    await running.waitFor("totals", last);
  }
  expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
  await replica.close();
  await running.close();
  expect(running.projections()[0]).toMatchObject({ state: "ended", position: last, lastError: undefined });
});
