/**
 * A snapshot of a writer that may be exchanged for another one. It cannot be carried over: rows as they were are gone with the
 * writer they were taken of. So it says that, instead of that the store is closed, and whoever reads from it begins again.
 */

import { StorageUnavailableError } from "../errors.ts";
import type { KvCursor, KvRange, KvSnapshot, ScanPurpose } from "./kv.ts";

export class ExchangedSnapshot implements KvSnapshot {
  readonly #inner: KvSnapshot;
  readonly #isLost: () => boolean;

  /** `isLost`: whether the writer was closed by an exchange, while the store is in use. */
  constructor(inner: KvSnapshot, isLost: () => boolean) {
    this.#inner = inner;
    this.#isLost = isLost;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return await this.#use(() => this.#inner.get(key));
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return await this.#use(() => this.#inner.getMany(keys));
  }

  async scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    const cursor = await this.#use(() => this.#inner.scan(range, purpose));
    return {
      next: async (rowsMax) => await this.#use(() => cursor.next(rowsMax)),
      seek: async (key) => await this.#use(() => cursor.seek(key)),
      close: () => cursor.close(),
    };
  }

  isLost(): boolean {
    return this.#isLost();
  }

  close(): void {
    this.#inner.close();
  }

  async #use<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (!this.#isLost()) throw cause;
      const message =
        "The storage engine was exchanged to give space back while rows of one moment were read: that can be tried again";
      throw new StorageUnavailableError(message, { cause });
    }
  }
}
