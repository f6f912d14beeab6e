/**
 * Finds out, event by event, where the log and the streams disagree: for the few segments of positions of which it is known,
 * or of which it is asked, because each event is looked for in its stream.
 */

import { eventDigest } from "../format/chain.ts";
import type { StoredEvent } from "../format/envelope.ts";
import {
  globalPageKey,
  globalPageSpan,
  indexSegmentSize,
  lastPositionOfGlobalPageKey,
  segmentOf,
  streamHeadKey,
  streamPageSpan,
} from "../format/key-families.ts";
import { decodeGlobalPage, decodeStreamPage } from "../format/pages.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import type { BreakList } from "./break-list.ts";
import { messageOf } from "./log-check.ts";
import { firstVersionOf, walkStreams } from "./stream-check.ts";
import { byNumber, tolerantRows } from "./tolerant-rows.ts";

/** Heads that are remembered while a segment is gone through. */
const headsKept = 1_024;
/** The same of pages, one a stream. */
const pagesKept = 64;
/** How much of a digest is remembered of each position of a segment that is gone through for strangers: 16 KiB a segment. */
const digestPartBytes = 16;
/** The most segments that are gone through for strangers at once. */
export const strangersSegmentsMax = 4_096;

interface StreamPage {
  readonly row: Buffer;
  readonly events: readonly StoredEvent[];
}

interface Copy {
  readonly event: StoredEvent;
  readonly row: Buffer;
}

/** A part of the log with the pages that its events are in. */
async function* logOf(kv: KvReader, from: number, to: number): AsyncGenerator<Copy> {
  const seek = byNumber(lastPositionOfGlobalPageKey, globalPageKey, to);
  for await (const found of tolerantRows(kv, globalPageSpan(from), "lookup", seek)) {
    if (found.kind === "unreadable") continue;
    const row = Buffer.from(found.row.key);
    let events: readonly StoredEvent[] = [];
    try {
      events = decodeGlobalPage(found.row);
    } catch (error) {
      // The walk over the log has told of it.
      messageOf(error);
    }
    for (const event of events) if (event.position >= from && event.position <= to) yield { event, row };
    if (lastPositionOfGlobalPageKey(found.row.key) >= to) return;
  }
}

export class Agreement {
  readonly #kv: KvReader;
  readonly #breaks: BreakList;
  readonly #pages = new Map<string, StreamPage>();
  #streams = 0;
  readonly #heads = new Map<string, StreamHead | undefined>();

  /** How many heads it has looked at; a stream may count more than once where there are many. */
  get streams(): number {
    return this.#streams;
  }

  constructor(kv: KvReader, breaks: BreakList) {
    this.#kv = kv;
    this.#breaks = breaks;
  }

