/** Somebody listens while it happens. */

import { orders } from "../deciders.ts";
import type { Shop } from "../events.ts";
import { chapter, show } from "../narrator.ts";

const ordersPlaced = 5;

export async function follow(store: Shop): Promise<void> {
  chapter("A live subscriber, and a handler on the in-process bus");
  const customerId = `customer-${crypto.randomUUID().slice(0, 8)}`;
  const filter = { tags: [`customer:${customerId}`] };
  let heard = 0;
  const off = store.on(filter, () => {
    heard += 1;
  });
  const sent = new Map<string, number>();
  const following = (async () => {
    const delays: number[] = [];
    for await (const one of store.subscribe({ from: "end", filter })) {
      delays.push(performance.now() - (sent.get(one.streamName) ?? 0));
      if (delays.length === ordersPlaced) break;
    }
    return delays;
  })();
  for (let n = 0; n < ordersPlaced; n += 1) {
    const id = crypto.randomUUID();
    sent.set(`order-${id}`, performance.now());
    await store.execute(orders, id, { type: "PlaceOrder", data: { customerId, currency: "EUR" } });
  }
  const delays = (await following).toSorted((left, right) => left - right);
  off();
  const median = delays[Math.floor(delays.length / 2)]?.toFixed(1);
  show("subscriber saw", `${delays.length} orders, in the median ${median} ms after the command was given`);
  show("handler heard", `${heard} orders`);
}
