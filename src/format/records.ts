/** The small rows: the store's header, the end of the log, index entries, times, idempotency keys. */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { indexSegmentSize } from "./key-families.ts";

/** The format that this code writes. A store of a newer one is not opened. */
export const formatVersion = 1;

const kinds = { logEnd: 0x02, index: 0x41, time: 0x51, idempotencyKey: 0x61, idempotencyAge: 0x62 } as const;
const magic = "strata";

/** JSON for good, so that every version can read what a newer one wrote here. */
export interface StoreHeader {
  readonly formatVersion: number;
  readonly storeId: string;
  readonly createdAtMs: number;
  readonly families: readonly string[];
}

export function encodeStoreHeader(header: StoreHeader): Buffer {
  return Buffer.from(JSON.stringify({ magic, ...header }));
}

export function decodeStoreHeader(bytes: Uint8Array): StoreHeader {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new StorageCorruptError("The store's header is damaged", { cause });
  }
  const header = value as Partial<StoreHeader> & { magic?: unknown };
  if (header?.magic !== magic || typeof header.formatVersion !== "number" || typeof header.storeId !== "string") {
    throw new StorageCorruptError("The store's header is not one of Strata");
  }
  return {
    formatVersion: header.formatVersion,
    storeId: header.storeId,
    createdAtMs: header.createdAtMs ?? 0,
    families: header.families ?? [],
  };
}

export interface LogEnd {
  readonly lastPosition: number;
  readonly lastRecordedAtMs: number;
  /** The index is complete up to here: a multiple of the segment size. */
  readonly indexedTo: number;
}

export function encodeLogEnd(end: LogEnd): Buffer {
  const writer = new ByteWriter(32);
  beginSealed(writer, kinds.logEnd);
  writer.varint(end.lastPosition);
  writer.uint48(end.lastRecordedAtMs);
  writer.varint(end.indexedTo);
  writer.varint(0);
  return seal(writer);
}

export function decodeLogEnd(bytes: Uint8Array): LogEnd {
  const reader = openSealed(bytes, kinds.logEnd, "The end of the log");
  return { lastPosition: reader.varint(), lastRecordedAtMs: reader.uint48(), indexedTo: reader.varint() };
}

/** Ascending positions, all of them in segment `segment`. */
export function encodePostings(segment: number, positions: readonly number[]): Buffer {
  const writer = new ByteWriter(16 + positions.length * 2);
  beginSealed(writer, kinds.index);
  writer.varint(positions.length);
  let before = segment * indexSegmentSize;
  for (const position of positions) {
    writer.varint(position - before);
    before = position;
  }
  return seal(writer);
}

export function decodePostings(segment: number, bytes: Uint8Array): readonly number[] {
  const reader = openSealed(bytes, kinds.index, "An entry of the index");
  const positions: number[] = [];
  let position = segment * indexSegmentSize;
  for (let left = reader.varint(); left > 0; left -= 1) {
    position += reader.varint();
    positions.push(position);
  }
  return positions;
}

export function encodeTimeEntry(firstPosition: number): Buffer {
  const writer = new ByteWriter(16);
  beginSealed(writer, kinds.time);
  writer.varint(firstPosition);
  return seal(writer);
}

export function decodeTimeEntry(bytes: Uint8Array): number {
  return openSealed(bytes, kinds.time, "An entry of the time index").varint();
}

/** What a commit answered: what a retry with the same key is told. */
export interface CommitRecord {
  readonly position: number;
  readonly recordedAtMs: number;
  readonly streams: readonly { readonly streamName: string; readonly streamVersion: number }[];
}

export function encodeCommitRecord(record: CommitRecord): Buffer {
  const writer = new ByteWriter(64);
  beginSealed(writer, kinds.idempotencyKey);
  writer.varint(record.position);
  writer.uint48(record.recordedAtMs);
  writer.varint(record.streams.length);
  for (const stream of record.streams) {
    writer.text(stream.streamName);
    writer.varint(stream.streamVersion);
  }
  return seal(writer);
}

export function decodeCommitRecord(bytes: Uint8Array): CommitRecord {
  const reader = openSealed(bytes, kinds.idempotencyKey, "An idempotency key");
  const position = reader.varint();
  const recordedAtMs = reader.uint48();
  const streams: { streamName: string; streamVersion: number }[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) {
    streams.push({ streamName: reader.text(), streamVersion: reader.varint() });
  }
  return { position, recordedAtMs, streams };
}

export function encodeIdempotencyAge(keys: readonly string[]): Buffer {
  const writer = new ByteWriter(64);
  beginSealed(writer, kinds.idempotencyAge);
  writer.varint(keys.length);
  for (const key of keys) writer.text(key);
  return seal(writer);
}

export function decodeIdempotencyAge(bytes: Uint8Array): readonly string[] {
  const reader = openSealed(bytes, kinds.idempotencyAge, "An idempotency age");
  const keys: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) keys.push(reader.text());
  return keys;
}
