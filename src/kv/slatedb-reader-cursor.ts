/**
 * A scan that outlives the native reader it began on: when another one is in service it goes on there, behind the last row
 * it handed out. So a long scan neither keeps an old reader alive nor meets objects that were collected meanwhile.
 */

import { InternalError } from "../errors.ts";
import type { KvCursor, KvRange, KvRow, ScanPurpose } from "./kv.ts";
import type { ReaderHandle } from "./slatedb-reader-handle.ts";

/** Runs `work` on the reader in service, and again on its successor where that one was lost meanwhile. */
export type OnReader = <T>(work: (handle: ReaderHandle) => Promise<T>) => Promise<T>;

/** The first key that can stand behind `key`. */
function successorOf(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

export class ReaderCursor implements KvCursor {
  readonly #onReader: OnReader;
  readonly #range: KvRange;
  readonly #purpose: ScanPurpose;
  #start: Uint8Array;
  #handle: ReaderHandle | undefined;
  #inner: KvCursor | undefined;
  #closed = false;

  private constructor(onReader: OnReader, range: KvRange, purpose: ScanPurpose) {
    this.#onReader = onReader;
    this.#range = range;
    this.#purpose = purpose;
    this.#start = range.start;
  }

  static async open(onReader: OnReader, range: KvRange, purpose: ScanPurpose): Promise<ReaderCursor> {
    const cursor = new ReaderCursor(onReader, range, purpose);
    await cursor.#use(async () => {});
    return cursor;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    if (this.#closed) return [];
    const rows = await this.#use((inner) => inner.next(rowsMax));
    const last = rows.at(-1);
    if (last === undefined) this.close();
    else this.#start = successorOf(last.key);
    return rows;
  }

  async seek(key: Uint8Array): Promise<void> {
    if (this.#closed) return;
    const { end } = this.#range;
    if (Buffer.compare(key, this.#start) < 0 || (end !== undefined && Buffer.compare(key, end) >= 0)) {
      throw new InternalError("A scan can only seek forward, within its range");
    }
    await this.#use((inner) => inner.seek(key));
    this.#start = key;
  }

  close(): void {
    this.#closed = true;
    this.#leave();
  }

  #leave(): void {
    this.#inner?.close();
    this.#inner = undefined;
    this.#handle = undefined;
  }

  async #use<T>(work: (inner: KvCursor) => Promise<T>): Promise<T> {
    return await this.#onReader(async (handle) => {
      try {
        return await work(await this.#on(handle));
      } catch (error) {
        // Rows may have been read that nobody got: whoever tries again begins behind the last row handed out.
        this.#leave();
        throw error;
      }
    });
  }

  async #on(handle: ReaderHandle): Promise<KvCursor> {
    if (this.#inner !== undefined && this.#handle === handle) return this.#inner;
    this.#leave();
    const { end } = this.#range;
    const range = end === undefined ? { start: this.#start } : { start: this.#start, end };
    const inner = await handle.scan(range, this.#purpose);
    if (this.#closed) inner.close();
    else {
      this.#inner = inner;
      this.#handle = handle;
    }
    return inner;
  }
}
