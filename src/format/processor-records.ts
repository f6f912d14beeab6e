/**
 * The rows that processors keep, each sealed under its key. All but documents are small records of one shape: an extension
 * that later versions may use, then a payload that says how it is encoded.
 *
 * record:   seal | extension | encoding (1) | payload
 * document: seal | position | extension | count, index and value each | encoding (1) | payload
 */

import { EventStoreError, InvalidArgumentError, printable, StorageCorruptError } from "../errors.ts";
import { type ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredRow } from "./pages.ts";
import { type EncodedPayload, encodePayload, type PayloadEncoding, readPayload, writePayload } from "./payload.ts";

/** What a record is: the byte is stored. */
const recordKinds = {
  checkpoint: 0x72,
  settings: 0x73,
  parked: 0x74,
  timer: 0x75,
  instance: 0x76,
  outbox: 0x77,
} as const;

export type RecordKind = keyof typeof recordKinds;

const documentKind = 0x78;
const documentKeyKind = 0x79;
const encodings: readonly PayloadEncoding[] = ["json", "msgpack"];
const nothing: Uint8Array = new Uint8Array(0);

/** A row to put. */
export interface PutRow {
  readonly kind: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A value as it will be stored. Throws `invalid-argument`, naming `what`, for one that is not plain data or too large. */
export function payloadOf(value: unknown, what: string): EncodedPayload {
  const payload = encodePayload(value, what);
  if (!("issues" in payload)) return payload;
  const [issue] = payload.issues;
  throw new InvalidArgumentError(issue?.path ?? what, `cannot be stored: it ${issue?.message ?? "is no plain data"}`, {
    outcome: "not-applied",
  });
}

function writeEncoded(writer: ByteWriter, payload: EncodedPayload): void {
  writer.byte(encodings.indexOf(payload.encoding));
  writePayload(writer, payload);
}

function readEncoded(reader: ByteReader, what: string): unknown {
  const encoding = encodings[reader.byte()];
  if (encoding === undefined) throw new StorageCorruptError(`${what} is encoded in an unknown way`);
  try {
    return readPayload(reader, encoding);
  } catch (cause) {
    throw new StorageCorruptError(`${what} is damaged`, { cause });
  }
}

/** The row of a record. Throws as `payloadOf`. */
export function recordRow(kind: RecordKind, key: Uint8Array, value: unknown): PutRow {
  const writer = new ByteWriter(256);
  beginSealed(writer, recordKinds[kind]);
  writer.block(nothing);
  writeEncoded(writer, payloadOf(value, kind));
  return { kind: "put", key, value: seal(writer, key) };
}

/** What `recordRow` was given. Throws `storage-corrupt` for a damaged one. */
export function decodeRecord(kind: RecordKind, row: StoredRow): unknown {
  const what = `A record of a processor (${kind})`;
  const reader = openSealed(row.key, row.value, recordKinds[kind], what);
  reader.block();
  return readEncoded(reader, what);
}

/** A document's secondary keys: the name of the index, and the value. */
export type DocumentIndexEntry = readonly [index: string, value: string];

export interface StoredDocument {
  /** Of the event that changed it last. */
  readonly position: number;
  readonly indexed: readonly DocumentIndexEntry[];
  readonly document: unknown;
}

export function encodeDocument(
  key: Uint8Array,
  about: Omit<StoredDocument, "document">,
  document: EncodedPayload,
): Buffer {
  const writer = new ByteWriter(256);
  beginSealed(writer, documentKind);
  writer.varint(about.position);
  writer.block(nothing);
  writer.varint(about.indexed.length);
  for (const [index, value] of about.indexed) {
    writer.text(index);
    writer.text(value);
  }
  writeEncoded(writer, document);
  return seal(writer, key);
}

/** Throws `storage-corrupt`, naming the document, for a damaged one. */
export function decodeDocument(row: StoredRow, name: string): StoredDocument {
  const what = `Document ${printable(name)}`;
  try {
    const reader = openSealed(row.key, row.value, documentKind, what);
    const position = reader.varint();
    reader.block();
    const indexed: DocumentIndexEntry[] = [];
    for (let left = reader.varint(); left > 0; left -= 1) indexed.push([reader.text(), reader.text()]);
    return { position, indexed, document: readEncoded(reader, what) };
  } catch (cause) {
    if (cause instanceof EventStoreError) throw cause;
    throw new StorageCorruptError(`${what} is damaged`, { cause });
  }
}

/** A secondary key says everything in its key; the value is a seal. */
export function documentKeyRow(key: Uint8Array): PutRow {
  const writer = new ByteWriter(16);
  beginSealed(writer, documentKeyKind);
  writer.block(nothing);
  return { kind: "put", key, value: seal(writer, key) };
}
