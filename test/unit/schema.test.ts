/** Definitions: what they refuse, what they derive, and how what was stored under older ones is read. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { defineEvents, type EventStore, event, InvalidEventError, type RecordedEvent, split } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf, take } from "../support/collect.ts";

setDefaultTimeout(60_000);

const order = defineEvents("order", {
  OrderPlaced: event({
    schema: v.object({
      customerId: v.string(),
      total: v.pipe(v.number(), v.minValue(0)),
      note: v.optional(v.string(), "none"),
    }),
    tags: (data) => [`customer:${data.customerId}`],
  }),
  ItemAdded: event({
    schema: v.object({ items: v.array(v.object({ sku: v.pipe(v.string(), v.nonEmpty()) })) }),
  }),
});

test("Invalid data is refused with the path of each problem, and nothing is written", async () => {
  await using store = await openEventStoreOn(openMemoryKv(), { events: [order] });
  const data = { items: [{ sku: "a" }, { sku: "" }, { sku: 3 as unknown as string }] };
  const error = await errorOf(store.append("order-1", [{ type: "ItemAdded", data }], { expectedVersion: "any" }));
  expect(error).toBeInstanceOf(InvalidEventError);
  expect(error).toMatchObject({ code: "invalid-event", eventType: "ItemAdded", outcome: "not-applied" });
  expect((error as InvalidEventError).issues.map((issue) => issue.path)).toEqual([
    "data.items.1.sku",
    "data.items.2.sku",
  ]);
  expect(error.message).toContain("data.items.1.sku");
  expect(await store.lastPosition()).toBe(0);
});

test("What the schema makes of the data is stored, and tags are derived from that", async () => {
  await using store = await openEventStoreOn(openMemoryKv(), { events: [order] });
  const events = [{ type: "OrderPlaced", data: { customerId: "c1", total: 1 }, tags: ["vip", "customer:c1"] }] as const;
  await store.append("order-1", events, { expectedVersion: "no-stream" });
  const [read] = await collect(store.readAll({ filter: { tags: ["customer:c1", "vip"] } }));
  expect(read).toMatchObject({ data: { customerId: "c1", total: 1, note: "none" }, tags: ["customer:c1", "vip"] });
});

test("An event's schema version is kept where there are no definitions, and must be today's where there are", async () => {
  await using plain = await openEventStoreOn(openMemoryKv(), {});
  await plain.append("a-1", [{ type: "T", data: 1, schemaVersion: 3 }], { expectedVersion: "any" });
  expect((await collect(plain.readAll()))[0]?.schemaVersion).toBe(3);
  await using typed = await openEventStoreOn(openMemoryKv(), { events: [order] });
  const added: { type: "ItemAdded"; data: { items: { sku: string }[] } } = {
    type: "ItemAdded",
    data: { items: [{ sku: "a" }] },
  };
  const good = { ...added, schemaVersion: 1 };
  const error = await errorOf(
    typed.append("order-1", [good, { ...added, schemaVersion: 2 }], { expectedVersion: "any" }),
  );
  expect(error).toMatchObject({ code: "invalid-event", argument: "events[1]" });
  await typed.append("order-1", [good], { expectedVersion: "no-stream" });
});

test("A type or category without a definition is refused", async () => {
  await using store = (await openEventStoreOn(openMemoryKv(), { events: [order] })) as unknown as EventStore;
  const type = await errorOf(store.append("order-1", [{ type: "Unheard", data: {} }], { expectedVersion: "any" }));
  expect(type.code).toBe("invalid-event");
  const category = await errorOf(
    store.append("cart-1", [{ type: "OrderPlaced", data: {} }], { expectedVersion: "any" }),
  );
  expect(category.code).toBe("invalid-argument");
});

/** Stores events without definitions, then reads them with some. */
async function stored<const Definitions extends ReturnType<typeof defineEvents>>(
  events: readonly { type: string; data: unknown }[],
  definitions: Definitions,
  work: (store: EventStore) => Promise<void>,
): Promise<void> {
  const storage = createMemoryStorage();
  const before = await openEventStoreOn(openMemoryKv(storage), {});
  await before.append("order-1", events, { expectedVersion: "no-stream" });
  await before.close();
  await using after = await openEventStoreOn(openMemoryKv(storage), { events: [definitions] });
  await work(after as unknown as EventStore);
}

