/**
 * Whether two walks in different orders met the same events, without keeping them: for each segment of 1,024 positions a sum
 * of hashes of the events' digests, added by one walk and taken away by the other. The hashes are keyed by chance, anew each
 * time, so that nobody could have chosen events whose sums agree.
 */

import { digestBytes } from "../format/chain.ts";
import { segmentOf } from "../format/key-families.ts";
import { unguessableText } from "../runtime/secrets.ts";

const lanes = 4;
const keyBytes = 32;

export class EventSums {
  readonly #first: number;
  readonly #sums: Uint32Array;
  /** The key, then the digest that is hashed under it. */
  readonly #input: Buffer = Buffer.allocUnsafeSlow(keyBytes + digestBytes);
  readonly #hash: Buffer = Buffer.allocUnsafeSlow(digestBytes);

  /** For the positions from `from` to `to`. */
  constructor(from: number, to: number) {
    this.#first = segmentOf(Math.max(1, from));
    this.#sums = new Uint32Array(Math.max(0, segmentOf(Math.max(1, to)) - this.#first + 1) * lanes);
    this.#input.set(Buffer.from(unguessableText(), "base64url").subarray(0, keyBytes));
  }

  add(position: number, digest: Uint8Array): void {
    this.#apply(position, digest, 1);
  }

  remove(position: number, digest: Uint8Array): void {
    this.#apply(position, digest, -1);
  }

  /** The segments whose sums did not come to nothing, ascending. */
  *unequal(): Generator<number> {
    for (let at = 0; at < this.#sums.length; at += lanes) {
      if (this.#sums.subarray(at, at + lanes).some((lane) => lane !== 0)) yield this.#first + at / lanes;
    }
  }

  #apply(position: number, digest: Uint8Array, sign: 1 | -1): void {
    this.#input.set(digest, keyBytes);
    Bun.SHA256.hash(this.#input, this.#hash);
    const at = (segmentOf(position) - this.#first) * lanes;
    for (let lane = 0; lane < lanes; lane += 1) {
      // Wraps around, as sums of 32 bits do.
      this.#sums[at + lane] = (this.#sums[at + lane] ?? 0) + sign * this.#hash.readUInt32LE(lane * 4);
    }
  }
}
