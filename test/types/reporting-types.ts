/** What the compiler must know of SQL projections. Nothing here runs: a wrong line would not compile. */

import { SQL } from "bun";
import * as v from "valibot";
import {
  defineEvents,
  defineSqlProjection,
  event,
  openEventStore,
  runSqlProjections,
  type StoredData,
} from "../../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(_value: Actual, ..._same: Equal<Actual, Expected> extends true ? [] : [never]): void => {};
}

const order = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customer: v.string(), total: v.number() }) }),
  OrderPaid: event({ schema: v.object({ amount: v.number() }) }),
});
const cart = defineEvents("cart", { CartOpened: event({ schema: v.object({ open: v.boolean() }) }) });

const typed = defineSqlProjection("typed", {
  version: 1,
  database: "sqlite:report.db",
  events: [order, cart],
  filter: { types: ["OrderPlaced"], tags: ["vip"] },
  create: (sql, { table, name }) => sql`create table ${table("orders")} (a integer); create index ${name("by_a")}`,
  on: {
    OrderPlaced: (e, sql, { table, insert }) => {
      expectType<"OrderPlaced">()(e.type);
      expectType<{ customer: string; total: number }>()(e.data);
      insert("orders", { a: e.data.total, at: e.recordedAt });
      return sql`insert into ${table("orders")} values (${e.data.total})`;
    },
    CartOpened: async (e) => {
      expectType<boolean>()(e.data.open);
    },
  },
});

defineSqlProjection("wrong", {
  version: 1,
  database: "sqlite:x",
  events: [order],
  create: () => {},
  // @ts-expect-error there is no such event
  on: { Sent: () => {} },
});

defineSqlProjection("wrong", {
  version: 1,
  database: new SQL("postgres://localhost/x"),
  events: [order],
  create: () => {},
  on: {
    // @ts-expect-error the data has no such member
    OrderPaid: (e) => e.data.total,
  },
});

const untyped = defineSqlProjection("untyped", {
  version: 1,
  database: "postgres://localhost/x",
  create: () => {},
  on: {
    Anything: (e) => {
      expectType<StoredData>()(e.data);
      expectType<string>()(e.type);
    },
  },
});

export async function run(): Promise<void> {
  await using store = await openEventStore({ url: "memory:", events: [order, cart], projections: [typed, untyped] });
  await using running = runSqlProjections(store, [typed, untyped]);
  await running.waitFor("typed", 1, { timeoutMs: 5 });
  await using untypedStore = await openEventStore({ url: "memory:" });
  runSqlProjections(untypedStore, [untyped]);
  // @ts-expect-error a name is no projection
  runSqlProjections(store, ["typed"]);
}
