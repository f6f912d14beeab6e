/**
 * Actors send commands with keys while the storage fails by a seed, and repeat them until they know. Afterwards each command
 * that was accepted has happened once, each that was refused not at all, and no account was ever overdrawn.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { DomainRefusal, defineDecider, defineEvents, type EventStore, event, refuse } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { FaultyWorld, forEachSeed, simulatedFailure } from "../support/faulty-world.ts";

setDefaultTimeout(60_000);

const seeds = 80;
const actors = 4;
const commandsPerActor = 14;

const account = defineEvents("account", {
  Moved: event({ schema: v.object({ amount: v.number(), key: v.string() }) }),
});
const accounts = defineDecider("account", {
  events: account,
  commands: { Move: v.object({ amount: v.number(), key: v.string() }) },
  initialState: () => ({ balance: 0 }),
  evolve: { Moved: (state, { data }) => ({ balance: state.balance + data.amount }) },
  decide: {
    Move: ({ data }, { balance }) => {
      if (balance + data.amount < 0) refuse("overdrawn", { balance });
      return [{ type: "Moved", data }];
    },
  },
  snapshots: { version: 1, everyEvents: 5 },
});

interface Answered {
  readonly key: string;
  readonly id: string;
  /** The version that it was answered with; `undefined` where it was refused. */
  readonly version: number | undefined;
}

interface World extends FaultyWorld<EventStore<typeof account>> {
  readonly answered: Answered[];
}

function createWorld(seed: number): World {
  const world = new FaultyWorld({
    seed,
    seedOffset: 104_729,
    ratesMax: { failBefore: 0.1, failAfter: 0.08, loseTail: 0.06, fence: 0.04, readFailure: 0.02, delay: 0.6 },
    open: (kv, { random }) => openEventStoreOn(kv, { events: [account], random: { next: random }, onError: () => {} }),
  });
  return Object.assign(world, { answered: [] });
}

async function sendUntilKnown(world: World, id: string, key: string, amount: number): Promise<void> {
  for (;;) {
    const store = await world.store();
    try {
      const command = { type: "Move", data: { amount, key } } as const;
      const { streamVersion, events } = await store.execute(accounts, id, command, { idempotencyKey: key });
      expect(events.map((one) => one.data.key)).toEqual([key]);
      world.answered.push({ key, id, version: streamVersion });
      return;
    } catch (error) {
      if (error instanceof DomainRefusal) {
        world.answered.push({ key, id, version: undefined });
        return;
      }
      const { code, outcome } = simulatedFailure(error);
      world.trace.push(`${key}: ${code} ${outcome}`);
    }
  }
}

async function simulate(seed: number): Promise<World> {
  const world = createWorld(seed);
  const actor = async (name: number): Promise<void> => {
    for (let index = 0; index < commandsPerActor; index += 1) {
      const amount = Math.floor(world.random() * 20) - 8;
      await sendUntilKnown(world, world.random() < 0.6 ? "a" : "b", `${name}-${index}`, amount);
    }
  };
  await Promise.all(Array.from({ length: actors }, (_, name) => actor(name)));
  for (const id of ["a", "b"] as const) {
    const { events, state } = await world.repeat(async (store) => ({
      events: await collect(store.readStream(`account-${id}`)),
      state: (await store.load(accounts, id)).state,
    }));
    let balance = 0;
    for (const { data } of events) {
      balance += data.amount;
      expect(balance).toBeGreaterThanOrEqual(0);
    }
    expect(state.balance).toBe(balance);
    const happened = new Map(events.map((one) => [one.data.key, one.version]));
    expect(happened.size).toBe(events.length);
    const answered = world.answered.filter((one) => one.id === id);
    expect(answered.filter((one) => one.version !== undefined).length).toBe(events.length);
    for (const { key, version } of answered) expect([key, happened.get(key)]).toEqual([key, version]);
  }
  return world;
}

test(`Each accepted command happens once and each refused one not at all, under ${seeds} seeds`, async () => {
  let answered = 0;
  let failures = 0;
  await forEachSeed(seeds, async (seed) => {
    const world = await simulate(seed);
    answered += world.answered.length;
    failures += world.trace.filter((line) => line.includes("storage-unavailable unknown")).length;
  });
  expect(answered).toBe(seeds * actors * commandsPerActor);
  // Otherwise the simulation would not look at what it is there for.
  expect(failures).toBeGreaterThan(seeds);
});
