/**
 * Objects in memory as several processes see them: each has its own access, all see the same objects. Under a seed calls are delayed,
 * fail before they did anything, or fail after they did it.
 */

import { StorageUnavailableError } from "../../src/errors.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import type { Clock } from "../../src/runtime/clock.ts";

export interface ObjectFaults {
  /** Chances from 0 to 1. */
  readonly delay: number;
  readonly failBefore: number;
  readonly failAfter: number;
}

export interface SimulatedObjects {
  /** Counted over all accesses. */
  readonly requests: { gets: number; puts: number };
  /** What every call fails with, while it is set. */
  outage: Error | undefined;
  access(faults?: ObjectFaults, random?: () => number): ObjectAccess;
}

const delayTicksMax = 8;

export async function tick(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

export function simulateObjects(clock: Clock): SimulatedObjects {
  const objects = openMemoryObjects(clock);
  const simulated: SimulatedObjects = {
    requests: { gets: 0, puts: 0 },
    outage: undefined,
    access: (faults = { delay: 0, failBefore: 0, failAfter: 0 }, random = () => 1) => {
      const ask = async <T>(work: () => Promise<T>): Promise<T> => {
        const wait = async (): Promise<void> => {
          let ticks = random() < faults.delay ? Math.ceil(random() * delayTicksMax) : 0;
          for (; ticks > 0; ticks -= 1) await tick();
        };
        await wait();
        if (simulated.outage !== undefined) throw simulated.outage;
        if (random() < faults.failBefore) throw new StorageUnavailableError("simulated", { outcome: "not-applied" });
        const result = await work();
        await wait();
        if (random() < faults.failAfter) throw new StorageUnavailableError("simulated", { outcome: "unknown" });
        return result;
      };
      return {
        get: (name) => {
          simulated.requests.gets += 1;
          return ask(() => objects.get(name));
        },
        put: (name, bytes, options) => {
          simulated.requests.puts += 1;
          return ask(() => objects.put(name, bytes, options));
        },
        delete: (name) => ask(() => objects.delete(name)),
        list: (prefix) => objects.list(prefix),
        // The objects are everybody's.
        close: async () => {},
        [Symbol.asyncDispose]: async () => {},
      };
    },
  };
  return simulated;
}
