/**
 * Actors append, read, follow, decide and compact while the storage under them fails by a seed. The log must stay one history;
 * every read that succeeds is a beginning of it, whatever is merged meanwhile; and at the end all small pages are merged.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { defineDecider, defineEvents, type EventStore, event } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { tick } from "../support/faulty-kv.ts";
import {
  expectOneHistory,
  expectSameTraces,
  FaultyWorld,
  forEachSeed,
  simulatedFailure,
} from "../support/faulty-world.ts";

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

interface World extends FaultyWorld<Store> {
  ended: boolean;
  passes: number;
  merged: number;
}

function createWorld(seed: number): World {
  const everyEvents = seed % 2 === 0 ? 8 : 1_000_000;
  const world = new FaultyWorld<Store>({
    seed,
    seedOffset: 15_485_863,
    open: (kv, { clock, ids }) =>
      openEventStoreOn(kv, {
        ...{ events: [note], deciders: [notes], clock, ids, commitTimeoutMs: 1_000_000_000, onError: () => {} },
        compaction: { everyEvents, share: 1 },
      }),
  });
  return Object.assign(world, { ended: false, passes: 0, merged: 0 });
}

async function appender(world: World, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    const streamName = streams[Math.floor(world.random() * streams.length)] ?? "note-a";
    const events = Array.from({ length: 1 + Math.floor(world.random() * 4) }, () => {
      const id = world.nextId();
      return { id, type: "Written", data: { id, text: "x".repeat(100 + Math.floor(world.random() * 500)) } } as const;
    });
    const result = await world.repeat((store) => store.append(streamName, events, { expectedVersion: "any" }));
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
      const { code, outcome } = simulatedFailure(error);
      world.trace.push(`compact: ${code} ${outcome}`);
    }
    await tick();
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
        if (world.random() < 0.2) await tick();
      }
      expect(backwards ? all.reverse() : all).toEqual(all.map((_, index) => index + 1));
      const versions = (await collect(store.readStream(streamName, { direction }))).map(({ version }) => version);
      expect(backwards ? versions.reverse() : versions).toEqual(versions.map((_, index) => index + 1));
      const { state, version } = await store.load(notes, streamName.slice("note-".length));
      expect(state.count).toBe(version);
    } catch (error) {
      simulatedFailure(error);
    }
    await tick();
  }
}

async function simulate(seed: number): Promise<World> {
  const world = createWorld(seed);
  const done = new AbortController();
  const following = world.follow(done.signal);
  const others = [compacting(world), reader(world)];
  await Promise.all([appender(world, 30), appender(world, 30), appender(world, 30)]);
  world.ended = true;
  await Promise.all(others);
  const log = await world.repeat((store) => collect(store.readAll()));
  expectOneHistory(world, log);
  while (!(await world.hasFollowed(log.length, await world.store())));
  expect(world.followed.map(({ id }) => id)).toEqual(log.map(({ id }) => id));
  done.abort();
  await following;
  await world.repeat((store) => store.compact());
  await world.repeat(async (store) => {
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
  await forEachSeed(seeds, async (seed) => {
    const world = await simulate(seed);
    passes += world.passes;
    merged += world.merged;
    failures += world.trace.filter((line) => line.startsWith("compact: storage-unavailable")).length;
  });
  // Otherwise the simulation would not look at what it is there for.
  expect(passes).toBeGreaterThan(seeds * 2);
  expect(merged).toBeGreaterThan(seeds * 20);
  expect(failures).toBeGreaterThan(seeds / 4);
}, 300_000);

test("The same seed gives the same trace", async () => {
  await expectSameTraces([3, 57, 131], 20, async (seed) => (await simulate(seed)).trace);
});
