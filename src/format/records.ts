/**
 * The small rows: the store's header, the end of the log, index entries, times, idempotency keys. Each is sealed under its
 * key, and those that are rewritten or may grow carry an extension that this version keeps as it is.
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { familyNames, indexSegmentSize, logEndKey, storeHeaderKey } from "./key-families.ts";
import type { StoredRow } from "./pages.ts";

/** The format that this code writes. A store of a newer one is not opened. */
export const formatVersion = 1;

const kinds = {
  logEnd: 0x02,
  index: 0x41,
  mergedIndex: 0x42,
  time: 0x51,
  idempotencyKey: 0x61,
  idempotencyAge: 0x62,
} as const;
const magic = "strata";
const nothing: Uint8Array = new Uint8Array(0);

/** JSON for good, so that every version can read what a newer one wrote here. */
export interface StoreHeader {
  readonly formatVersion: number;
  readonly storeId: string;
  readonly createdAtMs: number;
  /** The families that a writer must understand to keep the store whole. */
  readonly families: readonly string[];
  /** Families in use that a writer may be ignorant of; absent where there are none. */
  readonly cacheFamilies?: readonly string[];
  /**
   * Of a store that was made as a copy: a new id for it, because the store's own stays, what for, and how far its source went
   * then.
   */
  readonly copied?: { readonly copyId: string; readonly purpose: string; readonly position: number };
}

function headerText(header: object): string {
  return JSON.stringify({ magic, ...header });
}

export function encodeStoreHeader(header: StoreHeader): Buffer {
  const checksum = Bun.hash.crc32(headerText(header), Bun.hash.crc32(storeHeaderKey));
  return Buffer.from(headerText({ ...header, checksum }));
}

/** Throws `storage-corrupt` for what is no header, is damaged, or is of a format that this version does not know. */
export function decodeStoreHeader(bytes: Uint8Array): StoreHeader {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new StorageCorruptError("The store's header is damaged", { cause });
  }
  const {
    magic: found,
    checksum,
    ...header
  } = (value ?? {}) as Partial<StoreHeader> & { magic?: unknown; checksum?: unknown };
  if (found !== magic || typeof header.formatVersion !== "number" || typeof header.storeId !== "string") {
    throw new StorageCorruptError("The store's header is not one of Strata");
  }
  if (checksum !== Bun.hash.crc32(headerText(header), Bun.hash.crc32(storeHeaderKey))) {
    throw new StorageCorruptError("The store's header is damaged: its checksum does not match");
  }
  const families = header.families ?? [];
  const unknown = families.find((family) => !familyNames.includes(family));
  if (header.formatVersion > formatVersion || unknown !== undefined) {
    const what = unknown === undefined ? `its format is ${header.formatVersion}` : `it holds ${unknown}`;
    throw new StorageCorruptError(`The store was written by a newer version of Strata: ${what}`);
  }
  // What a later version has put beside these stays, should the header be written again.
  return {
    ...header,
    formatVersion: header.formatVersion,
    storeId: header.storeId,
    createdAtMs: header.createdAtMs ?? 0,
    families,
  };
}

export interface LogEnd {
  readonly lastPosition: number;
  readonly lastRecordedAtMs: number;
  /** The index is complete up to here: a multiple of the segment size. */
  readonly indexedTo: number;
  /** What a later version has put here: kept as it is. */
  readonly extension: Uint8Array;
}

export const emptyLogEnd: LogEnd = { lastPosition: 0, lastRecordedAtMs: 0, indexedTo: 0, extension: nothing };

export function encodeLogEnd(end: LogEnd): Buffer {
  const writer = new ByteWriter(32);
  beginSealed(writer, kinds.logEnd);
  writer.varint(end.lastPosition);
  writer.uint48(end.lastRecordedAtMs);
  writer.varint(end.indexedTo);
  writer.block(end.extension);
  return seal(writer, logEndKey);
}

export function decodeLogEnd(bytes: Uint8Array): LogEnd {
  const reader = openSealed(logEndKey, bytes, kinds.logEnd, "The end of the log");
  const lastPosition = reader.varint();
  const lastRecordedAtMs = reader.uint48();
  const indexedTo = reader.varint();
  return { lastPosition, lastRecordedAtMs, indexedTo, extension: Uint8Array.from(reader.block()) };
}

