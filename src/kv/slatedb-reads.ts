/**
 * Reading from the engine, for writers and replicas alike: rows by key, and cursors. Scans ascend only; a call under way
 * holds what it needs until it returns; long reads let the rest of the process run.
 */

import type { Clock } from "../runtime/clock.ts";
import { assertKeyFits, type KvCursor, type KvRange, type KvRow, type ScanPurpose } from "./kv.ts";
import {
  type NativeIterator,
  type NativeSnapshot,
  type NativeSource,
  readOptions,
  scanOptions,
} from "./slatedb-binding.ts";

/** The most rows one crossing of `getMany` has under way: each may need a connection of its own. */
const getConcurrencyMax = 64;

/** Reads let the process turn to other work at least this often. */
const breathIntervalMs = 10;

/** The handle that reads belong to. */
export interface ReadHost {
  /** Throws where the handle is closed or has failed. */
  assertUsable(): void;
  /** Puts the deadline of reads around a native call, and maps its errors. */
  read<T>(work: Promise<T>): Promise<T>;
}

export interface ReadStats {
  readonly gets: number;
  readonly scans: number;
  readonly rowsScanned: number;
}

class SlateCursor implements KvCursor {
  readonly #reads: SlateReads;
  readonly #host: ReadHost;
  #iterator: NativeIterator | undefined;
  #busy = false;
  /** Where a call failed, rows may have been read that nobody got: the cursor fails from then on. */
  #failure: unknown;

  constructor(reads: SlateReads, host: ReadHost, iterator: NativeIterator) {
    this.#reads = reads;
    this.#host = host;
    this.#iterator = iterator;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    const rows: KvRow[] = [];
    await this.#use(async (iterator) => {
      while (rows.length < rowsMax && this.#iterator === iterator) {
        await this.#reads.breathe();
        const row = await iterator.next();
        if (row === undefined) this.close();
        else rows.push({ key: row.key, value: row.value });
      }
    });
    this.#reads.countScanned(rows.length);
    return rows;
  }

  async seek(key: Uint8Array): Promise<void> {
    await this.#use((iterator) => iterator.seek(key));
  }

  close(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    // A native call that is still under way holds the iterator; it is freed when that returns.
    if (!this.#busy) iterator?.dispose();
  }

  async #use(work: (iterator: NativeIterator) => Promise<void>): Promise<void> {
    this.#host.assertUsable();
    if (this.#failure !== undefined) throw this.#failure;
    const iterator = this.#iterator;
    if (iterator === undefined) return;
    this.#busy = true;
    const running = work(iterator).finally(() => {
      this.#busy = false;
      if (this.#iterator === undefined) iterator.dispose();
    });
    try {
      await this.#host.read(running);
    } catch (error) {
      this.#failure = error;
      this.close();
      throw error;
    }
  }
}

/** A scan of a range in which no key can be; the engine refuses those. */
const emptyCursor: KvCursor = { next: async () => [], seek: async () => {}, close: () => {} };

/** The reads of one handle, and their counts. */
export class SlateReads {
  readonly #host: ReadHost;
  readonly #clock: Clock;
  #breathedMs = 0;
  #stats = { gets: 0, scans: 0, rowsScanned: 0 };

  constructor(host: ReadHost, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
  }

  stats(): ReadStats {
    return { ...this.#stats };
  }

  async getMany(source: NativeSource, keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#stats.gets += keys.length;
    for (const key of keys) assertKeyFits(key);
    const values: (Uint8Array | undefined)[] = [];
    for (let from = 0; from < keys.length; from += getConcurrencyMax) {
      const some = keys.slice(from, from + getConcurrencyMax);
      await this.breathe();
      const reading = Promise.all(some.map((key) => source.get_with_options(key, readOptions)));
      values.push(...(await this.#host.read(reading)));
    }
    return values;
  }

  async scan(source: NativeSource, range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.#stats.scans += 1;
    if (range.end !== undefined && Buffer.compare(range.start, range.end) >= 0) return emptyCursor;
    const bounds = { start: range.start, start_inclusive: true, end: range.end, end_inclusive: false };
    const iterator = await this.acquire(source.scan_with_options(bounds, scanOptions[purpose]));
    return new SlateCursor(this, this.#host, iterator);
  }

  /** As the host's `read`, for a native object: where nobody waits for it any more, it is freed as soon as it is there. */
  async acquire<T extends NativeIterator | NativeSnapshot>(work: Promise<T>): Promise<T> {
    try {
      return await this.#host.read(work);
    } catch (error) {
      work.then(
        (native) => native.dispose(),
        () => {},
      );
      throw error;
    }
  }

  /**
   * What a cache of ours answers settles without the event loop turning, and what the engine answers from memory hardly lets it get
   * to timers, requests and our own deadlines: a long scan would hold them up for its whole length.
   */
  breathe(): Promise<void> | undefined {
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#breathedMs < breathIntervalMs) return undefined;
    this.#breathedMs = nowMs;
    return new Promise((resolve) => setImmediate(resolve));
  }

  countScanned(rows: number): void {
    this.#stats.rowsScanned += rows;
  }
}
