/**
 * One event as bytes, encoded once: the same bytes stand in the stream's page and in the global log's, so that pages merge
 * and split without decoding. What differs between the two (stream, version, position) is in the page's directory.
 *
 * flags (1) | encodings (1) | recordedAt (6, ms) | type | schemaVersion | [tags] | id | [occurredAt (8, ms)] | [extension] | [metadata] | data
 */

import { type EventIssue, StorageCorruptError, UnreadableEventError } from "../errors.ts";
import type { EventMetadata } from "../vocabulary/event.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { type EncodedPayload, encodePayload, type PayloadEncoding, readPayload, writePayload } from "./payload.ts";
import { readSealedFields, type SealedFields, writeSealedFields } from "./sealed-fields.ts";

const flag = {
  occurredAt: 1,
  metadata: 2,
  tags: 4,
  uuid: 8,
  /** The caller chose the id, so a retry may bring it again. */
  idGiven: 16,
  /** A block of parts, each a kind and its bytes; a version skips the kinds that it does not know. */
  extension: 32,
  /** Who does not know all kinds of the extension must not read the event. */
  criticalExtension: 64,
} as const;

const knownFlags = Object.values(flag).reduce((all, one) => all | one, 0);

/** The kinds of parts that an extension may have. */
const sealedFieldsKind = 1;

/** How payloads are encoded: the low four bits of the second byte say it of the data, the high ones of the metadata. */
const encodings: readonly PayloadEncoding[] = ["json", "msgpack"];

const recordedAtOffset = 2;
const typeOffset = 8;

/** An event that is validated and not yet numbered. */
export interface EventToEncode {
  readonly id: string;
  readonly idGiven: boolean;
  readonly type: string;
  readonly schemaVersion: number;
  readonly tags: readonly string[];
  readonly occurredAtMs: number | undefined;
  readonly metadata: EventMetadata;
  readonly data: unknown;
  /** What of the data is encrypted; `data` has `null` in its places. */
  readonly sealed?: SealedFields | undefined;
}

/** An event in storage: where it stands, and its bytes. The decoded rest is read when somebody wants it. */
export interface StoredEvent {
  readonly streamName: string;
  readonly version: number;
  readonly position: number;
  readonly bytes: Buffer;
}

/** What filters and indexes need of an event; cheap to read. */
export interface EventSummary {
  readonly type: string;
  readonly tags: readonly string[];
}

/** What is said of an event besides its place and payload. */
export interface EventHeader extends EventSummary {
  readonly id: string;
  readonly idGiven: boolean;
  readonly schemaVersion: number;
  readonly recordedAtMs: number;
  readonly occurredAtMs: number | undefined;
  /** Views into the event's bytes; absent where nothing is encrypted. */
  readonly sealed?: SealedFields;
}

