/**
 * What the compactor remembers, sealed under its key: JSON text, behind an extension that later versions may use. A cache: who
 * cannot read it begins again.
 *
 * record: seal | extension | JSON
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { PageRow, StoredRow } from "./pages.ts";

const compactionKind = 0x7a;
const nothing: Uint8Array = new Uint8Array(0);

/** The row of what is remembered: plain data, without any value that JSON cannot say. */
export function encodeCompactionRecord(key: Buffer, value: object): PageRow {
  const writer = new ByteWriter(256);
  beginSealed(writer, compactionKind);
  writer.block(nothing);
  writer.block(Buffer.from(JSON.stringify(value)));
  return { key, value: seal(writer, key) };
}

/** What was remembered; its shape is for the caller to check. Throws `storage-corrupt` for a damaged row. */
export function decodeCompactionRecord(row: StoredRow): Readonly<Record<string, unknown>> {
  const reader = openSealed(row.key, row.value, compactionKind, "A record of the compactor");
  reader.block();
  try {
    return JSON.parse(Buffer.from(reader.block()).toString("utf8"));
  } catch (cause) {
    throw new StorageCorruptError("A record of the compactor is damaged", { cause });
  }
}
