/** A command that is repeated because nobody knows what became of it. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { idempotencyKeyKey } from "../../src/format/key-families.ts";
import { defineDecider, defineEvents, event } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

test("A repeated command finds its first result, though that was stored between its look-up and its decision", async () => {
  const events = defineEvents("tally", { Added: event({ schema: v.object({}) }) });
  const tally = defineDecider("tally", {
    events,
    commands: { Add: v.object({}) },
    initialState: () => ({ count: 0 }),
    evolve: { Added: ({ count }) => ({ count: count + 1 }) },
    decide: { Add: () => [{ type: "Added", data: {} }] },
  });
  const gate = createGatedKv();
  const keyed = Buffer.from(idempotencyKeyKey("once"));
  let beforeStored = false;
  // The first look-up of the key comes just before the group with it is durable.
  const kv: KeyValueStore = {
    ...gate.kv,
    getMany: async (keys) => {
      const found = await gate.kv.getMany(keys);
      if (beforeStored && keys.some((key) => keyed.equals(key))) {
        beforeStored = false;
        gate.open();
        await until(() => store.health().lastPosition === 1);
      }
      return found;
    },
  };
  const store = await openEventStoreOn(kv, { events: [events], commitTimeoutMs: 200 });
  gate.shut();
  const options = { idempotencyKey: "once", expectedVersion: "no-stream" } as const;
  const add = () => store.execute(tally, "1", { type: "Add", data: {} }, options);
  expect(await errorOf(add())).toMatchObject({ code: "storage-unavailable", outcome: "unknown" });
  beforeStored = true;
  expect(await add()).toMatchObject({ replayed: true, streamVersion: 1 });
  expect(beforeStored).toBe(false);
  await store.close();
});
