/** Time: what was recorded when, views as of then, and a clock that goes back. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";

setDefaultTimeout(60_000);

const start = Date.UTC(2026, 0, 1);

test("A view as of a time shows exactly what was recorded until then", async () => {
  const gaps = fc.array(fc.oneof(fc.nat(3), fc.nat(90_000), fc.nat(10_000_000)), { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(gaps, fc.nat({ max: 200_000_000 }), async (steps, later) => {
      let now = start;
      await using store = await openEventStoreOn(openMemoryKv(), { clock: { now: () => now, monotonic: () => now } });
      const times: number[] = [];
      for (const [index, step] of steps.entries()) {
        now += step;
        await store.append(`a-${index % 2}`, [{ type: "T", data: index }], { expectedVersion: "any" });
        times.push(now);
      }
      for (const time of [start - 1, start + (later % (now - start + 2)), ...times, now + later]) {
        const expected = times.flatMap((recorded, index) => (recorded <= time ? [index + 1] : []));
        const view = store.asOf(new Date(time));
        expect(await view.lastPosition()).toBe(expected.length);
        expect((await collect(view.readAll())).map((event) => event.position)).toEqual(expected);
        const stream = expected.filter((position) => position % 2 === 1);
        expect((await collect(view.readStream("a-0"))).map((event) => event.position)).toEqual(stream);
      }
    }),
    { numRuns: 60 },
  );
});

test("A view stays where it was when new events come", async () => {
  let now = start;
  await using store = await openEventStoreOn(openMemoryKv(), { clock: { now: () => now, monotonic: () => now } });
  await store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "any" });
  const future = store.asOf(new Date(start + 1_000));
  now += 10;
  await store.append("a-1", [{ type: "T", data: 2 }], { expectedVersion: "any" });
  expect((await collect(future.readAll())).length).toBe(1);
  expect((await collect(store.asOf(new Date(start + 1_000)).readAll())).length).toBe(2);
});

test("Times of recording never go back, whatever the clock does", async () => {
  const ticks = [start + 500, start + 100, start + 900, start];
  let tick = 0;
  const clock = { now: () => ticks[tick++ % ticks.length] ?? start, monotonic: () => 0 };
  await using store = await openEventStoreOn(openMemoryKv(), { clock });
  for (let n = 0; n < 8; n += 1) await store.append("a-1", [{ type: "T", data: n }], { expectedVersion: "any" });
  const times = (await collect(store.readAll())).map((event) => event.recordedAt.getTime());
  expect(times).toEqual(times.toSorted((left, right) => left - right));
});

test("An idempotency key is forgotten some time after its window, with its rows", async () => {
  let now = start;
  const kv = openMemoryKv();
  const clock = { now: () => now, monotonic: () => now };
  await using store = await openEventStoreOn(kv, { clock, idempotencyWindowMs: 3_600_000 });
  const pay = async (key: string): Promise<boolean> =>
    (await store.append("a-1", [{ type: "T", data: key }], { expectedVersion: "any", idempotencyKey: key })).replayed;
  expect(await pay("one")).toBe(false);
  now += 3_500_000;
  expect(await pay("one")).toBe(true);
  now += 300_000;
  expect(await pay("two")).toBe(false);
  expect(await pay("one")).toBe(false);
  now += 8_000_000;
  await pay("three");
  now += 8_000_000;
  await pay("four");
  const cursor = await kv.scan({ start: Buffer.of(0x60), end: Buffer.of(0x62) }, "lookup");
  expect((await cursor.next(100)).length).toBe(2);
  cursor.close();
});
