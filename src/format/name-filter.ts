/**
 * A filter of the stream names that exist, in segments: it says of a name that it surely is new, or that it may exist. What it
 * holds can be made again from the heads of the streams, so a damaged row costs time and loses nothing.
 *
 * A segment is a Bloom filter (Bloom, 1970) of 2^18 bits for at most 16,384 names, with eight probes by double hashing
 * (Kirsch and Mitzenmacher, 2006): it is wrong about one new name in some 1,700. The hashes are xxHash32 of the UTF-8 bytes.
 *
 * directory: seal | segments | covered position | overflowed | extension        segment: seal | names | 32 KiB of bits
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { nameDirectoryKey } from "./key-families.ts";
import type { PageRow, StoredRow } from "./pages.ts";

const directoryKind = 0x11;
const segmentKind = 0x12;

/** A segment takes so many names. */
export const segmentNamesMax = 16_384;
const segmentBits = 2 ** 18;
const probes = 8;
const seeds = [0x5374_7261, 0x7461_4e61] as const;

/** The two hashes of a name, from which its places in every segment follow. */
export interface NameHash {
  readonly first: number;
  readonly second: number;
}

export function hashName(streamName: string): NameHash {
  const bytes = Buffer.from(streamName, "utf8");
  // An even step would come back to the same places.
  return { first: Bun.hash.xxHash32(bytes, seeds[0]), second: Bun.hash.xxHash32(bytes, seeds[1]) | 1 };
}

export class NameSegment {
  readonly #bits: Uint8Array;
  #names: number;

  constructor(bits: Uint8Array = new Uint8Array(segmentBits / 8), names = 0) {
    this.#bits = bits;
    this.#names = names;
  }

  get isFull(): boolean {
    return this.#names >= segmentNamesMax;
  }

  add({ first, second }: NameHash): void {
    for (let probe = 0, place = first; probe < probes; probe += 1, place += second) {
      const bit = place & (segmentBits - 1);
      this.#bits[bit >> 3] = (this.#bits[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
    this.#names += 1;
  }

  mayHave({ first, second }: NameHash): boolean {
    for (let probe = 0, place = first; probe < probes; probe += 1, place += second) {
      const bit = place & (segmentBits - 1);
      if (((this.#bits[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0) return false;
    }
    return true;
  }

  encode(key: Buffer): PageRow {
    const writer = new ByteWriter(segmentBits / 8 + 16);
    beginSealed(writer, segmentKind);
    writer.varint(this.#names);
    writer.raw(this.#bits);
    return { key, value: seal(writer, key) };
  }

  static decode(row: StoredRow): NameSegment {
    const what = "A segment of the stream names";
    const reader = openSealed(row.key, row.value, segmentKind, what);
    const names = reader.varint();
    if (reader.remaining !== segmentBits / 8) throw new StorageCorruptError(`${what} has an unknown size`);
    return new NameSegment(Uint8Array.from(reader.raw(segmentBits / 8)), names);
  }
}

/** What the stored segments cover. */
export interface NameDirectory {
  readonly segments: number;
  /** Every stream that was born at this position or before is in the segments. */
  readonly coveredTo: number;
  /** There were more names than segments may hold: the filter knows nothing any more. */
  readonly overflowed: boolean;
}

export function encodeNameDirectory(directory: NameDirectory): Buffer {
  const writer = new ByteWriter(32);
  beginSealed(writer, directoryKind);
  writer.varint(directory.segments);
  writer.varint(directory.coveredTo);
  writer.byte(directory.overflowed ? 1 : 0);
  writer.block(new Uint8Array(0));
  return seal(writer, nameDirectoryKey);
}

export function decodeNameDirectory(bytes: Uint8Array): NameDirectory {
  const reader = openSealed(nameDirectoryKey, bytes, directoryKind, "The directory of the stream names");
  return { segments: reader.varint(), coveredTo: reader.varint(), overflowed: reader.byte() === 1 };
}
