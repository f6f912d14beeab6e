/** The rows of a database as they were at one moment. Freed when it is closed and its last call has returned. */

import { StoreClosedError } from "../errors.ts";
import type { KvCursor, KvRange, KvSnapshot, ScanPurpose } from "./kv.ts";
import type { NativeSnapshot } from "./slatedb-binding.ts";
import type { ReadHost, SlateReads } from "./slatedb-reads.ts";

export class SlateSnapshot implements KvSnapshot {
  readonly #host: ReadHost;
  readonly #reads: SlateReads;
  readonly #native: NativeSnapshot;
  #calls = 0;
  #closed = false;

  constructor(host: ReadHost, reads: SlateReads, native: NativeSnapshot) {
    this.#host = host;
    this.#reads = reads;
    this.#native = native;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#use((native) => this.#reads.getMany(native, keys));
  }

  scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    return this.#use((native) => this.#reads.scan(native, range, purpose));
  }

  close(): void {
    this.#closed = true;
    // A call that is still under way needs it; it is freed when that returns.
    if (this.#calls === 0) this.#native.dispose();
  }

  async #use<T>(work: (native: NativeSnapshot) => Promise<T>): Promise<T> {
    this.#host.assertUsable();
    if (this.#closed) throw new StoreClosedError("The snapshot is closed");
    this.#calls += 1;
    try {
      return await work(this.#native);
    } finally {
      this.#calls -= 1;
      if (this.#closed && this.#calls === 0) this.#native.dispose();
    }
  }
}