describe("Upcasting", () => {
  const old = [
    { type: "ItemAdded", data: { product: "p", qty: 2 } },
    { type: "ItemAdded", data: { product: "q", qty: 3 } },
  ];

  test("leads through a chain of versions to today's", async () => {
    const definitions = defineEvents("order", {
      ItemAdded: event({
        version: 3,
        schema: v.object({ sku: v.string(), quantity: v.number(), unit: v.string() }),
        upcast: {
          1: (data) => ({ sku: data.product, quantity: data.qty }),
          2: (data, context) => ({ ...data, unit: context.streamName }),
        },
      }),
    });
    await stored(old, definitions, async (store) => {
      const events = await collect(store.readStream("order-1"));
      expect(events.map((event) => event.data)).toEqual([
        { sku: "p", quantity: 2, unit: "order-1" },
        { sku: "q", quantity: 3, unit: "order-1" },
      ]);
      expect(events.map((event) => event.schemaVersion)).toEqual([3, 3]);
      const followed = await take(store.subscribe({ from: "start" }), 2);
      expect(followed).toEqual(events);
    });
  });

  test("turns one event into several, or none, which filters find by their new types", async () => {
    const definitions = defineEvents("order", {
      ItemAdded: event({
        version: 2,
        schema: v.never(),
        splitsInto: ["SkuAdded", "QuantitySet"],
        upcast: {
          1: (data) =>
            split(
              data.product === "p"
                ? [
                    { type: "SkuAdded", data: { sku: data.product } },
                    { type: "QuantitySet", data: { quantity: data.qty } },
                  ]
                : [],
            ),
        },
      }),
      SkuAdded: event({ schema: v.object({ sku: v.string() }) }),
      QuantitySet: event({ schema: v.object({ quantity: v.number() }) }),
    });
    await stored(old, definitions, async (store) => {
      const shape = ({ type, data, version }: RecordedEvent): unknown => ({ type, data, version });
      expect((await collect(store.readStream("order-1"))).map(shape)).toEqual([
        { type: "SkuAdded", data: { sku: "p" }, version: 1 },
        { type: "QuantitySet", data: { quantity: 2 }, version: 1 },
      ]);
      const parts = (await collect(store.readStream("order-1"))).map((one) => one.part);
      expect(parts).toEqual([
        { index: 0, count: 2 },
        { index: 1, count: 2 },
      ]);
      // A page never ends inside a split event: whoever went on behind it would miss the rest.
      expect((await collect(store.readAll({ limit: 1 }))).length).toBe(2);
      const found = await collect(store.readAll({ filter: { types: ["QuantitySet"] } }));
      expect(found.map(shape)).toEqual([{ type: "QuantitySet", data: { quantity: 2 }, version: 1 }]);
    });
  });

  test("reads events under the name that their type has now", async () => {
    const definitions = defineEvents("order", {
      LineAdded: event({ schema: v.object({ product: v.string(), qty: v.number() }), formerNames: ["ItemAdded"] }),
    });
    await stored(old, definitions, async (store) => {
      const events = await collect(store.readAll({ filter: { types: ["LineAdded"] } }));
      expect(events.map((event) => event.type)).toEqual(["LineAdded", "LineAdded"]);
      expect(
        (await errorOf(store.append("order-1", [{ type: "ItemAdded", data: {} }], { expectedVersion: "any" }))).code,
      ).toBe("invalid-event");
    });
  });

  test("keeps former names within their category, in reads and in conditions", async () => {
    const orders = defineEvents("order", { Created: event({ schema: v.any(), formerNames: ["Made"] }) });
    const carts = defineEvents("cart", { Made: event({ schema: v.any() }) });
    await using store = await openEventStoreOn(openMemoryKv(), { events: [orders, carts] });
    await store.append("cart-1", [{ type: "Made", data: 1 }], { expectedVersion: "any" });
    const filter = { types: ["Created"] } as const;
    await store.append("order-1", [{ type: "Created", data: 1 }], { expectedVersion: "any", failIfMatch: { filter } });
    expect((await collect(store.readAll({ filter }))).map((one) => one.streamName)).toEqual(["order-1"]);
    expect(
      (
        await errorOf(
          store.append("order-2", [{ type: "Created", data: 1 }], { expectedVersion: "any", failIfMatch: { filter } }),
        )
      ).code,
    ).toBe("conflict");
  });

  test("that fails makes a conflict by query no less certain", async () => {
    const definitions = defineEvents("order", {
      ItemAdded: event({
        version: 2,
        schema: v.any(),
        upcast: {
          1: () => {
            throw new Error("no way");
          },
        },
      }),
    });
    await stored(old, definitions, async (store) => {
      const added = { type: "ItemAdded", data: {}, id: "mine" };
      const failIfMatch = { filter: { types: ["ItemAdded"] } };
      const error = await errorOf(store.append("order-2", [added], { expectedVersion: "any", failIfMatch }));
      expect(error).toMatchObject({ code: "conflict", outcome: "not-applied", conflictingEvents: [] });
      expect(await store.streamInfo("order-2")).toBeUndefined();
    });
  });

  test("refuses upcasters that return nothing, or a promise", async () => {
    for (const upcaster of [() => undefined, async () => ({})]) {
      const definitions = defineEvents("order", {
        ItemAdded: event({ version: 2, schema: v.any(), upcast: { 1: upcaster } }),
      });
      await stored(old, definitions, async (store) => {
        expect((await errorOf(collect(store.readAll()))).code).toBe("unreadable-event");
      });
    }
  });

  test("says which stored event cannot be read, when an upcaster throws or the version is newer", async () => {
    const throwing = defineEvents("order", {
      ItemAdded: event({
        version: 2,
        schema: v.object({}),
        upcast: {
          1: () => {
            throw new Error("no idea");
          },
        },
      }),
    });
    await stored(old, throwing, async (store) => {
      const error = await errorOf(collect(store.readStream("order-1", { fromVersion: 2 })));
      expect(error).toMatchObject({ code: "unreadable-event", streamName: "order-1", version: 2, position: 2 });
      expect(error.cause).toBeInstanceOf(Error);
    });
    const storage = createMemoryStorage();
    const newer = defineEvents("order", {
      A: event({ version: 2, schema: v.object({}), upcast: { 1: (data) => data } }),
    });
    const writer = await openEventStoreOn(openMemoryKv(storage), { events: [newer] });
    await writer.append("order-1", [{ type: "A", data: {} }], { expectedVersion: "any" });
    await writer.close();
    const older = defineEvents("order", { A: event({ schema: v.object({}) }) });
    await using reader = await openEventStoreOn(openMemoryKv(storage), { events: [older] });
    expect((await errorOf(collect(reader.readAll()))).code).toBe("unreadable-event");
  });
});

