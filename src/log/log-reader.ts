/**
 * Reads the global log by position: pages in order, pages in reverse by ascending windows, and single positions. Events that
 * were dropped on purpose are passed over; a hole that nobody recorded is `storage-corrupt`.
 */

import { StorageCorruptError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { recordedAtMsOf } from "../format/envelope.ts";
import { globalPageKey, globalPageSpan, minuteOf, minuteOfTimeKey, timeSpan } from "../format/key-families.ts";
import { decodeGlobalPage } from "../format/pages.ts";
import { decodeTimeEntry } from "../format/records.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import { DroppedEvents } from "./dropped-events.ts";
import type { Postings } from "./term-index.ts";
import { BackwardsWindow } from "./window.ts";

/** Pages fetched at once: few at first, so that a short read stays cheap. */
const rowsAtOnceMin = 2;
const rowsAtOnceMax = 16;
/** A read of at most this many events goes through the cache instead of reading ahead. */
const lookupEventsMax = 512;
const windowEventsMax = 8_192;
/** Single events are handed out in lists of at most this many, or about so many bytes. */
const listEventsMax = 64;
const listBytesMax = 256 * 1024;

export class LogReader {
  readonly #kv: KvReader;
  readonly #dropped: DroppedEvents;

  constructor(kv: KvReader) {
    this.#kv = kv;
    this.#dropped = new DroppedEvents(kv);
  }

  /**
   * The events from `from` to `to`, page by page; `count`: how many of them are likely to be taken. Throws
   * `storage-corrupt` where one is missing that was not dropped.
   */
  async *forwards(from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    if (from > to) return;
    const purpose = Math.min(to - from + 1, count ?? Number.POSITIVE_INFINITY) <= lookupEventsMax ? "lookup" : "replay";
    const cursor = await this.#kv.scan(globalPageSpan(from), purpose);
    try {
      let next = from;
      let rowsAtOnce = rowsAtOnceMin;
      while (next <= to) {
        const rows = await cursor.next(rowsAtOnce);
        if (rows.length === 0) {
          await this.#assertDropped(next, to);
          return;
        }
        rowsAtOnce = Math.min(rowsAtOnceMax, rowsAtOnce * 2);
        for (const row of rows) {
          const page = decodeGlobalPage(row);
          const events = trim(page, next, to);
          const pageTo = Math.min(to, page.at(-1)?.position ?? 0);
          if (events.length !== pageTo - next + 1) await this.#assertComplete(events, next, pageTo);
          next = Math.max(next, pageTo + 1);
          if (events.length > 0) yield events;
          if (next > to) return;
        }
      }
    } finally {
      cursor.close();
    }
  }

  /** The events from `to` down to `from`, in lists of descending positions. */
  async *backwards(from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    const window = new BackwardsWindow(windowEventsMax, count);
    for (let upper = to; upper >= from; ) {
      const lower = Math.max(from, upper - window.events + 1);
      const pages: (readonly StoredEvent[])[] = [];
      for await (const events of this.forwards(lower, upper)) pages.push(events);
      window.record(pages);
      for (const events of pages.reverse()) yield events.toReversed();
      upper = lower - 1;
    }
  }

  /** Throws `storage-corrupt` unless all positions from `from` to `to` that have no event among `events` were dropped. */
  async #assertComplete(events: readonly StoredEvent[], from: number, to: number): Promise<void> {
    let next = from;
    for (const { position } of events) {
      if (position > next) await this.#assertDropped(next, position - 1);
      next = position + 1;
    }
    if (next <= to) await this.#assertDropped(next, to);
  }

  async #assertDropped(from: number, to: number): Promise<void> {
    const missing = await this.#dropped.firstMissing(from, to);
    if (missing !== undefined) throw holeAt(missing);
  }

  /** The events at these ascending positions, without those that were dropped; leaps over the pages between them. */
  async *at(lists: AsyncIterable<Postings>): AsyncGenerator<readonly StoredEvent[]> {
    const pages = new PageCursor(this.#kv);
    try {
      let events: StoredEvent[] = [];
      let bytes = 0;
      for await (const positions of lists) {
        for (const position of positions) {
          const event = await pages.find(position);
          if (event === undefined) {
            await this.#assertDropped(position, position);
            continue;
          }
          events.push(event);
          bytes += event.bytes.length;
          if (events.length < listEventsMax && bytes < listBytesMax) continue;
          yield events;
          events = [];
          bytes = 0;
        }
        if (events.length > 0) yield events;
        events = [];
        bytes = 0;
      }
    } finally {
      pages.close();
    }
  }

  /** As `at`, for lists of descending positions. */
  async *atDescending(lists: AsyncIterable<Postings>, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    const window = new BackwardsWindow(listEventsMax, count);
    for await (const positions of lists) {
      for (let next = 0; next < positions.length; ) {
        const some = positions.slice(next, next + window.events).toReversed();
        next += some.length;
        const found: (readonly StoredEvent[])[] = [];
        for await (const events of this.at(listsOf(some))) found.push(events);
        window.record(found);
        yield found.flat().reverse();
      }
    }
  }

  /**
   * The last position, within 1 to `lastPosition`, before the first event that was recorded later than `timeMs`; 0 where
   * there is none. Dropped events have no time: they count to what came before them.
   */
  async positionAt(timeMs: number, lastPosition: number): Promise<number> {
    const minute = minuteOf(timeMs);
    if (minute < 0 || lastPosition === 0) return 0;
    // Where the next minute with events begins bounds the search from above; the times of single events do the rest.
    let upper = lastPosition + 1;
    let lower = 1;
    const later = await this.#firstRow(minute + 1);
    if (later !== undefined) upper = Math.min(upper, decodeTimeEntry(later));
    const same = await this.#firstRow(minute);
    if (same !== undefined && minuteOfTimeKey(same.key) === minute) lower = decodeTimeEntry(same);
    // The first position in [lower, upper] whose event is later than the time.
    let first = upper;
    while (lower < upper) {
      const middle = Math.floor((lower + upper) / 2);
      const event = await this.#first(middle, upper - 1);
      if (event === undefined) {
        upper = middle;
      } else if (recordedAtMsOf(event.bytes) <= timeMs) {
        lower = event.position + 1;
      } else {
        first = event.position;
        upper = middle;
      }
    }
    return first - 1;
  }

  async #firstRow(fromMinute: number): Promise<KvRow | undefined> {
    const cursor = await this.#kv.scan(timeSpan(fromMinute), "lookup");
    try {
      return (await cursor.next(1))[0];
    } finally {
      cursor.close();
    }
  }

  /** The first event from `from` to `to`, if there is one. */
  async #first(from: number, to: number): Promise<StoredEvent | undefined> {
    for await (const [event] of this.forwards(from, to, 1)) if (event !== undefined) return event;
    return undefined;
  }
}

