/**
 * Merges the small pages of streams that were appended to. Behind earlier passes all pages of a stream but the newest few are
 * as large as they will be, so a look back over one page's worth of versions finds all that can be merged.
 */

import { StorageCorruptError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { streamHeadKey, streamPageSpan } from "../format/key-families.ts";
import { decodeStreamPage, encodeStreamPage, mergedPageLevel, pageBytesMax, pageEventsMax } from "../format/pages.ts";
import { decodeStreamHead, type StreamHead, tailBytesMax, tailEventsMax } from "../format/stream-head.ts";
import type { KvRow } from "../kv/kv.ts";
import type { LifecyclePass, TouchedStream } from "./lifecycle-step.ts";
import { type PageGroup, PageGrouper, replacePages } from "./page-group.ts";

/** In the background so many pages are merged at least, unless a full page comes of it: a page is rewritten a few times only. */
const pagesMergedMin = 4;
const rowsAtOnce = 16;
const headsAtOnce = 64;

/** Merges the pages of these streams, as far as that pays. */
export async function mergeStreams(pass: LifecyclePass, touched: readonly TouchedStream[]): Promise<void> {
  const streams = pass.full ? touched : touched.filter(mayHaveEnough);
  for (let from = 0; from < streams.length; from += headsAtOnce) {
    const some = streams.slice(from, from + headsAtOnce);
    const values = await pass.core.rows.getMany(some.map(({ streamName }) => streamHeadKey(streamName)));
    for (const [index, stream] of some.entries()) {
      const value = values[index];
      if (value === undefined) continue;
      await orWarn(pass, () => mergeStream(pass, stream, decodeStreamHead(stream.streamName, value)));
    }
    await pass.breathe();
  }
}

/** A stream that is damaged is told of, and left as it is. */
async function orWarn(pass: LifecyclePass, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    pass.core.warn(error);
  }
}

async function mergeStream(pass: LifecyclePass, stream: TouchedStream, head: StreamHead): Promise<void> {
  const pagedTo = head.version - head.tail.length;
  // A page begins behind the one before it, so new events are in a page only if the newest page reaches to them.
  if (pass.full && pagedTo < stream.fromVersion) return;
  const lookBack = Math.min(pageEventsMax, Math.ceil(pageBytesMax / eventBytesOf(stream)));
  const from = Math.max(1, head.truncatedBefore, stream.fromVersion - lookBack);
  const grouper = new PageGrouper();
  const settle = async (group: PageGroup | undefined): Promise<void> => {
    if (group === undefined) return;
    const pays = group.closed || pass.full ? 2 : pagesMergedMin;
    if (group.pages.length >= pays) await mergeGroup(pass, group);
  };
  for await (const row of pagesOf(pass, stream.streamName, from)) {
    const events = decodeStreamPage(stream.streamName, row);
    await settle(grouper.add({ key: row.key, rowBytes: row.key.length + row.value.length, events }));
  }
  await settle(grouper.end(false));
}

/** How many bytes an event of the stream has, by those that came last. */
function eventBytesOf({ bytes, fromVersion, toVersion }: TouchedStream): number {
  return Math.max(1, bytes / (toVersion - fromVersion + 1));
}

/**
 * Whether a stream is worth a look in the background. A page has at least what no head takes any more, so that tells how many
 * versions so many pages have; whoever looks each time that a multiple of these is passed finds them all, some of them at
 * the next one, and most streams are too short for any.
 */
function mayHaveEnough(stream: TouchedStream): boolean {
  const eventsAPage = Math.min(tailEventsMax + 1, Math.ceil(tailBytesMax / eventBytesOf(stream)));
  const versions = pagesMergedMin * Math.max(1, eventsAPage);
  return Math.floor(stream.toVersion / versions) > Math.floor((stream.fromVersion - 1) / versions);
}

/** The pages that hold versions from `from` on. */
async function* pagesOf(pass: LifecyclePass, streamName: string, from: number): AsyncGenerator<KvRow> {
  const cursor = await pass.core.rows.scan(streamPageSpan(streamName, from), "lookup");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      yield* rows;
      if (rows.length < rowsAtOnce) return;
      await pass.breathe();
    }
  } finally {
    cursor.close();
  }
}

async function mergeGroup(pass: LifecyclePass, { pages }: PageGroup): Promise<void> {
  const events: StoredEvent[] = pages.flatMap((page) => [...page.events]);
  const { operations, bytesFreed } = replacePages(pages, encodeStreamPage(events, mergedPageLevel));
  await pass.maintain(operations, { streamPagesMerged: pages.length, streamPagesWritten: 1, bytesFreed });
}
