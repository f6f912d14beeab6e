#!/usr/bin/env bun
/**
 * `bun run start [--url URL]`: Strata on a small shop, in a few seconds. Everything shown happens: the errors are thrown, the
 * figures are measured on this machine in this run. Runs on the same folder as often as one likes.
 */

import { parseArgs } from "node:util";
import * as v from "valibot";
import {
  ConflictError,
  defineEvents,
  type EventStore,
  EventStoreError,
  event,
  InvalidEventError,
  openEventStore,
  type RecordedEventOf,
} from "../index.ts";
import { chapter, figure, refused, say, show } from "./narrator.ts";

const cents = v.pipe(v.number(), v.integer(), v.minValue(0));

/** What happens in the shop. */
const orderEvents = defineEvents("order", {
  OrderPlaced: event({
    schema: v.object({ customerId: v.pipe(v.string(), v.nonEmpty()), currency: v.picklist(["EUR", "USD"]) }),
    tags: (data) => [`customer:${data.customerId}`],
  }),
  ItemAdded: event({
    schema: v.object({ sku: v.string(), quantity: v.pipe(v.number(), v.integer(), v.minValue(1)), priceCents: cents }),
    tags: (data) => [`sku:${data.sku}`],
  }),
  OrderPaid: event({ schema: v.object({ amountCents: cents }) }),
});

type Shop = EventStore<typeof orderEvents>;
type OrderEvent = RecordedEventOf<typeof orderEvents>;

const usage = `Usage: bun run start [--url URL] [--endpoint URL] [--create-bucket]

  --url URL         memory:, file:DIR or s3://bucket/prefix; default file:.data/shop
  --endpoint URL    the S3 server, where it is not Amazon's; credentials come from AWS_*
  --create-bucket   make the bucket where there is none`;