  /** Compares each event of the log from `from` to `to` with the copy in its stream; how many differ. */
  async compare(from: number, to: number): Promise<number> {
    let different = 0;
    for await (const { event, row } of logOf(this.#kv, from, to)) {
      if (await this.#agrees(event, row)) continue;
      different += 1;
    }
    return different;
  }

  /** Whether the stream's copy is the same; one that cannot be read was told where the streams were walked. */
  async #agrees(event: StoredEvent, row: Buffer): Promise<boolean> {
    const { streamName, version, position } = event;
    let copy: Copy | undefined;
    try {
      const head = await this.#head(streamName);
      if (head !== undefined && version < firstVersionOf(head)) return true;
      copy = head === undefined ? undefined : await this.#copyOf(head, version);
    } catch (error) {
      const reason = `A stream cannot be read at version ${version}: ${messageOf(error)}`;
      // Once a stream, unless that was told where the streams were walked.
      if (!this.#breaks.hasUnreadable(streamName)) this.#tell(event, streamHeadKey(streamName), reason, "unreadable");
      return false;
    }
    if (copy !== undefined && eventDigest(copy.event).equals(eventDigest(event))) return true;
    const chainBreaks = this.#breaks.chainBreaksAt(position);
    const reason =
      copy === undefined ? "An event of the log is not in its stream" : "The log and the stream hold different events";
    const place = chainBreaks ? row : (copy?.row ?? streamHeadKey(streamName));
    this.#tell(event, place, `${reason}; the chain ${chainBreaks ? "does not hold" : "holds"} here`);
    return false;
  }

  #tell(event: StoredEvent, row: Buffer, reason: string, kind: "altered" | "unreadable" = "altered"): void {
    const { streamName, version, position } = event;
    const place = { fromPosition: position, toPosition: position, streamName, version };
    this.#breaks.add({ kind, ...place, row: row.toString("hex"), reason });
  }

  async #head(streamName: string): Promise<StreamHead | undefined> {
    if (this.#heads.has(streamName)) return this.#heads.get(streamName);
    if (this.#heads.size >= headsKept) this.#heads.clear();
    const value = await this.#kv.get(streamHeadKey(streamName));
    const head = value === undefined ? undefined : decodeStreamHead(streamName, value);
    this.#heads.set(streamName, head);
    this.#streams += 1;
    return head;
  }

  async #copyOf(head: StreamHead, version: number): Promise<Copy | undefined> {
    const newest = head.tail.find((event) => event.version === version);
    if (newest !== undefined) return { event: newest, row: streamHeadKey(head.streamName) };
    const holds = (page: StreamPage | undefined): StoredEvent | undefined =>
      page?.events.find((one) => one.version === version);
    let page = this.#pages.get(head.streamName);
    if (holds(page) === undefined) page = await this.#pageOf(head.streamName, version);
    const event = holds(page);
    return page === undefined || event === undefined ? undefined : { event, row: page.row };
  }

  /** The page of a stream that holds a version, or the one behind it; it is remembered, because its other events come next. */
  async #pageOf(streamName: string, version: number): Promise<StreamPage | undefined> {
    const cursor = await this.#kv.scan(streamPageSpan(streamName, version), "lookup");
    try {
      const [row] = await cursor.next(1);
      if (row === undefined) return undefined;
      if (this.#pages.size >= pagesKept) this.#pages.clear();
      const page = { row: Buffer.from(row.key), events: decodeStreamPage(streamName, row) };
      this.#pages.set(streamName, page);
      return page;
    } finally {
      cursor.close();
    }
  }

  /**
   * Finds the events that streams show at positions of these segments, at most `strangersSegmentsMax` and up to `to`, and that
   * the log does not have there.
   */
  async findStrangers(segments: readonly number[], to: number): Promise<void> {
    const known = new Map<number, Buffer>();
    const placeOf = (position: number): number => ((position - 1) % indexSegmentSize) * digestPartBytes;
    for (const segment of segments) {
      const digests = Buffer.alloc(indexSegmentSize * digestPartBytes);
      known.set(segment, digests);
      const from = segment * indexSegmentSize + 1;
      for await (const { event } of logOf(this.#kv, from, from + indexSegmentSize - 1)) {
        digests.set(eventDigest(event).subarray(0, digestPartBytes), placeOf(event.position));
      }
    }
    const onEvent = (event: StoredEvent): void => {
      const { position } = event;
      const digests = known.get(segmentOf(position));
      // What the log has lost cannot be compared.
      if (position > to || digests === undefined || this.#breaks.hasLost(position)) return;
      const part = digests.subarray(placeOf(position), placeOf(position) + digestPartBytes);
      if (eventDigest(event).subarray(0, digestPartBytes).equals(part)) return;
      const reason = "A stream shows an event at a position where the log has none, or another one";
      this.#tell(event, streamHeadKey(event.streamName), reason);
    };
    const lastPosition = (): number => Number.POSITIVE_INFINITY;
    await walkStreams({ kv: this.#kv, breaks: undefined, lastPosition, onEvent, onStream: () => {} });
  }
}
