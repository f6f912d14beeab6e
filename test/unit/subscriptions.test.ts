/** Subscriptions by property: no gap at the seam, slow consumers, filters, sharing, resuming; and the in-process bus. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type EventStore, type RecordedEvent, StorageUnavailableError } from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { recentBytesMax } from "../../src/log/recent-log.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, take, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const any = { expectedVersion: "any" } as const;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function fill(store: EventStore, count: number, from = 1, bytes = 10): Promise<void> {
  const events = Array.from({ length: count }, (_, index) => ({
    type: (from + index) % 2 === 0 ? "Even" : "Odd",
    data: { n: from + index, pad: "x".repeat(bytes) },
    tags: (from + index) % 100 === 0 ? ["hundred"] : [],
  }));
  for (let at = 0; at < events.length; at += 500) await store.append("a-1", events.slice(at, at + 500), any);
}

describe("A subscription", () => {
  test("has no seam between what was there and what comes while it catches up", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(600),
        fc.array(fc.nat(5), { maxLength: 30 }),
        fc.nat(3),
        async (before, arrivals, pace) => {
          await using store = await openEventStoreOn(openMemoryKv(), {});
          await fill(store, before);
          const total = before + arrivals.reduce((sum, count) => sum + count, 0);
          const seen: number[] = [];
          const following = (async () => {
            if (total === 0) return;
            for await (const one of store.subscribe({ from: "start" })) {
              seen.push(one.position);
              for (let turns = one.position % (pace + 1); turns > 0; turns -= 1) await turn();
              if (seen.length === total) break;
            }
          })();
          let from = before + 1;
          for (const count of arrivals) {
            if (count > 0) await fill(store, count, from);
            from += count;
            await turn();
          }
          await following;
          expect(seen).toEqual(Array.from({ length: total }, (_, index) => index + 1));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("that is slow falls back to the log, holds up nobody and misses nothing", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    await fill(store, 10);
    const slow = store.subscribe({ from: "start" });
    const first = await slow.next();
    expect(first.value.position).toBe(1);
    // More than memory keeps: when the slow one goes on, its next events are only in the log.
    const count = 12_000;
    expect(count * 1_000).toBeGreaterThan(recentBytesMax);
    await fill(store, count, 11, 1_000);
    const rest = await take(slow, count + 9);
    expect(rest.map((one) => one.position)).toEqual(Array.from({ length: count + 9 }, (_, index) => index + 2));
  });

  test("with a filter gets what matches, in memory and in the log", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    await fill(store, 3_000);
    const hundreds = take(store.subscribe({ from: "start", filter: { tags: ["hundred"] } }), 40);
    const even = take(store.subscribe({ from: { after: 2_990 }, filter: { types: ["Even"] } }), 10);
    await fill(store, 1_000, 3_001);
    expect((await hundreds).map((one) => one.position)).toEqual(
      Array.from({ length: 40 }, (_, index) => (index + 1) * 100),
    );
    expect((await even).map((one) => one.position)).toEqual(
      Array.from({ length: 10 }, (_, index) => 2_992 + index * 2),
    );
  });

  test("shares what was decoded with all others", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    const followers = Array.from({ length: 5 }, () => take(store.subscribe({ from: "end" }), 1));
    await turn();
    await fill(store, 1);
    const [first, ...others] = (await Promise.all(followers)).flat();
    for (const other of others) expect(other).toBe(first as RecordedEvent);
  });

  test("that is left in the middle lets go of the store", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    await fill(store, 10);
    for await (const one of store.subscribe({ from: "start" })) if (one.position === 3) break;
    expect((await take(store.subscribe({ from: { after: 3 } }), 1))[0]?.position).toBe(4);
  });

  test("can be left while it waits", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    const waiting = store.subscribe({ from: "start" });
    const next = waiting.next();
    await turn();
    await waiting.return?.();
    expect((await next).done).toBe(true);
  });

  test("ends when the store is closed while it waits", async () => {
    const store = await openEventStoreOn(openMemoryKv(), {});
    await fill(store, 2);
    const all = collect(store.subscribe({ from: "start" }));
    const waiting = collect(store.subscribe({ from: { position: 1_000 } }));
    await turn();
    await store.close();
    expect((await all).length).toBeLessThanOrEqual(2);
    expect(await waiting).toEqual([]);
  });
});

describe("The in-process bus", () => {
  test("calls each handler for what matches, in order, from now on, until it is taken off", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    await fill(store, 10);
    const even: number[] = [];
    const all: number[] = [];
    const offEven = store.on({ types: ["Even"] }, (one) => even.push(one.position));
    const offAll = store.on(undefined, (one) => all.push(one.position));
    await fill(store, 4, 11);
    await until(() => all.length === 4);
    offEven();
    await fill(store, 2, 15);
    await until(() => all.length === 6);
    offAll();
    await fill(store, 2, 17);
    const late: number[] = [];
    store.on(undefined, (one) => late.push(one.position));
    await fill(store, 1, 19);
    await until(() => late.length === 1);
    expect({ even, all, late }).toEqual({ even: [12, 14], all: [11, 12, 13, 14, 15, 16], late: [19] });
  });

  test("reports what handlers throw, and goes on", async () => {
    const errors: unknown[] = [];
    await using store = await openEventStoreOn(openMemoryKv(), { onError: (error) => errors.push(error) });
    const seen: number[] = [];
    store.on(undefined, () => {
      throw new Error("sync");
    });
    store.on(undefined, async () => {
      throw new Error("async");
    });
    store.on(undefined, (one) => seen.push(one.position));
    await fill(store, 2);
    await until(() => seen.length === 2 && errors.length === 4);
    expect(errors.map((error) => (error as Error).message).toSorted()).toEqual(["async", "async", "sync", "sync"]);
  });

  test("goes on where it was after a failed read of the log", async () => {
    const errors: unknown[] = [];
    const gate = createGatedKv();
    await using store = await openEventStoreOn(gate.kv, { onError: (error) => errors.push(error) });
    const seen: number[] = [];
    store.on(undefined, (one) => seen.push(one.position));
    // More than memory keeps in one group, so that the bus has to read the log.
    gate.failNextScan(new StorageUnavailableError("simulated"));
    const big = Array.from({ length: 12 }, (_, index) => ({ type: "T", data: `${index}${"x".repeat(1_000_000)}` }));
    await store.append("a-1", big, any);
    await until(() => seen.length === 12);
    expect(seen).toEqual(big.map((_, index) => index + 1));
    expect(errors.length).toBe(1);
  });

  test("survives an error handler that throws itself", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {
      onError: () => {
        throw new Error("even here");
      },
    });
    const seen: number[] = [];
    store.on(undefined, (one) => {
      seen.push(one.position);
      throw new Error("always");
    });
    await fill(store, 3);
    await until(() => seen.length === 3);
  });

  test("marks what a handler appends as caused by the event, along the whole chain", async () => {
    await using store = await openEventStoreOn(openMemoryKv(), {});
    store.on({ types: ["Ordered"] }, async (one) => {
      await turn();
      await store.append("pay-1", [{ type: "Paid", data: one.position }], any);
    });
    store.on({ types: ["Paid"] }, () =>
      store.append("ship-1", [{ type: "Shipped", data: null, metadata: { actor: "bot" } }], any),
    );
    await store.append(
      "order-1",
      [{ type: "Ordered", data: null, id: "o-1", metadata: { correlationId: "corr" } }],
      any,
    );
    const [ordered, paid, shipped] = await take(store.subscribe({ from: "start" }), 3);
    expect(ordered?.metadata).toEqual({ correlationId: "corr" });
    expect(paid?.metadata).toEqual({ correlationId: "corr", causationId: "o-1" });
    expect(shipped?.metadata).toEqual({ correlationId: "corr", causationId: paid?.id ?? "", actor: "bot" });
  });
});
