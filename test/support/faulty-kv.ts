/**
 * A byte store under a seed that fails as object storage does: before it acted, after it acted, slowly, with the loss of a
 * write that was not yet durable, and by another writer taking over. What it acknowledges it keeps.
 */

import {
  type EventStoreError,
  StorageUnavailableError,
  StoreClosedError,
  WriterFencedError,
} from "../../src/errors.ts";
import type { KeyValueStore, KvCursor, KvOperation, KvRange, KvSnapshot, KvStats, KvStatus } from "../../src/kv/kv.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { seededRandom } from "./random.ts";

export { seededRandom } from "./random.ts";

export interface FaultRates {
  readonly failBefore: number;
  readonly failAfter: number;
  readonly loseTail: number;
  readonly fence: number;
  readonly readFailure: number;
  readonly delay: number;
}

export interface FaultyStorage {
  readonly storage: MemoryStorage;
  readonly random: () => number;
  readonly rates: FaultRates;
  readonly trace: (line: string) => void;
}

export function createFaultyStorage(seed: number, rates: FaultRates, trace: (line: string) => void): FaultyStorage {
  return { storage: createMemoryStorage(), random: seededRandom(seed), rates, trace };
}

class FaultyKv implements KeyValueStore {
  readonly url = "memory:";
  readonly #faults: FaultyStorage;
  readonly #inner: KeyValueStore;
  #failure: EventStoreError | undefined;

  constructor(faults: FaultyStorage) {
    this.#faults = faults;
    this.#inner = openMemoryKv(faults.storage);
  }

  async write(operations: readonly KvOperation[]): Promise<void> {
    this.#assertUsable("not-applied");
    const { random, rates, trace } = this.#faults;
    for (let ticks = random() < rates.delay ? Math.ceil(random() * 6) : 0; ticks > 0; ticks -= 1) await tick();
    const dice = random();
    if (dice < rates.failBefore) {
      trace("write: failed before");
      throw new StorageUnavailableError("simulated", { outcome: "not-applied" });
    }
    if (dice < rates.failBefore + rates.failAfter) {
      if (this.#inner.status().state === "open") await this.#inner.write(operations);
      return this.#stop("write: failed after");
    }
    if (dice < rates.failBefore + rates.failAfter + rates.loseTail) return this.#stop("write: lost");
    if (dice < rates.failBefore + rates.failAfter + rates.loseTail + rates.fence) {
      trace("write: fenced");
      openMemoryKv(this.#faults.storage);
    }
    if (this.#inner.status().state === "fenced") throw new WriterFencedError({ outcome: "unknown" });
    await this.#inner.write(operations);
    trace(`write: ${operations.length} rows`);
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    await this.#beforeRead();
    return await this.#inner.get(key);
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    await this.#beforeRead();
    return await this.#inner.getMany(keys);
  }

  async scan(range: KvRange): Promise<KvCursor> {
    await this.#beforeRead();
    const cursor = await this.#inner.scan(range, "lookup");
    return {
      next: async (rowsMax) => {
        await this.#beforeRead();
        return await cursor.next(rowsMax);
      },
      seek: (key) => cursor.seek(key),
      close: () => cursor.close(),
    };
  }

  async snapshot(): Promise<KvSnapshot> {
    await this.#beforeRead();
    return await this.#inner.snapshot();
  }

  status(): KvStatus {
    return this.#failure === undefined ? this.#inner.status() : { state: "failed", error: this.#failure };
  }

  stats(): KvStats {
    return this.#inner.stats();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #stop(what: string): never {
    this.#faults.trace(what);
    this.#failure = new StorageUnavailableError("simulated, open again");
    throw new StorageUnavailableError("simulated", { outcome: "unknown" });
  }

  async #beforeRead(): Promise<void> {
    this.#assertUsable(undefined);
    const { random, rates, trace } = this.#faults;
    if (random() < rates.delay) await tick();
    if (random() < rates.readFailure) {
      trace("read: failed");
      throw new StorageUnavailableError("simulated");
    }
  }

  #assertUsable(outcome: "not-applied" | undefined): void {
    const told = outcome === undefined ? {} : { outcome };
    if (this.#inner.status().state === "closed") throw new StoreClosedError("closed", told);
    if (this.#failure !== undefined) throw new StorageUnavailableError("simulated, open again", told);
  }
}

/** A turn of the event loop, for others to act in. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function openFaultyKv(faults: FaultyStorage): KeyValueStore {
  return new FaultyKv(faults);
}
