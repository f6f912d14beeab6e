/**
 * Fields whose bytes sort as their values do, so that a key is the sequence of its fields. Strings sort by their UTF-8
 * bytes, that is by code point; integers are eight bytes, big-endian. A string ends with 00 01, and a zero byte in it is
 * written as 00 FF, so that no field runs into the next and a prefix sorts before what it begins.
 */

import { StorageCorruptError } from "../errors.ts";

const integerBytes = 8;

/** The bytes of `text`, escaped, without the terminator: what every longer string with this prefix begins with. */
export function stringPrefix(text: string): Buffer {
  const plain = Buffer.from(text, "utf8");
  if (!plain.includes(0)) return plain;
  const escaped: number[] = [];
  for (const byte of plain) {
    escaped.push(byte);
    if (byte === 0) escaped.push(0xff);
  }
  return Buffer.from(escaped);
}

export function orderedString(text: string): Buffer {
  return Buffer.concat([stringPrefix(text), stringEnd]);
}

const stringEnd = Buffer.from([0, 1]);

/** An integer from 0 to 2^53 - 1. */
export function orderedInteger(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(integerBytes);
  writeOrderedInteger(bytes, value, 0);
  return bytes;
}

export function writeOrderedInteger(target: Buffer, value: number, offset: number): void {
  target.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset);
  target.writeUInt32BE(value % 0x1_0000_0000, offset + 4);
}

/** The least key that sorts after everything that begins with `prefix`; `undefined` where there is none. */
export function afterPrefix(prefix: Uint8Array): Buffer | undefined {
  const end = Buffer.from(prefix);
  for (let index = end.length - 1; index >= 0; index -= 1) {
    const byte = end[index] ?? 0;
    if (byte < 0xff) {
      end[index] = byte + 1;
      return end.subarray(0, index + 1);
    }
  }
  return undefined;
}

/** Reads fields off a key, in order. */
export class OrderedReader {
  readonly #bytes: Buffer;
  #offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
  }

  string(): string {
    const plain: number[] = [];
    for (let at = this.#offset; at + 1 < this.#bytes.length; at += 1) {
      const byte = this.#bytes[at] ?? 0;
      if (byte !== 0) {
        plain.push(byte);
        continue;
      }
      const next = this.#bytes[at + 1];
      if (next === 1) {
        this.#offset = at + 2;
        return Buffer.from(plain).toString("utf8");
      }
      if (next !== 0xff) break;
      plain.push(0);
      at += 1;
    }
    throw new StorageCorruptError("A key of the store holds no proper string");
  }

  integer(): number {
    if (this.#offset + integerBytes > this.#bytes.length)
      throw new StorageCorruptError("A key of the store is too short");
    const high = this.#bytes.readUInt32BE(this.#offset);
    const low = this.#bytes.readUInt32BE(this.#offset + 4);
    this.#offset += integerBytes;
    return high * 0x1_0000_0000 + low;
  }
}
