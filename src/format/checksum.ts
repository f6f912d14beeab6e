/**
 * CRC-32 (IEEE 802.3, as in zlib) over key and value: it finds damage, and a value that stands under another row's key. It
 * does not find tampering.
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, type ByteWriter } from "./bytes.ts";

/** What precedes every sealed value: a kind byte, then the checksum of all that follows. */
export const sealBytes = 5;

/** Starts a sealed value of that kind in `writer`; `seal` ends it. */
export function beginSealed(writer: ByteWriter, kind: number): void {
  writer.byte(kind);
  writer.uint32(0);
}

/** Ends a sealed value that will stand under `key`. */
export function seal(writer: ByteWriter, key: Uint8Array): Buffer {
  writer.patchUint32(1, checksum(key, writer.view(sealBytes)));
  return writer.finish();
}

function checksum(key: Uint8Array, content: Uint8Array): number {
  return Bun.hash.crc32(content, Bun.hash.crc32(key));
}

/** Checks kind and checksum of what stands under `key`, and returns a reader over what is inside. */
export function openSealed(key: Uint8Array, bytes: Uint8Array, kind: number, what: string): ByteReader {
  const reader = new ByteReader(bytes);
  const actual = bytes.length < sealBytes ? undefined : reader.byte();
  if (actual !== kind) throw new StorageCorruptError(`${what} is of an unknown kind: ${actual}`);
  const stored = reader.uint32();
  const computed = checksum(key, bytes.subarray(sealBytes));
  if (stored !== computed) throw new StorageCorruptError(`${what} is damaged: its checksum does not match`);
  return reader;
}
