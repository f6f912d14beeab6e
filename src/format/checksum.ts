/** CRC-32 (IEEE 802.3, as in zlib) over stored values: it finds damage, not tampering. */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, type ByteWriter } from "./bytes.ts";

/** What precedes every sealed value: a kind byte, then the checksum of all that follows. */
export const sealBytes = 5;

/** Starts a sealed value of that kind in `writer`; `seal` ends it. */
export function beginSealed(writer: ByteWriter, kind: number): void {
  writer.byte(kind);
  writer.uint32(0);
}

export function seal(writer: ByteWriter): Buffer {
  writer.patchUint32(1, Bun.hash.crc32(writer.view(sealBytes)));
  return writer.finish();
}

/** Checks kind and checksum, and returns a reader over what is inside. */
export function openSealed(bytes: Uint8Array, kind: number, what: string): ByteReader {
  const reader = new ByteReader(bytes);
  const actual = bytes.length < sealBytes ? undefined : reader.byte();
  if (actual !== kind) throw new StorageCorruptError(`${what} is of an unknown kind: ${actual}`);
  const stored = reader.uint32();
  const computed = Bun.hash.crc32(bytes.subarray(sealBytes));
  if (stored !== computed) throw new StorageCorruptError(`${what} is damaged: its checksum does not match`);
  return reader;
}
