/** What the compiler must know of the past of a store. Nothing here runs: a wrong line would not compile. */

import * as v from "valibot";
import {
  type Blame,
  defineDecider,
  defineEvents,
  defineProjection,
  type EventStoreReader,
  type EventStoreView,
  event,
  type HistoryEntry,
  type MergedData,
  openEventStore,
  openEventStoreReader,
  type RecordedEvent,
  type RecordedEventOf,
  type StreamDiff,
  type Trace,
} from "../../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<Expected>() {
  return <Actual>(_value: Actual, ..._same: Equal<Actual, Expected> extends true ? [] : [never]): void => {};
}

const order = defineEvents("order", { Placed: event({ schema: v.object({ total: v.number() }) }) });
const cart = defineEvents("cart", { Opened: event({ schema: v.object({ by: v.string() }) }) });
const orders = defineDecider("order", {
  events: order,
  commands: { Place: v.object({ total: v.number() }) },
  initialState: () => ({ total: 0 }),
  evolve: { Placed: (_, { data }) => ({ total: data.total }) },
  decide: { Place: ({ data }) => [{ type: "Placed", data }] },
});
const totals = defineProjection("totals", {
  version: 1,
  mode: "async",
  events: [order],
  document: v.object({ total: v.number() }),
  indexes: { size: ({ total }) => `${total}` },
  on: { Placed: ({ streamName, data }, docs) => docs.set(streamName, data) },
});

type Placed = RecordedEvent<"Placed", { total: number }>;
type Known = typeof order | typeof cart;

export async function typed(): Promise<void> {
  const store = await openEventStore({ url: "memory:", events: [order, cart] });

  // Entries have the stream's own events, and the decider's states.
  for await (const entry of store.history("order-1", { decider: orders, direction: "backwards" })) {
    expectType<HistoryEntry<Placed, { total: number }>>()(entry);
    expectType<{ total: number }>()(entry.after);
    expectType<number>()(entry.event.data.total);
    const [change] = entry.changes;
    if (change?.kind === "added") {
      // @ts-expect-error what is added was not there before
      change.before;
    }
  }
  // Without a decider, states are merged data.
  for await (const entry of store.history("order-1")) expectType<MergedData>()(entry.before);
  const id: string = crypto.randomUUID();
  for await (const { event: one } of store.history(id)) expectType<RecordedEventOf<Known>>()(one);
  // @ts-expect-error no such direction
  store.history("order-1", { direction: "up" });

  expectType<StreamDiff<{ total: number }> | undefined>()(await store.diff("order-1", { decider: orders }));
  expectType<StreamDiff | undefined>()(await store.diff("order-1", { fromVersion: 1, toVersion: 2 }));
  expectType<Blame<Placed, { total: number }> | undefined>()(await store.blame("order-1", { decider: orders }));
  expectType<Trace<RecordedEventOf<Known>>>()(await store.trace("c"));

  // A moment is a time, a position, or both times.
  const view = store.asOf({ recordedAt: 5, occurredAt: new Date(0), order: "recorded" });
  expectType<EventStoreView<Known>>()(view);
  store.asOf({ recordedAt: new Date(0) });
  // @ts-expect-error when something occurred is a time
  store.asOf({ occurredAt: 5 });
  // @ts-expect-error no such part of a moment
  store.asOf({ at: 5 });
  expectType<{ total: number }>()((await view.load(orders, "1")).state);
  const documents = view.documents(totals, { eventsMax: 10 });
  expectType<{ total: number } | undefined>()(await documents.get("order-1"));
  for await (const [key, document] of documents.find("size", "1")) {
    expectType<string>()(key);
    expectType<{ total: number }>()(document);
  }
  // @ts-expect-error no such index
  documents.find("colour", "1");
  // @ts-expect-error what is past need not be waited for
  documents.get("order-1", { atLeast: 1 });
  for await (const { after } of view.history("order-1", { decider: orders })) expectType<{ total: number }>()(after);
}

export async function replica(): Promise<void> {
  const reader = await openEventStoreReader({ url: "file:x", events: [order, cart] });
  expectType<EventStoreReader<Known>>()(reader);
  expectType<{ total: number }>()((await reader.load(orders, "1")).state);
  expectType<EventStoreView<Known>>()(reader.asOf(5));
  expectType<Blame<Placed> | undefined>()(await reader.blame("order-1"));
}

export async function untyped(): Promise<void> {
  const store = await openEventStore({ url: "memory:" });
  for await (const entry of store.history("any-1")) expectType<HistoryEntry>()(entry);
  expectType<Trace>()(await store.trace("c"));
}
