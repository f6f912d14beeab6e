/** What the compiler must know of the public face. Nothing here runs: a wrong line would not compile. */

import * as v from "valibot";
import {
  type AppendResult,
  defineEvents,
  type EventStore,
  type EventStoreReader,
  type EventStoreView,
  event,
  type NewEventOf,
  openEventStore,
  openEventStoreReader,
  type RecordedEvent,
  type RecordedEventOf,
} from "../../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(_value: Actual, ..._same: Equal<Actual, Expected> extends true ? [] : [never]): void => {};
}
type IsAny<T> = 0 extends 1 & T ? true : false;
function isNotAny<T>(_value: T, ..._isAny: IsAny<T> extends true ? [never] : []): void {}

const order = defineEvents("order", {
  OrderPlaced: event({
    schema: v.object({
      customerId: v.string(),
      total: v.number(),
      at: v.pipe(
        v.string(),
        v.transform((text) => new Date(text)),
      ),
    }),
    tags: (data) => {
      expectType<Date>()(data.at);
      return [`customer:${data.customerId}`];
    },
  }),
  ItemAdded: event({
    version: 2,
    schema: v.object({ sku: v.string() }),
    upcast: { 1: (old) => ({ sku: old.product }) },
  }),
});
const cart = defineEvents("cart", { CartOpened: event({ schema: v.object({ open: v.boolean() }) }) });

export async function typed(): Promise<void> {
  const store = await openEventStore({ url: "memory:", events: [order, cart] });
  expectType<EventStore<typeof order | typeof cart>>()(store);

  // Input goes in as the schema takes it.
  const result = await store.append(
    "order-1",
    [{ type: "OrderPlaced", data: { customerId: "c", total: 1, at: "2026-01-01" } }],
    {
      expectedVersion: "no-stream",
    },
  );
  expectType<AppendResult>()(result);
  const id: string = crypto.randomUUID();
  await store.append(`order-${id}`, [{ type: "ItemAdded", data: { sku: "a" } }], { expectedVersion: 1 });
  // A name that is only known to be text takes the events of any category; the store checks it when it runs.
  await store.append(id, [{ type: "ItemAdded", data: { sku: "a" } }], { expectedVersion: 1 });

  // @ts-expect-error a type that is not defined
  await store.append("order-1", [{ type: "Unheard", data: {} }], { expectedVersion: "any" });
  // @ts-expect-error data of another shape
  await store.append("order-1", [{ type: "ItemAdded", data: { sku: 5 } }], { expectedVersion: "any" });
  // @ts-expect-error an event of another category
  await store.append("cart-1", [{ type: "ItemAdded", data: { sku: "a" } }], { expectedVersion: "any" });
  // @ts-expect-error an expectation is always given
  await store.append("order-1", [{ type: "ItemAdded", data: { sku: "a" } }], {});
  // @ts-expect-error no such expectation
  await store.append("order-1", [{ type: "ItemAdded", data: { sku: "a" } }], { expectedVersion: "exists" });

  // Events come out as the schema gives them, told apart by their type.
  for await (const one of store.readStream("order-1")) {
    expectType<"OrderPlaced" | "ItemAdded">()(one.type);
    if (one.type === "OrderPlaced") expectType<{ customerId: string; total: number; at: Date }>()(one.data);
    else expectType<{ sku: string }>()(one.data);
    isNotAny(one.data);
  }
  for await (const one of store.readAll({ filter: { types: ["CartOpened"] } })) {
    expectType<"OrderPlaced" | "ItemAdded" | "CartOpened">()(one.type);
  }
  // @ts-expect-error a filter by a type that is not defined
  store.readAll({ filter: { types: ["Unheard"] } });
  store.on({ types: ["ItemAdded"] }, (one) => {
    expectType<RecordedEventOf<typeof order | typeof cart>>()(one);
  });
  for await (const one of store.subscribe({ from: { after: 3 } })) isNotAny(one.data);
  // @ts-expect-error a subscription says where it begins
  store.subscribe({});
  expectType<EventStoreView<typeof order | typeof cart>>()(store.asOf(5));

  const news: NewEventOf<typeof order> = { type: "ItemAdded", data: { sku: "a" } };
  await store.commit({ appends: [{ streamName: "order-1", events: [news], expectedVersion: 1 }] });
}

export async function reader(): Promise<void> {
  const replica = await openEventStoreReader({ url: "file:x", events: [order, cart] });
  expectType<EventStoreReader<typeof order | typeof cart>>()(replica);
  for await (const one of replica.readStream("order-1")) expectType<"OrderPlaced" | "ItemAdded">()(one.type);
  for await (const one of replica.subscribe({ from: "end", filter: { types: ["CartOpened"] } })) isNotAny(one.data);
  // @ts-expect-error a filter by a type that is not defined
  replica.on({ types: ["Unheard"] }, () => {});
  // @ts-expect-error a reader does not write
  await replica.append("order-1", [], { expectedVersion: "any" });
  await replica.waitForPosition(5, { timeoutMs: 100 });
}

export async function untyped(): Promise<void> {
  const store = await openEventStore({ url: "memory:" });
  expectType<EventStore>()(store);
  await store.append("anything-1", [{ type: "Whatever", data: { any: ["plain", 1] } }], { expectedVersion: "any" });
  for await (const one of store.readAll()) {
    expectType<RecordedEvent>()(one);
    expectType<unknown>()(one.data);
    expectType<string>()(one.type);
    // @ts-expect-error nothing is known of the data
    one.data.any;
  }
}

// @ts-expect-error options that there are none of
void openEventStore({ url: "memory:", folder: 1 });
// @ts-expect-error tags are a list of text
event({ schema: v.object({}), tags: () => [5] });
