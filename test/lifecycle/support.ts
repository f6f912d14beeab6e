/** What the tests of the compactor have in common: what a store says of itself, and what is in its rows. */

import { everyKey } from "../../src/format/key-families.ts";
import type { EventReader, RecordedEvent } from "../../src/index.ts";
import type { KvReader } from "../../src/kv/kv.ts";
import { collect } from "../support/collect.ts";

export interface RowCount {
  readonly rows: number;
  readonly bytes: number;
}

/** By tag byte, in hexadecimal, how many rows a store has and how many bytes of keys and values. */
export async function familiesOf(kv: KvReader): Promise<Readonly<Record<string, RowCount>>> {
  const families: Record<string, RowCount> = {};
  const cursor = await kv.scan(everyKey, "replay");
  for (let rows = await cursor.next(256); rows.length > 0; rows = await cursor.next(256)) {
    for (const { key, value } of rows) {
      const tag = (key[0] ?? 0).toString(16).padStart(2, "0");
      const before = families[tag] ?? { rows: 0, bytes: 0 };
      families[tag] = { rows: before.rows + 1, bytes: before.bytes + key.length + value.length };
    }
  }
  cursor.close();
  return families;
}

/** Everything that can be asked of a store, with the answers. */
export async function answersOf(reader: EventReader, tags: readonly string[] = []): Promise<unknown> {
  const streams = await collect(reader.listStreams());
  const last = await reader.lastPosition();
  return {
    last,
    streams,
    all: await collect(reader.readAll()),
    backwards: await collect(reader.readAll({ direction: "backwards", limit: 300 })),
    middle: await collect(reader.readAll({ fromPosition: Math.ceil(last / 2), limit: 10 })),
    tagged: await Promise.all(tags.map((tag) => collect(reader.readAll({ filter: { tags: [tag] } })))),
    taggedBackwards: await Promise.all(
      tags.map((tag) => collect(reader.readAll({ filter: { tags: [tag] }, direction: "backwards", limit: 20 }))),
    ),
    events: await Promise.all(streams.map(({ streamName }) => collect(reader.readStream(streamName)))),
    newest: await Promise.all(
      streams.map(({ streamName }) => collect(reader.readStream(streamName, { direction: "backwards", limit: 5 }))),
    ),
  };
}

/** Positions, for comparisons that are easy to read. */
export function positionsOf(events: readonly RecordedEvent[]): readonly number[] {
  return events.map(({ position }) => position);
}
