/**
 * A run of events as pages and archives have it: a small directory, then the events' bytes one after another.
 *
 * run of a stream: count | { version step, position step, length } x count | bytes
 *
 * A step is the difference to the entry before, the first one to zero, so that gaps which retention makes can be said.
 */

import { StorageCorruptError } from "../errors.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import type { StoredEvent } from "./envelope.ts";

/** What a directory says of an event. */
export interface PlaceInRun {
  readonly streamName: string;
  readonly version: number;
  readonly position: number;
  readonly length: number;
}

/** Events of one stream, by version. */
export function writeStreamRun(writer: ByteWriter, events: readonly StoredEvent[]): void {
  writer.varint(events.length);
  let version = 0;
  let position = 0;
  for (const event of events) {
    writer.varint(event.version - version);
    writer.varint(event.position - position);
    writer.varint(event.bytes.length);
    version = event.version;
    position = event.position;
  }
  for (const event of events) writer.raw(event.bytes);
}

/** Reads what `writeStreamRun` wrote, up to the end; throws `storage-corrupt` where something is left over. `what` it is of. */
export function readStreamRun(reader: ByteReader, streamName: string, what: string): readonly StoredEvent[] {
  const places: PlaceInRun[] = [];
  let version = 0;
  let position = 0;
  for (let left = reader.varint(); left > 0; left -= 1) {
    version += reader.varint();
    position += reader.varint();
    places.push({ streamName, version, position, length: reader.varint() });
  }
  return cutRun(reader, places, what);
}

/** Cuts the bytes behind a directory, up to the end, into its events: views, not copies. */
export function cutRun(reader: ByteReader, places: readonly PlaceInRun[], what: string): readonly StoredEvent[] {
  const events = places.map(({ streamName, version, position, length }) => ({
    streamName,
    version,
    position,
    bytes: reader.raw(length),
  }));
  if (reader.remaining !== 0) throw new StorageCorruptError(`${what} has bytes left over`);
  return events;
}
