/**
 * What follows from orders by itself. The process manager sees an order through: it asks for the money, waits for it as long
 * as was agreed, and has what was paid for prepared. The reactor writes to customers.
 */

import { defineProcessManager, defineReactor, type ProcessManager, type Reactor } from "../index.ts";
import { orders, shipments } from "./deciders.ts";
import { orderEvents, paymentEvents, shipmentEvents } from "./events.ts";

export interface Fulfilment {
  readonly totalCents: number;
}

export function orderIdOf(streamName: string): string {
  return streamName.slice(streamName.indexOf("-") + 1);
}

export const fulfilment: ProcessManager<Fulfilment> = defineProcessManager("fulfilment", {
  events: [orderEvents, paymentEvents, shipmentEvents],
  correlate: {
    OrderConfirmed: ({ streamName }) => orderIdOf(streamName),
    PaymentReceived: ({ data }) => data.orderId,
    ShipmentSent: ({ data }) => data.orderId,
  },
  startedBy: ["OrderConfirmed"],
  initialState: (): Fulfilment => ({ totalCents: 0 }),
  evolve: { OrderConfirmed: (_, { data }) => ({ totalCents: data.totalCents }) },
  react: {
    OrderConfirmed: ({ data }, { totalCents }, context) => {
      const requested = { type: "PaymentRequested", data: { orderId: context.instance, amountCents: totalCents } };
      context.append(`payment-${context.instance}`, [requested]);
      context.schedule("payment-overdue", { afterMs: data.payWithinMs });
    },
    PaymentReceived: ({ data }, _, context) => {
      context.cancel("payment-overdue");
      context.execute(orders, data.orderId, { type: "MarkPaid", data: { amountCents: data.amountCents } });
      context.execute(shipments, data.orderId, { type: "Prepare", data: { orderId: data.orderId } });
    },
    ShipmentSent: (_, __, context) => context.complete(),
  },
  timers: {
    "payment-overdue": (_, __, context) => {
      context.execute(orders, context.instance, { type: "CancelOrder", data: { reason: "not paid in time" } });
      context.complete();
    },
  },
});

/** A letter, by the key that a mail service would tell repeats by. */
export type Letters = ReadonlyMap<string, { readonly orderId: string; readonly text: string }>;

/** The reactor, and what it has written while this process runs. What it wrote before is not written again. */
export function letterWriter(): { readonly reactor: Reactor; readonly letters: Letters } {
  const letters = new Map<string, { readonly orderId: string; readonly text: string }>();
  const write = (key: string, streamName: string, text: string): void => {
    letters.set(key, { orderId: orderIdOf(streamName), text });
  };
  const reactor = defineReactor("letters", {
    mode: "async",
    events: [orderEvents],
    on: {
      OrderPaid: ({ streamName }, { idempotencyKey }) =>
        write(idempotencyKey, streamName, "Thank you for your payment."),
      OrderCancelled: ({ streamName, data }, { idempotencyKey }) =>
        write(idempotencyKey, streamName, `Your order was cancelled: ${data.reason}.`),
    },
    from: "end",
  });
  return { reactor, letters };
}
