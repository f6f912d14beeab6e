/** A byte store in memory whose writes take a while, as a bucket's do: what waiting costs without what a server costs. */

import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";

export function openDelayedKv(writeMs: number): KeyValueStore {
  const inner = openMemoryKv();
  return {
    url: inner.url,
    get: (key) => inner.get(key),
    getMany: (keys) => inner.getMany(keys),
    scan: (range, purpose) => inner.scan(range, purpose),
    snapshot: () => inner.snapshot(),
    status: () => inner.status(),
    stats: () => inner.stats(),
    write: async (operations) => {
      await Bun.sleep(writeMs);
      await inner.write(operations);
    },
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner.close(),
  };
}
