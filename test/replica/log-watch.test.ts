/** Following a log whose byte store tells of its progress a moment before its rows can be read. */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { KeyValueReader } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { LogFollower } from "../../src/log/log-follower.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { LogWatch } from "../../src/store/log-watch.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { until } from "../support/collect.ts";

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
