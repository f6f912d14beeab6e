/** A small shop with processors of every kind: what the crash tests, the properties and the kits run. */

import * as v from "valibot";
import {
  defineDecider,
  defineEvents,
  defineProcessManager,
  defineProjection,
  type EventDefinitions,
  event,
  type ProcessManager,
  type Projection,
} from "../../src/index.ts";
import type { ProjectionMode } from "../../src/processors/define-projection.ts";

const orders = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customer: v.string(), total: v.number() }) }),
  OrderCancelled: event({ schema: v.object({ customer: v.string(), total: v.number() }) }),
});

const paymentEvents = defineEvents("payment", {
  PaymentAsked: event({ schema: v.object({ order: v.string() }) }),
  Reminded: event({ schema: v.object({ order: v.string() }) }),
});

/** For stores without types: what these infer is for other tests. */
export const shopEvents: readonly never[] = [orders, paymentEvents] as readonly EventDefinitions[] as readonly never[];

const payments = defineDecider("payments", {
  events: paymentEvents,
  commands: { Ask: v.object({ order: v.string() }), Remind: v.object({ order: v.string() }) },
  initialState: () => ({ asked: 0 }),
  evolve: { PaymentAsked: (state) => ({ asked: state.asked + 1 }), Reminded: (state) => state },
  decide: {
    Ask: ({ data }) => [{ type: "PaymentAsked", data }],
    Remind: ({ data }) => [{ type: "Reminded", data }],
  },
});

export interface Totals {
  readonly orders: number;
  readonly total: number;
}

/** What each customer has ordered, cancellations taken off; a customer without orders has no document. */
export const totals = (name: string, mode: ProjectionMode, version = 1): Projection<Totals, "byOrders"> =>
  defineProjection(name, {
    version,
    mode,
    events: [orders],
    document: v.object({ orders: v.number(), total: v.number() }),
    indexes: { byOrders: ({ orders }) => `n${orders}` },
    on: {
      OrderPlaced: ({ data }, docs) =>
        docs.update(data.customer, (d) => ({ orders: (d?.orders ?? 0) + 1, total: (d?.total ?? 0) + data.total })),
      OrderCancelled: ({ data }, docs) => {
        const known = docs.get(data.customer);
        if (known === undefined) return;
        if (known.orders === 1) docs.delete(data.customer);
        else docs.set(data.customer, { orders: known.orders - 1, total: known.total - data.total });
      },
    },
  });

/** The same, written down once more without a store. */
export function totalsOf(
  events: Iterable<{ readonly type: string; readonly data: unknown }>,
): ReadonlyMap<string, Totals> {
  const known = new Map<string, Totals>();
  for (const { type, data } of events) {
    if (type !== "OrderPlaced" && type !== "OrderCancelled") continue;
    const { customer, total } = data as { customer: string; total: number };
    const before = known.get(customer);
    if (type === "OrderPlaced")
      known.set(customer, { orders: (before?.orders ?? 0) + 1, total: (before?.total ?? 0) + total });
    else if (before?.orders === 1) known.delete(customer);
    else if (before !== undefined) known.set(customer, { orders: before.orders - 1, total: before.total - total });
  }
  return known;
}

export const reminderAfterMs = 20;

/** Asks for a payment of each order, reminds of it once, and is done with it then. */
export const checkout: ProcessManager<{ readonly asked: boolean }> = defineProcessManager("checkout", {
  events: [orders, paymentEvents],
  correlate: { OrderPlaced: (e) => e.streamName, Reminded: (e) => e.data.order },
  startedBy: ["OrderPlaced"],
  initialState: (): { readonly asked: boolean } => ({ asked: false }),
  evolve: { OrderPlaced: () => ({ asked: true }) },
  react: {
    OrderPlaced: (e, _state, context) => {
      context.execute(payments, e.streamName, { type: "Ask", data: { order: e.streamName } });
      context.schedule("PaymentOverdue", { afterMs: reminderAfterMs });
    },
    Reminded: (_e, _state, context) => context.complete(),
  },
  timers: {
    PaymentOverdue: (_timer, _state, context) =>
      context.execute(payments, context.instance, { type: "Remind", data: { order: context.instance } }),
  },
});
