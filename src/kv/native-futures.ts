/**
 * Each call of the engine that takes time is a future in its library, 112 bytes beside what it works on. The binding frees it when it is
 * done, but the library, made with UniFFI 0.31.0, only borrows the reference that it should take over then (mozilla/uniffi-rs issue 2758), and
 * keeps those bytes for ever: 500 calls a second are 5 GB a day. So that reference is taken off the count just before, where it is the last
 * one, and the library's own borrowing and giving back frees the future.
 *
 * The handle of a future is what Rust's `Arc::into_raw` answers: behind two counts of 8 bytes, strong and weak references. While the
 * strong count is 1, nobody else has a reference from which another could be made, so that writing it disturbs nobody. Only for libraries
 * that are known to keep the reference (`native-declarations.ts`), and for bindings that free each future once, when it is done: another
 * version of either has to be looked at again.
 */

import { type Pointer, read } from "bun:ffi";
import type { NativeFunction } from "./native-declarations.ts";
import type { NativeFunctions } from "./native-functions.ts";

interface Late {
  readonly free: NativeFunction;
  readonly handle: unknown;
}

/** Beyond so many the oldest are left as they are. */
const lateMax = 1_024;

export class FutureReleaser {
  readonly #native: Pick<NativeFunctions, "memset">;
  /** Those that the engine's thread had still a hand on: it wakes a call, and lets go of it a moment later. The oldest first. */
  readonly #late: Late[] = [];

  constructor(native: Pick<NativeFunctions, "memset">) {
    this.#native = native;
  }

  /** What the binding is to do with a future when it is done with it, by way of what the library has for it. */
  releasing(free: NativeFunction): NativeFunction {
    return (handle) => {
      for (let left = 2; left > 0; left -= 1) this.#releaseOldest();
      const last = this.#takeLastReference(handle);
      const freed = free(handle);
      if (!last && this.#late.push({ free, handle }) > lateMax) this.#late.shift();
      return freed;
    };
  }

  /** The library has freed what is in it already, and does not mind doing so again. */
  #releaseOldest(): void {
    const oldest = this.#late.shift();
    if (oldest === undefined) return;
    if (this.#takeLastReference(oldest.handle)) oldest.free(oldest.handle);
    else this.#late.push(oldest);
  }

  /** Whether the future has no reference any more; one that others hold as well is not touched. */
  #takeLastReference(handle: unknown): boolean {
    const counts = (Number(handle) - 16) as Pointer;
    if (read.ptr(counts, 0) !== 1 || read.ptr(counts, 8) !== 1) return false;
    // The lowest byte of it, on all machines that the library is made for.
    this.#native.memset(counts, 0, 1);
    return true;
  }
}
