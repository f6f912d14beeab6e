/** The reporting databases that the suites run on, and projections to run there whose tables can be compared with the log. */

import { join } from "node:path";
import { SQL } from "bun";
import * as v from "valibot";
import {
  defineEvents,
  defineSqlProjection,
  type EventDefinition,
  type EventDefinitions,
  type EventStore,
  event,
  openEventStore,
  type RecordedEvent,
  type SqlProjection,
} from "../../src/index.ts";
import { temporaryFolder } from "./backends.ts";
import { until } from "./collect.ts";
import { type Postgres, postgresAvailable, startPostgres } from "./postgres.ts";

/** One database of a kind, empty. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  /** A connection of the test's own. */
  readonly sql: SQL;
}

export interface DatabaseKindUnderTest {
  readonly name: string;
  readonly available: boolean;
  create(): Promise<TestDatabase>;
}

export async function sqliteDatabase(): Promise<TestDatabase> {
  const folder = await temporaryFolder();
  const url = `sqlite:${join(folder.path, "report.db")}`;
  const sql = new SQL(url);
  await sql`pragma busy_timeout = 1000`;
  return {
    url,
    sql,
    [Symbol.asyncDispose]: async () => {
      await sql.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export async function postgresDatabase(server: Postgres): Promise<TestDatabase> {
  const url = await server.createDatabase();
  const sql = new SQL(url, { max: 2 });
  return { url, sql, [Symbol.asyncDispose]: () => sql.close({ timeout: 0 }) };
}

let shared: Promise<Postgres> | undefined;

/** One server for a test file; to be ended by `stopSharedPostgres` in its `afterAll`. */
export async function sharedPostgres(): Promise<Postgres> {
  shared ??= startPostgres();
  return await shared;
}

export async function stopSharedPostgres(): Promise<void> {
  const server = await shared;
  shared = undefined;
  await server?.[Symbol.asyncDispose]();
}

export const databaseKinds: readonly DatabaseKindUnderTest[] = [
  { name: "SQLite", available: true, create: sqliteDatabase },
  {
    name: "PostgreSQL",
    available: postgresAvailable,
    create: async () => await postgresDatabase(await sharedPostgres()),
  },
];

type Placed = { customer: string; total: number };
type Paid = { amount: number };

export const order: EventDefinitions<
  "order",
  {
    readonly OrderPlaced: EventDefinition<v.GenericSchema<Placed>>;
    readonly OrderPaid: EventDefinition<v.GenericSchema<Paid>>;
  }
> = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customer: v.string(), total: v.number() }) as v.GenericSchema<Placed> }),
  OrderPaid: event({ schema: v.object({ amount: v.number() }) as v.GenericSchema<Paid> }),
});

export interface TotalsOptions {
  readonly version?: number;
  readonly name?: string;
  /** What each total is multiplied by: another version may want another. */
  readonly factor?: number;
  readonly batchEvents?: number;
  /** Called in the transaction, before the event at that position is handled. */
  readonly before?: (position: number) => void;
}

/** Totals by customer, and a line for each order: one table that is updated, one that only grows. */
export function totals(database: string | SQL, options: TotalsOptions = {}): SqlProjection {
  const { version = 1, name = "totals", factor = 1, batchEvents, before } = options;
  const totalsTable = name === "totals" ? "totals" : `${name}_totals`;
  const linesTable = name === "totals" ? "order_lines" : `${name}_order_lines`;
  return defineSqlProjection(name, {
    version,
    database,
    events: [order],
    ...(batchEvents === undefined ? {} : { batchEvents }),
    create: async (sql, { table }) => {
      await sql`create table ${table(totalsTable)} (customer text primary key, orders integer not null, total double precision not null)`;
      await sql`create table ${table(linesTable)} (position bigint primary key, stream text not null, total double precision, placed_at text not null)`;
    },
    on: {
      OrderPlaced: (e, sql, { table, insert }) => {
        before?.(e.position);
        const stream = e.streamName;
        insert(linesTable, {
          position: e.position,
          stream,
          total: e.data.total,
          placed_at: e.recordedAt.toISOString(),
        });
        return sql`insert into ${table(totalsTable)} as t (customer, orders, total) values (${e.data.customer}, 1, ${e.data.total * factor})
          on conflict (customer) do update set orders = t.orders + 1, total = t.total + excluded.total`;
      },
    },
  });
}

/** What the tables of `totals` should hold after these events. */
export function foldTotals(events: readonly RecordedEvent[], factor = 1): readonly unknown[] {
  const byCustomer = new Map<string, { customer: string; orders: number; total: number }>();
  for (const one of events) {
    if (one.type !== "OrderPlaced") continue;
    const { customer, total } = one.data as { customer: string; total: number };
    const row = byCustomer.get(customer) ?? { customer, orders: 0, total: 0 };
    byCustomer.set(customer, { customer, orders: row.orders + 1, total: row.total + total * factor });
  }
  return [...byCustomer.values()].sort((one, other) => (one.customer < other.customer ? -1 : 1));
}

export async function readTotals(sql: SQL, table = "totals"): Promise<readonly unknown[]> {
  return [...(await sql`select customer, orders, total from ${sql(table)} order by customer`)];
}

export async function readLines(sql: SQL, table = "order_lines"): Promise<readonly number[]> {
  const rows: readonly { position: number | string }[] =
    await sql`select position from ${sql(table)} order by position`;
  return rows.map((row) => Number(row.position));
}

/** A store in memory for `numberedOrders`. */
export async function openNumbered(): Promise<EventStore<typeof order>> {
  return await openEventStore({ url: "memory:", events: [order] });
}

/** Appends orders that are the same for the same numbers, in every process; answers the last number. */
export async function numberedOrders(store: EventStore<typeof order>, after: number, count: number): Promise<number> {
  for (let n = after + 1; n <= after + count; n += 1) {
    const events = [{ type: "OrderPlaced", data: { customer: `c${n % 11}`, total: n % 100 } }] as const;
    await store.append(`order-${n}`, events, { expectedVersion: "no-stream" });
  }
  return after + count;
}

/** Waits until a condition holds, for as long as servers and processes may take to start on a busy machine. */
export async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  await until(condition, 40_000);
}
