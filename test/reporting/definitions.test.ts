/** What is no projection, no way to run one, or no name for a table is refused at once, by name. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SQL } from "bun";
import { defineSqlProjection, InvalidArgumentError, openEventStore, runSqlProjections } from "../../src/index.ts";
import { ownName } from "../../src/reporting/build-tables.ts";
import { isDatabaseTrouble } from "../../src/reporting/failures.ts";
import { errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

const good = { version: 1, database: "sqlite::memory:", create: () => {}, on: { Placed: () => {} } };
const define = defineSqlProjection as (name: unknown, options: unknown) => unknown;

function argumentOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.argument;
    throw error;
  }
  return "nothing";
}

describe("A definition", () => {
  const bad: readonly (readonly [string, string, unknown, unknown])[] = [
    ["has a name", "name", "", good],
    ["has a version", "version", "p", { ...good, version: undefined }],
    ["has a version from 1", "version", "p", { ...good, version: 0 }],
    ["has a database", "database", "p", { ...good, database: undefined }],
    ["has a database of a kind that is known", "database", "p", { ...good, database: "mysql://localhost/x" }],
    ["has more than a scheme", "database", "p", { ...good, database: "sqlite:" }],
    ["makes tables", "create", "p", { ...good, create: undefined }],
    ["handles something", "on", "p", { ...good, on: {} }],
    ["handles by functions", "on.Placed", "p", { ...good, on: { Placed: 1 } }],
    ["handles all others by a function", "onAny", "p", { ...good, onAny: 1 }],
    ["filters by what events have", "filter.kinds", "p", { ...good, filter: { kinds: ["Paid"] } }],
    ["is about events that are defined", "events", "p", { ...good, events: [{}] }],
    ["fails in ways that are known", "onFailure", "p", { ...good, onFailure: "skip" }],
    ["is tried at least once", "retries.attempts", "p", { ...good, retries: { attempts: 0 } }],
    ["bounds its batches", "batchEvents", "p", { ...good, batchEvents: 0 }],
    ["has no other options", "options.tables", "p", { ...good, tables: [] }],
  ];
  test.each(bad)("%s", (_what, argument, name, options) => {
    expect(argumentOf(() => define(name, options))).toBe(argument);
  });

  test("never tells a password", () => {
    let message = "";
    try {
      define("p", { ...good, database: "postgresq://kim:secret@localhost/x" });
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain("database");
    expect(message).not.toContain("secret");
  });

  test("takes a client of SQLite or PostgreSQL, and no other", async () => {
    await using sqlite = new SQL(":memory:");
    await using mysql = new SQL("mysql://localhost:1/x");
    expect(argumentOf(() => define("p", { ...good, database: sqlite }))).toBe("nothing");
    expect(argumentOf(() => define("p", { ...good, database: mysql }))).toBe("database");
  });
});

describe("Running projections", () => {
  test("takes what is defined, once each, and known options", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const one = defineSqlProjection("one", good);
    const run = runSqlProjections as (source: unknown, projections: unknown, options?: unknown) => unknown;
    expect(argumentOf(() => run(store, [{ ...one }]))).toBe("projections[0]");
    expect(argumentOf(() => run(store, [one, one]))).toBe("projections");
    expect(argumentOf(() => run(store, "one"))).toBe("projections");
    expect(argumentOf(() => run(store, [one], { leaseMs: 10 }))).toBe("leaseMs");
    expect(argumentOf(() => run(store, [one], { lease: 10 }))).toBe("options.lease");
    await using running = runSqlProjections(store, []);
    expect((await errorOf(running.waitFor("two", 1))).code).toBe("invalid-argument");
    expect((await errorOf(running.rebuild("two"))).code).toBe("invalid-argument");
  });
});

describe("The name of a table", () => {
  test("is plain, short, and not one of ours", () => {
    expect(ownName("orders_by_day", 12)).toBe("orders_by_day__12");
    for (const name of ["", "Orders", "1st", "a-b", 'a"b', "a__1", "strata_x", "pg_x", "sqlite_x", "a".repeat(49), 7])
      expect(argumentOf(() => ownName(name, 1))).toBe("table");
  });
});

describe("Trouble of a database", () => {
  const errorWith = (code: string, errno?: string): Error => Object.assign(new Error(code), { code, errno });
  test("is told from what a statement did wrong", () => {
    for (const code of ["SQLITE_BUSY", "SQLITE_IOERR_WRITE", "SQLITE_FULL", "ERR_SQLITE_CONNECTION_CLOSED"])
      expect([code, isDatabaseTrouble(errorWith(code))]).toEqual([code, true]);
    for (const code of [
      "SQLITE_CONSTRAINT_UNIQUE",
      "SQLITE_ERROR",
      "SQLITE_MISMATCH",
      "ERR_POSTGRES_COMMIT_ROLLED_BACK",
    ])
      expect([code, isDatabaseTrouble(errorWith(code))]).toEqual([code, false]);
    for (const state of ["57P01", "08006", "40P01", "53300", "25P03"])
      expect([state, isDatabaseTrouble(errorWith("ERR_POSTGRES_SERVER_ERROR", state))]).toEqual([state, true]);
    for (const state of ["23505", "42P01", "25P02", "22001"])
      expect([state, isDatabaseTrouble(errorWith("ERR_POSTGRES_SERVER_ERROR", state))]).toEqual([state, false]);
    expect(isDatabaseTrouble(errorWith("ERR_POSTGRES_CONNECTION_CLOSED"))).toBe(true);
    expect(isDatabaseTrouble(new Error("no"))).toBe(false);
    expect(isDatabaseTrouble("no")).toBe(false);
  });
});
