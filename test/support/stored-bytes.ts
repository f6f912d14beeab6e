/** All bytes that a store has in its folder or bucket, as they are and with every Zstandard frame among them opened. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { openS3Objects } from "../../src/kv/s3-objects.ts";
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

/** The names of the objects in which the bytes are found, compressed or not. */
export function namesOfThoseWith(objects: readonly StoredBytes[], wanted: Uint8Array | string): readonly string[] {
  const needle = Buffer.from(wanted as string);
  const holds = (bytes: Buffer): boolean =>
    bytes.includes(needle) || [...opened(bytes)].some((one) => one.includes(needle));
  return objects.filter(({ bytes }) => holds(bytes)).map(({ name }) => name);
}
