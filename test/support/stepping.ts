/** A byte store and key objects that say before each write that it is coming: whoever hears it may end the process there, or throw. */

import type { KeyValueStore } from "../../src/kv/kv.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";

/** Told of each write before it is made; from the one on that it throws at, nothing is written any more. */
export type OnStep = (what: string) => void;

export function steppingKv(inner: KeyValueStore, onStep: OnStep): KeyValueStore {
  return {
    url: inner.url,
    write: async (operations) => {
      onStep(`${operations.length} rows`);
      await inner.write(operations);
    },
    get: (key) => inner.get(key),
    getMany: (keys) => inner.getMany(keys),
    scan: (range, purpose) => inner.scan(range, purpose),
    snapshot: () => inner.snapshot(),
    status: () => inner.status(),
    stats: () => inner.stats(),
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner.close(),
  };
}

export function steppingObjects(inner: ObjectAccess, onStep: OnStep): ObjectAccess {
  return {
    get: (name) => inner.get(name),
    put: async (name, bytes, options) => {
      onStep(name);
      return await inner.put(name, bytes, options);
    },
    delete: (name) => inner.delete(name),
    list: (prefix) => inner.list(prefix),
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner.close(),
  };
}
