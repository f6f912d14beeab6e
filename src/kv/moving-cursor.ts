/**
 * A scan that outlives the native handle it began on: when another one is in service it goes on there, behind the last row
 * it handed out. So a long scan neither keeps an old reader alive nor meets objects that were collected meanwhile.
 */

import { InternalError } from "../errors.ts";
import type { KvCursor, KvRange, KvReader, KvRow, ScanPurpose } from "./kv.ts";

/** What a scan can be opened on. */
export type ScanSource = Pick<KvReader, "scan">;

/** Runs `work` on the handle in service, and again on its successor where that one was lost meanwhile. */
export type OnHandle<H extends ScanSource> = <T>(work: (handle: H) => Promise<T>) => Promise<T>;

/** The first key that can stand behind `key`. */
function successorOf(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

export class MovingCursor<H extends ScanSource> implements KvCursor {
  readonly #onHandle: OnHandle<H>;
  readonly #range: KvRange;
  readonly #purpose: ScanPurpose;
  readonly #recovers: boolean;
  #start: Uint8Array;
  #handle: H | undefined;
  #inner: KvCursor | undefined;
  #closed = false;
  /** Where a call on the handle in service failed: it stays so until another one is in service. */
  #failed: { readonly handle: H; readonly error: unknown } | undefined;

  private constructor(onHandle: OnHandle<H>, range: KvRange, purpose: ScanPurpose, recovers: boolean) {
    this.#recovers = recovers;
    this.#onHandle = onHandle;
    this.#range = range;
    this.#purpose = purpose;
    this.#start = range.start;
  }

  /** `recovers`: whether a call may be tried again on the handle that failed it, where rows may be newer then. */
  static async open<H extends ScanSource>(
    onHandle: OnHandle<H>,
    range: KvRange,
    purpose: ScanPurpose,
    recovers: boolean,
  ): Promise<MovingCursor<H>> {
    const cursor = new MovingCursor(onHandle, range, purpose, recovers);
    await cursor.#use(async () => {});
    return cursor;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    if (this.#closed && this.#failed === undefined) return [];
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
    return await this.#onHandle(async (handle) => {
      if (this.#failed?.handle === handle) throw this.#failed.error;
      try {
        return await work(await this.#on(handle));
      } catch (error) {
        // Rows may have been read that nobody got: whoever tries again begins behind the last row handed out.
        this.#leave();
        if (!this.#recovers) this.#failed = { handle, error };
        throw error;
      }
    });
  }

  async #on(handle: H): Promise<KvCursor> {
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
