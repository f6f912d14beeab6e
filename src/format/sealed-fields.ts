/**
 * The encrypted part of an event, as it stands in the envelope's extension: whose key it takes, which fields of the data are
 * in it, and the ciphertext. It says all of that itself, so that any later definition can read it, one without `personal` too.
 * The length of the box follows from that of its content, so that an event can be encoded before its key is at hand.
 *
 * version (1) | subject (16) | key id (8) | count | paths | box: nonce (12), ciphertext, tag (16)
 */

import { StorageCorruptError } from "../errors.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";

export const subjectHashBytes = 16;
export const subjectKeyIdBytes = 8;
export const boxNonceBytes = 12;
export const boxTagBytes = 16;

const sealedVersion = 1;

/** Views into the bytes that it was read from: written to, they change those. */
export interface SealedFields {
  /** Stands for the subject without naming it. */
  readonly subject: Uint8Array;
  /** The key that it is sealed under; a subject that comes back has another one. */
  readonly keyId: Uint8Array;
  /** The fields whose values are in the box, as in `address.street`. */
  readonly paths: readonly string[];
  readonly box: Uint8Array;
}

/** One with room for a content of so many bytes, to be filled in once it is encoded. */
export function emptySealedFields(subject: Uint8Array, paths: readonly string[], contentBytes: number): SealedFields {
  const box = Buffer.alloc(boxNonceBytes + contentBytes + boxTagBytes);
  return { subject, keyId: Buffer.alloc(subjectKeyIdBytes), paths, box };
}

export function writeSealedFields(writer: ByteWriter, { subject, keyId, paths, box }: SealedFields): void {
  writer.byte(sealedVersion);
  writer.raw(subject);
  writer.raw(keyId);
  writer.varint(paths.length);
  for (const path of paths) writer.text(path);
  writer.block(box);
}

export function readSealedFields(reader: ByteReader): SealedFields {
  if (reader.byte() !== sealedVersion)
    throw new StorageCorruptError("An event was stored by a newer version of Strata");
  const subject = reader.raw(subjectHashBytes);
  const keyId = reader.raw(subjectKeyIdBytes);
  const paths: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) paths.push(reader.text());
  return { subject, keyId, paths, box: reader.block() };
}
