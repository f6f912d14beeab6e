/**
 * What later versions put into rows that this one rewrites: a list of records, each with a tag. Who knows a tag reads and
 * replaces its record; all others are kept as they are, in their order.
 */

import { ByteReader, ByteWriter } from "./bytes.ts";

/** The record of a tag; `undefined` where there is none. */
export function readExtension(extension: Uint8Array, tag: number): Buffer | undefined {
  const reader = new ByteReader(extension);
  while (reader.remaining > 0) {
    const found = reader.varint();
    const content = reader.block();
    if (found === tag) return content;
  }
  return undefined;
}

/** The extension with this record in the place of the tag's earlier one. */
export function withExtension(extension: Uint8Array, tag: number, content: Uint8Array): Buffer {
  const reader = new ByteReader(extension);
  const writer = new ByteWriter(extension.length + content.length + 8);
  while (reader.remaining > 0) {
    const found = reader.varint();
    const other = reader.block();
    if (found === tag) continue;
    writer.varint(found);
    writer.block(other);
  }
  writer.varint(tag);
  writer.block(content);
  return writer.finish();
}
