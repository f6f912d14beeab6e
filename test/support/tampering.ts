/** What somebody with access to the storage may do to rows, checksums made right again: for tests of verifying. */

import type { StoredEvent } from "../../src/format/envelope.ts";
import { placeOfStreamPageKey, streamNameOfHeadKey } from "../../src/format/key-families.ts";
import { decodeGlobalPage, decodeStreamPage, encodeGlobalPage, encodeStreamPage } from "../../src/format/pages.ts";
import { decodeStreamHead, encodeStreamHead } from "../../src/format/stream-head.ts";
import type { KvReader, KvRow } from "../../src/kv/kv.ts";
import type { MemoryStorage } from "../../src/kv/memory-kv.ts";
import { rowsIn } from "./dropping.ts";

export const families = { heads: 0x10, streamPages: 0x20, log: 0x30, links: 0x31, dropped: 0x32 } as const;

export async function rowsOf(kv: KvReader, family: number): Promise<readonly KvRow[]> {
  return await rowsIn(kv, { start: Buffer.of(family), end: Buffer.of(family + 1) });
}

/** Behind the back of every open store. */
export function setRow(storage: MemoryStorage, key: Uint8Array, value: Uint8Array | undefined): void {
  const name = Buffer.from(key).toString("latin1");
  if (value === undefined) storage.rows.delete(name);
  else storage.rows.set(name, value);
}

export function flipped(bytes: Uint8Array, at: number, bit = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ bit;
  return copy;
}

/** The same row with other events in it; it may get another key. */
export function edited(
  row: KvRow,
  edit: (events: readonly StoredEvent[]) => readonly StoredEvent[],
): KvRow | undefined {
  switch (row.key[0]) {
    case families.log: {
      const events = edit(decodeGlobalPage(row));
      return events.length === 0 ? undefined : encodeGlobalPage(events);
    }
    case families.streamPages: {
      const events = edit(decodeStreamPage(placeOfStreamPageKey(row.key).streamName, row));
      return events.length === 0 ? undefined : encodeStreamPage(events);
    }
    case families.heads: {
      const head = decodeStreamHead(streamNameOfHeadKey(row.key), row.value);
      return { key: row.key, value: encodeStreamHead({ ...head, tail: edit(head.tail) }) };
    }
    default:
      throw new Error("Such rows hold no events");
  }
}

/** An event with one bit of its payload turned. */
export function altered(event: StoredEvent): StoredEvent {
  return { ...event, bytes: flipped(event.bytes, event.bytes.length - 1) };
}

export function eventsIn(row: KvRow): readonly StoredEvent[] {
  let found: readonly StoredEvent[] = [];
  edited(row, (events) => {
    found = events;
    return events;
  });
  return found;
}

/** The row of a family that holds the event at a position. */
export async function rowWith(kv: KvReader, family: number, position: number): Promise<KvRow> {
  for (const row of await rowsOf(kv, family)) {
    if (eventsIn(row).some((event) => event.position === position)) return row;
  }
  throw new Error(`No row of family ${family} holds position ${position}`);
}
