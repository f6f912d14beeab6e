/**
 * Walks the streams in the order of their names: that each holds its versions without a hole, in the order of their positions,
 * up to what its head says. Heads are read before pages, so what was appended meanwhile is in pages that go further than the
 * head; where anything else does not fit, the stream is read once more by itself before it is said to be broken.
 */

import type { StoredEvent } from "../format/envelope.ts";
import { decodeHeadExtension } from "../format/head-extension.ts";
import {
  everyStreamPage,
  logEndKey,
  placeOfStreamPageKey,
  streamHeadKey,
  streamHeadSpan,
  streamNameOfHeadKey,
  streamPageKey,
  streamPageSpan,
} from "../format/key-families.ts";
import { decodeStreamPage } from "../format/pages.ts";
import { decodeLogEnd } from "../format/records.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import type { BreakList } from "./break-list.ts";
import { messageOf } from "./log-check.ts";
import { byNumber, type TolerantRow, tolerantRows } from "./tolerant-rows.ts";

export interface StreamWalkOptions {
  readonly kv: KvReader;
  /** Where breaks are told; nothing: they were told before. */
  readonly breaks: BreakList | undefined;
  /** Where the log ends, as far as that is known without a look. */
  readonly lastPosition: () => number;
  /** Told of each event that a stream shows. */
  readonly onEvent: (event: StoredEvent) => void;
  /** Told of events that are in a stream's rows and not shown any more, a page's at a time. */
  readonly onHidden?: (events: readonly StoredEvent[]) => Promise<void>;
  /** Told after each stream. */
  readonly onStream: (versions: number) => void;
}

type Told = Pick<StreamWalkOptions, "onEvent" | "onHidden">;

/** What is wrong with a stream, and at which version. */
interface Finding {
  readonly kind: "unreadable" | "stream";
  readonly version?: number;
  readonly row?: Buffer;
  readonly reason: string;
}

/** The first version that is not gone from the stream by right, or about to be: truncated, dropped, archived or deleted. */
export function firstVersionOf(head: StreamHead): number {
  const { tombstone, droppedBefore = 1, archive } = decodeHeadExtension(head.extension);
  if (tombstone?.purged === true) return head.version + 1;
  return Math.max(1, head.truncatedBefore, droppedBefore, archive?.before ?? 1);
}

export async function walkStreams(options: StreamWalkOptions): Promise<number> {
  const { kv, breaks } = options;
  const heads = tolerantRows(kv, streamHeadSpan(""), "replay");
  let streams = 0;
  let pages: PageFeed | undefined;
  try {
    for await (const found of heads) {
      pages ??= new PageFeed(kv, breaks);
      if (found.kind === "unreadable") {
        const after = found.after === undefined ? "the first one" : JSON.stringify(streamNameOfHeadKey(found.after));
        breaks?.add({
          kind: "unreadable",
          reason: `The heads of streams behind ${after} cannot be read: ${messageOf(found.error)}`,
        });
        continue;
      }
      streams += 1;
      await walkStream(found.row, pages, options);
    }
    await (pages ?? new PageFeed(kv, breaks)).drain();
  } finally {
    await pages?.close();
  }
  return streams;
}

async function walkStream(row: KvRow, pages: PageFeed, options: StreamWalkOptions): Promise<void> {
  const { kv, breaks, onStream } = options;
  const streamName = streamNameOfHeadKey(row.key);
  let finding: Finding | undefined;
  let versions = 0;
  try {
    const head = decodeStreamHead(streamName, row.value);
    versions = head.version;
    finding = await examine(head, pages.of(streamName), options);
    if (finding === undefined && head.lastPosition > options.lastPosition()) finding = beyondTheLog(row.key);
  } catch (error) {
    finding = {
      kind: "unreadable",
      row: Buffer.from(row.key),
      reason: `The head of a stream is damaged: ${messageOf(error)}`,
    };
  }
  if (finding !== undefined && breaks !== undefined) finding = await examineAgain(kv, streamName);
  if (finding !== undefined) {
    const { row: key, ...rest } = finding;
    breaks?.add({ ...rest, streamName, ...(key === undefined ? {} : { row: key.toString("hex") }) });
  }
  onStream(versions);
}

/** The stream by itself, as it is now. */
async function examineAgain(kv: KvReader, streamName: string): Promise<Finding | undefined> {
  const key = streamHeadKey(streamName);
  let head: StreamHead;
  try {
    const value = await kv.get(key);
    if (value === undefined) return { kind: "stream", row: key, reason: "The head of a stream is gone" };
    head = decodeStreamHead(streamName, value);
  } catch (error) {
    return { kind: "unreadable", row: key, reason: `The head of a stream cannot be read: ${messageOf(error)}` };
  }
  const from = firstVersionOf(head);
  const seek = byNumber(
    (at) => placeOfStreamPageKey(at).lastVersion,
    (version) => streamPageKey(streamName, version),
    head.version,
  );
  const finding = await examine(head, tolerantRows(kv, streamPageSpan(streamName, from), "lookup", seek), {
    onEvent: () => {},
  });
  const end = await kv.get(logEndKey);
  const lastPosition = end === undefined ? 0 : decodeLogEnd(end).lastPosition;
  return finding === undefined && head.lastPosition > lastPosition ? beyondTheLog(key) : finding;
}

function beyondTheLog(key: Uint8Array): Finding {
  return { kind: "stream", row: Buffer.from(key), reason: "A stream has events behind the end of the log" };
}

