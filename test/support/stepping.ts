/** A byte store and key objects that say before each write that it is coming: whoever hears it may end the process there, or throw. */

import type { KeyValueStore } from "../../src/kv/kv.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import { forwardingKv } from "./forwarding-kv.ts";

/** Told of each write before it is made; from the one on that it throws at, nothing is written any more. */
export type OnStep = (what: string) => void;

export function steppingKv(inner: KeyValueStore, onStep: OnStep): KeyValueStore {
  return forwardingKv(inner, {
    write: async (operations) => {
      onStep(`${operations.length} rows`);
      await inner.write(operations);
    },
  });
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
