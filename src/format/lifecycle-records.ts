/**
 * The rows of retention and of archives, each sealed under its key; an extension that later versions may use ends each.
 *
 * rule:     seal | set at (6, ms) | max age + 1, 0 for none | max count, 0 for none | extension
 * due:      seal | extension
 * progress: seal | examined to | swept (1) | swept after | extension
 * part:     seal | from | first position | last position | bytes | object bytes | digest (32) | extension
 */

import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredRow } from "./pages.ts";

const recordKinds = { rule: 0x7a, due: 0x7b, progress: 0x7c, part: 0x7d } as const;
const nothing: Uint8Array = new Uint8Array(0);

/** The length of the SHA-256 of an object. */
const digestBytes = 32;

/** How long, and how many, events of a stream are kept. */
export interface RetentionRule {
  readonly maxAgeMs?: number;
  readonly maxCount?: number;
  readonly setAtMs: number;
}

/** How far the rule of a category has been carried out. */
export interface RetentionProgress {
  /** The events up to this position were looked at for their age. */
  readonly examinedTo: number;
  /** Whether all streams that were there when the rule was made were looked at for how many events they have. */
  readonly swept: boolean;
  /** If not: those up to this name were. */
  readonly sweptAfter: string;
}

/** One object of the archive: versions `from` to the one in its key. */
export interface ArchivePart {
  readonly from: number;
  readonly firstPosition: number;
  readonly lastPosition: number;
  /** The bytes of the events in it, and those of the object. */
  readonly bytes: number;
  readonly objectBytes: number;
  /** The SHA-256 of the object. */
  readonly digest: Uint8Array;
}

function record(key: Uint8Array, kind: number, fill: (writer: ByteWriter) => void): Buffer {
  const writer = new ByteWriter(128);
  beginSealed(writer, kind);
  fill(writer);
  writer.block(nothing);
  return seal(writer, key);
}

export function encodeRetentionRule(key: Uint8Array, { maxAgeMs, maxCount, setAtMs }: RetentionRule): Buffer {
  return record(key, recordKinds.rule, (writer) => {
    writer.uint48(setAtMs);
    writer.varint(maxAgeMs === undefined ? 0 : maxAgeMs + 1);
    writer.varint(maxCount ?? 0);
  });
}

export function decodeRetentionRule({ key, value }: StoredRow): RetentionRule {
  const reader = openSealed(key, value, recordKinds.rule, "A rule of retention");
  const setAtMs = reader.uint48();
  const age = reader.varint();
  const count = reader.varint();
  return {
    ...(age === 0 ? {} : { maxAgeMs: age - 1 }),
    ...(count === 0 ? {} : { maxCount: count }),
    setAtMs,
  };
}

/** A due stream says all in its key. */
export function encodeDueStream(key: Uint8Array): Buffer {
  return record(key, recordKinds.due, () => {});
}

export function encodeRetentionProgress(key: Uint8Array, progress: RetentionProgress): Buffer {
  return record(key, recordKinds.progress, (writer) => {
    writer.varint(progress.examinedTo);
    writer.byte(progress.swept ? 1 : 0);
    writer.text(progress.sweptAfter);
  });
}

export function decodeRetentionProgress({ key, value }: StoredRow): RetentionProgress {
  const reader = openSealed(key, value, recordKinds.progress, "How far retention has got");
  return { examinedTo: reader.varint(), swept: reader.byte() === 1, sweptAfter: reader.text() };
}

export function encodeArchivePart(key: Uint8Array, part: ArchivePart): Buffer {
  return record(key, recordKinds.part, (writer) => {
    writer.varint(part.from);
    writer.varint(part.firstPosition);
    writer.varint(part.lastPosition);
    writer.varint(part.bytes);
    writer.varint(part.objectBytes);
    writer.raw(part.digest);
  });
}

export function decodeArchivePart({ key, value }: StoredRow): ArchivePart {
  const reader = openSealed(key, value, recordKinds.part, "What is said of an archive");
  return {
    from: reader.varint(),
    firstPosition: reader.varint(),
    lastPosition: reader.varint(),
    bytes: reader.varint(),
    objectBytes: reader.varint(),
    digest: Uint8Array.from(reader.raw(digestBytes)),
  };
}
