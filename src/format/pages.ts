/**
 * Pages: several events in one row, because rows are what costs. A page is a small directory, then the events' bytes one
 * after another, so that pages merge and split without decoding. It carries a checksum and describes itself.
 *
 * stream page: seal | count | { version step, position step, length } x count | bytes
 * global page: seal | names | { text } x names | count | { position step, name, version, length } x count | bytes
 *
 * What is larger than a kilobyte and gains by it stands compressed: seal | length | one Zstd frame of all that would follow
 * the seal. Stored bytes are what a writer's memory, its bill and a replay's time are made of; pages are much alike inside.
 *
 * A step is the difference to the entry before, the first one to zero, so that gaps which retention makes can be said.
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal, sealBytes } from "./checksum.ts";
import type { StoredEvent } from "./envelope.ts";
import { cutRun, type PlaceInRun, readStreamRun, writeStreamRun } from "./event-run.ts";
import { globalPageKey, streamPageKey } from "./key-families.ts";

/** The kinds as they are, and compressed. */
const streamPageKinds = { plain: 0x21, compressed: 0x22 } as const;
const globalPageKinds = { plain: 0x31, compressed: 0x32 } as const;

interface PageKinds {
  readonly plain: number;
  readonly compressed: number;
}

/** A page from this size on is compressed, at this level, if it becomes at most so large. */
const compressedFromBytes = 1_024;
const compressionLevel = 1;
/** Of pages that are merged in the background: a twelfth smaller, for twice the time. */
export const mergedPageLevel = 6;
const compressedRatioMax = 0.9;

/** A page ends when it has this many events or bytes; a larger event has a page of its own. */
export const pageEventsMax = 256;
export const pageBytesMax: number = 64 * 1024;

const scratch = new ByteWriter(pageBytesMax);
const frameScratch = new ByteWriter(pageBytesMax);

/** Cuts a run of events into pages of bounded size, in order. */
export function splitIntoPages(events: readonly StoredEvent[]): readonly (readonly StoredEvent[])[] {
  const pages: StoredEvent[][] = [];
  let page: StoredEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    if (page.length > 0 && (page.length >= pageEventsMax || bytes + event.bytes.length > pageBytesMax)) {
      pages.push(page);
      page = [];
      bytes = 0;
    }
    page.push(event);
    bytes += event.bytes.length;
  }
  if (page.length > 0) pages.push(page);
  return pages;
}

/** A page with the key that it stands under. */
export interface PageRow {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** A change of rows, as the byte store takes it. */
export type RowOperation =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Uint8Array };

/** Events of one stream, by version; at least one. */
export function encodeStreamPage(events: readonly StoredEvent[], level: number = compressionLevel): PageRow {
  const writer = scratch;
  writer.reset();
  beginSealed(writer, streamPageKinds.plain);
  writeStreamRun(writer, events);
  const key = streamPageKey(events[0]?.streamName ?? "", events.at(-1)?.version ?? 0);
  return { key, value: sealPage(writer, key, streamPageKinds, level) };
}

/** Events of the log, by position; at least one. */
export function encodeGlobalPage(events: readonly StoredEvent[], level: number = compressionLevel): PageRow {
  const names = new Map<string, number>();
  for (const event of events) if (!names.has(event.streamName)) names.set(event.streamName, names.size);
  const writer = scratch;
  writer.reset();
  beginSealed(writer, globalPageKinds.plain);
  writer.varint(names.size);
  for (const name of names.keys()) writer.text(name);
  writer.varint(events.length);
  let position = 0;
  for (const event of events) {
    writer.varint(event.position - position);
    writer.varint(names.get(event.streamName) ?? 0);
    writer.varint(event.version);
    writer.varint(event.bytes.length);
    position = event.position;
  }
  for (const event of events) writer.raw(event.bytes);
  const key = globalPageKey(position);
  return { key, value: sealPage(writer, key, globalPageKinds, level) };
}

/** Ends the page in `writer`, compressed where that pays. */
function sealPage(writer: ByteWriter, key: Uint8Array, kinds: PageKinds, level: number): Buffer {
  const content = writer.view(sealBytes);
  if (content.length < compressedFromBytes) return seal(writer, key);
  const frame = Bun.zstdCompressSync(content, { level });
  if (frame.length > content.length * compressedRatioMax) return seal(writer, key);
  frameScratch.reset();
  beginSealed(frameScratch, kinds.compressed);
  frameScratch.varint(content.length);
  frameScratch.raw(frame);
  return seal(frameScratch, key);
}

/** Checks the page and returns a reader over what follows its seal. */
function openPage({ key, value }: StoredRow, kinds: PageKinds, what: string): ByteReader {
  if (value[0] !== kinds.compressed) return openSealed(key, value, kinds.plain, what);
  const reader = openSealed(key, value, kinds.compressed, what);
  const length = reader.varint();
  let content: Uint8Array;
  try {
    content = Bun.zstdDecompressSync(reader.raw(reader.remaining));
  } catch (cause) {
    throw new StorageCorruptError(`${what} cannot be decompressed`, { cause });
  }
  if (content.length !== length) throw new StorageCorruptError(`${what} is longer or shorter than it says`);
  return new ByteReader(content);
}

/** A row as it was read. */
export interface StoredRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export function decodeStreamPage(streamName: string, row: StoredRow): readonly StoredEvent[] {
  const what = "A page of a stream";
  return readStreamRun(openPage(row, streamPageKinds, what), streamName, what);
}

export function decodeGlobalPage(row: StoredRow): readonly StoredEvent[] {
  const what = "A page of the log";
  const reader = openPage(row, globalPageKinds, what);
  const names: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) names.push(reader.text());
  const places: PlaceInRun[] = [];
  let position = 0;
  for (let left = reader.varint(); left > 0; left -= 1) {
    position += reader.varint();
    const streamName = names[reader.varint()];
    if (streamName === undefined) throw new StorageCorruptError(`${what} names no stream`);
    places.push({ streamName, version: reader.varint(), position, length: reader.varint() });
  }
  return cutRun(reader, places, what);
}