test("A schema of another Standard Schema library will do", async () => {
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value: unknown) =>
        typeof value === "number"
          ? { value: value * 2 }
          : { issues: [{ message: "no number", path: ["x", { key: 1 }] }] },
    },
  } as const;
  const definitions = defineEvents("n", { N: event({ schema }) });
  await using store = await openEventStoreOn(openMemoryKv(), { events: [definitions] });
  await store.append("n-1", [{ type: "N", data: 4 }], { expectedVersion: "any" });
  expect((await collect(store.readAll()))[0]?.data).toBe(8);
  const error = await errorOf(store.append("n-1", [{ type: "N", data: "4" }], { expectedVersion: "any" }));
  expect((error as InvalidEventError).issues).toEqual([{ path: "data.x.1", message: "no number" }]);
});

const object = v.object({});
const mistakes: readonly (readonly [string, () => unknown])[] = [
  ["no schema", () => event({} as never)],
  ["a schema that is none", () => event({ schema: { parse: () => 1 } as never })],
  ["a version below 1", () => event({ schema: object, version: 0 })],
  ["a version that is no integer", () => event({ schema: object, version: 1.5 })],
  ["a missing upcaster", () => event({ schema: object, version: 3, upcast: { 1: (data) => data } })],
  ["an upcaster of today's version", () => event({ schema: object, version: 1, upcast: { 1: (data) => data } })],
  ["an upcaster that is no function", () => event({ schema: object, version: 2, upcast: { 1: 5 as never } })],
  ["a category with a dash", () => defineEvents("a-b", {})],
  ["an empty category", () => defineEvents("", {})],
  ["a type that event() did not make", () => defineEvents("a", { A: {} as never })],
  [
    "two types of one former name",
    () => defineEvents("a", { A: event({ schema: object, formerNames: ["B"] }), B: event({ schema: object }) }),
  ],
];

for (const [name, define] of mistakes) {
  test(`A definition with ${name} is refused when it is made`, async () => {
    expect((await errorOf(define)).code).toBe("invalid-argument");
  });
}

test("Opening refuses a category that is defined twice, and parts that are not defined", async () => {
  expect((await errorOf(openEventStoreOn(openMemoryKv(), { events: [order, order] }))).code).toBe("invalid-argument");
  const dangling = defineEvents("a", { A: event({ schema: object, splitsInto: ["Nowhere"] }) });
  expect((await errorOf(openEventStoreOn(openMemoryKv(), { events: [dangling] }))).code).toBe("invalid-argument");
});
