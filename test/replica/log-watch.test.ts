/** Following a log: its byte store tells of its progress a moment before its rows can be read, and events are dropped behind it. */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { KeyValueReader } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { LogFollower } from "../../src/log/log-follower.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { LogWatch } from "../../src/store/log-watch.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, until } from "../support/collect.ts";
import { dropPositions, range, reasonsFor } from "../support/dropping.ts";

setDefaultTimeout(60_000);

test("A look that comes between the progress and its rows is not the last one", async () => {
  const kv = openMemoryKv();
  const store = await openEventStoreOn(kv, {});
  const append = () => store.append("a-1", [{ type: "Noted", data: {} }], { expectedVersion: "any" });
  await append();
  let progress = 1;
  let visible = await kv.snapshot();
  let looks = 0;
  const replica: KeyValueReader = {
    url: "memory:",
    get: (key) => {
      looks += 1;
      return visible.get(key);
    },
    getMany: (keys) => visible.getMany(keys),
    scan: (range, purpose) => visible.scan(range, purpose),
    progress: () => progress,
    status: () => ({ state: "open" }),
    stats: () => ({ gets: 0, scans: 0, rowsScanned: 0, readersOpened: 0, readersLost: 0 }),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  const follower = await LogFollower.open(replica, "memory:");
  const onError = (error: unknown): never => {
    throw error;
  };
  const watch = new LogWatch({ kv: replica, follower, clock: systemClock, pollMs: 100, onAdvance: () => {}, onError });
  await until(() => looks > 2);
  await append();
  progress = 2;
  const before = looks;
  await until(() => looks > before);
  visible = await kv.snapshot();
  await until(() => follower.end.lastPosition === 2);
  expect(follower.end.lastPosition).toBe(2);
  watch.stop();
  await store.close();
});

test("What was dropped is handed out of memory until the next look, though reads pass over it, and not behind that", async () => {
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), {});
    const events = range(1, 5).map(() => ({ type: "Noted", data: {} }));
    await store.append("a-1", events, { expectedVersion: "any" });
  }
  const kv = openMemoryKv(storage);
  const follower = await LogFollower.open(kv, "memory:");
  const inMemory = (): readonly number[] => follower.recent.slice(1, 5, 100).events.map(([{ position }]) => position);
  await dropPositions(kv, reasonsFor([2, 3]));
  const read = (await collect(new LogReader(kv).forwards(1, 5))).flat().map(({ position }) => position);
  expect(read).toEqual([1, 4, 5]);
  expect(inMemory()).toEqual([1, 2, 3, 4, 5]);
  // It has not grown.
  expect(await follower.advance()).toBe(false);
  expect(inMemory()).toEqual([1, 4, 5]);
  await kv.close();
});
