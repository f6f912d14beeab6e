/**
 * Actors append, read, follow, decide and compact while the storage under them fails by a seed. The log must stay one history;
 * every read that succeeds is a beginning of it, whatever is merged meanwhile; and at the end all small pages are merged.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  defineDecider,
  defineEvents,
  type EventStore,
  EventStoreError,
  event,
  type RecordedEvent,
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

const seeds = 220;
const streams = ["note-a", "note-b", "note-c"] as const;

const note = defineEvents("note", {
  Written: event({ schema: v.object({ id: v.string(), text: v.string() }), tags: ({ id }) => [`n:${id.at(-1)}`] }),
});
const notes = defineDecider("note", {
  events: note,
  commands: {},
  initialState: (): { readonly count: number; readonly last: string } => ({ count: 0, last: "" }),
  evolve: { Written: ({ count }, { data }) => ({ count: count + 1, last: data.id }) },
  decide: {},
  snapshots: { version: 1, everyEvents: 4 },
});

type Store = EventStore<typeof note>;

interface Acknowledged {
  readonly streamName: string;
  readonly ids: readonly string[];
  readonly streamVersion: number;
  readonly position: number;
}

class World {
  readonly faults: FaultyStorage;
  readonly random: () => number;
  readonly trace: string[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly followed: RecordedEvent[] = [];
  readonly background: boolean;
  ended = false;
  passes = 0;
  merged = 0;
  #store: Store | undefined;
  #opening: Promise<Store> | undefined;
  #ticks = 0;
  #ids = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed + 15_485_863);
    this.background = seed % 2 === 0;
    const pick = (most: number): number => this.random() * most;
    const rates: FaultRates = {
      ...{ failBefore: pick(0.1), failAfter: pick(0.05), loseTail: pick(0.05), fence: pick(0.03) },
      ...{ readFailure: pick(0.02), delay: pick(0.6) },
    };
    this.faults = createFaultyStorage(seed, rates, (line) => this.trace.push(line));
  }

  nextId(): string {
    this.#ids += 1;
    return `id-${this.#ids}`;
  }

  async store(): Promise<Store> {
    if (this.#store?.health().state === "open") return this.#store;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #open(): Promise<Store> {
    await this.#store?.close().catch(() => {});
    for (;;) {
      try {
        const clock = { now: () => 1_700_000_000_000 + this.#ticks++, monotonic: () => this.#ticks };
        this.#store = await openEventStoreOn(openFaultyKv(this.faults), {
          ...{ events: [note], deciders: [notes], clock, commitTimeoutMs: 1_000_000_000, onError: () => {} },
          ids: { next: () => this.nextId() },
          compaction: { everyEvents: this.background ? 8 : 1_000_000, share: 1 },
        });
        return this.#store;
      } catch (error) {
        if (!(error instanceof EventStoreError)) throw error;
      }
    }
  }
}

/** Runs `work` on the store of the moment until it comes through. */
async function repeat<T>(world: World, work: (store: Store) => Promise<T>): Promise<T> {
  for (;;) {
    const store = await world.store();
    try {
      return await work(store);
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      world.trace.push(`${error.code} ${error.outcome}`);
    }
  }
}

async function appender(world: World, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    const streamName = streams[Math.floor(world.random() * streams.length)] ?? "note-a";
    const events = Array.from({ length: 1 + Math.floor(world.random() * 4) }, () => {
      const id = world.nextId();
      return { id, type: "Written", data: { id, text: "x".repeat(100 + Math.floor(world.random() * 500)) } } as const;
    });
    const result = await repeat(world, (store) => store.append(streamName, events, { expectedVersion: "any" }));
    const { streamVersion, position } = result;
    world.acknowledged.push({ streamName, ids: events.map(({ id }) => id), streamVersion, position });
  }
}

