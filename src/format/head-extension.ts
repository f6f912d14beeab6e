/**
 * What the head of a stream says of its life: deleted, archived, and how far its dropped events are gone from storage. A list
 * of tagged fields, so that a version which does not know one of them carries it through unchanged. An ordinary stream has
 * none of them, and its extension is empty.
 *
 * { tag | block } x n, tags ascending
 */

import { ByteReader, ByteWriter } from "./bytes.ts";

const fieldTags = { tombstone: 1, droppedBefore: 2, reason: 3, archive: 4 } as const;

/** Why events of a stream were truncated; what the gap that they leave in the log is recorded with. */
export type TruncationReason = "expired" | "excess" | "truncated";

const reasonCodes: Readonly<Record<TruncationReason, number>> = { expired: 1, excess: 2, truncated: 3 };

/** The stream is deleted: its events are gone for readers, and nothing is appended to it. */
export interface Tombstone {
  readonly deletedAtMs: number;
  /** Until then the deletion can be taken back; its events are dropped after it. */
  readonly undeletableUntilMs: number;
  /** The events are dropped: only the tombstone and the version are left. */
  readonly purged: boolean;
}

/** Versions `from` to `before - 1` are in the archive. */
export interface ArchivedRange {
  readonly from: number;
  readonly before: number;
}

export interface HeadExtension {
  readonly tombstone?: Tombstone;
  /** Versions before this one are no longer in pages, in the head or in the log: gone, or in the archive alone. */
  readonly droppedBefore?: number;
  /** Why the versions before the head's `truncatedBefore` are gone, or about to be; absent where none is. */
  readonly reason?: TruncationReason;
  readonly archive?: ArchivedRange;
  /** What this version does not know. */
  readonly unknown?: readonly { readonly tag: number; readonly bytes: Uint8Array }[];
}

export const noExtension: Uint8Array = new Uint8Array(0);

const none: HeadExtension = {};

export function encodeHeadExtension(extension: HeadExtension): Uint8Array {
  const { tombstone, droppedBefore, reason, archive, unknown = [] } = extension;
  const fields: { tag: number; bytes: Uint8Array }[] = [...unknown];
  const field = (tag: number, fill: (writer: ByteWriter) => void): void => {
    const writer = new ByteWriter(32);
    fill(writer);
    fields.push({ tag, bytes: writer.finish() });
  };
  if (tombstone !== undefined) {
    field(fieldTags.tombstone, (writer) => {
      writer.uint48(tombstone.deletedAtMs);
      writer.uint48(tombstone.undeletableUntilMs);
      writer.byte(tombstone.purged ? 1 : 0);
    });
  }
  if (droppedBefore !== undefined) field(fieldTags.droppedBefore, (writer) => writer.varint(droppedBefore));
  if (reason !== undefined) field(fieldTags.reason, (writer) => writer.byte(reasonCodes[reason]));
  if (archive !== undefined) {
    field(fieldTags.archive, (writer) => {
      writer.varint(archive.from);
      writer.varint(archive.before);
    });
  }
  if (fields.length === 0) return noExtension;
  const writer = new ByteWriter(64);
  for (const { tag, bytes } of fields.sort((one, other) => one.tag - other.tag)) {
    writer.varint(tag);
    writer.block(bytes);
  }
  return writer.finish();
}

export function decodeHeadExtension(bytes: Uint8Array): HeadExtension {
  if (bytes.length === 0) return none;
  const reader = new ByteReader(bytes);
  const unknown: { tag: number; bytes: Uint8Array }[] = [];
  let known: HeadExtension = none;
  while (reader.remaining > 0) {
    const tag = reader.varint();
    const content = reader.block();
    const field = new ByteReader(content);
    if (tag === fieldTags.tombstone) {
      const tombstone = { deletedAtMs: field.uint48(), undeletableUntilMs: field.uint48(), purged: field.byte() === 1 };
      known = { ...known, tombstone };
    } else if (tag === fieldTags.droppedBefore) {
      known = { ...known, droppedBefore: field.varint() };
    } else if (tag === fieldTags.reason) {
      known = { ...known, reason: reasonOf(field.byte()) };
    } else if (tag === fieldTags.archive) {
      known = { ...known, archive: { from: field.varint(), before: field.varint() } };
    } else unknown.push({ tag, bytes: Uint8Array.from(content) });
  }
  return unknown.length === 0 ? known : { ...known, unknown };
}

/** The reason is for people: a code that this version does not know is a truncation like any other. */
function reasonOf(code: number): TruncationReason {
  return code === reasonCodes.expired ? "expired" : code === reasonCodes.excess ? "excess" : "truncated";
}