/** Goes through the versions of a stream; tells of each event up to the first that is not as it should be. */
async function examine(
  head: StreamHead,
  pages: AsyncIterable<TolerantRow>,
  { onEvent, onHidden }: Told,
): Promise<Finding | undefined> {
  const { streamName } = head;
  const pagedTo = head.version - head.tail.length;
  const first = firstVersionOf(head);
  let next = first;
  const tellHidden = async (events: readonly StoredEvent[], to: number): Promise<void> => {
    const hidden = events.filter(({ version }) => version < first && version <= to);
    if (hidden.length > 0) await onHidden?.(hidden);
  };
  let position = 0;
  let finding: Finding | undefined;
  const take = (events: readonly StoredEvent[], to: number, row: Buffer): void => {
    for (const event of events) {
      if (finding !== undefined || event.version < next || event.version > to) continue;
      if (event.version !== next) {
        finding = { kind: "stream", version: next, row, reason: `A stream has no version ${next}` };
        return;
      }
      if (event.position <= position) {
        finding = { kind: "stream", version: next, row, reason: "The positions of a stream's events do not ascend" };
        return;
      }
      ({ position } = event);
      next += 1;
      onEvent(event);
    }
  };
  for await (const page of pages) {
    if (finding !== undefined) continue;
    if (page.kind === "unreadable") {
      const reason = `A stream cannot be read from version ${next} on: ${messageOf(page.error)}`;
      if (next <= pagedTo) finding = { kind: "unreadable", version: next, reason };
      continue;
    }
    let events: readonly StoredEvent[];
    try {
      events = decodeStreamPage(streamName, page.row);
    } catch (error) {
      const reason = `A page of a stream is damaged: ${messageOf(error)}`;
      finding = { kind: "unreadable", version: next, row: Buffer.from(page.row.key), reason };
      continue;
    }
    await tellHidden(events, pagedTo);
    take(events, pagedTo, Buffer.from(page.row.key));
  }
  const headKey = streamHeadKey(streamName);
  if (finding === undefined && next <= pagedTo) {
    finding = { kind: "stream", version: next, row: headKey, reason: `A stream has no version ${next}` };
  }
  await tellHidden(head.tail, head.version);
  take(head.tail, head.version, headKey);
  if (finding !== undefined) return finding;
  const isEmpty = first > head.version;
  if (isEmpty || (next === head.version + 1 && position === head.lastPosition)) return undefined;
  return {
    kind: "stream",
    version: head.version,
    row: headKey,
    reason: "The head of a stream does not fit its events",
  };
}

/** The pages of all streams, handed out stream by stream as their heads come. */
class PageFeed {
  readonly #rows: AsyncGenerator<TolerantRow>;
  readonly #kv: KvReader;
  readonly #breaks: BreakList | undefined;
  #at: TolerantRow | undefined;
  #ended = false;
  #orphan: string | undefined;

  constructor(kv: KvReader, breaks: BreakList | undefined) {
    this.#kv = kv;
    this.#breaks = breaks;
    this.#rows = tolerantRows(kv, everyStreamPage, "replay");
  }

  async *of(streamName: string): AsyncGenerator<TolerantRow> {
    const prefix = streamPageKey(streamName, 0).subarray(0, -8);
    for (;;) {
      const row = await this.#peek();
      if (row === undefined) return;
      const side = sideOf(row, prefix);
      if (side === "behind") return;
      // What is about several streams is said to each of them.
      if (row.kind === "unreadable" && side === "here") {
        yield row;
        if (row.before === undefined || Buffer.compare(row.before.subarray(0, prefix.length), prefix) > 0) return;
      } else if (side === "here") yield row;
      else await this.#withoutHead(row);
      this.#at = undefined;
    }
  }

  /** Goes to the end of the pages, when there are no more heads. */
  async drain(): Promise<void> {
    for (let row = await this.#peek(); row !== undefined; row = await this.#peek()) {
      await this.#withoutHead(row);
      this.#at = undefined;
    }
  }

  /** A page of a stream whose head did not come: it is new, or its head is gone. */
  async #withoutHead(page: TolerantRow): Promise<void> {
    if (page.kind === "unreadable" || this.#breaks === undefined) return;
    const { streamName, lastVersion } = placeOfStreamPageKey(page.row.key);
    if (streamName === this.#orphan) return;
    this.#orphan = streamName;
    try {
      if ((await this.#kv.get(streamHeadKey(streamName))) !== undefined) return;
    } catch (error) {
      // That heads cannot be read was told where they were scanned.
      messageOf(error);
      return;
    }
    const row = Buffer.from(page.row.key).toString("hex");
    this.#breaks.add({ kind: "stream", streamName, version: lastVersion, row, reason: "A page's stream has no head" });
  }

  async close(): Promise<void> {
    await this.#rows.return(undefined);
  }

  async #peek(): Promise<TolerantRow | undefined> {
    if (this.#at === undefined && !this.#ended) {
      const step = await this.#rows.next();
      if (step.done === true) this.#ended = true;
      else this.#at = step.value;
    }
    return this.#at;
  }
}

/** Where a row stands to the pages that begin with a prefix. */
function sideOf(row: TolerantRow, prefix: Buffer): "before" | "here" | "behind" {
  const compare = (key: Uint8Array): number => Buffer.compare(key.subarray(0, prefix.length), prefix);
  if (row.kind === "row") {
    const order = compare(row.row.key);
    return order < 0 ? "before" : order === 0 ? "here" : "behind";
  }
  if (row.after !== undefined && compare(row.after) > 0) return "behind";
  return row.before !== undefined && compare(row.before) < 0 ? "before" : "here";
}
