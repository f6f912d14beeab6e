/**
 * Actors append, retry, read and follow while the storage under them fails by a seed. Afterwards the log must be one
 * history: everything acknowledged is there once, at the place that was told, and no follower missed or repeated anything.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { AppendResult, EventStore, ExpectedVersion, NewEvent, RecordedEvent } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import {
  type Acknowledged,
  expectOneHistory,
  expectSameTraces,
  FaultyWorld,
  forEachSeed,
  simulatedFailure,
} from "../support/faulty-world.ts";

setDefaultTimeout(60_000);

const seeds = 240;
const streams = ["a-1", "a-2", "b-1", "c-1"];

interface Promised extends Acknowledged {
  readonly expectedVersion: ExpectedVersion;
}

interface World extends FaultyWorld<EventStore, Promised> {
  /** The ids of appends that are known not to have been applied and were given up. */
  readonly givenUp: Set<string>;
}

function createWorld(seed: number): World {
  const world = new FaultyWorld<EventStore, Promised>({
    seed,
    seedOffset: 7_919,
    open: (kv, { clock, ids }) => openEventStoreOn(kv, { clock, ids, commitTimeoutMs: 1_000_000_000 }),
  });
  return Object.assign(world, { givenUp: new Set<string>() });
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
      const { code, outcome } = simulatedFailure(error);
      world.trace.push(`append: ${code} ${outcome}`);
      if (code === "conflict") {
        // A retry that was stored is told so; a conflict therefore means that nothing of it is there.
        for (const id of ids) world.givenUp.add(id);
        return;
      }
      if (outcome === "unknown") mayBeStored = true;
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
        simulatedFailure(error);
      }
    }
    await appendUntilKnown(world, streamName, events, expectedVersion);
  }
}

function checkHistory(world: World, log: readonly RecordedEvent[]): void {
  expectOneHistory(world, log);
  for (const name of streams) {
    const stream = log.filter((event) => event.streamName === name);
    expect(stream.map((event) => event.version)).toEqual(stream.map((_, index) => index + 1));
  }
  for (const { ids, expectedVersion, position } of world.acknowledged) {
    const first = log[position - ids.length];
    if (expectedVersion === "no-stream") expect(first?.version).toBe(1);
    if (typeof expectedVersion === "number") expect(first?.version).toBe(expectedVersion + 1);
  }
  const stored = new Set(log.map(({ id }) => id));
  for (const id of world.givenUp) expect(stored).not.toContain(id);
}

async function simulate(seed: number): Promise<readonly string[]> {
  const world = createWorld(seed);
  const done = new AbortController();
  const following = world.follow(done.signal);
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
      if (!(await world.hasFollowed(log.length, store))) continue;
      expect(world.followed.map((event) => event.id)).toEqual(log.map((event) => event.id));
      break;
    } catch (error) {
      simulatedFailure(error);
    }
  }
  done.abort();
  await following;
  await (await world.store()).close();
  return world.trace;
}

test(`Under ${seeds} seeds of failing storage the log stays one history and nothing acknowledged is lost`, async () => {
  await forEachSeed(seeds, async (seed) => {
    await simulate(seed);
  });
}, 300_000);

test("The same seed gives the same trace", async () => {
  await expectSameTraces([3, 58, 131], 50, simulate);
});
