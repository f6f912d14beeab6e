/** What the compiler must know of projections, reactors and process managers. Nothing here runs: a wrong line would not compile. */

import * as v from "valibot";
import {
  type DocumentReader,
  defineDecider,
  defineEvents,
  defineProcessManager,
  defineProjection,
  defineReactor,
  event,
  openEventStore,
  openEventStoreReader,
  type RecordedEvent,
} from "../../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(_value: Actual, ..._same: Equal<Actual, Expected> extends true ? [] : [never]): void => {};
}

const order = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customerId: v.string(), total: v.number() }) }),
  OrderPaid: event({ schema: v.object({ amount: v.number() }) }),
});
const cart = defineEvents("cart", { CartOpened: event({ schema: v.object({ open: v.boolean() }) }) });

// As the contract has it: without events, their data may be anything.
const totals = defineProjection("customer-totals", {
  version: 1,
  mode: "async",
  filter: { types: ["OrderPlaced"] },
  document: v.object({ orders: v.number(), total: v.number() }),
  on: {
    OrderPlaced: (e, docs) =>
      docs.update(e.data.customerId, (d) => {
        expectType<number | undefined>()(d?.orders);
        return { orders: (d?.orders ?? 0) + 1, total: (d?.total ?? 0) + e.data.total };
      }),
  },
});

const typed = defineProjection("typed", {
  version: 1,
  mode: "inline",
  events: [order, cart],
  document: v.object({ open: v.boolean() }),
  key: (e) => e.streamName,
  indexes: { byState: ({ open }) => (open ? "open" : undefined), byKey: (_document, key) => [key] },
  on: {
    CartOpened: (e, docs) => {
      expectType<RecordedEvent<"CartOpened", { open: boolean }>>()(e);
      docs.set(docs.key, { open: e.data.open });
      // @ts-expect-error A document is what the schema says.
      docs.set(docs.key, { open: "yes" });
    },
    OrderPlaced: (e) => expectType<number>()(e.data.total),
  },
  onAny: (e) => expectType<"OrderPlaced" | "OrderPaid" | "CartOpened">()(e.type),
});

defineProjection("wrong", {
  version: 1,
  mode: "async",
  events: [order],
  document: v.number(),
  on: {
    // @ts-expect-error There is no such event.
    OrderLost: () => {},
  },
});

const mail = defineReactor("mail", {
  mode: "async",
  events: [order],
  key: (e) => e.streamName,
  on: {
    OrderPaid: async (e, context) =>
      expectType<`${number}${string}`>()(`${e.data.amount}${context.idempotencyKey}` as const),
  },
});
const receipts = defineReactor("send-receipt", { mode: "async", on: { OrderPlaced: async (_e, _context) => {} } });

const orders = defineDecider("order", {
  events: order,
  commands: { Pay: v.object({ amount: v.number() }) },
  initialState: () => ({}),
  evolve: { OrderPlaced: (state) => state, OrderPaid: (state) => state },
  decide: { Pay: ({ data }) => [{ type: "OrderPaid", data }] },
});

const checkout = defineProcessManager("checkout", {
  events: [order],
  correlate: { OrderPlaced: (e) => e.data.customerId },
  initialState: (): { readonly paid: boolean } => ({ paid: false }),
  evolve: { OrderPaid: (state, e) => ({ paid: e.data.amount > 0 || state.paid }) },
  react: {
    OrderPlaced: (e, state, context) => {
      expectType<boolean>()(state.paid);
      context.execute(orders, e.streamName, { type: "Pay", data: { amount: e.data.total } });
      // @ts-expect-error A command is what the decider takes.
      context.execute(orders, e.streamName, { type: "Pay", data: { amount: "much" } });
      context.schedule("PaymentOverdue", { afterMs: 900_000 });
    },
  },
  timers: { PaymentOverdue: (timer, state, context) => context.setState({ paid: state.paid && timer.data === true }) },
});

const store = await openEventStore({
  url: "memory:",
  events: [order, cart],
  projections: [totals, typed],
  reactors: [mail, receipts],
  processManagers: [checkout],
});
expectType<DocumentReader<{ orders: number; total: number }, never>>()(store.documents(totals));
expectType<{ open: boolean } | undefined>()(await store.documents(typed).get("cart-1", { atLeast: 1 }));
store.documents(typed).find("byState", "open");
// @ts-expect-error There is no such index.
store.documents(typed).find("byName", "x");
const replica = await openEventStoreReader({ url: "file:shop", events: [order, cart], projections: [totals, typed] });
expectType<DocumentReader<{ orders: number; total: number }, never>>()(replica.documents(totals));
expectType<{ open: boolean } | undefined>()(await replica.documents(typed).get("cart-1", { atLeast: 1 }));
// @ts-expect-error There is no such index.
replica.documents(typed).find("byName", "x");
for await (const [key, document] of store.documents(typed).list()) {
  expectType<string>()(key);
  expectType<boolean>()(document.open);
}
const folded = await store.fold({
  filter: { types: ["OrderPaid"] },
  initialState: () => 0,
  evolve: { OrderPaid: (sum, e) => sum + e.data.amount },
});
expectType<number>()(folded.state);
