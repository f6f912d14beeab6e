/** What happens in the demo's shop: orders, their payments, their shipments. Amounts are in cents. */

import * as v from "valibot";
import { defineEvents, type EventDefinition, type EventDefinitions, type EventStore, event } from "../index.ts";

/** A category's events, by the data of each type. */
type EventsOf<Category extends string, Data> = EventDefinitions<
  Category,
  { readonly [Type in keyof Data & string]: EventDefinition<v.GenericSchema<Data[Type]>> }
>;

export interface Item {
  readonly sku: string;
  readonly quantity: number;
  readonly priceCents: number;
}

export interface OrderData {
  readonly OrderPlaced: { readonly customerId: string; readonly currency: "EUR" | "USD" };
  readonly ItemAdded: Item;
  readonly OrderConfirmed: { readonly totalCents: number; readonly payWithinMs: number };
  readonly OrderPaid: { readonly amountCents: number };
  readonly OrderCancelled: { readonly reason: string };
}

export interface PaymentData {
  readonly PaymentRequested: { readonly orderId: string; readonly amountCents: number };
  readonly PaymentReceived: { readonly orderId: string; readonly amountCents: number };
}

export interface ShipmentData {
  readonly ShipmentPrepared: { readonly orderId: string };
  readonly ShipmentSent: { readonly orderId: string; readonly carrier: string };
}

const cents = v.pipe(v.number(), v.integer(), v.minValue(0));

export const item: v.GenericSchema<Item> = v.object({
  sku: v.pipe(v.string(), v.nonEmpty()),
  quantity: v.pipe(v.number(), v.integer(), v.minValue(1)),
  priceCents: cents,
});

export const orderEvents: EventsOf<"order", OrderData> = defineEvents("order", {
  OrderPlaced: event({
    schema: v.object({ customerId: v.pipe(v.string(), v.nonEmpty()), currency: v.picklist(["EUR", "USD"]) }),
    tags: (data) => [`customer:${data.customerId}`],
  }),
  ItemAdded: event({ schema: item, tags: (data) => [`sku:${data.sku}`] }),
  OrderConfirmed: event({ schema: v.object({ totalCents: cents, payWithinMs: v.number() }) }),
  OrderPaid: event({ schema: v.object({ amountCents: cents }) }),
  OrderCancelled: event({ schema: v.object({ reason: v.string() }) }),
});

const payment = v.object({ orderId: v.string(), amountCents: cents });

export const paymentEvents: EventsOf<"payment", PaymentData> = defineEvents("payment", {
  PaymentRequested: event({ schema: payment }),
  PaymentReceived: event({ schema: payment }),
});

export const shipmentEvents: EventsOf<"shipment", ShipmentData> = defineEvents("shipment", {
  ShipmentPrepared: event({ schema: v.object({ orderId: v.string() }) }),
  ShipmentSent: event({ schema: v.object({ orderId: v.string(), carrier: v.string() }) }),
});

/** What the figures are measured with: events that are nobody's business. */
export const probeEvents: EventsOf<"probe", { readonly ProbeSent: { readonly text: string } }> = defineEvents("probe", {
  ProbeSent: event({ schema: v.object({ text: v.string() }) }),
});

export type ShopEvents = typeof orderEvents | typeof paymentEvents | typeof shipmentEvents | typeof probeEvents;
export type Shop = EventStore<ShopEvents>;
