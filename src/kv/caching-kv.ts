/**
 * A writer's byte store that answers what it can from a bounded cache of rows: keys that were read, and scans of what hardly
 * changes. All writes of the store come this way, so the cache knows of each. Replays, snapshots and other scans pass by it.
 */

import { EventStoreError, InternalError } from "../errors.ts";
import type {
  KeyValueStore,
  KvCursor,
  KvOperation,
  KvRange,
  KvRow,
  KvSnapshot,
  KvStats,
  KvStatus,
  ReclaimOptions,
  ReclaimReport,
} from "./kv.ts";
import type { ObjectStoreStats } from "./object-store-stats.ts";
import { type Fill, keptRunBytesMax, RowCache, type RunRow, rowsFrom, toBinary } from "./row-cache.ts";

/** The writer below. */
export interface CachedStore extends KeyValueStore {
  objectStoreStats(): ObjectStoreStats;
  reclaim(options: ReclaimOptions): Promise<ReclaimReport>;
  /** Throws where it is closed or has failed: then the cache answers nothing either. */
  assertUsable(): void;
  /** Something to wait for where the process has had no turn for a while: what memory answers gives it none. */
  breathe(): Promise<void> | undefined;
}

function fromBinary(name: string): Buffer {
  return Buffer.from(name, "latin1");
}

/** The first key behind `name`. */
function behind(name: string): string {
  return `${name}\0`;
}

/** The rows that a cursor has read, one after another, and is about to keep. */
interface Recording {
  readonly start: string;
  readonly rows: RunRow[];
  bytes: number;
}

interface CursorOptions {
  readonly kv: CachedStore;
  readonly cache: RowCache;
  readonly range: KvRange;
  /** Told of rows that the cache had. */
  readonly onRows: (count: number) => void;
  /** Told where the storage is scanned after all. */
  readonly onStored: () => void;
}

/** Goes through runs in the cache, and through a scan of the storage that is opened where the first of them is missing. */
class CachingCursor implements KvCursor {
  readonly #options: CursorOptions;
  readonly #start: string;
  readonly #end: string | undefined;
  /** The next row is the first one from here on. */
  #at: string;
  #last: string | undefined;
  #stored: KvCursor | undefined;
  /** Since the stored scan was opened; ended when the cursor is. */
  #fill: Fill | undefined;
  /** Whether the stored scan goes on at `#at`. */
  #inStep = false;
  #recording: Recording | undefined;
  #done: boolean;
  #closed = false;
  #failure: unknown;

