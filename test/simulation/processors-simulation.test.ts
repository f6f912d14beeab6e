/**
 * Processors of every kind over a storage that fails by a seed: before it acted, after it acted, with a lost tail, by another
 * writer. Afterwards read models are a fold over the log, and what was asked for came about once.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { defineReactor, type EventStore } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, until } from "../support/collect.ts";
import { createFaultyStorage, openFaultyKv, seededRandom } from "../support/faulty-kv.ts";
import { forEachSeed } from "../support/faulty-world.ts";
import { checkout, shopEvents, totals, totalsOf } from "../support/shop.ts";

setDefaultTimeout(60_000);

const seeds = 70;
const steps = 60;

interface Opened {
  readonly store: EventStore;
  readonly projections: readonly [ReturnType<typeof totals>, ReturnType<typeof totals>];
}

async function open(kv: KeyValueStore, version: number): Promise<Opened> {
  const projections = [totals("behind", "async", version), totals("inline", "inline", version)] as const;
  const opened: { store?: EventStore } = {};
  const mail = defineReactor("mail", {
    mode: "async",
    retries: { attempts: 50, delayMs: 1, delayMsMax: 5 },
    on: {
      OrderPlaced: async (e, { idempotencyKey }) => {
        const events = [{ type: "Mailed", data: { order: e.streamName } }];
        await opened.store?.append("mails", events, { expectedVersion: "any", idempotencyKey });
        if (opened.store === undefined) throw new Error("It is not open yet");
      },
    },
  });
  const store = await openEventStoreOn(kv, {
    events: shopEvents,
    projections,
    reactors: [mail],
    processManagers: [checkout],
    onError: () => {},
  });
  opened.store = store;
  return { store, projections };
}

async function simulate(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const pick = (most: number): number => random() * most;
  const rates = {
    ...{ failBefore: pick(0.08), failAfter: pick(0.04), loseTail: pick(0.04), fence: pick(0.02) },
    ...{ readFailure: pick(0.02), delay: pick(0.5) },
  };
  const faults = createFaultyStorage(seed, rates, () => {});
  let version = 1;
  let current: Opened | undefined;
  for (let step = 0; step < steps; step += 1) {
    if (current !== undefined && (current.store.health().state !== "open" || random() < 0.03)) {
      await current.store.close().catch(() => {});
      current = undefined;
      if (random() < 0.3) version += 1;
    }
    if (current === undefined) {
      current = await open(openFaultyKv(faults), version).catch(() => undefined);
      continue;
    }
    const { store } = current;
    if (random() < 0.05) store.rebuild(random() < 0.5 ? "behind" : "inline").catch(() => {});
    const appends = Array.from({ length: Math.ceil(random() * 4) }, (_, n) => {
      const customer = `c${Math.floor(random() * 4)}`;
      const placed = random() < 0.7;
      const data = { customer, total: Math.floor(random() * 9) };
      const name = placed ? `order-${seed}.${step}.${n}` : "order-cancellations";
      const type = placed ? "OrderPlaced" : "OrderCancelled";
      return store.append(name, [{ type, data }], { expectedVersion: "any" });
    });
    await Promise.allSettled(appends);
  }
  await current?.store.close().catch(() => {});
  await check(await open(openMemoryKv(faults.storage), version));
}

async function check({ store, projections }: Opened): Promise<void> {
  try {
    const placed = (await collect(store.readAll({ filter: { types: ["OrderPlaced"] } }))).map((e) => e.streamName);
    await until(async () => {
      const reminded = await collect(store.readAll({ filter: { types: ["Reminded"] } }));
      return reminded.length >= placed.length;
    });
    for (const name of ["checkout", "mail", "behind"]) await store.waitFor(name, await store.lastPosition());
    const log = await collect(store.readAll());
    const about = (type: string): string[] =>
      log.filter((event) => event.type === type).map((event) => (event.data as { order: string }).order);
    for (const type of ["PaymentAsked", "Reminded", "Mailed"])
      expect([type, about(type).toSorted()]).toEqual([type, placed.toSorted()]);
    const expected = [...totalsOf(log)].toSorted(([one], [other]) => (one < other ? -1 : 1));
    const atLeast = await store.lastPosition();
    for (const projection of projections)
      expect(await collect(store.documents(projection).list({ atLeast }))).toEqual(expected);
    expect(store.processors().map(({ parked, health }) => [parked, health])).toEqual(
      store.processors().map(() => [0, "ok"]),
    );
  } finally {
    await store.close();
  }
}

test(`Over ${seeds} seeds of failures read models are folds, and what was asked for came about once`, async () => {
  await forEachSeed(seeds, simulate);
}, 240_000);
