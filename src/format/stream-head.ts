/**
 * The head of a stream: its version and times, and its newest events, so that a short stream is one `get` and an append to
 * it is one row. When the newest events outgrow the head they move, all at once, into a page of the stream.
 *
 * seal | version | first position | created (6) | last position | last recorded (6) | truncated before | extension | tail
 */

import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredEvent } from "./envelope.ts";
import { streamHeadKey } from "./key-families.ts";

const streamHeadKind = 0x11;

/** The newest events stay in the head while they are at most this many and have at most this many bytes together. */
export const tailEventsMax = 16;
export const tailBytesMax = 1_536;

export interface StreamHead {
  readonly streamName: string;
  /** How many events the stream has ever had. */
  readonly version: number;
  readonly firstPosition: number;
  readonly createdAtMs: number;
  readonly lastPosition: number;
  readonly lastRecordedAtMs: number;
  /** Versions before this one are gone; 0 or 1 where none is. */
  readonly truncatedBefore: number;
  /** What a later version has put here: kept as it is. */
  readonly extension: Uint8Array;
  /** The events `version - tail.length + 1` to `version`; those before are in pages. */
  readonly tail: readonly StoredEvent[];
}

const scratch = new ByteWriter(4_096);

/** Whether these events may stay in the head. */
export function fitsTail(events: readonly StoredEvent[]): boolean {
  if (events.length > tailEventsMax) return false;
  let bytes = 0;
  for (const event of events) bytes += event.bytes.length;
  return bytes <= tailBytesMax;
}

export function encodeStreamHead(head: StreamHead): Buffer {
  const writer = scratch;
  writer.reset();
  beginSealed(writer, streamHeadKind);
  writer.varint(head.version);
  writer.varint(head.firstPosition);
  writer.uint48(head.createdAtMs);
  writer.varint(head.lastPosition);
  writer.uint48(head.lastRecordedAtMs);
  writer.varint(head.truncatedBefore);
  writer.block(head.extension);
  writer.varint(head.tail.length);
  let position = 0;
  for (const event of head.tail) {
    writer.varint(event.position - position);
    writer.varint(event.bytes.length);
    position = event.position;
  }
  for (const event of head.tail) writer.raw(event.bytes);
  return seal(writer, streamHeadKey(head.streamName));
}

export function decodeStreamHead(streamName: string, bytes: Uint8Array): StreamHead {
  const reader = openSealed(streamHeadKey(streamName), bytes, streamHeadKind, "The head of a stream");
  const version = reader.varint();
  const firstPosition = reader.varint();
  const createdAtMs = reader.uint48();
  const lastPosition = reader.varint();
  const lastRecordedAtMs = reader.uint48();
  const truncatedBefore = reader.varint();
  const extension = Uint8Array.from(reader.block());
  const count = reader.varint();
  const places: { position: number; length: number }[] = [];
  let position = 0;
  for (let index = 0; index < count; index += 1) {
    position += reader.varint();
    places.push({ position, length: reader.varint() });
  }
  const tail = places.map((place, index) => ({
    streamName,
    version: version - count + 1 + index,
    position: place.position,
    bytes: reader.raw(place.length),
  }));
  return {
    streamName,
    version,
    firstPosition,
    createdAtMs,
    lastPosition,
    lastRecordedAtMs,
    truncatedBefore,
    extension,
    tail,
  };
}
