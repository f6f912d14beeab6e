/**
 * AES-256-GCM over the personal fields of one event, bound to where they stand: store, stream, event, subject, key and fields.
 * All fields of an event are one box, so that an event costs one nonce, one tag and one call however many fields it has. It is
 * synchronous (node:crypto gives the same bytes as Web Crypto): a box is opened in the middle of decoding, and in the judge, where
 * nothing may wait. ARCHITECTURE.md has the figures.
 */

import { createCipheriv, createDecipheriv } from "node:crypto";
import { ByteWriter } from "../format/bytes.ts";
import { boxNonceBytes, boxTagBytes, type SealedFields } from "../format/sealed-fields.ts";
import { secretBytes } from "../runtime/secrets.ts";

const algorithm = "aes-256-gcm";

/** Where sealed fields stand; they open nowhere else. */
export interface SealedPlace {
  readonly storeId: string;
  readonly streamName: string;
  readonly eventId: string;
}

const scratch = new ByteWriter(1_024);

function bindingOf({ storeId, streamName, eventId }: SealedPlace, { subject, keyId, paths }: SealedFields): Buffer {
  scratch.reset();
  for (const text of ["strata personal 1", storeId, streamName, eventId]) scratch.text(text);
  scratch.block(subject);
  scratch.block(keyId);
  for (const path of paths) scratch.text(path);
  return scratch.view();
}

/** Fills the box. It must have been made for a content of that length. */
export function sealBox(key: Uint8Array, place: SealedPlace, sealed: SealedFields, content: Uint8Array): void {
  const nonce = secretBytes(boxNonceBytes);
  const cipher = createCipheriv(algorithm, key, nonce);
  cipher.setAAD(bindingOf(place, sealed));
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()]);
  sealed.box.set(nonce, 0);
  sealed.box.set(encrypted, boxNonceBytes);
  sealed.box.set(cipher.getAuthTag(), boxNonceBytes + encrypted.length);
}

/** What is in the box; throws where it is not what was sealed there under this key. */
export function openBox(key: Uint8Array, place: SealedPlace, sealed: SealedFields): Buffer {
  const { box } = sealed;
  const tagAt = box.length - boxTagBytes;
  const decipher = createDecipheriv(algorithm, key, box.subarray(0, boxNonceBytes));
  decipher.setAAD(bindingOf(place, sealed));
  decipher.setAuthTag(box.subarray(tagAt));
  return Buffer.concat([decipher.update(box.subarray(boxNonceBytes, tagAt)), decipher.final()]);
}