export interface DecodedEvent extends EventHeader {
  readonly metadata: EventMetadata;
  readonly data: unknown;
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const noTags: readonly string[] = Object.freeze([]);
const noMetadata: EventMetadata = Object.freeze({});
const scratch = new ByteWriter(4_096);

function flagsOf(event: EventToEncode, isUuid: boolean, metadata: EncodedPayload | undefined): number {
  return (
    (event.occurredAtMs === undefined ? 0 : flag.occurredAt) |
    (metadata === undefined ? 0 : flag.metadata) |
    (event.tags.length === 0 ? 0 : flag.tags) |
    (isUuid ? flag.uuid : 0) |
    (event.idGiven ? flag.idGiven : 0) |
    // Whoever took no notice of it would hand out nulls as if they were the data.
    (event.sealed === undefined ? 0 : flag.extension | flag.criticalExtension)
  );
}

/** Encodes an event with `recordedAt` left at zero, or says what of it cannot be stored. */
export function encodeEvent(event: EventToEncode): Buffer | { readonly issues: readonly EventIssue[] } {
  const data = encodePayload(event.data, "data");
  if ("issues" in data) return data;
  const metadata = Object.keys(event.metadata).length === 0 ? undefined : encodePayload(event.metadata, "metadata");
  if (metadata !== undefined && "issues" in metadata) return metadata;
  const isUuid = uuidPattern.test(event.id);
  const writer = scratch;
  writer.reset();
  writer.byte(flagsOf(event, isUuid, metadata));
  writer.byte(encodings.indexOf(data.encoding) | (encodings.indexOf(metadata?.encoding ?? "json") << 4));
  writer.uint48(0);
  writer.text(event.type);
  writer.varint(event.schemaVersion);
  if (event.tags.length > 0) {
    writer.varint(event.tags.length);
    for (const tag of event.tags) writer.text(tag);
  }
  if (isUuid) writer.raw(Buffer.from(event.id.replaceAll("-", ""), "hex"));
  else writer.text(event.id);
  if (event.occurredAtMs !== undefined) writer.float64(event.occurredAtMs);
  if (event.sealed !== undefined) writeExtension(writer, event.sealed);
  if (metadata !== undefined) {
    writer.block(typeof metadata.content === "string" ? Buffer.from(metadata.content) : metadata.content);
  }
  writePayload(writer, data);
  return writer.finish();
}

function writeExtension(writer: ByteWriter, sealed: SealedFields): void {
  const part = new ByteWriter();
  writeSealedFields(part, sealed);
  const extension = new ByteWriter(part.length + 16);
  extension.varint(sealedFieldsKind);
  extension.block(part.view());
  writer.block(extension.view());
}

function readExtension(reader: ByteReader, flags: number): SealedFields | undefined {
  if ((flags & flag.extension) === 0) return undefined;
  let sealed: SealedFields | undefined;
  const extension = new ByteReader(reader.block());
  // What earlier versions left here without a meaning is not looked into.
  if ((flags & flag.criticalExtension) === 0) return undefined;
  while (extension.remaining > 0) {
    const kind = extension.varint();
    const part = extension.block();
    if (kind !== sealedFieldsKind) throw new StorageCorruptError("An event was stored by a newer version of Strata");
    sealed = readSealedFields(new ByteReader(part));
  }
  return sealed;
}

/** Whether some of the event's data may be encrypted; costs a look at one byte. */
export function mayBeSealed(bytes: Buffer): boolean {
  return ((bytes[0] ?? 0) & flag.criticalExtension) !== 0;
}

/** Writes the time of recording into encoded bytes: it is known only when the event is numbered. */
export function stampRecordedAt(bytes: Buffer, recordedAtMs: number): void {
  bytes.writeUIntLE(recordedAtMs, recordedAtOffset, 6);
}

export function recordedAtMsOf(bytes: Buffer): number {
  return bytes.readUIntLE(recordedAtOffset, 6);
}

function readTags(reader: ByteReader, flags: number): readonly string[] {
  if ((flags & flag.tags) === 0) return noTags;
  const tags: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) tags.push(reader.text());
  return tags;
}

function readId(reader: ByteReader, flags: number): string {
  if ((flags & flag.uuid) === 0) return reader.text();
  const hex = reader.raw(16).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Reads type and tags only. */
export function readSummary(bytes: Buffer): EventSummary {
  const reader = new ByteReader(bytes, typeOffset);
  const type = reader.text();
  reader.varint();
  return { type, tags: readTags(reader, bytes[0] ?? 0) };
}

interface Lead {
  readonly flags: number;
  readonly encodings: number;
}

function readHeaderFrom(reader: ByteReader): { readonly header: EventHeader; readonly lead: Lead } {
  const flags = reader.byte();
  const lead = { flags, encodings: reader.byte() };
  if ((flags & ~knownFlags) !== 0) {
    throw new StorageCorruptError("An event was stored by a newer version of Strata");
  }
  const recordedAtMs = reader.uint48();
  const type = reader.text();
  const schemaVersion = reader.varint();
  const tags = readTags(reader, flags);
  const id = readId(reader, flags);
  const occurredAtMs = (flags & flag.occurredAt) === 0 ? undefined : reader.float64();
  const sealed = readExtension(reader, flags);
  const idGiven = (flags & flag.idGiven) !== 0;
  return {
    lead,
    header: { recordedAtMs, type, schemaVersion, tags, id, idGiven, occurredAtMs, ...(sealed && { sealed }) },
  };
}

/** Reads everything but metadata and data. */
export function readHeader(bytes: Buffer): EventHeader {
  return readHeaderFrom(new ByteReader(bytes)).header;
}

function encodingOf(code: number): PayloadEncoding {
  const encoding = encodings[code];
  if (encoding === undefined) throw new StorageCorruptError("An event was stored by a newer version of Strata");
  return encoding;
}

function readMetadata(reader: ByteReader, lead: Lead): EventMetadata {
  if ((lead.flags & flag.metadata) === 0) return noMetadata;
  const length = reader.varint();
  const block = new ByteReader(reader.raw(length));
  return readPayload(block, encodingOf(lead.encodings >> 4)) as EventMetadata;
}

/** Decodes the whole event; throws `unreadable-event` where its bytes make no sense. */
export function decodeEvent(stored: StoredEvent): DecodedEvent {
  const reader = new ByteReader(stored.bytes);
  let type = "?";
  try {
    const { header, lead } = readHeaderFrom(reader);
    type = header.type;
    const metadata = readMetadata(reader, lead);
    const data = readPayload(reader, encodingOf(lead.encodings & 0x0f));
    return { ...header, metadata, data };
  } catch (cause) {
    throw new UnreadableEventError({ ...stored, type }, "its bytes are broken", cause);
  }
}
