/**
 * Drops events of streams from everywhere but the archive, in bounded batches. First from the pages of the log, with a record
 * of what is gone: there the stream's own pages still say which positions those were. Then, in one commit, from the stream's
 * pages and its head, with a note in the head of how far it is done. Broken off in between it is harmless to begin again:
 * what the log lacks already is passed over.
 */

import { StorageCorruptError } from "../errors.ts";
import { dropFromPages, segmentsOfDrops } from "../format/drop-events.ts";
import { type DropReason, encodeDroppedSegment } from "../format/dropped.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { HeadExtension } from "../format/head-extension.ts";
import { globalPageKey, globalPageSpan, lastPositionOfGlobalPageKey, streamPageSpan } from "../format/key-families.ts";
import { decodeGlobalPage, decodeStreamPage, encodeStreamPage } from "../format/pages.ts";
import type { StreamHead } from "../format/stream-head.ts";
import type { KvCursor, KvOperation, KvRow } from "../kv/kv.ts";
import type { HeadChange } from "../log/commit-extras.ts";
import { loadDropped } from "../log/dropped-events.ts";
import type { LifecyclePass } from "./lifecycle-step.ts";

/** The most events, and about the most bytes of them, that one batch drops: all of them are in memory. */
export const batchEventsMax = 8_192;
const batchBytesMax: number = 8 * 1024 * 1024;
/** Pages of the log that are rewritten in one commit, and about their bytes. */
const pagesAtOnce = 64;
const pageBytesAtOnce: number = 1024 * 1024;
const rowsAtOnceMax = 8;
/** So many positions further on it is cheaper to leap than to read on. */
const leapFrom = 1_024;
/** Streams that are finished in one commit, and about the rows of their pages. */
const streamsAtOnce = 128;
const streamRowsAtOnce = 256;

/** What is to go of a stream: versions `from` to `before - 1`. */
export interface StreamDrop {
  readonly head: StreamHead;
  readonly extension: HeadExtension;
  readonly from: number;
  readonly before: number;
  readonly reasonOf: (version: number) => DropReason;
  /** Rows that go when the last of it has gone. */
  readonly rowsWhenDone: readonly KvOperation[];
}

/** A stream's part of a batch. */
interface Part {
  readonly drop: StreamDrop;
  readonly events: readonly StoredEvent[];
  /** Versions before this one are gone when the part is done. */
  readonly reached: number;
  readonly operations: readonly KvOperation[];
  readonly bytesFreed: number;
}

const sizeOf = ({ key, value }: KvRow): number => key.length + value.length;
const eventBytes = (events: readonly StoredEvent[]): number =>
  events.reduce((sum, event) => sum + event.bytes.length, 0);

/** What a batch has come to. */
export interface DropOutcome {
  /** Nothing is left to drop of these. */
  readonly done: readonly StreamDrop[];
  /** There is more to drop of these than a batch takes. */
  readonly more: readonly StreamDrop[];
  /** Nothing was dropped of these. */
  readonly damaged: readonly { readonly drop: StreamDrop; readonly error: unknown }[];
}

/** Drops what it can of these streams in one batch. */
export async function dropEvents(pass: LifecyclePass, drops: readonly StreamDrop[]): Promise<DropOutcome> {
  await pass.core.useFamilies(["dropped"]);
  const parts: Part[] = [];
  const damaged: { drop: StreamDrop; error: unknown }[] = [];
  let events = 0;
  let bytes = 0;
  for (const drop of drops) {
    if (events >= batchEventsMax || bytes >= batchBytesMax) break;
    try {
      const part = await partOf(pass, drop, batchEventsMax - events, batchBytesMax - bytes);
      parts.push(part);
      events += part.events.length;
      bytes += eventBytes(part.events);
    } catch (error) {
      if (!(error instanceof StorageCorruptError)) throw error;
      damaged.push({ drop, error });
    }
    await pass.breathe();
  }
  await dropFromLog(pass, parts);
  const done: StreamDrop[] = [];
  const more: StreamDrop[] = drops.slice(parts.length + damaged.length);
  let some: Part[] = [];
  const flush = async (): Promise<void> => {
    if (some.length === 0) return;
    for (const part of await dropFromStreams(pass, some)) (isWhole(part) ? done : more).push(part.drop);
    some = [];
  };
  for (const part of parts) {
    some.push(part);
    const rows = some.reduce((sum, { operations }) => sum + operations.length + 1, 0);
    if (some.length >= streamsAtOnce || rows >= streamRowsAtOnce) await flush();
  }
  await flush();
  return { done, more, damaged };
}

function isWhole({ reached, drop }: Part): boolean {
  return reached >= drop.before;
}

/** The next events of a stream that are to go, and what becomes of its pages without them. */
async function partOf(pass: LifecyclePass, drop: StreamDrop, eventsMax: number, bytesMax: number): Promise<Part> {
  const { head, from, before } = drop;
  const pagedTo = head.version - head.tail.length;
  const events: StoredEvent[] = [];
  const operations: KvOperation[] = [];
  let bytesFreed = 0;
  let bytes = 0;
  let reached = from;
  const isFull = (): boolean => events.length >= eventsMax || bytes >= bytesMax;
  const cursor = await pass.core.rows.scan(streamPageSpan(head.streamName, from), "replay");
  try {
    while (reached < before && reached <= pagedTo && !isFull()) {
      const [row] = await cursor.next(1);
      if (row === undefined) break;
      const page = decodeStreamPage(head.streamName, row);
      const kept = page.filter(({ version }) => version >= before);
      const gone = page.filter(({ version }) => version < before);
      if (gone.length === 0) break;
      bytesFreed += sizeOf(row);
      if (kept.length === 0) operations.push({ kind: "delete", key: row.key });
      else {
        const rewritten = encodeStreamPage(kept);
        operations.push({ kind: "put", ...rewritten });
        bytesFreed -= sizeOf(rewritten);
      }
      for (const event of gone) events.push(event);
      bytes += eventBytes(gone);
      reached = (gone.at(-1)?.version ?? reached) + 1;
    }
  } finally {
    cursor.close();
  }
  if (!isFull() && before > reached) {
    const gone = head.tail.filter(({ version }) => version >= reached && version < before);
    for (const event of gone) events.push(event);
    bytesFreed += eventBytes(gone);
    reached = before;
  }
  return { drop, events, reached, operations, bytesFreed };
}

