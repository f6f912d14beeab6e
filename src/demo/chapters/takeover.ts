/** Somebody else opens the same store, and the first writer acknowledges nothing more. */

import { EventStoreError } from "../../index.ts";
import { orders } from "../deciders.ts";
import { failure } from "../helpers.ts";
import { chapter, figure, refused, say, show } from "../narrator.ts";
import { type OpenShop, openShop, type Premises } from "../open-shop.ts";
import { orderOverview } from "../read-models.ts";

export async function takeOver({ store }: OpenShop, premises: Premises, id: string): Promise<void> {
  chapter("A second writer opens the same store, and fences the first");
  if (premises.url === "memory:") {
    say("In memory each open is a store of its own, so nobody is fenced. Try it on a folder or a bucket.");
    return;
  }
  const before = await store.lastPosition();
  await using second = await openShop(premises);
  say("The second writer is open. The first one, unaware, takes an order:");
  const placed = { type: "PlaceOrder", data: { customerId: "kim", currency: "EUR" } } as const;
  const error = await failure(store.execute(orders, id, placed));
  if (!(error instanceof EventStoreError)) throw error;
  refused(error.code, `${error.message} (outcome: ${error.outcome})`);
  const found = await second.store.lastPosition();
  show("second writer has", `${figure(found)} events, as many as before: ${found === before}`);
  const done = await second.store.execute(orders, id, placed);
  show("and goes on", `version ${done.streamVersion}, position ${done.position}`);
  show("its read model says", JSON.stringify(await second.store.documents(orderOverview).get(id)));
}
