/** What follows by itself: a process manager sees orders through, with a timer for who does not pay; a reactor writes letters. */

import { orders, shipments } from "../deciders.ts";
import type { Shop } from "../events.ts";
import { waitForEvent } from "../helpers.ts";
import { chapter, figure, say, show } from "../narrator.ts";
import type { OpenShop } from "../open-shop.ts";

/** What is agreed with a good customer, and with one who is watched by whoever runs this. */
const thirtyDaysMs = 30 * 24 * 60 * 60 * 1_000;
const atOnceMs = 400;

export async function payAndShip({ store, letters }: OpenShop, id: string): Promise<void> {
  chapter("The order is paid, and sees itself through: a process manager");
  const confirmed = await store.execute(orders, id, { type: "ConfirmOrder", data: { payWithinMs: thirtyDaysMs } });
  const requested = await waitForEvent(store, "PaymentRequested", `payment-${id}`, confirmed.position);
  show("asked for by itself", `PaymentRequested ${JSON.stringify(requested.data)}`);
  await payTwice(store, id, confirmed.state.totalCents);
  await waitForEvent(store, "OrderPaid", `order-${id}`, confirmed.position);
  const prepared = await waitForEvent(store, "ShipmentPrepared", `shipment-${id}`, confirmed.position);
  show("and so by itself", "OrderPaid, ShipmentPrepared");
  const sent = { type: "Send", data: { orderId: id, carrier: "canal boat" } } as const;
  const { position } = await store.execute(shipments, id, sent);
  await Promise.all(["fulfilment", "letters"].map((name) => store.waitFor(name, position)));
  show("took", `${figure(prepared.recordedAt.getTime() - requested.recordedAt.getTime())} ms from request to shipment`);
  for (const { orderId, text } of letters.values()) if (orderId === id) show("a reactor writes", text);
}

async function payTwice(store: Shop, id: string, amountCents: number): Promise<void> {
  const payment = {
    type: "PaymentReceived",
    id: crypto.randomUUID(),
    data: { orderId: id, amountCents },
  } as const;
  const first = await store.append(`payment-${id}`, [payment], { expectedVersion: 1 });
  const second = await store.append(`payment-${id}`, [payment], { expectedVersion: 1 });
  say("The network hiccups: the bank tells of the payment twice, and it happens once.");
  show("first", `position ${first.position}, replayed: ${first.replayed}`);
  show("second", `position ${second.position}, replayed: ${second.replayed}`);
}

export async function overdue({ store, letters }: OpenShop, id: string): Promise<void> {
  chapter("Another customer does not pay: a timer");
  await store.execute(orders, id, { type: "PlaceOrder", data: { customerId: "lee", currency: "EUR" } });
  const kettle = { type: "AddItem", data: { sku: "kettle", quantity: 1, priceCents: 4_900 } } as const;
  await store.execute(orders, id, kettle);
  const confirmed = await store.execute(orders, id, { type: "ConfirmOrder", data: { payWithinMs: atOnceMs } });
  const [confirmation] = confirmed.events;
  say(
    `The order is confirmed, and due in ${atOnceMs} ms. The timer was kept with the answer, so it outlives the process.`,
  );
  const cancelled = await waitForEvent(store, "OrderCancelled", `order-${id}`, confirmed.position);
  const afterMs = cancelled.recordedAt.getTime() - (confirmation?.recordedAt.getTime() ?? 0);
  show("cancelled after", `${figure(afterMs)} ms: ${JSON.stringify(cancelled.data)}`);
  await store.waitFor("letters", cancelled.position);
  for (const { orderId, text } of letters.values()) if (orderId === id) show("a reactor writes", text);
}
