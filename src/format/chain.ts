/**
 * The hash chain over the log. Each event has a digest, SHA-256 over its place and its stored bytes, and each position a link,
 * SHA-256 over the link before it and the digest; so the newest link stands for every event from where the chain begins, in
 * order. Pages do not carry links: they may merge and split. Of an event that was dropped the digest stays (dropped.ts).
 *
 * digest = SHA-256("strata event 1\n" | version (8) | position (8) | length of the name (2) | stream name | bytes)
 * link   = SHA-256(link before | digest); before the first: SHA-256("strata chain 1\n" | first position (8))
 * row of a link: seal | link (32) | extension     in the end of the log: first position | position | link (32)
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredEvent } from "./envelope.ts";
import { readExtension, withExtension } from "./extension.ts";
import { chainLinkKey, indexSegmentSize } from "./key-families.ts";
import { writeOrderedInteger } from "./ordered-bytes.ts";
import type { PageRow, StoredRow } from "./pages.ts";

/** Digests and links have so many bytes. */
export const digestBytes = 32;
/** A link is stored at each multiple of this. */
export const linkEveryPositions: number = indexSegmentSize;

const linkKind = 0x33;
/** The tag of the chain among the extensions of the end of the log. */
const headTag = 0x31;

const eventDomain = Buffer.from("strata event 1\n");
const chainDomain = Buffer.from("strata chain 1\n");
const nameBytesMost = 2 ** 16 - 1;
/** What is hashed is put together here; it grows to the largest event. */
let scratch = Buffer.allocUnsafeSlow(4_096);
eventDomain.copy(scratch);

/** Puts the digest of an event into `into`, which has 32 bytes. */
export function writeEventDigest({ streamName, version, position, bytes }: StoredEvent, into: Uint8Array): void {
  const fieldsAt = eventDomain.length;
  const nameAt = fieldsAt + 18;
  const most = nameAt + streamName.length * 3 + bytes.length;
  if (most > scratch.length) {
    scratch = Buffer.allocUnsafeSlow(most * 2);
    eventDomain.copy(scratch);
  }
  writeOrderedInteger(scratch, version, fieldsAt);
  writeOrderedInteger(scratch, position, fieldsAt + 8);
  const nameLength = scratch.write(streamName, nameAt, "utf8");
  if (nameLength > nameBytesMost) throw new StorageCorruptError("A stored event has too long a stream name");
  scratch.writeUInt16BE(nameLength, fieldsAt + 16);
  scratch.set(bytes, nameAt + nameLength);
  Bun.SHA256.hash(scratch.subarray(0, nameAt + nameLength + bytes.length), into);
}

export function eventDigest(event: StoredEvent): Buffer {
  const digest = Buffer.allocUnsafe(digestBytes);
  writeEventDigest(event, digest);
  return digest;
}

/** The link before the first position of a chain. */
export function firstLink(fromPosition: number): Buffer {
  const seed = Buffer.concat([chainDomain, Buffer.alloc(8)]);
  writeOrderedInteger(seed, fromPosition, chainDomain.length);
  const link = Buffer.allocUnsafe(digestBytes);
  Bun.SHA256.hash(seed, link);
  return link;
}

/** A link that moves along the log. */
export class ChainLink {
  /** The link, and behind it room for a digest: hashed together they are the next link. */
  readonly #pair: Buffer = Buffer.allocUnsafeSlow(2 * digestBytes);
  readonly #link: Buffer = this.#pair.subarray(0, digestBytes);
  readonly #digest: Buffer = this.#pair.subarray(digestBytes);

  constructor(link: Uint8Array) {
    this.#link.set(link);
  }

  /** Goes behind an event. */
  add(event: StoredEvent): void {
    writeEventDigest(event, this.#digest);
    Bun.SHA256.hash(this.#pair, this.#link);
  }

  /** Goes behind an event of which only the digest is known. */
  addDigest(digest: Uint8Array): void {
    this.#digest.set(digest);
    Bun.SHA256.hash(this.#pair, this.#link);
  }

  /** A copy of the link. */
  value(): Buffer {
    return Buffer.from(this.#link);
  }

  equals(link: Uint8Array): boolean {
    return this.#link.equals(link);
  }

  /** Goes somewhere else. */
  reset(link: Uint8Array): void {
    this.#link.set(link);
  }
}

/** How far a store's chain goes: from `fromPosition` to `position`, whose link it is. Before the first event one less. */
export interface ChainEnd {
  readonly fromPosition: number;
  readonly position: number;
  readonly link: Uint8Array;
}

/** A chain that is to begin behind the last position. */
export function beginChain(lastPosition: number): ChainEnd {
  return { fromPosition: lastPosition + 1, position: lastPosition, link: firstLink(lastPosition + 1) };
}

/** What an end of the log says of the chain; `undefined` where the store has none yet. */
export function readChainEnd(extension: Uint8Array): ChainEnd | undefined {
  const record = readExtension(extension, headTag);
  if (record === undefined) return undefined;
  const reader = new ByteReader(record);
  return { fromPosition: reader.varint(), position: reader.varint(), link: Uint8Array.from(reader.raw(digestBytes)) };
}

export function withChainEnd(extension: Uint8Array, end: ChainEnd): Buffer {
  const writer = new ByteWriter(64);
  writer.varint(end.fromPosition);
  writer.varint(end.position);
  writer.raw(end.link);
  return withExtension(extension, headTag, writer.finish());
}

/** A chain with more events, and the rows of the links that are stored along the way. */
export function continueChain(
  end: ChainEnd,
  events: readonly StoredEvent[],
): { readonly end: ChainEnd; readonly rows: readonly PageRow[] } {
  const rows: PageRow[] = [];
  const link = new ChainLink(end.link);
  let { position } = end;
  for (const event of events) {
    link.add(event);
    position = event.position;
    if (position % linkEveryPositions === 0) rows.push(encodeChainLink(position, link.value()));
  }
  return { end: { ...end, position, link: link.value() }, rows };
}

export function encodeChainLink(position: number, link: Uint8Array): PageRow {
  const key = chainLinkKey(position);
  const writer = new ByteWriter(48);
  beginSealed(writer, linkKind);
  writer.raw(link);
  writer.block(new Uint8Array(0));
  return { key, value: seal(writer, key) };
}

export function decodeChainLink({ key, value }: StoredRow): Buffer {
  return openSealed(key, value, linkKind, "A link of the chain").raw(digestBytes);
}
