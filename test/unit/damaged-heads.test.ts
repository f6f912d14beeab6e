/** A stream whose head is damaged refuses what touches it, and holds up nobody else in the same commit group. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { streamHeadKey } from "../../src/format/key-families.ts";
import { EventStoreError } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { flipped, setRow } from "../support/tampering.ts";

setDefaultTimeout(60_000);

const events = [{ type: "Noted", data: 1 }];
const any = { expectedVersion: "any" } as const;

test("Appends to other streams in its group are stored, and what touches it is told so, until it is whole again", async () => {
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), {});
    for (const name of ["cart-1", "cart-2", "cart-3"]) await store.append(name, events, any);
  }
  const key = streamHeadKey("cart-2");
  const whole = (await openMemoryKv(storage).get(key)) ?? new Uint8Array(0);
  setRow(storage, key, flipped(whole, whole.length - 1));
  await using store = await openEventStoreOn(openMemoryKv(storage), {});
  const append = (streamName: string) => ({ streamName, events, ...any });
  const outcomes = await Promise.allSettled([
    store.append("cart-1", events, any),
    store.append("cart-2", events, any),
    store.append("cart-3", events, any),
    store.commit({ appends: [append("cart-3"), append("cart-2")] }),
    store.commit({ appends: [append("cart-4")], checks: [{ streamName: "cart-2", expectedVersion: 1 }] }),
    store.append("cart-5", events, { expectedVersion: "no-stream" }),
  ]);
  const told = outcomes.map((outcome) => {
    if (outcome.status === "fulfilled") return "stored";
    const { reason } = outcome;
    return reason instanceof EventStoreError ? `${reason.code}, ${reason.outcome}` : String(reason);
  });
  const refused = "storage-corrupt, not-applied";
  expect(told).toEqual(["stored", refused, "stored", refused, refused, "stored"]);
  expect((await collect(store.readAll())).map(({ streamName }) => streamName).slice(3)).toEqual([
    ...["cart-1", "cart-3", "cart-5"],
  ]);
  setRow(storage, key, whole);
  expect((await store.append("cart-2", events, { expectedVersion: 1 })).streamVersion).toBe(2);
});
