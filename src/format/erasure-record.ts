/**
 * A subject that is being forgotten: written before its keys are destroyed, and removed in the commit of the receipt, so that what a
 * crash leaves half-done is found and ended when the store is opened again. Who it is, and what the caller said of it, is sealed by
 * a secret that is not in the database.
 *
 * seal | version | since (6) | box
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";

const erasureKind = 0x7d;
const erasureVersion = 1;

export interface ErasureRecord {
  /** When it was asked for, which is when the subject counts as forgotten. */
  readonly sinceMs: number;
  /** The subject and the caller's metadata. */
  readonly box: Uint8Array;
}

export function encodeErasure(key: Uint8Array, { sinceMs, box }: ErasureRecord): Buffer {
  const writer = new ByteWriter(256);
  beginSealed(writer, erasureKind);
  writer.byte(erasureVersion);
  writer.uint48(sinceMs);
  writer.block(box);
  return seal(writer, key);
}

/** Throws `storage-corrupt`. */
export function decodeErasure(key: Uint8Array, value: Uint8Array): ErasureRecord {
  const reader = openSealed(key, value, erasureKind, "The record of a subject that is being forgotten");
  if (reader.byte() !== erasureVersion)
    throw new StorageCorruptError("The record of a subject that is being forgotten is of a newer version of Strata");
  return { sinceMs: reader.uint48(), box: Uint8Array.from(reader.block()) };
}
