/** One owner a projection, however many processes run it: leases, takeovers, and owners that do not know that they are none. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { runSqlProjections } from "../../src/index.ts";
import { ProjectionBuilds } from "../../src/reporting/projection-builds.ts";
import { releaseDatabase, useDatabase } from "../../src/reporting/reporting-database.ts";
import { collect } from "../support/collect.ts";
import {
  databaseKinds,
  eventually,
  foldTotals,
  numberedOrders,
  openNumbered,
  readTotals,
  stopSharedPostgres,
  totals,
} from "../support/reporting.ts";

setDefaultTimeout(60_000);
afterAll(stopSharedPostgres);

const script = join(import.meta.dir, "../support/lease-child.ts");

/** Another process that runs the same projection over the same log. */
class LeaseChild implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly said: string[] = [];

  constructor(...told: readonly (string | number)[]) {
    this.#process = Bun.spawn([process.execPath, script, ...told.map(String)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#listen();
  }

  get last(): string {
    return this.said.at(-1) ?? "";
  }

  kill(signal: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void {
    this.#process.kill(signal);
  }

  async tellToAppend(): Promise<void> {
    this.#process.stdin.write("more\n");
    await this.#process.stdin.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.#process.exited;
  }

  async #listen(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#process.stdout) {
      const lines = (rest + Buffer.from(chunk).toString()).split("\n");
      rest = lines.pop() ?? "";
      this.said.push(...lines);
    }
  }
}

describe.each(databaseKinds.map((kind) => [kind.name, kind] as const))("A projection in %s", (_name, kind) => {
  describe.skipIf(!kind.available)("(needs its server)", () => {
    test("is run by one, and by another when that one has closed", async () => {
      await using store = await openNumbered();
      await using database = await kind.create();
      await using first = runSqlProjections(store, [totals(database.url)], { leaseMs: 600_000 });
      await first.waitFor("totals", await numberedOrders(store, 0, 50));
      await using second = runSqlProjections(store, [totals(database.url)], { leaseMs: 500 });
      await eventually(() => second.projections()[0]?.state === "standby");
      expect(second.projections()[0]).toMatchObject({ position: 50 });
      expect(second.projections()[0]?.lastError?.message).toContain("is being run by another process");
      await numberedOrders(store, 50, 50);
      // Who stands by sees how far the owner has come.
      await second.waitFor("totals", 100);
      expect(second.projections()[0]?.state).toBe("standby");
      await first.close();
      await eventually(() => second.projections()[0]?.state === "running");
      await numberedOrders(store, 100, 50);
      await second.waitFor("totals", 150);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });

    test("does not wait for the lease of a process that was killed", async () => {
      await using store = await openNumbered();
      await numberedOrders(store, 0, 3_000);
      await using database = await kind.create();
      await using child = new LeaseChild(database.url, 600_000, 3_000);
      await eventually(() => Number(child.last.split(" ")[1]) > 100);
      child.kill("SIGKILL");
      await using running = runSqlProjections(store, [totals(database.url)]);
      await running.waitFor("totals", 3_000);
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });

    test("is taken from a process that stands still, which then changes nothing any more", async () => {
      await using store = await openNumbered();
      await numberedOrders(store, 0, 200);
      await using database = await kind.create();
      await using zombie = new LeaseChild(database.url, 1_000, 200);
      await eventually(() => zombie.last === "running 200");
      zombie.kill("SIGSTOP");
      await using running = runSqlProjections(store, [totals(database.url)], { leaseMs: 600_000 });
      await eventually(() => running.projections()[0]?.state === "running");
      await numberedOrders(store, 200, 100);
      await running.waitFor("totals", 300);
      // It has the same events yet to handle, and believes itself the owner.
      await zombie.tellToAppend();
      zombie.kill("SIGCONT");
      await eventually(() => zombie.said.some((line) => line.startsWith("standby")));
      await numberedOrders(store, 300, 100);
      await running.waitFor("totals", 400);
      await eventually(() => zombie.last === "standby 400");
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });

    test("moves its checkpoint under the newest fence only, by the database's clock", async () => {
      await using store = await openNumbered();
      await numberedOrders(store, 0, 10);
      await using testDatabase = await kind.create();
      const projection = totals(testDatabase.url);
      const database = useDatabase(testDatabase.url);
      const builds = new ProjectionBuilds(projection, database);
      const { registry } = builds;
      const row = (await builds.plan()).serving;
      const first = await database.transaction((sql) => registry.acquire(sql, row, "one", 200, false));
      if (first === undefined) throw new Error("The lease was not to be had");
      const tryToTake = async (): Promise<typeof first | undefined> => {
        const [now] = await database.transaction((sql) => registry.builds(sql, "totals"));
        return now && (await database.transaction((sql) => registry.acquire(sql, now, "two", 60_000, false)));
      };
      expect(await tryToTake()).toBeUndefined();
      expect(await database.transaction((sql) => registry.advance(sql, first, 0, 5, 200))).toBe(true);
      let second: typeof first | undefined;
      await eventually(async () => {
        second = await tryToTake();
        return second !== undefined;
      });
      expect(second?.fence).toBe(first.fence + 1);
      expect(await database.transaction((sql) => registry.advance(sql, first, 5, 6, 200))).toBe(false);
      expect(await database.transaction((sql) => registry.renew(sql, first, 200))).toBeUndefined();
      // Nor may the right one from the wrong place.
      if (second === undefined) throw new Error("unreachable");
      const own = second;
      expect(await database.transaction((sql) => registry.advance(sql, own, 4, 6, 200))).toBe(false);
      expect(await database.transaction((sql) => registry.renew(sql, own, 200))).toBe(5);
      await releaseDatabase(testDatabase.url);
    });

    // In SQLite such a process holds the lock on the file until it goes on or is killed.
    if (kind.name === "SQLite") return;
    test("is taken from a process that stands still within its transaction", async () => {
      await using store = await openNumbered();
      await numberedOrders(store, 0, 200);
      await using database = await kind.create();
      await using zombie = new LeaseChild(database.url, 1_000, 200, 105);
      await eventually(async () => {
        const [row] = await database.sql`select position from strata_projections`.catch(() => []);
        return Number(row?.position) === 100;
      });
      await using running = runSqlProjections(store, [totals(database.url)], { leaseMs: 600_000 });
      await running.waitFor("totals", 200);
      zombie.kill("SIGCONT");
      await eventually(() => zombie.last === "standby 200");
      expect(await readTotals(database.sql)).toEqual(foldTotals(await collect(store.readAll())));
    });
  });
});