/** Finds single positions, ascending, keeping the page it is on. */
class PageCursor {
  readonly #kv: KvReader;
  #cursor: Awaited<ReturnType<KvReader["scan"]>> | undefined;
  #page: readonly StoredEvent[] = [];
  #atEnd = false;

  constructor(kv: KvReader) {
    this.#kv = kv;
  }

  /** The event at a position; `undefined` where no page holds it. */
  async find(position: number): Promise<StoredEvent | undefined> {
    const last = this.#page.at(-1)?.position ?? 0;
    if (position > last && !this.#atEnd) await this.#load(position, last);
    return eventAt(this.#page, position);
  }

  close(): void {
    this.#cursor?.close();
  }

  async #load(position: number, last: number): Promise<void> {
    if (this.#cursor === undefined) this.#cursor = await this.#kv.scan(globalPageSpan(position), "lookup");
    // The next page is one step away, anything further a leap.
    else if (position > last + this.#page.length) await this.#cursor.seek(globalPageKey(position));
    for (;;) {
      const [row] = await this.#cursor.next(1);
      if (row === undefined) {
        this.#atEnd = true;
        return;
      }
      this.#page = decodeGlobalPage(row);
      if ((this.#page.at(-1)?.position ?? 0) >= position) return;
    }
  }
}

/** By its place where the page has no gaps, which is the rule. */
function eventAt(page: readonly StoredEvent[], position: number): StoredEvent | undefined {
  const first = page[0]?.position ?? 0;
  const event = page[position - first];
  return event?.position === position ? event : page.find((one) => one.position === position);
}

async function* listsOf(positions: Postings): AsyncGenerator<Postings> {
  yield positions;
}

function trim(events: readonly StoredEvent[], from: number, to: number): readonly StoredEvent[] {
  const inside = (events[0]?.position ?? 0) >= from && (events.at(-1)?.position ?? 0) <= to;
  return inside ? events : events.filter((event) => event.position >= from && event.position <= to);
}

function holeAt(position: number): StorageCorruptError {
  return new StorageCorruptError(`The log has a hole: no event at position ${position}`);
}
