/**
 * Actors append, retry, read and follow while the storage under them fails by a seed. Afterwards the log must be one
 * history: everything acknowledged is there once, at the place that was told, and no follower missed or repeated anything.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type AppendResult,
  type EventStore,
  EventStoreError,
  type ExpectedVersion,
  type NewEvent,
} from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import {
  createFaultyStorage,
  type FaultRates,
  type FaultyStorage,
  openFaultyKv,
  seededRandom,
} from "../support/faulty-kv.ts";

setDefaultTimeout(60_000);

const seeds = 240;
const streams = ["a-1", "a-2", "b-1", "c-1"];

interface Acknowledged {
  readonly streamName: string;
  readonly ids: readonly string[];
  readonly expectedVersion: ExpectedVersion;
  readonly streamVersion: number;
  readonly position: number;
}

/** What the actors share: the store of the moment, and what they were promised. */
class World {
  readonly faults: FaultyStorage;
  readonly random: () => number;
  readonly trace: string[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly followed: { id: string; position: number }[] = [];
  /** How many of each id's appends are known not to have been applied and were given up. */
  readonly givenUp = new Set<string>();
  #store: EventStore | undefined;
  #opening: Promise<EventStore> | undefined;
  #ticks = 0;
  #ids = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed + 7_919);
    const pick = (most: number): number => this.random() * most;
    const rates: FaultRates = {
      failBefore: pick(0.1),
      failAfter: pick(0.05),
      loseTail: pick(0.05),
      fence: pick(0.03),
      readFailure: pick(0.02),
      delay: pick(0.6),
    };
    this.faults = createFaultyStorage(seed, rates, (line) => this.trace.push(line));
  }

  nextId(): string {
    this.#ids += 1;
    return `id-${this.#ids}`;
  }

  /** The open store; opens it again, as often as it takes, after the one before has stopped. */
  async store(): Promise<EventStore> {
    if (this.#store?.health().state === "open") return this.#store;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #open(): Promise<EventStore> {
    await this.#store?.close().catch(() => {});
    for (;;) {
      try {
        const clock = { now: () => 1_700_000_000_000 + this.#ticks++, monotonic: () => this.#ticks };
        const ids = { next: () => this.nextId() };
        this.#store = await openEventStoreOn(openFaultyKv(this.faults), { clock, ids, commitTimeoutMs: 1_000_000_000 });
        this.trace.push("opened");
        return this.#store;
      } catch (error) {
        if (!(error instanceof EventStoreError)) throw error;
        this.trace.push(`open: ${error.code}`);
      }
    }
  }
}

/** Appends with given ids until it knows the outcome: what is unknown is repeated, as the README tells users to. */
async function appendUntilKnown(
  world: World,
  streamName: string,
  events: readonly NewEvent[],
  expectedVersion: ExpectedVersion,
): Promise<void> {
  const ids = events.map((event) => event.id ?? "");
  let mayBeStored = false;
  for (;;) {
    const store = await world.store();
    let result: AppendResult;
    try {
      result = await store.append(streamName, events, { expectedVersion });
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      world.trace.push(`append: ${error.code} ${error.outcome}`);
      if (error.code === "conflict") {
        // A retry that was stored is told so; a conflict therefore means that nothing of it is there.
        for (const id of ids) world.givenUp.add(id);
        return;
      }
      if (error.outcome === "unknown") mayBeStored = true;
      continue;
    }
    if (result.replayed && !mayBeStored) throw new Error("A first attempt was taken for a retry");
    world.trace.push(`append: ${streamName} ${result.streamVersion} ${result.position} ${result.replayed}`);
    world.acknowledged.push({
      streamName,
      ids,
      expectedVersion,
      streamVersion: result.streamVersion,
      position: result.position,
    });
    return;
  }
}

async function appender(world: World, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    const streamName = streams[Math.floor(world.random() * streams.length)] ?? "a-1";
    const size = 1 + Math.floor(world.random() * 3);
    const events = Array.from({ length: size }, () => ({
      id: world.nextId(),
      type: "T",
      data: done,
      tags: [`n:${done % 3}`],
    }));
    let expectedVersion: ExpectedVersion = "any";
    if (world.random() < 0.6) {
      try {
        expectedVersion = (await (await world.store()).streamInfo(streamName))?.version ?? "no-stream";
      } catch (error) {
        if (!(error instanceof EventStoreError)) throw error;
      }
    }
    await appendUntilKnown(world, streamName, events, expectedVersion);
  }
}

/** Follows the log across all reopenings, from its own checkpoint. */
async function follower(world: World, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const store = await world.store();
    try {
      const after = world.followed.at(-1)?.position ?? 0;
      for await (const event of store.subscribe({ from: { after }, signal })) world.followed.push(event);
      // Closed under it: goes on with the next store.
      await new Promise((resolve) => setImmediate(resolve));
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      world.trace.push(`follow: ${error.code}`);
    }
  }
}

function checkHistory(
  world: World,
  log: readonly { id: string; streamName: string; version: number; position: number }[],
): void {
  expect(log.map((event) => event.position)).toEqual(log.map((_, index) => index + 1));
  for (const name of streams) {
    const stream = log.filter((event) => event.streamName === name);
    expect(stream.map((event) => event.version)).toEqual(stream.map((_, index) => index + 1));
  }
  const ids = log.map((event) => event.id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { streamName, ids: own, expectedVersion, streamVersion, position } of world.acknowledged) {
    const stored = own.map((id) => log.find((event) => event.id === id));
    expect(stored.map((event) => event?.streamName)).toEqual(own.map(() => streamName));
    expect(stored.at(-1)).toMatchObject({ version: streamVersion, position });
    if (expectedVersion === "no-stream") expect(stored[0]?.version).toBe(1);
    if (typeof expectedVersion === "number") expect(stored[0]?.version).toBe(expectedVersion + 1);
  }
  for (const id of world.givenUp) expect(ids).not.toContain(id);
  const acknowledged = world.acknowledged.flatMap((one) => one.ids);
  expect(acknowledged.toSorted()).toEqual(ids.toSorted());
}

async function simulate(seed: number): Promise<readonly string[]> {
  const world = new World(seed);
  const done = new AbortController();
  const following = follower(world, done.signal);
  await Promise.all([appender(world, 12), appender(world, 12), appender(world, 12)]);
  for (;;) {
    try {
      const store = await world.store();
      const log = await collect(store.readAll());
      checkHistory(world, log);
      expect((await store.verify()).breaks).toEqual([]);
      const tagged = await collect(store.readAll({ filter: { tags: ["n:1"] } }));
      expect(tagged.map((event) => event.position)).toEqual(
        log.filter((e) => e.tags.includes("n:1")).map((e) => e.position),
      );
      while (world.followed.length < log.length && (await world.store()) === store) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (world.followed.length < log.length) continue;
      expect(world.followed.map((event) => event.id)).toEqual(log.map((event) => event.id));
      break;
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
    }
  }
  done.abort();
  await following;
  await (await world.store()).close();
  return world.trace;
}

test(`Under ${seeds} seeds of failing storage the log stays one history and nothing acknowledged is lost`, async () => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      await simulate(seed);
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
  }
}, 300_000);

test("The same seed gives the same trace", async () => {
  for (const seed of [3, 58, 131]) {
    const trace = await simulate(seed);
    expect(trace.length).toBeGreaterThan(50);
    expect(await simulate(seed)).toEqual(trace);
  }
});
