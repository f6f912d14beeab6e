/** What the shop is asked: orders, kept as documents in the commit of their events; sales, kept in tables behind it. */

import * as v from "valibot";
import { defineProjection, defineSqlProjection, type Projection, type SqlProjection } from "../index.ts";
import { orderEvents, shipmentEvents } from "./events.ts";
import { orderIdOf } from "./fulfilment.ts";

export interface OrderDocument {
  readonly customerId: string;
  readonly status: string;
  readonly items: number;
  readonly totalCents: number;
}

/** One document an order, found by its customer as well. */
export const orderOverview: Projection<OrderDocument, "customer"> = defineProjection("orders", {
  version: 1,
  mode: "inline",
  events: [orderEvents, shipmentEvents],
  document: v.object({ customerId: v.string(), status: v.string(), items: v.number(), totalCents: v.number() }),
  key: ({ streamName }) => orderIdOf(streamName),
  indexes: { customer: ({ customerId }) => customerId },
  on: {
    OrderPlaced: ({ data }, docs) =>
      docs.set(docs.key, { customerId: data.customerId, status: "open", items: 0, totalCents: 0 }),
    ItemAdded: ({ data: { quantity, priceCents } }, docs) =>
      docs.update(
        docs.key,
        (doc) => doc && { ...doc, items: doc.items + quantity, totalCents: doc.totalCents + quantity * priceCents },
      ),
    OrderConfirmed: (_, docs) => docs.update(docs.key, (doc) => doc && { ...doc, status: "confirmed" }),
    OrderPaid: (_, docs) => docs.update(docs.key, (doc) => doc && { ...doc, status: "paid" }),
    OrderCancelled: (_, docs) => docs.update(docs.key, (doc) => doc && { ...doc, status: "cancelled" }),
    ShipmentSent: (_, docs) => docs.update(docs.key, (doc) => doc && { ...doc, status: "shipped" }),
  },
});

/** Two tables in SQLite: what was ordered, and what came of each order. */
export function salesReport(database: string): SqlProjection {
  return defineSqlProjection("sales", {
    version: 1,
    database,
    events: [orderEvents],
    create: async (sql, { table }) => {
      await sql`create table ${table("sold_items")} (position bigint primary key, order_id text, sku text, quantity integer, cents integer)`;
      await sql`create table ${table("outcomes")} (order_id text primary key, outcome text)`;
    },
    on: {
      ItemAdded: ({ position, streamName, data: { sku, quantity, priceCents } }, _, { insert }) => {
        const order_id = orderIdOf(streamName);
        insert("sold_items", { position, order_id, sku, quantity, cents: quantity * priceCents });
      },
      OrderPaid: ({ streamName }, sql, { table }) =>
        sql`insert into ${table("outcomes")} values (${orderIdOf(streamName)}, 'paid') on conflict do nothing`,
      OrderCancelled: ({ streamName }, sql, { table }) =>
        sql`insert into ${table("outcomes")} values (${orderIdOf(streamName)}, 'cancelled') on conflict do nothing`,
    },
  });
}