async function compacting(world: World): Promise<void> {
  while (!world.ended) {
    const store = await world.store();
    try {
      const { logPagesMerged, streamPagesMerged } = await store.compact();
      world.passes += 1;
      world.merged += logPagesMerged + streamPagesMerged;
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      world.trace.push(`compact: ${error.code} ${error.outcome}`);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Reads in small steps, so that pages are merged under it; what it has seen must be gapless. */
async function reader(world: World): Promise<void> {
  while (!world.ended) {
    const store = await world.store();
    const streamName = streams[Math.floor(world.random() * streams.length)] ?? "note-a";
    const backwards = world.random() < 0.5;
    const direction = backwards ? "backwards" : "forwards";
    try {
      const all: number[] = [];
      for await (const { position } of store.readAll({ direction })) {
        all.push(position);
        if (world.random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(backwards ? all.reverse() : all).toEqual(all.map((_, index) => index + 1));
      const versions = (await collect(store.readStream(streamName, { direction }))).map(({ version }) => version);
      expect(backwards ? versions.reverse() : versions).toEqual(versions.map((_, index) => index + 1));
      const { state, version } = await store.load(notes, streamName.slice("note-".length));
      expect(state.count).toBe(version);
    } catch (error) {
      if (!(error instanceof EventStoreError) || error.code === "storage-corrupt") throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function follower(world: World, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const store = await world.store();
    try {
      const after = world.followed.at(-1)?.position ?? 0;
      for await (const one of store.subscribe({ from: { after }, signal })) world.followed.push(one);
      await new Promise((resolve) => setImmediate(resolve));
    } catch (error) {
      if (!(error instanceof EventStoreError) || error.code === "storage-corrupt") throw error;
    }
  }
}

function checkHistory(world: World, log: readonly RecordedEvent[]): void {
  expect(log.map(({ position }) => position)).toEqual(log.map((_, index) => index + 1));
  expect(log.map(({ id }) => id).toSorted()).toEqual(world.acknowledged.flatMap(({ ids }) => ids).toSorted());
  for (const { streamName, ids, streamVersion, position } of world.acknowledged) {
    expect(log.slice(position - ids.length, position).map(({ id }) => id)).toEqual([...ids]);
    expect(log[position - 1]).toMatchObject({ streamName, version: streamVersion });
  }
}

async function simulate(seed: number): Promise<World> {
  const world = new World(seed);
  const done = new AbortController();
  const following = follower(world, done.signal);
  const others = [compacting(world), reader(world)];
  await Promise.all([appender(world, 30), appender(world, 30), appender(world, 30)]);
  world.ended = true;
  await Promise.all(others);
  const log = await repeat(world, (store) => collect(store.readAll()));
  checkHistory(world, log);
  for (;;) {
    const store = await world.store();
    while (world.followed.length < log.length && (await world.store()) === store) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (world.followed.length >= log.length) break;
  }
  expect(world.followed.map(({ id }) => id)).toEqual(log.map(({ id }) => id));
  done.abort();
  await following;
  await repeat(world, (store) => store.compact());
  await repeat(world, async (store) => {
    const tagged = await collect(store.readAll({ filter: { tags: ["n:1"] } }));
    expect(tagged.map(({ id }) => id)).toEqual(log.filter(({ tags }) => tags.includes("n:1")).map(({ id }) => id));
    for (const streamName of streams) {
      const own = log.filter((one) => one.streamName === streamName);
      expect(await collect(store.readStream(streamName))).toEqual(own as never);
      const { state } = await store.load(notes, streamName.slice("note-".length));
      expect(state).toEqual({ count: own.length, last: own.at(-1)?.id ?? "" });
    }
    expect(await collect(store.readAll())).toEqual(log as never);
    expect((await store.verify()).breaks).toEqual([]);
  });
  const pages = [...world.faults.storage.rows.keys()].filter((key) => key.charCodeAt(0) === 0x30);
  expect(pages.length).toBeLessThanOrEqual(3);
  await (await world.store()).close();
  return world;
}

test(`Under ${seeds} seeds of failing storage nobody sees that pages are merged, and nothing is lost by it`, async () => {
  let passes = 0;
  let merged = 0;
  let failures = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      const world = await simulate(seed);
      passes += world.passes;
      merged += world.merged;
      failures += world.trace.filter((line) => line.startsWith("compact: storage-unavailable")).length;
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
  }
  // Otherwise the simulation would not look at what it is there for.
  expect(passes).toBeGreaterThan(seeds * 2);
  expect(merged).toBeGreaterThan(seeds * 20);
  expect(failures).toBeGreaterThan(seeds / 4);
}, 300_000);

test("The same seed gives the same trace", async () => {
  for (const seed of [3, 57, 131]) {
    const { trace } = await simulate(seed);
    expect(trace.length).toBeGreaterThan(20);
    expect((await simulate(seed)).trace).toEqual(trace);
  }
});
