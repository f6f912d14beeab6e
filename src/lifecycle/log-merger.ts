/**
 * Walks a piece of the log, merges its small pages, and says which streams it met. A page that is damaged is told of and passed
 * over: whoever reads it will be told as well, and the rest of the store is looked after all the same.
 */

import { StorageCorruptError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { globalPageSpan, lastPositionOfGlobalPageKey } from "../format/key-families.ts";
import { decodeGlobalPage, encodeGlobalPage, mergedPageLevel } from "../format/pages.ts";
import type { KvRow } from "../kv/kv.ts";
import type { LifecyclePass, TouchedStream } from "./lifecycle-step.ts";
import { type PageGroup, PageGrouper, replacePages } from "./page-group.ts";

/** A piece ends with the page that brings it to so many events, or so many bytes. */
export const pieceEventsMax = 4_096;
const pieceBytesMax: number = 16 * 1024 * 1024;
const rowsAtOnce = 16;

/** What a walk has come to. */
export interface WalkedLog {
  /** The last position that was met; that before the walk where there was none. */
  readonly reached: number;
  /** Up to here the pages of the log will not be merged with what comes later. */
  readonly mergedTo: number;
  readonly touched: readonly TouchedStream[];
}

interface Touched {
  readonly streamName: string;
  readonly fromVersion: number;
  toVersion: number;
  bytes: number;
}

/** The streams of the events behind a position. */
class TouchedStreams {
  readonly #behind: number;
  readonly #streams = new Map<string, Touched>();

  constructor(behind: number) {
    this.#behind = behind;
  }

  add(events: readonly StoredEvent[]): void {
    for (const { streamName, version, position, bytes } of events) {
      if (position <= this.#behind) continue;
      const known = this.#streams.get(streamName);
      if (known === undefined) {
        this.#streams.set(streamName, { streamName, fromVersion: version, toVersion: version, bytes: bytes.length });
      } else {
        known.toVersion = version;
        known.bytes += bytes.length;
      }
    }
  }

  list(): readonly TouchedStream[] {
    return [...this.#streams.values()];
  }
}

/**
 * Walks from behind `mergedTo`, which is at most `streamsTo`, up to `toPosition` or until a piece of the log is full; the
 * streams that it answers are those of events behind `streamsTo`. In a pass that was asked for the last pages are merged, too,
 * though later ones will join them.
 */
export async function mergeLog(
  pass: LifecyclePass,
  { mergedTo, streamsTo, toPosition }: { mergedTo: number; streamsTo: number; toPosition: number },
): Promise<WalkedLog> {
  const touched = new TouchedStreams(streamsTo);
  const grouper = new PageGrouper();
  let reached = mergedTo;
  let settledTo = mergedTo;
  const settle = async (group: PageGroup | undefined): Promise<void> => {
    const last = group?.pages.at(-1);
    if (group === undefined || last === undefined) return;
    if (group.pages.length > 1 && (group.closed || pass.full)) await mergeGroup(pass, group);
    if (group.closed) settledTo = lastPositionOfGlobalPageKey(last.key);
  };
  for await (const row of pieceOf(pass, Math.min(mergedTo, streamsTo) + 1, toPosition, streamsTo)) {
    const events = eventsOf(pass, row);
    reached = lastPositionOfGlobalPageKey(row.key);
    if (events === undefined) {
      await settle(grouper.end(true));
      settledTo = reached;
      continue;
    }
    touched.add(events);
    await settle(grouper.add({ key: row.key, rowBytes: row.key.length + row.value.length, events }));
  }
  await settle(grouper.end(false));
  return { reached, mergedTo: settledTo, touched: touched.list() };
}

/** The pages from a position on, as many as a piece has of events behind `streamsTo`. */
async function* pieceOf(
  pass: LifecyclePass,
  from: number,
  toPosition: number,
  streamsTo: number,
): AsyncGenerator<KvRow> {
  const cursor = await pass.core.rows.scan(globalPageSpan(from), "replay");
  try {
    let bytes = 0;
    for (;;) {
      await pass.breathe();
      const rows = await cursor.next(rowsAtOnce);
      for (const row of rows) {
        yield row;
        bytes += row.value.length;
        const last = lastPositionOfGlobalPageKey(row.key);
        const full = last - streamsTo >= pieceEventsMax || (last > streamsTo && bytes >= pieceBytesMax);
        if (last >= toPosition || full) return;
      }
      if (rows.length === 0) return;
    }
  } finally {
    cursor.close();
  }
}

function eventsOf(pass: LifecyclePass, row: KvRow): readonly StoredEvent[] | undefined {
  try {
    return decodeGlobalPage(row);
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    pass.core.warn(error);
    return undefined;
  }
}

async function mergeGroup(pass: LifecyclePass, { pages }: PageGroup): Promise<void> {
  const merged = encodeGlobalPage(
    pages.flatMap(({ events }) => events),
    mergedPageLevel,
  );
  const { operations, bytesFreed } = replacePages(pages, merged);
  await pass.maintain(operations, { logPagesMerged: pages.length, logPagesWritten: 1, bytesFreed });
}
