/** A growing buffer to write values into, and a bounds-checked reader. Integers are LEB128 varints up to 2^53 - 1. */

import { StorageCorruptError } from "../errors.ts";

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 1_024) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Starts over with the same memory; slices from `finish` stay valid, because it copies. */
  reset(): void {
    this.#length = 0;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length] = value;
    this.#length += 1;
  }

  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length] = (rest % 0x80) | 0x80;
      this.#length += 1;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length] = rest;
    this.#length += 1;
  }

  /** Six bytes, for milliseconds since 1970. */
  uint48(value: number): void {
    this.#reserve(6);
    this.#length = this.#buffer.writeUIntLE(value, this.#length, 6);
  }

  float64(value: number): void {
    this.#reserve(8);
    this.#length = this.#buffer.writeDoubleLE(value, this.#length);
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32LE(value, this.#length);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The length as a varint, then the UTF-8 bytes. */
  text(value: string): void {
    const bytesMost = value.length * 3;
    this.#reserve(bytesMost + 8);
    if (bytesMost < 0x80) {
      const written = this.#buffer.write(value, this.#length + 1, "utf8");
      this.#buffer[this.#length] = written;
      this.#length += 1 + written;
      return;
    }
    this.varint(Buffer.byteLength(value, "utf8"));
    this.#length += this.#buffer.write(value, this.#length, "utf8");
  }

  /** UTF-8 bytes up to the end, without a length. */
  rest(value: string): void {
    this.#reserve(value.length * 3);
    this.#length += this.#buffer.write(value, this.#length, "utf8");
  }

  /** The length as a varint, then the bytes. */
  block(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Overwrites four bytes that were written before. */
  patchUint32(offset: number, value: number): void {
    this.#buffer.writeUInt32LE(value, offset);
  }

  /** What was written so far, from `from`, without copying: valid until the next write. */
  view(from = 0): Buffer {
    return this.#buffer.subarray(from, this.#length);
  }

  /** A copy of what was written. */
  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#length));
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

export class ByteReader {
  readonly #buffer: Buffer;
  readonly #end: number;
  #offset: number;

  constructor(bytes: Uint8Array, offset = 0, end: number = bytes.length) {
    this.#buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
    this.#end = end;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#end - this.#offset;
  }

  byte(): number {
    this.#require(1);
    const value = this.#buffer[this.#offset] ?? 0;
    this.#offset += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 8; count += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      factor *= 0x80;
    }
    throw new StorageCorruptError("A stored integer is out of range");
  }

  uint48(): number {
    this.#require(6);
    const value = this.#buffer.readUIntLE(this.#offset, 6);
    this.#offset += 6;
    return value;
  }

  float64(): number {
    this.#require(8);
    const value = this.#buffer.readDoubleLE(this.#offset);
    this.#offset += 8;
    return value;
  }

  uint32(): number {
    this.#require(4);
    const value = this.#buffer.readUInt32LE(this.#offset);
    this.#offset += 4;
    return value;
  }

  raw(length: number): Buffer {
    this.#require(length);
    const bytes = this.#buffer.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return bytes;
  }

  skip(length: number): void {
    this.#require(length);
    this.#offset += length;
  }

  text(): string {
    const length = this.varint();
    this.#require(length);
    const value = this.#buffer.toString("utf8", this.#offset, this.#offset + length);
    this.#offset += length;
    return value;
  }

  /** UTF-8 up to the end. */
  rest(): string {
    const value = this.#buffer.toString("utf8", this.#offset, this.#end);
    this.#offset = this.#end;
    return value;
  }

  block(): Buffer {
    return this.raw(this.varint());
  }

  #require(bytes: number): void {
    if (this.#offset + bytes > this.#end) throw new StorageCorruptError("Stored bytes end too early");
  }
}
