/** All bytes that a store has in its folder or bucket, and all its rows, as they are and with every Zstandard frame among them opened. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { everyKey, upperTags } from "../../src/format/key-families.ts";
import { OrderedReader } from "../../src/format/ordered-bytes.ts";
import { openS3Objects } from "../../src/kv/s3-objects.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { Place } from "../replica/places.ts";

export interface StoredBytes {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Every object of the place, those of the engine included. */
export async function everyObject({ location, s3 }: Place): Promise<readonly StoredBytes[]> {
  const found: StoredBytes[] = [];
  if (location.kind === "folder") {
    for (const entry of await readdir(location.directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      found.push({ name: path.slice(location.directory.length + 1), bytes: await readFile(path) });
    }
    return found;
  }
  await using objects = openS3Objects(location, s3);
  for await (const { name } of objects.list("")) {
    const stored = await objects.get(name);
    if (stored !== undefined) found.push({ name, bytes: Buffer.from(stored.bytes) });
  }
  return found;
}

const families: ReadonlyMap<number, string> = new Map(Object.entries(upperTags).map(([name, tag]) => [tag, name]));
const rowsAtOnce = 256;

/** Whose row it is: the family and the stream or processor, or, of the log's families, the tag in hexadecimal. */
function nameOfRow(key: Uint8Array): string {
  const tag = key[0] ?? 0;
  const family = families.get(tag);
  if (family === undefined || key.length === 1) return tag.toString(16);
  return `${family} ${new OrderedReader(key, 1).string()}`;
}

/** Every row that there is, key and value; nobody may have the store open. */
export async function everyRow({ location, s3 }: Place): Promise<readonly StoredBytes[]> {
  await using kv = await openSlateKv({ location, s3, clock: systemClock });
  const cursor = await kv.scan(everyKey, "replay");
  const found: StoredBytes[] = [];
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce))
      found.push(...rows.map(({ key, value }) => ({ name: nameOfRow(key), bytes: Buffer.concat([key, value]) })));
  } finally {
    cursor.close();
  }
  return found;
}

/** A text as UTF-8, in hexadecimal, and in base64 wherever it begins in a group of three bytes. */
export function spellingsOf(text: string): readonly Buffer[] {
  const bytes = Buffer.from(text);
  const hex = bytes.toString("hex");
  const base64 = [0, 1, 2].flatMap((before) => {
    // Only the characters that are made of the text alone.
    const whole = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    const inner = whole.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [...new Set([text, hex, hex.toUpperCase(), ...base64])].map((spelling) => Buffer.from(spelling));
}

const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const blockRunLength = 1;

/** Where a frame that begins at `start` ends, by the headers of its blocks; `undefined` where there is none. */
function endOfFrame(bytes: Buffer, start: number): number | undefined {
  const descriptor = bytes[start + 4] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = start + 5 + (single ? 0 : 1) + dictionaryBytes + sizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) return undefined;
    const header = bytes.readUIntLE(at, 3);
    at += 3 + (((header >> 1) & 3) === blockRunLength ? 1 : header >> 3);
    if ((header & 1) !== 0) return at + ((descriptor & 4) === 0 ? 0 : 4);
  }
}

/** The contents of all frames, frames within them included. */
function* opened(bytes: Buffer): Generator<Buffer> {
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1)) {
    const end = endOfFrame(bytes, at);
    if (end === undefined || end > bytes.length) continue;
    try {
      const content = Bun.zstdDecompressSync(bytes.subarray(at, end));
      yield content;
      yield* opened(content);
    } catch {
      // Four bytes that only look like the beginning of a frame.
    }
  }
}

/** The names of the objects in which the bytes are found, or one of several, compressed or not. */
export function namesOfThoseWith(
  objects: readonly StoredBytes[],
  wanted: Uint8Array | string | readonly Uint8Array[],
): readonly string[] {
  const needles = Array.isArray(wanted) ? wanted : [Buffer.from(wanted as string)];
  const holds = (bytes: Buffer): boolean => needles.some((needle) => bytes.includes(needle));
  return objects.filter(({ bytes }) => holds(bytes) || [...opened(bytes)].some(holds)).map(({ name }) => name);
}
