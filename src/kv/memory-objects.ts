/** Objects in memory, for tests and `memory:` stores. */

import { StoreClosedError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ObjectAccess, ObjectEntry, StoredObject } from "./objects.ts";

interface MemoryObject extends StoredObject {
  readonly modifiedMs: number;
}

export function openMemoryObjects(clock: Clock): ObjectAccess {
  const objects = new Map<string, MemoryObject>();
  let tags = 0;
  let closed = false;
  const assertOpen = (): void => {
    if (closed) throw new StoreClosedError("The objects are closed");
  };
  const close = async (): Promise<void> => {
    closed = true;
  };
  return {
    get: async (name) => {
      assertOpen();
      const found = objects.get(name);
      return found === undefined ? undefined : { bytes: found.bytes.slice(), tag: found.tag };
    },
    put: async (name, bytes, { ifAbsent, ifTag } = {}) => {
      assertOpen();
      const found = objects.get(name);
      if (ifAbsent === true && found !== undefined) return "conflict";
      if (ifTag !== undefined && found?.tag !== ifTag) return "conflict";
      tags += 1;
      objects.set(name, { bytes: bytes.slice(), tag: String(tags), modifiedMs: clock.now() });
      return { tag: String(tags) };
    },
    delete: async (name) => {
      assertOpen();
      objects.delete(name);
    },
    async *list(prefix): AsyncGenerator<ObjectEntry> {
      assertOpen();
      const names = [...objects.keys()].filter((name) => name.startsWith(prefix)).sort();
      for (const name of names) {
        const found = objects.get(name);
        if (found !== undefined) yield { name, size: found.bytes.length, modifiedMs: found.modifiedMs };
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