/** Ascending positions, all of them in segment `segment`. */
export function encodePostings(key: Uint8Array, segment: number, positions: readonly number[]): Buffer {
  const writer = new ByteWriter(16 + positions.length * 2);
  beginSealed(writer, kinds.index);
  writer.varint(positions.length);
  let before = segment * indexSegmentSize;
  for (const position of positions) {
    writer.varint(position - before);
    before = position;
  }
  return seal(writer, key);
}

export function decodePostings(segment: number, row: StoredRow): readonly number[] {
  const reader = openSealed(row.key, row.value, kinds.index, "An entry of the index");
  const positions: number[] = [];
  let position = segment * indexSegmentSize;
  for (let left = reader.varint(); left > 0; left -= 1) {
    position += reader.varint();
    positions.push(position);
  }
  return positions;
}

/**
 * Ascending positions of several segments in one row. It stands under the last of these segments, so that a scan from any of
 * them on meets it.
 */
export function encodeMergedPostings(key: Uint8Array, positions: readonly number[]): Buffer {
  const writer = new ByteWriter(16 + positions.length * 2);
  beginSealed(writer, kinds.mergedIndex);
  writer.varint(positions.length);
  let before = 0;
  for (const position of positions) {
    writer.varint(position - before);
    before = position;
  }
  return seal(writer, key);
}

/** Whether a row of the index is of several segments. */
export function isMergedPostings({ value }: StoredRow): boolean {
  return value[0] === kinds.mergedIndex;
}

export function decodeMergedPostings(row: StoredRow): readonly number[] {
  const reader = openSealed(row.key, row.value, kinds.mergedIndex, "An entry of the index");
  const positions: number[] = [];
  let position = 0;
  for (let left = reader.varint(); left > 0; left -= 1) {
    position += reader.varint();
    positions.push(position);
  }
  return positions;
}

export function encodeTimeEntry(key: Uint8Array, firstPosition: number): Buffer {
  const writer = new ByteWriter(16);
  beginSealed(writer, kinds.time);
  writer.varint(firstPosition);
  return seal(writer, key);
}

export function decodeTimeEntry(row: StoredRow): number {
  return openSealed(row.key, row.value, kinds.time, "An entry of the time index").varint();
}

/** What a commit answered: what a retry with the same key is told. */
export interface CommitRecord {
  readonly position: number;
  readonly recordedAtMs: number;
  readonly streams: readonly { readonly streamName: string; readonly streamVersion: number }[];
  /** How many events the commit had, ending at `position`; not known of records that early versions wrote. */
  readonly eventCount?: number;
}

export function encodeCommitRecord(key: Uint8Array, record: CommitRecord): Buffer {
  const writer = new ByteWriter(64);
  beginSealed(writer, kinds.idempotencyKey);
  writer.varint(record.position);
  writer.uint48(record.recordedAtMs);
  writer.varint(record.streams.length);
  for (const stream of record.streams) {
    writer.text(stream.streamName);
    writer.varint(stream.streamVersion);
  }
  writer.block(record.eventCount === undefined ? nothing : countBlock(record.eventCount));
  return seal(writer, key);
}

function countBlock(count: number): Uint8Array {
  const writer = new ByteWriter(8);
  writer.varint(count);
  return writer.finish();
}

export function decodeCommitRecord(row: StoredRow): CommitRecord {
  const reader = openSealed(row.key, row.value, kinds.idempotencyKey, "An idempotency key");
  const position = reader.varint();
  const recordedAtMs = reader.uint48();
  const streams: { streamName: string; streamVersion: number }[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) {
    streams.push({ streamName: reader.text(), streamVersion: reader.varint() });
  }
  const extension = reader.block();
  if (extension.length === 0) return { position, recordedAtMs, streams };
  return { position, recordedAtMs, streams, eventCount: new ByteReader(extension).varint() };
}

export function encodeIdempotencyAge(key: Uint8Array, keys: readonly string[]): Buffer {
  const writer = new ByteWriter(64);
  beginSealed(writer, kinds.idempotencyAge);
  writer.varint(keys.length);
  for (const one of keys) writer.text(one);
  return seal(writer, key);
}

export function decodeIdempotencyAge(row: StoredRow): readonly string[] {
  const reader = openSealed(row.key, row.value, kinds.idempotencyAge, "An idempotency age");
  const keys: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) keys.push(reader.text());
  return keys;
}
