/** A customer orders: commands, what is refused and why, and two that want the same thing at once. */

import { ConflictError, DomainRefusal, EventStoreError, InvalidCommandError, InvalidEventError } from "../../index.ts";
import { orders } from "../deciders.ts";
import type { Shop } from "../events.ts";
import { euros, failure } from "../helpers.ts";
import { chapter, refused, say, show } from "../narrator.ts";

export async function placeOrder(store: Shop, id: string): Promise<void> {
  chapter("A customer places an order");
  const metadata = { actor: "kim" };
  const placed = { type: "PlaceOrder", data: { customerId: "kim", currency: "EUR" } } as const;
  await store.execute(orders, id, placed, { metadata });
  const teapot = { type: "AddItem", data: { sku: "teapot", quantity: 1, priceCents: 2_450 } } as const;
  const done = await store.execute(orders, id, teapot, { metadata });
  show("stream", done.streamName);
  show("version, position", `${done.streamVersion}, ${done.position}`);
  show("state", `${done.state.status}, ${euros(done.state.totalCents)}`);
  say("The events are on the object store now: that is when execute, or append, resolves.");
}

export async function refuseNonsense(store: Shop, id: string): Promise<void> {
  chapter("What is wrong is refused before anything is written: a bad event, a bad command, a broken rule");
  const event = { type: "ItemAdded", data: { sku: "cup", quantity: 0, priceCents: 3.5 } } as const;
  const command = { type: "AddItem", data: { sku: "", quantity: 1, priceCents: 650 } } as const;
  const attempts = [
    store.append(`order-${id}`, [event], { expectedVersion: 2 }),
    store.execute(orders, id, command),
    store.execute(orders, id, { type: "PlaceOrder", data: { customerId: "lee", currency: "EUR" } }),
  ];
  for (const error of await Promise.all(attempts.map(failure))) {
    if (error instanceof DomainRefusal) refused("by the decider", error.reason);
    else if (error instanceof InvalidEventError || error instanceof InvalidCommandError)
      for (const issue of error.issues) refused(error.code, `${issue.path}: ${issue.message}`);
    else throw error;
  }
  show("version still", String((await store.streamInfo(`order-${id}`))?.version));
}

export async function resolveConflict(store: Shop, id: string): Promise<void> {
  chapter("Two browser tabs, one order: a conflict, and its retry");
  const cups = { type: "AddItem", data: { sku: "cup", quantity: 4, priceCents: 650 } } as const;
  await store.execute(orders, id, cups, { expectedVersion: 2 });
  say("Tab A added cups, having seen version 2.");
  const tray = { type: "AddItem", data: { sku: "tray", quantity: 1, priceCents: 1_800 } } as const;
  const error = await failure(store.execute(orders, id, tray, { expectedVersion: 2 }));
  if (error instanceof EventStoreError) refused(error.code, error.message);
  const between =
    error instanceof ConflictError ? error.conflictingEvents.map((one) => one.type).join(", ") : "nothing";
  say(`Tab B is told what came between: ${between}. It looks, and asks again.`);
  const expectedVersion = error instanceof ConflictError ? (error.actualVersion ?? "any") : "any";
  const retried = await store.execute(orders, id, tray, { expectedVersion });
  show("version, total", `${retried.streamVersion}, ${euros(retried.state.totalCents)}`);
}
