/**
 * What must be remembered of a subject while it is being forgotten, sealed under a secret that is not in the database: its own key
 * is gone by then. A note opens for the subject that it was sealed for, and in its store only.
 */

import { EncryptionKeyError } from "../errors.ts";
import { emptySealedFields } from "../format/sealed-fields.ts";
import { openBox, type SealedPlace, sealBox } from "./field-cipher.ts";

export interface SealedNoteOptions {
  readonly storeId: string;
  /** Who only reads has none, and no notes. */
  readonly secret: Uint8Array | undefined;
}

/** The note about a subject, by its hash, as bytes that only `openNote` reads. Throws `encryption-key` for who only reads. */
export function sealNote(options: SealedNoteOptions, subject: string, note: string): Uint8Array {
  const sealed = emptySealedFields(Buffer.from(subject, "hex"), [], Buffer.byteLength(note));
  sealBox(noteKey(options), noteAbout(options, subject), sealed, Buffer.from(note));
  return sealed.box;
}

/** What `sealNote` was given for this subject. Throws `encryption-key` where it was not given that. */
export function openNote(options: SealedNoteOptions, subject: string, box: Uint8Array): string {
  const sealed = { ...emptySealedFields(Buffer.from(subject, "hex"), [], 0), box };
  try {
    return openBox(noteKey(options), noteAbout(options, subject), sealed).toString();
  } catch (cause) {
    throw new EncryptionKeyError("The record of a subject that is being forgotten cannot be opened", { cause });
  }
}

function noteKey({ secret }: SealedNoteOptions): Buffer {
  if (secret === undefined) throw new EncryptionKeyError("A reader has no notes of subjects");
  return new Bun.CryptoHasher("sha256", secret).update("strata notes").digest();
}

function noteAbout({ storeId }: SealedNoteOptions, subject: string): SealedPlace {
  return { storeId, streamName: "", eventId: subject };
}