/** Rewrites the pages of the log that hold any of the events. */
async function dropFromLog(pass: LifecyclePass, parts: readonly Part[]): Promise<void> {
  const reasons = new Map<number, DropReason>();
  for (const { drop, events } of parts) {
    for (const { position, version } of events) reasons.set(position, drop.reasonOf(version));
  }
  const positions = [...reasons.keys()].sort((one, other) => one - other);
  let pages: KvRow[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (pages.length > 0) await rewritePages(pass, pages, reasons);
    pages = [];
    bytes = 0;
  };
  for await (const page of pagesWith(pass, positions)) {
    pages.push(page);
    bytes += sizeOf(page);
    if (pages.length >= pagesAtOnce || bytes >= pageBytesAtOnce) await flush();
  }
  await flush();
}

/** The pages that may hold any of these ascending positions, in order. */
async function* pagesWith(pass: LifecyclePass, positions: readonly number[]): AsyncGenerator<KvRow> {
  const [first] = positions;
  if (first === undefined) return;
  const cursor: KvCursor = await pass.core.rows.scan(globalPageSpan(first), "replay");
  try {
    let next = 0;
    for (let rowsAtOnce = 1; next < positions.length; ) {
      const rows = await cursor.next(rowsAtOnce);
      if (rows.length === 0) return;
      const before = next;
      let last = 0;
      for (const row of rows) {
        last = lastPositionOfGlobalPageKey(row.key);
        if ((positions[next] ?? Number.POSITIVE_INFINITY) > last) continue;
        yield row;
        while ((positions[next] ?? Number.POSITIVE_INFINITY) <= last) next += 1;
      }
      // Dense drops read ahead; where the next one is far off, the pages between need not be read.
      rowsAtOnce = next > before ? Math.min(rowsAtOnceMax, rowsAtOnce * 2) : 1;
      const wanted = positions[next];
      if (wanted !== undefined && wanted > last + leapFrom) await cursor.seek(globalPageKey(wanted));
    }
  } finally {
    cursor.close();
  }
}

async function rewritePages(
  pass: LifecyclePass,
  pages: readonly KvRow[],
  reasons: ReadonlyMap<number, DropReason>,
): Promise<void> {
  const { core } = pass;
  const touched = pages.filter((page) => positionsIn(pass, page).some((position) => reasons.has(position)));
  const inPages = touched.flatMap((page) => positionsIn(pass, page));
  const segments = segmentsOfDrops(inPages.filter((position) => reasons.has(position)));
  if (segments.length === 0) return;
  const known = await loadDropped(core.rows, segments);
  const { operations, dropped } = dropFromPages(touched, reasons, known);
  const before = [...touched, ...known.values().flatMap(encodeDroppedSegment)].reduce(
    (sum, row) => sum + sizeOf(row),
    0,
  );
  const after = operations.reduce((sum, row) => sum + (row.kind === "put" ? sizeOf(row) : 0), 0);
  await pass.commit({ maintenance: operations }, { eventsDropped: dropped.length, bytesFreed: before - after });
  core.forget(dropped.map(({ position }) => position));
}

/** A page that is damaged is told of, and left as it is. */
function positionsIn(pass: LifecyclePass, page: KvRow): readonly number[] {
  try {
    return decodeGlobalPage(page).map(({ position }) => position);
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    pass.core.warn(error);
    return [];
  }
}

/**
 * Takes the events out of the pages and heads of streams; answers the parts that are done as they were planned. Where appends
 * have moved a head's events into a page meanwhile, they stay there, below the mark, for another time.
 */
async function dropFromStreams(pass: LifecyclePass, parts: readonly Part[]): Promise<readonly Part[]> {
  const asPlanned = new Set<Part>();
  const heads = parts.map((part): HeadChange => {
    const { streamName, version, tail } = part.drop.head;
    const pagedTo = version - tail.length;
    const change: HeadChange["change"] = (head) => {
      const hasMoved = head.pagedTo !== pagedTo;
      if (!hasMoved) asPlanned.add(part);
      const droppedBefore = hasMoved ? Math.min(part.reached, pagedTo + 1) : part.reached;
      if ((head.extension.droppedBefore ?? 1) >= droppedBefore) return undefined;
      const dropTailBefore = hasMoved ? {} : { dropTailBefore: part.reached };
      return { ...dropTailBefore, extension: { ...head.extension, droppedBefore } };
    };
    return { streamName, change };
  });
  const endings = parts.filter(isWhole).flatMap(({ drop }) => drop.rowsWhenDone);
  const compute = (): readonly KvOperation[] =>
    parts.flatMap((part) => (isWhole(part) && asPlanned.has(part) ? part.drop.rowsWhenDone : []));
  await pass.commit(
    {
      maintenance: parts.flatMap(({ operations }) => operations),
      heads,
      rows: { bytesMax: endings.reduce((sum, { key }) => sum + key.length, 0), rowsMax: endings.length, compute },
    },
    { bytesFreed: parts.reduce((sum, part) => sum + part.bytesFreed, 0) },
  );
  return parts.filter((part) => asPlanned.has(part));
}
