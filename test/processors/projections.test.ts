/** Projections as documents: inline, async and live; read your own write; secondary keys; what handlers do wrong. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { documentKey } from "../../src/format/processor-keys.ts";
import {
  defineEvents,
  defineProjection,
  defineReactor,
  defineSqlProjection,
  event,
  InvalidDocumentError,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import type { ProjectionMode } from "../../src/processors/define-projection.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import { backends, type Storage } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const order = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ customerId: v.string(), total: v.number() }) }),
  OrderCancelled: event({ schema: v.object({ customerId: v.string(), total: v.number() }) }),
  CustomerForgotten: event({ schema: v.object({ customerId: v.string() }) }),
});
const Totals = v.object({ orders: v.number(), total: v.pipe(v.number(), v.minValue(0)) });

function totals(mode: ProjectionMode, more: { version?: number; factor?: number } = {}) {
  const factor = more.factor ?? 1;
  return defineProjection("customer-totals", {
    version: more.version ?? 1,
    mode,
    events: [order],
    document: Totals,
    indexes: { bySize: ({ orders }) => (orders > 1 ? ["many", `n${orders}`] : "one") },
    on: {
      OrderPlaced: (e, docs) =>
        docs.update(e.data.customerId, (d) => ({
          orders: (d?.orders ?? 0) + 1,
          total: (d?.total ?? 0) + e.data.total * factor,
        })),
      OrderCancelled: (e, docs) => {
        const { orders, total } = docs.get(e.data.customerId) ?? { orders: 0, total: 0 };
        docs.set(e.data.customerId, { orders: orders - 1, total: total - e.data.total * factor });
      },
      CustomerForgotten: (e, docs) => docs.delete(e.data.customerId),
    },
  });
}

const placed = (customerId: string, total: number) => ({ type: "OrderPlaced", data: { customerId, total } }) as const;
const cancelled = (customerId: string, total: number) =>
  ({ type: "OrderCancelled", data: { customerId, total } }) as const;
const forgotten = (customerId: string) => ({ type: "CustomerForgotten", data: { customerId } }) as const;
const any = { expectedVersion: "any" } as const;

for (const backend of backends) {
  for (const mode of ["inline", "async", "live"] as const) {
    describe(`A projection (${mode}, ${backend.name})`, () => {
      test("keeps documents that are read by key, by range and by secondary key", async () => {
        await using storage: Storage = await backend.create();
        const projection = totals(mode);
        const options = { events: [order], projections: [projection] };
        await using store = await openEventStoreOn(await storage.open(), options);
        await store.append("order-1", [placed("ann", 10), placed("bob", 5), placed("ann", 7)], any);
        await store.append("order-2", [placed("cy", 1), cancelled("ann", 7), placed("cy", 2)], any);
        const { position: atLeast } = await store.append("order-3", [placed("bo\u0000b", 3), forgotten("bob")], any);
        const documents = store.documents(projection);
        expect(await documents.get("ann", { atLeast })).toEqual({ orders: 1, total: 10 });
        expect(await documents.get("bob")).toBeUndefined();
        expect(await documents.getMany(["cy", "nobody", "ann"])).toEqual([
          { orders: 2, total: 3 },
          undefined,
          { orders: 1, total: 10 },
        ]);
        const keys = async (options: object): Promise<string[]> =>
          (await collect(documents.list(options))).map(([key]) => key);
        expect(await keys({})).toEqual(["ann", "bo\u0000b", "cy"]);
        expect(await keys({ prefix: "bo" })).toEqual(["bo\u0000b"]);
        expect(await keys({ from: "b", to: "cy" })).toEqual(["bo\u0000b"]);
        expect(await keys({ after: "ann", limit: 1 })).toEqual(["bo\u0000b"]);
        expect(await collect(documents.find("bySize", "many"))).toEqual([["cy", { orders: 2, total: 3 }]]);
        expect((await collect(documents.find("bySize", "one"))).map(([key]) => key)).toEqual(["ann", "bo\u0000b"]);
        expect((await collect(documents.find("bySize", "one", { after: "ann" }))).length).toBe(1);
        expect(await collect(documents.find("bySize", "n1"))).toEqual([]);
        expect((await errorOf(collect(documents.find("byName" as "bySize", "x")))).code).toBe("invalid-argument");
      });
    });
  }
}

describe("An inline projection", () => {
  test("is read by whoever has appended, whatever shares the group, several commits to one document included", async () => {
    const gate = createGatedKv();
    const projection = totals("inline");
    await using store = await openEventStoreOn(gate.kv, { events: [order], projections: [projection] });
    gate.shut();
    const first = store.append("order-0", [placed("ann", 1)], any);
    await until(() => gate.waiting() === 1);
    const appends = Array.from({ length: 50 }, (_, n) => store.append(`order-${n}`, [placed("ann", 1)], any));
    const before = gate.batches.length;
    gate.open();
    await Promise.all([first, ...appends]);
    expect(gate.batches.length - before).toBe(2);
    expect(await store.documents(projection).get("ann")).toEqual({ orders: 51, total: 51 });
  });

  test("that throws rejects its commit alone, and leaves nothing of it", async () => {
    const gate = createGatedKv();
    const boom = defineProjection("boom", {
      version: 1,
      mode: "inline",
      document: v.number(),
      on: {
        OrderPlaced: (e, docs) => {
          docs.update("n", (n) => (n ?? 0) + 1);
          if (e.data.total === 13) throw new RangeError("not that");
        },
      },
    });
    const projections = [totals("inline"), boom];
    await using store = await openEventStoreOn(gate.kv, { events: [order], projections });
    gate.shut();
    const first = store.append("order-0", [placed("ann", 1)], any);
    await until(() => gate.waiting() === 1);
    const outcomes = Promise.allSettled([
      store.append("order-1", [placed("ann", 2)], any),
      store.append("order-2", [placed("bob", 2), placed("bob", 13)], any),
      store.append("order-3", [placed("ann", 4)], any),
      store.append("order-4", [cancelled("cy", 4)], any),
    ]);
    gate.open();
    await first;
    const [one, two, three, four] = await outcomes;
    expect([one.status, two.status, three.status, four.status]).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "rejected",
    ]);
    const thrown = await errorOf(store.append("order-2", [placed("bob", 13)], any));
    expect(thrown).toMatchObject({ code: "invalid-argument", outcome: "not-applied" });
    expect(thrown.message).toBe("boom.on.OrderPlaced threw: not that");
    const negative = await errorOf(store.append("order-4", [cancelled("cy", 4)], any));
    expect(negative).toMatchObject({ code: "invalid-document", outcome: "not-applied", key: "cy" });
    expect(await store.lastPosition()).toBe(3);
    expect(await store.documents(boom).get("n")).toBe(3);
    expect(await store.documents(projections[0] as ReturnType<typeof totals>).get("ann")).toEqual({
      orders: 3,
      total: 7,
    });
    expect(await collect(store.documents(boom).list())).toEqual([["n", 3]]);
  });

  test("whose secondary keys cannot be told rejects that commit alone", async () => {
    const gate = createGatedKv();
    const keyed = defineProjection("keyed", {
      version: 1,
      mode: "inline",
      document: v.number(),
      indexes: {
        by: (n) => {
          if (n === 13) throw new RangeError("no such key");
          return `n${n}`;
        },
      },
      on: { T: (e, docs) => docs.set(`k${e.data.n}`, e.data.n) },
    });
    await using store = await openEventStoreOn(gate.kv, { projections: [keyed], onError: () => {} });
    const append = (n: number) => store.append(`s-${n}`, [{ type: "T", data: { n } }], any);
    gate.shut();
    const first = append(1);
    await until(() => gate.waiting() === 1);
    const group = Promise.allSettled([append(2), append(13), append(3)]);
    gate.open();
    await first;
    expect((await group).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((await errorOf(append(13))).message).toBe("keyed.indexes.by threw: no such key");
    expect((await collect(store.documents(keyed).list())).length).toBe(3);
  });

  test("makes good at the next opening what was appended without it, a little or a lot", async () => {
    for (const count of [10, 3_000]) {
      const storage = createMemoryStorage();
      const projection = totals("inline");
      const options = { events: [order], projections: [projection] };
      {
        await using store = await openEventStoreOn(openMemoryKv(storage), options);
        await store.append("order-0", [placed("ann", 1)], any);
      }
      {
        await using store = await openEventStoreOn(openMemoryKv(storage), { events: [order] });
        for (let n = 0; n < count; n += 10)
          await store.append(
            `order-${n}`,
            Array.from({ length: 10 }, () => placed("ann", 1)),
            any,
          );
      }
      await using store = await openEventStoreOn(openMemoryKv(storage), options);
      expect(await store.documents(projection).get("ann")).toEqual({ orders: count + 1, total: count + 1 });
      await store.append("order-0", [placed("ann", 1)], any);
      expect(await store.documents(projection).get("ann")).toEqual({ orders: count + 2, total: count + 2 });
    }
  });

  test("is built from the log when it is new, while appends go on", async () => {
    const storage = createMemoryStorage();
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), { events: [order] });
      for (let n = 0; n < 500; n += 1)
        await store.append(
          `order-${n}`,
          Array.from({ length: 10 }, () => placed("ann", 1)),
          any,
        );
    }
    const projection = totals("inline");
    await using store = await openEventStoreOn(openMemoryKv(storage), { events: [order], projections: [projection] });
    let appended = 5_000;
    const documents = store.documents(projection);
    const first = documents.get("ann");
    for (let n = 0; n < 200; n += 1) {
      await store.append(`order-${n}`, [placed("ann", 1)], any);
      appended += 1;
    }
    await first;
    await store.append("order-1", [placed("ann", 1)], any);
    expect(await documents.get("ann")).toEqual({ orders: appended + 1, total: appended + 1 });
    expect(store.processors()[0]).toMatchObject({ state: "running", lagEvents: 0 });
  });

  test("with a bug does not keep the store shut, and whoever reads it is told", async () => {
    const storage = createMemoryStorage();
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), {});
      await store.append("s-1", [{ type: "T", data: {} }], any);
    }
    const broken = defineProjection("broken", {
      version: 1,
      mode: "inline",
      retries: { attempts: 1 },
      document: v.number(),
      on: {
        T: () => {
          throw new RangeError("mine");
        },
      },
    });
    const errors: unknown[] = [];
    const onError = (error: unknown): void => {
      errors.push(error);
    };
    const store = await openEventStoreOn(openMemoryKv(storage), { projections: [broken], onError });
    await until(() => store.processors()[0]?.state === "failed");
    expect(store.processors()[0]?.reason).toContain("mine");
    expect((await errorOf(store.documents(broken).get("x", { timeoutMs: 5 }))).code).toBe("overloaded");
    expect((await store.append("s-1", [{ type: "T", data: {} }], any)).position).toBe(2);
    const waiting = store.documents(broken).get("x");
    waiting.catch(() => {});
    await store.close();
    expect((await errorOf(waiting)).code).toBe("store-closed");
    expect(errors.length).toBeGreaterThan(0);
  });

  test("whose handler reads one document to find another gets both", async () => {
    const storage = createMemoryStorage();
    const chain = defineProjection("chain", {
      version: 1,
      mode: "inline",
      document: v.string(),
      on: {
        Linked: (e, docs) => docs.set(e.data.from, e.data.to),
        Followed: (e, docs) => {
          let at: string = e.data.from;
          for (let next = docs.get(at); next !== undefined; next = docs.get(at)) at = next;
          docs.set(`end of ${e.data.from}`, at);
        },
      },
    });
    const options = { projections: [chain] };
    {
      await using store = await openEventStoreOn(openMemoryKv(storage), options);
      const links = Array.from({ length: 20 }, (_, n) => ({ type: "Linked", data: { from: `${n}`, to: `${n + 1}` } }));
      await store.append("s-1", links, any);
    }
    await using store = await openEventStoreOn(openMemoryKv(storage), options);
    await store.append("s-1", [{ type: "Followed", data: { from: "3" } }], any);
    expect(await store.documents(chain).get("end of 3")).toBe("20");
  });
});

describe("An async projection", () => {
  test("that throws stops by default with the event at which it did, and goes on once it is mended", async () => {
    const storage = createMemoryStorage();
    const seen = (broken: boolean) =>
      defineProjection("seen", {
        version: 1,
        mode: "async",
        retries: { attempts: 2, delayMs: 1 },
        document: v.number(),
        on: {
          T: (e, docs) => {
            if (broken && e.data.n === 2) throw new RangeError("not two");
            docs.set(String(e.data.n), e.position);
          },
        },
      });
    const events = [1, 2, 3].map((n) => ({ type: "T", data: { n } }));
    {
      const projection = seen(true);
      await using store = await openEventStoreOn(openMemoryKv(storage), {
        projections: [projection],
        onError: () => {},
      });
      const { position } = await store.append("s-1", events, any);
      expect((await errorOf(store.documents(projection).get("1", { atLeast: position }))).code).toBe("overloaded");
      const [info] = store.processors();
      expect(info).toMatchObject({ state: "failed", position: 1, lagEvents: 2 });
      expect(await store.documents(projection).getMany(["1", "3"])).toEqual([1, undefined]);
      expect(info?.lastError?.message).toContain('failed at "T" of "s-1" at position 2: seen.on.T threw: not two');
      expect(info?.lastError?.position).toBe(2);
    }
    const projection = seen(false);
    await using store = await openEventStoreOn(openMemoryKv(storage), { projections: [projection] });
    await store.waitFor("seen", 3);
    expect((await collect(store.documents(projection).list())).length).toBe(3);
  });

  test("that may park goes on without the event, which can be replayed or skipped", async () => {
    let broken = true;
    const projection = defineProjection("seen", {
      version: 1,
      mode: "async",
      onFailure: "park",
      retries: { attempts: 2, delayMs: 1 },
      document: v.number(),
      on: {
        T: (e, docs) => {
          if (broken && e.data.n % 2 === 0) throw new RangeError("not even");
          docs.set(String(e.data.n), e.position);
        },
      },
    });
    await using store = await openEventStoreOn(openMemoryKv(), { projections: [projection], onError: () => {} });
    const { position } = await store.append(
      "s-1",
      [1, 2, 3, 4].map((n) => ({ type: "T", data: { n } })),
      any,
    );
    await store.waitFor("seen", position);
    const keys = async (): Promise<string[]> => (await collect(store.documents(projection).list())).map(([key]) => key);
    expect(await keys()).toEqual(["1", "3"]);
    const parked = await collect(store.parked("seen"));
    expect(parked.map((one) => [one.position, one.error])).toEqual([
      [2, "seen.on.T threw: not even"],
      [4, "seen.on.T threw: not even"],
    ]);
    expect(store.processors()[0]?.parked).toBe(2);
    expect(await store.replayParked("seen")).toEqual({ replayed: 0, parked: 2 });
    broken = false;
    await store.skipParked(parked[0]?.id ?? "");
    expect(await store.replayParked("seen")).toEqual({ replayed: 1, parked: 0 });
    expect(await keys()).toEqual(["1", "3", "4"]);
    expect(store.processors()[0]?.parked).toBe(0);
    expect((await errorOf(store.skipParked("x"))).code).toBe("invalid-argument");
    expect((await errorOf(store.replayParked("nobody"))).code).toBe("invalid-argument");
  });

  test("that writes what is no document says so at the event that did, or parks it, and holds up nobody", async () => {
    const odd: Readonly<Record<string, unknown>> = { f: () => 1, n: Number.NaN, d: new Date(Number.NaN), u: undefined };
    const kept = (name: string, onFailure: "stop" | "park") =>
      defineProjection(name, {
        version: 1,
        mode: "async",
        retries: { attempts: 2, delayMs: 1 },
        onFailure,
        document: v.any(),
        on: {
          T: (e, docs) => docs.set(e.data.key, { of: odd[e.data.odd] ?? (e.data.odd === "u" ? undefined : "fine") }),
        },
      });
    const parking = kept("parking", "park");
    const stopping = kept("stopping", "stop");
    await using store = await openEventStoreOn(openMemoryKv(), { projections: [stopping, parking], onError: () => {} });
    const write = (key: string, what = "") => ({ type: "T", data: { key, odd: what } });
    const events = [
      write("a"),
      write("u", "u"),
      write("b", "f"),
      write("c", "n"),
      write("d"),
      write("d", "d"),
      write("e"),
    ];
    const { position } = await store.append("s-1", events, any);
    await store.waitFor("parking", position);
    const parked = await collect(store.parked("parking"));
    expect(parked.map((one) => one.position)).toEqual([3, 4, 6]);
    expect(parked[0]?.error).toContain("b");
    expect((await collect(store.documents(parking).list())).map(([key]) => key)).toEqual(["a", "d", "e", "u"]);
    await until(() => store.processors()[0]?.state === "failed");
    expect(store.processors()[0]).toMatchObject({ position: 2, lastError: { position: 3 } });
    expect(store.processors()[0]?.reason).toContain("must be plain data");
    expect((await collect(store.documents(stopping).list())).map(([key]) => key)).toEqual(["a", "u"]);
  });

  test("whose one event changes very many documents still fits", async () => {
    const projection = defineProjection("fan", {
      version: 1,
      mode: "async",
      document: v.number(),
      on: {
        T: (e, docs) => {
          for (let n = 0; n < 3_000; n += 1) docs.update(`d${n}`, (d) => (d ?? 0) + e.data.by);
        },
      },
    });
    await using store = await openEventStoreOn(openMemoryKv(), { projections: [projection] });
    const { position: atLeast } = await store.append(
      "s-1",
      Array.from({ length: 20 }, () => ({ type: "T", data: { by: 1 } })),
      any,
    );
    expect(await store.documents(projection).get("d2999", { atLeast })).toBe(20);
    expect((await collect(store.documents(projection).list())).every(([, n]) => n === 20)).toBe(true);
  });

  test("commits its documents and its checkpoint together", async () => {
    const gate = createGatedKv();
    const projection = totals("async");
    await using store = await openEventStoreOn(gate.kv, { events: [order], projections: [projection] });
    const { position } = await store.append("order-1", [placed("ann", 1), placed("bob", 2)], any);
    await store.waitFor("customer-totals", position);
    const batch = gate.batches.at(-1)?.map(({ key }) => key[0]);
    expect(batch?.toSorted()).toEqual([0x71, 0x72, 0x72, 0x73, 0x73]);
  });
});

describe("A document", () => {
  test("that is damaged, or against its schema, is an error that names it", async () => {
    const storage = createMemoryStorage();
    const projection = totals("async");
    const lax = defineProjection("customer-totals", {
      version: 1,
      mode: "async",
      document: v.any(),
      on: { OrderPlaced: (e, docs) => docs.set(e.data.customerId, { orders: "many" }) },
    });
    {
      const { store, core } = await openWithCore(openMemoryKv(storage), { events: [order], projections: [lax] });
      await store.append("order-1", [placed("ann", 1), placed("bob", 1)], any);
      await store.waitFor("customer-totals", 2);
      const key = documentKey("customer-totals", 1, "bob");
      await core.submit({ rows: [{ kind: "put", key, value: Buffer.from("rubbish") }] });
      await store.close();
    }
    const options = { events: [order], projections: [projection], onError: () => {} };
    await using store = await openEventStoreOn(openMemoryKv(storage), options);
    const against = await errorOf(store.documents(projection).get("ann"));
    expect(against).toBeInstanceOf(InvalidDocumentError);
    expect(against).toMatchObject({ code: "invalid-document", key: "ann", projection: "customer-totals" });
    expect(against.message).toContain("document.orders");
    const damaged = await errorOf(store.documents(projection).get("bob"));
    expect(damaged.message).toBe('Document "bob" of "customer-totals" is damaged');
    expect((await errorOf(collect(store.documents(projection).list()))).code).toBe("invalid-document");
    await store.rebuild("customer-totals");
    expect(await store.documents(projection).get("bob")).toEqual({ orders: 1, total: 1 });
  });
});

describe("Folding on demand", () => {
  test("makes a state of what matches, now or up to a position", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), { events: [order] });
    await store.append("order-1", [placed("ann", 3), placed("bob", 4), forgotten("ann"), placed("ann", 5)], any);
    const sum = {
      filter: { types: ["OrderPlaced" as const] },
      initialState: () => 0,
      evolve: { OrderPlaced: (state: number, e: { data: { total: number } }) => state + e.data.total },
    };
    expect(await store.fold(sum)).toEqual({ state: 12, position: 4 });
    expect(await store.fold({ ...sum, toPosition: 2 })).toEqual({ state: 7, position: 2 });
  });
});

describe("Definitions", () => {
  test("that are none are refused, and so are documents of projections that the store does not know", async () => {
    const wrong = [
      { version: 0, mode: "async", document: v.any(), on: {} },
      { version: 1, mode: "later", document: v.any(), on: {} },
      { version: 1, mode: "async", document: {}, on: {} },
      { version: 1, mode: "async", document: v.any(), on: { T: 1 } },
      { version: 1, mode: "async", document: v.any(), on: {}, filter: { typs: [] } },
      { version: 1, mode: "async", document: v.any(), on: {}, more: 1 },
      { version: 1, mode: "async", document: v.any(), on: {}, retries: { attempts: 0 } },
    ];
    for (const options of wrong)
      expect((await errorOf(() => defineProjection("p", options as never))).code).toBe("invalid-argument");
    const misspelt = { OrderPlacd: () => {} } as object;
    const common = { version: 1, events: [order], on: misspelt };
    const unheard = [
      () => defineProjection("p", { ...common, mode: "async", document: v.any() }),
      () => defineReactor("r", { ...common, mode: "async" }),
      () => defineSqlProjection("s", { ...common, database: "sqlite::memory:", create: () => {} }),
    ];
    for (const define of unheard) expect((await errorOf(define)).message).toContain("on.OrderPlacd is not a type");
    const twice = openEventStoreOn(openMemoryKv(), {
      events: [order],
      projections: [totals("async"), totals("inline")],
    });
    expect((await errorOf(twice)).message).toContain("is that of two processors");
    const live = openEventStoreOn(openMemoryKv(), { events: [order], projections: [totals("live"), totals("async")] });
    expect((await errorOf(live)).message).toContain("is that of two processors");
    const unknown = openEventStoreOn(openMemoryKv(), { projections: [totals("async")] });
    expect((await errorOf(unknown)).code).toBe("invalid-argument");
    const none = openEventStoreOn(openMemoryKv(), { projections: [{ name: "x" } as never] });
    expect((await errorOf(none)).code).toBe("invalid-argument");
    await using store = await openEventStoreOn(openMemoryKv(), {});
    expect((await errorOf(() => store.documents(totals("async")))).code).toBe("invalid-argument");
  });
});
