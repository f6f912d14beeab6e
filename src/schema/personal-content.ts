/** What is inside an event's box: its personal fields by path, encoded as payloads are, behind one byte that says how. */

import type { EventIssue } from "../errors.ts";
import { ByteReader, ByteWriter } from "../format/bytes.ts";
import { encodePayload, type PayloadEncoding, readPayload, writePayload } from "../format/payload.ts";

const encodings: readonly PayloadEncoding[] = ["json", "msgpack"];

/** The values by path as bytes, or what of them cannot be stored. */
export function encodeFields(
  values: Readonly<Record<string, unknown>>,
): Buffer | { readonly issues: readonly EventIssue[] } {
  const payload = encodePayload(values, "data");
  if ("issues" in payload) return payload;
  const writer = new ByteWriter(256);
  writer.byte(encodings.indexOf(payload.encoding));
  writePayload(writer, payload);
  return writer.finish();
}

/** What `encodeFields` was given. Whoever has opened the box knows that its content is as it was sealed. */
export function decodeFields(content: Buffer): Readonly<Record<string, unknown>> {
  const reader = new ByteReader(content);
  return readPayload(reader, encodings[reader.byte()] ?? "json") as Record<string, unknown>;
}
