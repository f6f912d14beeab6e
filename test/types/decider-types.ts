/** What the compiler must know of deciders. Nothing here runs: a wrong line would not compile. */

import * as v from "valibot";
import {
  type Decider,
  defineDecider,
  defineEvents,
  type ExecuteResult,
  event,
  openEventStore,
  type RecordedEventOf,
  refuse,
} from "../../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(_value: Actual, ..._same: Equal<Actual, Expected> extends true ? [] : [never]): void => {};
}

const order = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customerId: v.string(), currency: v.picklist(["EUR", "USD"]) }) }),
  ItemAdded: event({ schema: v.object({ sku: v.string(), quantity: v.number() }) }),
});
const cart = defineEvents("cart", { CartOpened: event({ schema: v.object({ open: v.boolean() }) }) });

interface OrderState {
  readonly status: "new" | "placed";
  readonly skus: readonly string[];
}

const commands = {
  PlaceOrder: v.object({ customerId: v.string() }),
  AddItem: v.object({ sku: v.string(), quantity: v.optional(v.number(), 1) }),
};

const orders = defineDecider("order", {
  events: order,
  commands,
  initialState: (): OrderState => ({ status: "new", skus: [] }),
  evolve: {
    // Literals stay what they are, though the state's type is being worked out.
    OrderPlaced: (state, e) => {
      expectType<"EUR" | "USD">()(e.data.currency);
      return { ...state, status: "placed" };
    },
    ItemAdded: (state, e) => ({ ...state, skus: [...state.skus, e.data.sku] }),
  },
  decide: {
    PlaceOrder: async ({ data }, state, context) => {
      expectType<OrderState>()(state);
      expectType<Date>()(context.now);
      if (state.status === "placed") refuse("already-placed");
      // Whoever refuses does not return.
      expectType<"new">()(state.status);
      return [{ type: "OrderPlaced", data: { customerId: data.customerId, currency: "EUR" } }];
    },
    AddItem: ({ data }, state) => {
      expectType<number>()(data.quantity);
      if (state.skus.includes(data.sku)) return [];
      if (data.quantity > 5) return [{ type: "ItemAdded", data: { ...data, quantity: 5 } }];
      return [{ type: "ItemAdded", data }];
    },
  },
  snapshots: { version: 1, everyEvents: 200 },
});
expectType<Decider<OrderState, typeof order, typeof commands>>()(orders);

export async function typed(): Promise<void> {
  const store = await openEventStore({ url: "memory:", events: [order, cart] });
  const done = await store.execute(orders, "1", { type: "AddItem", data: { sku: "a" } });
  expectType<ExecuteResult<OrderState, typeof order>>()(done);
  expectType<OrderState>()(done.state);
  expectType<readonly RecordedEventOf<typeof order>[]>()(done.events);
  expectType<OrderState>()((await store.load(orders, "1")).state);
  expectType<OrderState>()((await store.asOf(5).load(orders, "1")).state);
  // @ts-expect-error a command that is not defined
  await store.execute(orders, "1", { type: "Unheard", data: {} });
  // @ts-expect-error data of another command
  await store.execute(orders, "1", { type: "PlaceOrder", data: { sku: "a" } });

  const taken = await store.decide({
    filter: { types: ["OrderPlaced", "CartOpened"], tags: ["customer:c1"] },
    initialState: (): { readonly orders: number; readonly last: "cart" | "order" | "none" } => ({
      orders: 0,
      last: "none",
    }),
    evolve: {
      OrderPlaced: (state) => ({ orders: state.orders + 1, last: "order" }),
      CartOpened: (state, e) => {
        expectType<boolean>()(e.data.open);
        return { ...state, last: "cart" };
      },
    },
    decide: (state) =>
      state.orders > 0
        ? refuse("one-order-only")
        : [
            {
              streamName: "order-1",
              events: [{ type: "OrderPlaced", data: { customerId: "c1", currency: "EUR" } }],
              expectedVersion: "no-stream",
            },
          ],
  });
  expectType<number>()(taken.state.orders);
  await store.decide({
    streams: ["order-1"],
    initialState: () => 0,
    // @ts-expect-error an event that is not defined
    evolve: { Unheard: (n: number) => n },
    decide: () => [],
  });

  const other = await openEventStore({ url: "memory:", events: [cart] });
  // @ts-expect-error a decider whose events the store does not have
  await other.execute(orders, "1", { type: "AddItem", data: { sku: "a" } });
}

defineDecider("order", {
  events: order,
  commands: { PlaceOrder: v.object({}), AddItem: v.object({}) },
  initialState: () => 0,
  // @ts-expect-error a type of event is missing
  evolve: { OrderPlaced: (count) => count + 1 },
  // @ts-expect-error a type of command is missing
  decide: { PlaceOrder: () => [] },
});
defineDecider("order", {
  events: order,
  commands: { PlaceOrder: v.object({}) },
  initialState: (): OrderState => ({ status: "new", skus: [] }),
  // @ts-expect-error a state of another shape
  evolve: { OrderPlaced: () => ({ status: "gone", skus: [] }), ItemAdded: (state) => state },
  decide: {
    // @ts-expect-error an event of another category
    PlaceOrder: () => [{ type: "CartOpened", data: { open: true } }],
  },
});
