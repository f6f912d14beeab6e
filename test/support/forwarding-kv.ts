/** A byte store that hands every call on to another one, but for what a test puts in its place. */

import type { KeyValueStore } from "../../src/kv/kv.ts";

/** All of `inner`, its optional parts where it has them, with `overrides` in place of its own. */
export function forwardingKv(inner: KeyValueStore, overrides: Partial<KeyValueStore> = {}): KeyValueStore {
  const { objectStoreStats, reclaim } = inner;
  const close = overrides.close ?? (() => inner.close());
  return {
    url: inner.url,
    write: (operations) => inner.write(operations),
    get: (key) => inner.get(key),
    getMany: (keys) => inner.getMany(keys),
    scan: (range, purpose) => inner.scan(range, purpose),
    snapshot: () => inner.snapshot(),
    status: () => inner.status(),
    stats: () => inner.stats(),
    ...(objectStoreStats === undefined ? {} : { objectStoreStats: () => objectStoreStats.call(inner) }),
    ...(reclaim === undefined ? {} : { reclaim: (options) => reclaim.call(inner, options) }),
    close,
    [Symbol.asyncDispose]: close,
    ...overrides,
  };
}