  constructor(options: CursorOptions) {
    this.#options = options;
    this.#start = toBinary(options.range.start);
    this.#end = options.range.end === undefined ? undefined : toBinary(options.range.end);
    this.#at = this.#start;
    this.#done = this.#end !== undefined && this.#start >= this.#end;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    this.#options.kv.assertUsable();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#done) return [];
    await this.#options.kv.breathe();
    const known = this.#fromCache(rowsMax);
    if (known.length > 0 || this.#done) return known;
    try {
      return await this.#fromStorage(rowsMax);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  async seek(key: Uint8Array): Promise<void> {
    this.#options.kv.assertUsable();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#done) return;
    const to = toBinary(key);
    const outside = to < this.#start || (this.#end !== undefined && to >= this.#end);
    if (outside || (this.#last !== undefined && to <= this.#last))
      throw this.#fail(new InternalError("A scan can only seek forward, within its range"));
    this.#keep(this.#at);
    this.#at = to;
    this.#inStep = false;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#done = true;
    this.#keep(this.#at);
    if (this.#fill !== undefined) this.#options.cache.endFill(this.#fill);
    this.#stored?.close();
  }

  #fail(error: unknown): unknown {
    this.#failure = error;
    this.#recording = undefined;
    this.close();
    return error;
  }

  /** As many rows as the cache has from here on without a gap. */
  #fromCache(rowsMax: number): readonly KvRow[] {
    const rows: KvRow[] = [];
    // What is being recorded goes on where the storage does.
    if (this.#recording !== undefined) return rows;
    while (rows.length < rowsMax && !this.#done) {
      const run = this.#options.cache.run(this.#at);
      if (run === undefined) break;
      this.#inStep = false;
      const from = rowsFrom(run, this.#at);
      const some = run.rows.slice(from, from + rowsMax - rows.length);
      for (const { name, value } of some) {
        if (this.#isOutside(name)) break;
        // Callers may change the bytes that they got.
        rows.push({ key: fromBinary(name), value: new Uint8Array(value) });
        this.#last = name;
      }
      const ended = from + some.length === run.rows.length;
      this.#at = ended ? run.coveredTo : behind(some.at(-1)?.name ?? this.#at);
      this.#done = this.#isOutside(this.#at);
    }
    this.#options.onRows(rows.length);
    return rows;
  }

  #isOutside(name: string): boolean {
    return this.#end !== undefined && name >= this.#end;
  }

  async #fromStorage(rowsMax: number): Promise<readonly KvRow[]> {
    const stored = await this.#storedScan();
    if (stored === undefined) return [];
    this.#recording ??= { start: this.#at, rows: [], bytes: 0 };
    const rows = await stored.next(rowsMax);
    if (this.#closed) return rows;
    for (const { key, value } of rows) {
      const name = toBinary(key);
      this.#recording.rows.push({ name, value: new Uint8Array(value) });
      this.#recording.bytes += value.length;
      this.#last = name;
      this.#at = behind(name);
    }
    if (rows.length === 0) {
      this.#done = true;
      this.#keep(this.#end ?? this.#at);
    } else if (this.#recording.bytes > keptRunBytesMax) {
      this.#keep(this.#at);
    }
    return rows;
  }

  /** The scan of the storage, where it goes on at `#at`; `undefined` where the cursor was closed meanwhile. */
  async #storedScan(): Promise<KvCursor | undefined> {
    const { kv, cache, range } = this.#options;
    const from = fromBinary(this.#at);
    if (this.#stored === undefined) {
      this.#options.onStored();
      this.#fill ??= cache.beginFill();
      const opened = await kv.scan({ ...range, start: from }, "settled");
      this.#stored = opened;
      if (this.#closed) opened.close();
    } else if (!this.#inStep) {
      await this.#stored.seek(from);
    }
    this.#inStep = true;
    return this.#closed ? undefined : this.#stored;
  }

  /** Keeps what was read without a gap: that, and nothing else, is there before `coveredTo`. */
  #keep(coveredTo: string): void {
    const recording = this.#recording;
    this.#recording = undefined;
    if (recording === undefined || this.#fill === undefined) return;
    this.#options.cache.keepRun({ start: recording.start, rows: recording.rows, coveredTo }, this.#fill);
  }
}

export class CachingKv implements KeyValueStore {
  readonly url: string;
  readonly #kv: CachedStore;
  readonly #cache: RowCache;
  #hits = { gets: 0, scans: 0, rowsScanned: 0 };

  /** Takes at most so much memory for rows. */
  constructor(kv: CachedStore, bytesMax: number) {
    this.url = kv.url;
    this.#kv = kv;
    this.#cache = new RowCache(bytesMax);
  }

  async write(operations: readonly KvOperation[]): Promise<void> {
    const write = this.#cache.writeBegins(operations);
    try {
      await this.#kv.write(operations);
    } catch (error) {
      // Of any other write nobody knows what it did, and none follows it.
      if (error instanceof EventStoreError && error.outcome === "not-applied") this.#cache.writeEnds(write);
      throw error;
    }
    this.#cache.writeEnds(write);
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#kv.assertUsable();
    await this.#kv.breathe();
    const names = keys.map(toBinary);
    const values = names.map((name) => this.#cache.row(name));
    const missing = keys.filter((_, index) => values[index] === undefined);
    this.#hits.gets += keys.length - missing.length;
    if (missing.length === 0) return values.map((value) => value && new Uint8Array(value));
    const fill = this.#cache.beginFill();
    try {
      const found = (await this.#kv.getMany(missing)).values();
      return names.map((name, index) => {
        const known = values[index];
        if (known !== undefined) return new Uint8Array(known);
        const value = found.next().value;
        if (value !== undefined) this.#cache.keepRow(name, new Uint8Array(value), fill);
        return value;
      });
    } finally {
      this.#cache.endFill(fill);
    }
  }

  async scan(range: KvRange, purpose: Parameters<KeyValueStore["scan"]>[1]): Promise<KvCursor> {
    if (purpose !== "settled") return await this.#kv.scan(range, purpose);
    this.#kv.assertUsable();
    this.#hits.scans += 1;
    const onRows = (count: number): void => {
      this.#hits.rowsScanned += count;
    };
    const onStored = (): void => {
      this.#hits.scans -= 1;
    };
    return new CachingCursor({ kv: this.#kv, cache: this.#cache, range, onRows, onStored });
  }

  snapshot(): Promise<KvSnapshot> {
    return this.#kv.snapshot();
  }

  status(): KvStatus {
    return this.#kv.status();
  }

  /** Reads that the cache answered count as any others. */
  stats(): KvStats {
    const stats = this.#kv.stats();
    return {
      ...stats,
      gets: stats.gets + this.#hits.gets,
      scans: stats.scans + this.#hits.scans,
      rowsScanned: stats.rowsScanned + this.#hits.rowsScanned,
    };
  }

  objectStoreStats(): ObjectStoreStats {
    return this.#kv.objectStoreStats();
  }

  reclaim(options: ReclaimOptions): Promise<ReclaimReport> {
    return this.#kv.reclaim(options);
  }

  close(): Promise<void> {
    return this.#kv.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
