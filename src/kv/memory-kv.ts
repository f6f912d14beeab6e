/**
 * The byte store in memory, for tests and `memory:` URLs: what is written is gone with the process.
 * Several opens of one `MemoryStorage` behave as several processes on one bucket do: the latest one is the writer.
 */

import BTree from "sorted-btree";
import { InternalError, StoreClosedError, type WriteOutcome, WriterFencedError } from "../errors.ts";
import {
  assertKeyFits,
  type KeyValueStore,
  type KvCursor,
  type KvOperation,
  type KvRange,
  type KvReader,
  type KvRow,
  type KvSnapshot,
  type KvStats,
  type KvStatus,
} from "./kv.ts";

/** What outlives a close: the rows, and the number of writers that were opened. */
export interface MemoryStorage {
  rows: BTree<string, Uint8Array>;
  writerEpoch: number;
}

export function createMemoryStorage(): MemoryStorage {
  return { rows: new BTree<string, Uint8Array>(undefined, compareBinary), writerEpoch: 0 };
}

/** One character a byte, so that strings sort as the bytes do. */
function toBinary(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

function fromBinary(key: string): Uint8Array {
  return Buffer.from(key, "latin1");
}

function compareBinary(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

class MemoryCursor implements KvCursor {
  #rows: Iterator<[string, Uint8Array]> | undefined;
  readonly #tree: BTree<string, Uint8Array>;
  readonly #start: string;
  readonly #end: string | undefined;
  #last: string | undefined;
  readonly #onUse: (rows: number) => void;

  /** `onUse` is told how many rows each call hands out, and throws once the store is closed. */
  constructor(tree: BTree<string, Uint8Array>, range: KvRange, onUse: (rows: number) => void) {
    this.#tree = tree;
    this.#start = toBinary(range.start);
    this.#end = range.end === undefined ? undefined : toBinary(range.end);
    this.#rows = tree.entries(this.#start);
    this.#onUse = onUse;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    const batch: KvRow[] = [];
    this.#onUse(0);
    while (batch.length < rowsMax && this.#rows !== undefined) {
      const step = this.#rows.next();
      if (step.done === true || (this.#end !== undefined && step.value[0] >= this.#end)) {
        this.#rows = undefined;
        break;
      }
      this.#last = step.value[0];
      batch.push({ key: fromBinary(step.value[0]), value: step.value[1].slice() });
    }
    this.#onUse(batch.length);
    return batch;
  }

  async seek(key: Uint8Array): Promise<void> {
    this.#onUse(0);
    if (this.#rows === undefined) return;
    const to = toBinary(key);
    const outside = to < this.#start || (this.#end !== undefined && to >= this.#end);
    if (outside || (this.#last !== undefined && to <= this.#last)) {
      throw new InternalError("A scan can only seek forward, within its range");
    }
    this.#rows = this.#tree.entries(to);
  }

  close(): void {
    this.#rows = undefined;
  }
}

class MemoryKv implements KeyValueStore {
  readonly url = "memory:";
  readonly #storage: MemoryStorage;
  readonly #epoch: number;
  #closed = false;
  #stats = { writes: 0, rowsWritten: 0, bytesWritten: 0, gets: 0, scans: 0, rowsScanned: 0, memtableFlushes: 0 };

  constructor(storage: MemoryStorage) {
    this.#storage = storage;
    storage.writerEpoch += 1;
    this.#epoch = storage.writerEpoch;
  }

  async write(operations: readonly KvOperation[]): Promise<void> {
    this.#assertUsable("not-applied");
    if (operations.length === 0) return;
    for (const { key } of operations) assertKeyFits(key, "not-applied");
    for (const operation of operations) {
      const key = toBinary(operation.key);
      if (operation.kind === "put") {
        this.#storage.rows.set(key, new Uint8Array(operation.value));
        this.#stats.bytesWritten += operation.value.length;
      } else {
        this.#storage.rows.delete(key);
      }
      this.#stats.bytesWritten += operation.key.length;
    }
    this.#stats.writes += 1;
    this.#stats.rowsWritten += operations.length;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return await this.#reader(this.#storage.rows).getMany(keys);
  }

  async scan(range: KvRange): Promise<KvCursor> {
    this.#assertUsable();
    return this.#reader(this.#storage.rows.clone()).scan(range, "lookup");
  }

  async snapshot(): Promise<KvSnapshot> {
    this.#assertUsable();
    let closed = false;
    const reader = this.#reader(this.#storage.rows.clone(), () => {
      if (closed) throw new StoreClosedError("The snapshot is closed");
    });
    return {
      ...reader,
      close: () => {
        closed = true;
      },
    };
  }

  status(): KvStatus {
    if (this.#closed) return { state: "closed" };
    if (this.#epoch !== this.#storage.writerEpoch) return { state: "fenced", error: new WriterFencedError() };
    return { state: "open" };
  }

  stats(): KvStats {
    return { ...this.#stats };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #reader(rows: BTree<string, Uint8Array>, check: () => void = () => {}): KvReader {
    const stats = this.#stats;
    const getMany = async (keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> => {
      this.#assertUsable();
      check();
      stats.gets += keys.length;
      for (const key of keys) assertKeyFits(key);
      return keys.map((key) => rows.get(toBinary(key))?.slice());
    };
    return {
      getMany,
      get: async (key) => (await getMany([key]))[0],
      scan: async (range) => {
        this.#assertUsable();
        check();
        stats.scans += 1;
        return new MemoryCursor(rows, range, (count) => {
          this.#assertUsable();
          stats.rowsScanned += count;
        });
      },
    };
  }

  #assertUsable(outcome?: WriteOutcome): void {
    const options = outcome === undefined ? {} : { outcome };
    const status = this.status();
    if (status.state === "closed") throw new StoreClosedError("The store is closed", options);
    if (status.state === "fenced") throw new WriterFencedError(options);
  }
}

/** Opens `storage` for writing; an earlier open of the same storage is fenced. */
export function openMemoryKv(storage: MemoryStorage = createMemoryStorage()): KeyValueStore {
  return new MemoryKv(storage);
}
