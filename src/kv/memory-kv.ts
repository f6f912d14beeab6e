/**
 * The byte store in memory, for tests and `memory:` URLs: what is written is gone with the process.
 * Several opens of one `MemoryStorage` behave as several processes on one bucket do: the latest one is the writer.
 */

import BTree from "sorted-btree";
import { StoreClosedError, WriterFencedError } from "../errors.ts";
import type {
  KeyValueStore,
  KvCursor,
  KvOperation,
  KvRange,
  KvReader,
  KvRow,
  KvSnapshot,
  KvStats,
  KvStatus,
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
  readonly #end: string | undefined;
  readonly #onRows: (count: number) => void;

  constructor(tree: BTree<string, Uint8Array>, range: KvRange, onRows: (count: number) => void) {
    this.#tree = tree;
    this.#end = range.end === undefined ? undefined : toBinary(range.end);
    this.#rows = tree.entries(toBinary(range.start));
    this.#onRows = onRows;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    const batch: KvRow[] = [];
    while (batch.length < rowsMax && this.#rows !== undefined) {
      const step = this.#rows.next();
      if (step.done === true || (this.#end !== undefined && step.value[0] >= this.#end)) {
        this.#rows = undefined;
        break;
      }
      batch.push({ key: fromBinary(step.value[0]), value: step.value[1] });
    }
    this.#onRows(batch.length);
    return batch;
  }

  async seek(key: Uint8Array): Promise<void> {
    if (this.#rows !== undefined) this.#rows = this.#tree.entries(toBinary(key));
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
    this.#assertUsable();
    for (const operation of operations) {
      const key = toBinary(operation.key);
      if (operation.kind === "put") {
        this.#storage.rows.set(key, Uint8Array.from(operation.value));
        this.#stats.bytesWritten += operation.key.length + operation.value.length;
      } else {
        this.#storage.rows.delete(key);
      }
    }
    this.#stats.writes += 1;
    this.#stats.rowsWritten += operations.length;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#assertUsable();
    return this.#reader(this.#storage.rows).getMany(keys);
  }

  async scan(range: KvRange): Promise<KvCursor> {
    this.#assertUsable();
    return this.#reader(this.#storage.rows.clone()).scan(range, "lookup");
  }

  async snapshot(): Promise<KvSnapshot> {
    this.#assertUsable();
    return { ...this.#reader(this.#storage.rows.clone()), close: () => {} };
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

  #reader(rows: BTree<string, Uint8Array>): KvReader {
    const stats = this.#stats;
    const getMany = async (keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> => {
      stats.gets += keys.length;
      return keys.map((key) => rows.get(toBinary(key)));
    };
    return {
      getMany,
      get: async (key) => (await getMany([key]))[0],
      scan: async (range) => {
        stats.scans += 1;
        return new MemoryCursor(rows, range, (count) => {
          stats.rowsScanned += count;
        });
      },
    };
  }

  #assertUsable(): void {
    const status = this.status();
    if (status.state === "closed") throw new StoreClosedError("The store is closed", { outcome: "not-applied" });
    if (status.state === "fenced") throw new WriterFencedError({ outcome: "not-applied" });
  }
}

/** Opens `storage` for writing; an earlier open of the same storage is fenced. */
export function openMemoryKv(storage: MemoryStorage = createMemoryStorage()): KeyValueStore {
  return new MemoryKv(storage);
}
