/**
 * An object of the archive: a run of one stream's events, as a page has them, in one Zstd frame. It names its stream, so that
 * an archive says for itself what it holds, and it is sealed under its name, so that damage and a wrong place are found.
 *
 * object: seal | length | one Zstd frame of: stream name | count | { version step, position step, length } x count | bytes
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredEvent } from "./envelope.ts";
import { readStreamRun, writeStreamRun } from "./event-run.ts";

const objectKind = 0x7e;
/** An archive is written once and read seldom. */
const compressionLevel = 9;

/** An object ends when it has this many events or bytes; all of it is in memory while it is made or read. */
export const archiveEventsMax = 100_000;
export const archiveBytesMax: number = 8 * 1024 * 1024;

/** Where the archive's objects are, below the store's own folder or prefix. */
export const archivePrefix = "archive/";

/** The objects of a stream. Its name may be anything, so they are named by its SHA-256. */
export function archivePrefixOf(streamName: string): string {
  return `${archivePrefix}${new Bun.CryptoHasher("sha256").update(streamName).digest("hex")}/`;
}

export function archiveObjectName(streamName: string, from: number, to: number): string {
  const padded = (version: number): string => String(version).padStart(16, "0");
  return `${archivePrefixOf(streamName)}${padded(from)}-${padded(to)}`;
}

/** The last version in the object of that name; nothing where it is none of the archive's. */
export function lastVersionOfArchiveObject(name: string): number | undefined {
  const [, digits] = /\/\d{16}-(\d{16})$/.exec(name) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** At least one event, of consecutive versions. Compresses on another thread. */
export async function encodeArchiveObject(name: string, events: readonly StoredEvent[]): Promise<Buffer> {
  const writer = new ByteWriter(64 * 1024);
  writer.text(events[0]?.streamName ?? "");
  writeStreamRun(writer, events);
  const frame = await Bun.zstdCompress(writer.view(), { level: compressionLevel });
  const object = new ByteWriter(frame.length + 32);
  beginSealed(object, objectKind);
  object.varint(writer.length);
  object.raw(frame);
  return seal(object, Buffer.from(name));
}

/** Throws `storage-corrupt` for one that is damaged, or is not what its name says. */
export async function decodeArchiveObject(
  name: string,
  streamName: string,
  bytes: Uint8Array,
): Promise<readonly StoredEvent[]> {
  const what = "An object of the archive";
  const sealed = openSealed(Buffer.from(name), bytes, objectKind, what);
  const length = sealed.varint();
  let content: Uint8Array;
  try {
    content = await Bun.zstdDecompress(sealed.raw(sealed.remaining));
  } catch (cause) {
    throw new StorageCorruptError(`${what} cannot be decompressed`, { cause });
  }
  if (content.length !== length) throw new StorageCorruptError(`${what} is longer or shorter than it says`);
  const reader = new ByteReader(content);
  if (reader.text() !== streamName) throw new StorageCorruptError(`${what} is of another stream`);
  return readStreamRun(reader, streamName, what);
}