const { values } = parseArgs({
  options: {
    url: { type: "string", default: "file:.data/shop" },
    endpoint: { type: "string" },
    "create-bucket": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function open(): Promise<Shop> {
  const s3 = {
    createBucket: values["create-bucket"],
    ...(values.endpoint === undefined ? {} : { endpoint: values.endpoint }),
  };
  return openEventStore({ url: values.url, events: [orderEvents], s3 });
}

/** What an order comes to: a fold over its events. */
function totalOf(events: readonly OrderEvent[]): number {
  return events.reduce(
    (sum, one) => (one.type === "ItemAdded" ? sum + one.data.quantity * one.data.priceCents : sum),
    0,
  );
}

function euros(cents: number): string {
  return `${(cents / 100).toFixed(2)} EUR`;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Runs what must fail, and answers with how. */
async function failure(work: Promise<unknown>): Promise<EventStoreError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof EventStoreError) return error;
    throw error;
  }
  throw new Error("This should have been refused");
}

async function placeOrder(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("A customer places an order");
  const done = await store.append(
    order,
    [
      { type: "OrderPlaced", data: { customerId: "kim", currency: "EUR" }, metadata: { actor: "kim" } },
      { type: "ItemAdded", data: { sku: "teapot", quantity: 1, priceCents: 2_450 }, metadata: { actor: "kim" } },
    ],
    { expectedVersion: "no-stream" },
  );
  show("stream", order);
  show("version, position", `${done.streamVersion}, ${done.position}`);
  say("Both events are on the object store now: that is when append resolves.");
}

async function refuseBadEvent(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("A bad event is refused, by path, before anything is written");
  const bad = { type: "ItemAdded", data: { sku: "cup", quantity: 0, priceCents: 3.5 } } as const;
  const error = await failure(store.append(order, [bad], { expectedVersion: 2 }));
  for (const issue of error instanceof InvalidEventError ? error.issues : [])
    refused(error.code, `${issue.path}: ${issue.message}`);
  show("version still", String((await store.streamInfo(order))?.version));
}

async function resolveConflict(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("Two browser tabs, one order: a conflict, and its retry");
  const cups = { type: "ItemAdded", data: { sku: "cup", quantity: 4, priceCents: 650 } } as const;
  await store.append(order, [cups], { expectedVersion: 2 });
  say("Tab A added cups, having seen version 2.");
  const tray = { type: "ItemAdded", data: { sku: "tray", quantity: 1, priceCents: 1_800 } } as const;
  const error = await failure(store.append(order, [tray], { expectedVersion: 2 }));
  refused(error.code, error.message);
  const seen = error instanceof ConflictError ? error : undefined;
  say(
    `Tab B is told what came between: ${seen?.conflictingEvents.map((one) => one.type).join(", ")}. It looks and decides again.`,
  );
  const retried = await store.append(order, [tray], { expectedVersion: seen?.actualVersion ?? "any" });
  show("version, position", `${retried.streamVersion}, ${retried.position}`);
}

async function repeatPayment(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("The network hiccups: the payment is sent twice, and happens once");
  const payment = { type: "OrderPaid", id: crypto.randomUUID(), data: { amountCents: 6_850 } } as const;
  const first = await store.append(order, [payment], { expectedVersion: 4 });
  const second = await store.append(order, [payment], { expectedVersion: 4 });
  show("first", `position ${first.position}, replayed: ${first.replayed}`);
  show("second", `position ${second.position}, replayed: ${second.replayed}`);
}

async function replay(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("Replay: the state is a fold over what happened");
  const events = await collect(store.readStream(order));
  for (const one of events)
    say(`${String(one.version).padStart(2)}  ${one.type.padEnd(12)} ${JSON.stringify(one.data)}`);
  show("the order comes to", euros(totalOf(events)));
  const bought = await collect(store.readAll({ filter: { tags: ["sku:teapot"] } }));
  show("teapots ever ordered", String(bought.length));
}

async function travel(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("Time travel: the same order, as it was");
  const [, second] = await collect(store.readStream(order, { limit: 2 }));
  if (second === undefined) return;
  const then = await collect(store.asOf(second.position).readStream(order));
  show(`as of position ${second.position}`, `${then.length} events, ${euros(totalOf(then))}`);
  const before = await collect(store.asOf(new Date(second.recordedAt.getTime() - 1)).readStream(order));
  show("a millisecond before", `${before.length} events`);
  show("now", euros(totalOf(await collect(store.readStream(order)))));
}

async function follow(store: Shop): Promise<void> {
  chapter("A live subscriber, and a handler on the in-process bus");
  const customer = `customer-${crypto.randomUUID().slice(0, 8)}`;
  const filter = { tags: [`customer:${customer}`] };
  let heard = 0;
  const off = store.on(filter, () => {
    heard += 1;
  });
  const sent = new Map<string, number>();
  const following = (async () => {
    const delays: number[] = [];
    for await (const one of store.subscribe({ from: "end", filter })) {
      delays.push(performance.now() - (sent.get(one.streamName) ?? 0));
      if (delays.length === 5) return delays;
    }
    return delays;
  })();
  for (let n = 0; n < 5; n += 1) {
    const order = `order-${crypto.randomUUID()}` as const;
    sent.set(order, performance.now());
    await store.append(order, [{ type: "OrderPlaced", data: { customerId: customer, currency: "EUR" } }], {
      expectedVersion: "no-stream",
    });
  }
  const delays = (await following).toSorted((left, right) => left - right);
  off();
  show("subscriber saw", `${delays.length} orders, in the median ${delays[2]?.toFixed(1)} ms after append was called`);
  show("handler heard", `${heard} orders`);
}

async function measure(store: Shop): Promise<void> {
  chapter("A few figures, measured now");
  const added = { type: "ItemAdded", data: { sku: "bench", quantity: 1, priceCents: 100 } } as const;
  const single: number[] = [];
  for (let n = 0; n < 100; n += 1) {
    const began = performance.now();
    await store.append(`order-${crypto.randomUUID()}`, [added], { expectedVersion: "no-stream" });
    single.push(performance.now() - began);
  }
  single.sort((left, right) => left - right);
  show(
    "one appender",
    `${single[50]?.toFixed(2)} ms in the median, ${single[98]?.toFixed(2)} ms at the 99th percentile`,
  );
  const until = performance.now() + 1_000;
  let appended = 0;
  const appender = async (): Promise<void> => {
    while (performance.now() < until) {
      await store.append(`order-${crypto.randomUUID()}`, [added], { expectedVersion: "no-stream" });
      appended += 1;
    }
  };
  const beganAppending = performance.now();
  await Promise.all(Array.from({ length: 64 }, appender));
  show(
    "64 appenders",
    `${figure(appended / ((performance.now() - beganAppending) / 1_000))} appends/s, each durable, each to a new stream`,
  );
  const beganReplay = performance.now();
  const replayMs = 1_000;
  let replayed = 0;
  while (performance.now() - beganReplay < replayMs) {
    for await (const one of store.readAll()) {
      replayed += one.data === undefined ? 0 : 1;
      if (performance.now() - beganReplay > replayMs) break;
    }
  }
  const seconds = (performance.now() - beganReplay) / 1_000;
  show("replay", `${figure(replayed / seconds)} events/s, decoded (${figure(replayed)} read)`);
}

async function takeOver(store: Shop, order: `order-${string}`): Promise<void> {
  chapter("A second writer opens the same store, and fences the first");
  if (values.url === "memory:") {
    say("In memory each open is a store of its own, so there is nobody to fence. Try it on a folder or a bucket.");
    return;
  }
  const before = await store.lastPosition();
  await using second = await open();
  say("The second writer is open. The first one, unaware, appends:");
  const error = await failure(
    store.append(order, [{ type: "OrderPaid", data: { amountCents: 1 } }], { expectedVersion: "any" }),
  );
  refused(error.code, `${error.message} (outcome: ${error.outcome})`);
  show(
    "second writer has",
    `${figure(await second.lastPosition())} events, as many as before: ${(await second.lastPosition()) === before}`,
  );
  const last = await second.append(order, [{ type: "OrderPaid", data: { amountCents: 6_850 } }], {
    expectedVersion: 5,
  });
  show("and goes on", `version ${last.streamVersion}, position ${last.position}`);
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return;
  }
  process.stdout.write(`Strata: a small shop on ${values.url}\n`);
  const store = await open();
  try {
    const known = await store.lastPosition();
    say(known === 0 ? "The store is new." : `The store holds ${figure(known)} events from earlier runs.`);
    const order = `order-${crypto.randomUUID()}` as const;
    await placeOrder(store, order);
    await refuseBadEvent(store, order);
    await resolveConflict(store, order);
    await repeatPayment(store, order);
    await replay(store, order);
    await travel(store, order);
    await follow(store);
    await measure(store);
    await takeOver(store, order);
  } finally {
    await store.close();
  }
  process.stdout.write(values.url === "memory:" ? "\n" : `\nRun it again: it goes on with what is in ${values.url}.\n`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof EventStoreError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
}
