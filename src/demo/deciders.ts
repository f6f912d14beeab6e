/** What may be done in the shop, and what comes of it: orders and shipments, as plain functions over what has happened. */

import * as v from "valibot";
import { type Decider, defineDecider, refuse } from "../index.ts";
import { type Item, item, orderEvents, shipmentEvents } from "./events.ts";

export interface OrderState {
  readonly status: "new" | "open" | "confirmed" | "paid" | "cancelled";
  readonly totalCents: number;
}

type OrderCommands = {
  readonly PlaceOrder: v.GenericSchema<{ readonly customerId: string; readonly currency: "EUR" | "USD" }>;
  readonly AddItem: v.GenericSchema<Item>;
  readonly ConfirmOrder: v.GenericSchema<{ readonly payWithinMs: number }>;
  readonly MarkPaid: v.GenericSchema<{ readonly amountCents: number }>;
  readonly CancelOrder: v.GenericSchema<{ readonly reason: string }>;
};

export const orders: Decider<OrderState, typeof orderEvents, OrderCommands> = defineDecider("order", {
  events: orderEvents,
  commands: {
    PlaceOrder: v.object({ customerId: v.pipe(v.string(), v.nonEmpty()), currency: v.picklist(["EUR", "USD"]) }),
    AddItem: item,
    ConfirmOrder: v.object({ payWithinMs: v.pipe(v.number(), v.integer(), v.minValue(1)) }),
    MarkPaid: v.object({ amountCents: v.number() }),
    CancelOrder: v.object({ reason: v.string() }),
  } satisfies OrderCommands as OrderCommands,
  initialState: (): OrderState => ({ status: "new", totalCents: 0 }),
  evolve: {
    OrderPlaced: (state) => ({ ...state, status: "open" }),
    ItemAdded: (state, { data }) => ({ ...state, totalCents: state.totalCents + data.quantity * data.priceCents }),
    OrderConfirmed: (state) => ({ ...state, status: "confirmed" }),
    OrderPaid: (state) => ({ ...state, status: "paid" }),
    OrderCancelled: (state) => ({ ...state, status: "cancelled" }),
  },
  decide: {
    PlaceOrder: ({ data }, { status }) =>
      status === "new" ? [{ type: "OrderPlaced", data }] : refuse("placed-already"),
    AddItem: ({ data }, { status }) =>
      status === "open" ? [{ type: "ItemAdded", data }] : refuse("order-not-open", { status }),
    ConfirmOrder: ({ data: { payWithinMs } }, { status, totalCents }) => {
      if (status !== "open") refuse("order-not-open", { status });
      if (totalCents === 0) refuse("order-is-empty");
      return [{ type: "OrderConfirmed", data: { totalCents, payWithinMs } }];
    },
    MarkPaid: ({ data }, { status }) => (status === "paid" ? [] : [{ type: "OrderPaid", data }]),
    CancelOrder: ({ data }, { status }) => (status === "confirmed" ? [{ type: "OrderCancelled", data }] : []),
  },
  snapshots: { version: 1, everyEvents: 100 },
});

export interface ShipmentState {
  readonly status: "none" | "prepared" | "sent";
}

type ShipmentCommands = {
  readonly Prepare: v.GenericSchema<{ readonly orderId: string }>;
  readonly Send: v.GenericSchema<{ readonly orderId: string; readonly carrier: string }>;
};

export const shipments: Decider<ShipmentState, typeof shipmentEvents, ShipmentCommands> = defineDecider("shipment", {
  events: shipmentEvents,
  commands: {
    Prepare: v.object({ orderId: v.string() }),
    Send: v.object({ orderId: v.string(), carrier: v.string() }),
  } satisfies ShipmentCommands as ShipmentCommands,
  initialState: (): ShipmentState => ({ status: "none" }),
  evolve: {
    ShipmentPrepared: () => ({ status: "prepared" }),
    ShipmentSent: () => ({ status: "sent" }),
  },
  decide: {
    Prepare: ({ data }, { status }) => (status === "none" ? [{ type: "ShipmentPrepared", data }] : []),
    Send: ({ data }, { status }) =>
      status === "prepared" ? [{ type: "ShipmentSent", data }] : refuse("not-prepared", { status }),
  },
});
