/** Trees of causes: by correlation ids that were given and those that came of themselves, in bounds. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { openEventStore, type TraceNode } from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { backends } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";

setDefaultTimeout(60_000);

/** A tree as text: ids, and in brackets what they led to. */
function shapeOf(nodes: readonly TraceNode[]): string {
  return nodes
    .map(({ event, effects }) => (effects.length === 0 ? event.id : `${event.id}(${shapeOf(effects)})`))
    .join(" ");
}

for (const backend of backends) {
  describe(`A trace, ${backend.name}`, () => {
    test("is the tree of what led to what, across streams", async () => {
      await using storage = await backend.create();
      await using store = await openEventStoreOn(await storage.open(), {});
      const one = (id: string, causationId?: string, correlationId = "c") => ({
        ...{ type: "T", id, data: { id } },
        metadata: { correlationId, ...(causationId === undefined ? {} : { causationId }) },
      });
      await store.append("a-1", [one("1"), one("x", undefined, "other")], { expectedVersion: "any" });
      await store.append("b-1", [one("2", "1"), one("3", "1")], { expectedVersion: "any" });
      await store.append("c-1", [one("4", "2"), one("y", "x", "other")], { expectedVersion: "any" });
      await store.append("d-1", [one("5", "somewhere else"), one("6", "4")], { expectedVersion: "any" });
      await store.append("d-1", [{ type: "T", data: "it says c, and is not of it" }], { expectedVersion: "any" });
      const trace = await store.trace("c");
      expect(shapeOf(trace.roots)).toBe("1(2(4(6)) 3) 5");
      expect(trace).toMatchObject({ correlationId: "c", events: 6, fromPosition: 1, toPosition: 9, complete: true });
      expect(shapeOf((await store.trace("other")).roots)).toBe("x(y)");
      expect(shapeOf((await store.asOf(4).trace("c")).roots)).toBe("1(2 3)");
      expect(await store.trace("nobody")).toMatchObject({ roots: [], events: 0, complete: true });
    });
  });
}

describe("A trace", () => {
  test("follows what handlers append by themselves, from the first event's own id", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const react = (type: string, next: string): void => {
      store.on({ types: [type] }, () =>
        store.append(`${next}-1`, [{ type: next, data: {} }], { expectedVersion: "any" }),
      );
    };
    react("Placed", "Billed");
    react("Placed", "Packed");
    react("Billed", "Mailed");
    await store.append("order-1", [{ type: "Placed", data: {}, metadata: { actor: "kim" } }], {
      expectedVersion: "any",
    });
    await until(async () => (await store.lastPosition()) === 4);
    const [placed] = await collect(store.readStream("order-1"));
    const { roots, events } = await store.trace(placed?.id ?? "");
    const types = (nodes: readonly TraceNode[]): unknown =>
      nodes.map(({ event, effects }) => [event.type, types(effects)]);
    expect(events).toBe(4);
    expect(types(roots)).toEqual([
      [
        "Placed",
        [
          ["Billed", [["Mailed", []]]],
          ["Packed", []],
        ],
      ],
    ]);
    const [mailed] = await collect(store.history("Mailed-1"));
    expect(mailed?.causes.map(({ event }) => event?.type)).toEqual(["Billed", "Placed"]);
    expect([mailed?.actor, mailed?.correlationId]).toEqual(["kim", placed?.id as string]);
  });

  test("finds ids however they are stored: of any text, in metadata that JSON cannot say", async () => {
    const id = fc.oneof(fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }), fc.uuid());
    await fc.assert(
      fc.asyncProperty(id, fc.boolean(), async (correlationId, extended) => {
        fc.pre(correlationId.isWellFormed());
        await using store = await openEventStoreOn(openMemoryKv(), {});
        const metadata = { correlationId, ...(extended ? { at: new Date(0) } : {}) };
        await store.append("a-1", [{ type: "T", id: correlationId, data: 1 }], { expectedVersion: "any" });
        await store.append("b-1", [{ type: "T", data: 1, metadata }], { expectedVersion: "any" });
        expect((await store.trace(correlationId, { fromPosition: 1 })).events).toBe(2);
      }),
      { numRuns: 200 },
    );
  });

  test("begins where an id of ours can occur at the earliest", async () => {
    let now = Date.UTC(2026, 0, 1);
    const clock = { now: () => now, monotonic: () => now };
    await using store = await openEventStoreOn(openMemoryKv(), { clock });
    const metadata = { correlationId: Bun.randomUUIDv7("hex", now + 7_200_000) };
    for (let hour = 0; hour < 4; hour += 1) {
      now = Date.UTC(2026, 0, 1, hour);
      await store.append("a-1", [{ type: "T", data: hour, metadata }], { expectedVersion: "any" });
    }
    const trace = await store.trace(metadata.correlationId);
    expect([trace.fromPosition, trace.toPosition, trace.events]).toEqual([3, 4, 2]);
    expect((await store.trace(metadata.correlationId, { fromPosition: 1 })).events).toBe(4);
  });

  test("keeps to its bounds, and says what it has searched", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const events = Array.from({ length: 10 }, (_, n) => ({ type: "T", data: n, metadata: { correlationId: "c" } }));
    await store.append("a-1", events, { expectedVersion: "any" });
    const searched = async (options: object): Promise<unknown[]> => {
      const { events, fromPosition, toPosition, complete } = await store.trace("c", options);
      return [events, fromPosition, toPosition, complete];
    };
    expect(await searched({ eventsMax: 3 })).toEqual([3, 1, 3, false]);
    expect(await searched({ eventsMax: 10 })).toEqual([10, 1, 10, true]);
    expect(await searched({ searchedMax: 4, fromPosition: 3 })).toEqual([4, 3, 6, false]);
    expect(await searched({ fromPosition: 3, toPosition: 5 })).toEqual([3, 3, 5, true]);
    expect(await searched({ fromPosition: 90 })).toEqual([0, 90, 89, true]);
    expect(await searched({ toPosition: 0 })).toEqual([0, 1, 0, true]);
    const wrong: readonly (() => unknown)[] = [
      () => store.trace(""),
      () => store.trace(5 as never),
      () => store.trace("c", { fromPosition: 0 }),
      () => store.trace("c", { eventsMax: 0 }),
      () => store.trace("c", { searchedMax: 0 }),
      () => store.trace("c", { depth: 1 } as never),
    ];
    for (const [index, ask] of wrong.entries())
      expect({ index, code: (await errorOf(ask)).code }).toEqual({ index, code: "invalid-argument" });
  });
});
