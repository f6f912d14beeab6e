/**
 * Reads one stream: what is archived of it, its pages, then the newest events out of its head. The head is read first, and
 * whatever it says is in pages was there before it, so no snapshot is needed. What is not there is gone by right if the head
 * says so now, and damage if not.
 */

import { StorageCorruptError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { decodeHeadExtension } from "../format/head-extension.ts";
import { streamHeadKey, streamPageSpan } from "../format/key-families.ts";
import { decodeStreamPage } from "../format/pages.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import type { ArchiveReader } from "./archive-reader.ts";
import { deletedError } from "./deleted-streams.ts";
import { BackwardsWindow } from "./window.ts";

const rowsAtOnceMin = 4;
const rowsAtOnceMax = 32;
const lookupEventsMax = 512;
const windowEventsMax = 4_096;

/** The first version that readers are to see. */
export function keptFrom(head: StreamHead): number {
  return Math.max(1, head.truncatedBefore);
}

/** Versions before this one are not in the hot storage any more. */
function droppedBefore(head: StreamHead): number {
  return head.extension.length === 0 ? 1 : (decodeHeadExtension(head.extension).droppedBefore ?? 1);
}

export class StreamReader {
  readonly #kv: KvReader;
  readonly #archive: ArchiveReader;

  constructor(kv: KvReader, archive: ArchiveReader) {
    this.#kv = kv;
    this.#archive = archive;
  }

  /**
   * The events of versions `from` to `to` that the stream still has, in lists, archived ones included; `count`: how many of
   * them are likely to be taken. Where some are dropped meanwhile the read goes on behind them.
   */
  async *forwards(head: StreamHead, from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    let current = head;
    for (let next = Math.max(from, keptFrom(head)); next <= to; ) {
      const hotFrom = droppedBefore(current);
      const pagedTo = Math.min(to, current.version - current.tail.length);
      const archived = next < hotFrom;
      const lists = archived
        ? this.#archive.forwards(current.streamName, next, Math.min(to, hotFrom - 1))
        : this.#pages(current.streamName, next, pagedTo, count);
      for await (const events of lists) {
        yield events;
        next = (events.at(-1)?.version ?? next) + 1;
      }
      if (next > to) return;
      if (archived ? next >= hotFrom : next > pagedTo) {
        if (archived) continue;
        const newest = current.tail.filter((event) => event.version >= next && event.version <= to);
        if (newest.length > 0) yield newest;
        return;
      }
      current = await this.#headBehindHole(current, next);
      next = Math.max(next, keptFrom(current));
    }
  }

  /** The same from `to` down to `from`. */
  async *backwards(head: StreamHead, from: number, to: number, count?: number): AsyncGenerator<readonly StoredEvent[]> {
    const first = Math.max(from, keptFrom(head));
    const newest = head.tail.filter((event) => event.version >= first && event.version <= to);
    if (newest.length > 0) yield newest.toReversed();
    const window = new BackwardsWindow(windowEventsMax, count);
    for (let upper = Math.min(to, head.version - head.tail.length); upper >= first; ) {
      const lower = Math.max(first, upper - window.events + 1);
      const lists: (readonly StoredEvent[])[] = [];
      for await (const events of this.forwards(head, lower, upper)) lists.push(events);
      window.record(lists);
      for (const events of lists.reverse()) yield events.toReversed();
      upper = lower - 1;
    }
  }

  /**
   * How many events the stream had when the log ended at `position`. Where that was before the oldest one that is kept: as
   * many as are gone, which may be too many.
   */
  async versionAt(head: StreamHead, position: number): Promise<number> {
    if (head.lastPosition <= position) return head.version;
    if (head.firstPosition > position) return 0;
    // The first version in [lower, upper] that came later.
    let lower = Math.max(keptFrom(head), droppedBefore(head));
    let upper = head.version;
    while (lower < upper) {
      const middle = Math.floor((lower + upper) / 2);
      const event = await this.#one(head, middle);
      // What is gone meanwhile is older than all that is kept.
      if (event === undefined || event.position <= position) lower = middle + 1;
      else upper = middle;
    }
    if (lower > droppedBefore(head) || lower <= keptFrom(head)) return lower - 1;
    return await this.#archive.versionAt(head.streamName, keptFrom(head), lower - 1, position);
  }

  async #one(head: StreamHead, version: number): Promise<StoredEvent | undefined> {
    for await (const [event] of this.forwards(head, version, version)) if (event !== undefined) return event;
    return undefined;
  }

  /** The head as it is now, after a version was not where `before` says: it is gone by right, or it is damage. */
  async #headBehindHole(before: StreamHead, version: number): Promise<StreamHead> {
    const { streamName } = before;
    const bytes = await this.#kv.get(streamHeadKey(streamName));
    const head = bytes === undefined ? undefined : decodeStreamHead(streamName, bytes);
    if (head === undefined) throw missing(streamName, version);
    const deleted = deletedError(streamName, head.extension);
    if (deleted !== undefined) throw deleted;
    if (keptFrom(head) <= version && droppedBefore(head) <= Math.max(version, droppedBefore(before)))
      throw missing(streamName, version);
    return head;
  }

  /** As far as there is no hole. */
  async *#pages(
    streamName: string,
    from: number,
    to: number,
    count: number | undefined,
  ): AsyncGenerator<readonly StoredEvent[]> {
    if (from > to) return;
    const purpose = Math.min(to - from + 1, count ?? Number.POSITIVE_INFINITY) <= lookupEventsMax ? "lookup" : "replay";
    const cursor = await this.#kv.scan(streamPageSpan(streamName, from), purpose);
    try {
      let next = from;
      let rowsAtOnce = rowsAtOnceMin;
      while (next <= to) {
        const rows = await cursor.next(rowsAtOnce);
        if (rows.length === 0) return;
        rowsAtOnce = Math.min(rowsAtOnceMax, rowsAtOnce * 2);
        for (const row of rows) {
          const events = decodeStreamPage(streamName, row).filter(({ version }) => version >= next && version <= to);
          const last = events.at(-1);
          if (last === undefined || events[0]?.version !== next) return;
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
