/**
 * Reads one stream: its pages, then the newest events out of its head. The head is read first, and whatever it says is in
 * pages was there before it, so no snapshot is needed.
 */

import { StorageCorruptError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { streamPageSpan } from "../format/key-families.ts";
import { decodeStreamPage } from "../format/pages.ts";
import type { StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import { BackwardsWindow } from "./window.ts";

const rowsAtOnceMin = 4;
const rowsAtOnceMax = 32;
const lookupEventsMax = 512;
const windowEventsMax = 4_096;

export class StreamReader {
  readonly #kv: KvReader;

  constructor(kv: KvReader) {
    this.#kv = kv;
  }

  /** The events of versions `from` to `to`, in lists; `count`: how many of them are likely to be taken. */
  async *forwards(head: StreamHead, from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    const pagedTo = head.version - head.tail.length;
    if (from <= pagedTo) yield* this.#pages(head, Math.max(1, from), Math.min(to, pagedTo), count);
    const newest = head.tail.filter((event) => event.version >= from && event.version <= to);
    if (newest.length > 0) yield newest;
  }

  /** The same from `to` down to `from`. */
  async *backwards(head: StreamHead, from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    const newest = head.tail.filter((event) => event.version >= from && event.version <= to);
    if (newest.length > 0) yield newest.toReversed();
    const window = new BackwardsWindow(windowEventsMax, count);
    for (let upper = Math.min(to, head.version - head.tail.length); upper >= from; ) {
      const lower = Math.max(from, upper - window.events + 1);
      const lists: (readonly StoredEvent[])[] = [];
      for await (const events of this.#pages(head, lower, upper)) lists.push(events);
      window.record(lists);
      for (const events of lists.reverse()) yield events.toReversed();
      upper = lower - 1;
    }
  }

  /** How many events the stream had when the log ended at `position`. */
  async versionAt(head: StreamHead, position: number): Promise<number> {
    if (head.lastPosition <= position) return head.version;
    if (head.firstPosition > position) return 0;
    // The first version in [lower, upper] that came later.
    let lower = 1;
    let upper = head.version;
    while (lower < upper) {
      const middle = Math.floor((lower + upper) / 2);
      const event = await this.#one(head, middle);
      if (event.position <= position) lower = middle + 1;
      else upper = middle;
    }
    return lower - 1;
  }

  async #one(head: StreamHead, version: number): Promise<StoredEvent> {
    for await (const [event] of this.forwards(head, version, version)) if (event !== undefined) return event;
    throw missing(head.streamName, version);
  }

  async *#pages(head: StreamHead, from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    if (from > to) return;
    const { streamName } = head;
    const purpose =
      Math.min(to - from + 1, count ?? Number.POSITIVE_INFINITY) <= lookupEventsMax ? "settled" : "replay";
    const cursor = await this.#kv.scan(streamPageSpan(streamName, from), purpose);
    try {
      let next = from;
      let rowsAtOnce = rowsAtOnceMin;
      while (next <= to) {
        const rows = await cursor.next(rowsAtOnce);
        if (rows.length === 0) throw missing(streamName, next);
        rowsAtOnce = Math.min(rowsAtOnceMax, rowsAtOnce * 2);
        for (const row of rows) {
          const events = decodeStreamPage(streamName, row).filter(({ version }) => version >= next && version <= to);
          const last = events.at(-1);
          if (last === undefined || events[0]?.version !== next) throw missing(streamName, next);
          next = last.version + 1;
          yield events;
          if (next > to) return;
        }
      }
    } finally {
      cursor.close();
    }
  }
}

function missing(streamName: string, version: number): StorageCorruptError {
  return new StorageCorruptError(`A stream has a hole: no version ${version} in ${JSON.stringify(streamName)}`);
}
