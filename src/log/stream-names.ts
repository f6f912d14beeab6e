/**
 * Which stream names surely do not exist, from memory: an append to a new stream, the commonest there is, needs no look at
 * the storage. Names are added when their first event is durable, and never removed. The filter's rows ride along with
 * commit groups every some thousand events; what came after them is found among the recent events at open.
 */

import { StorageCorruptError } from "../errors.ts";
import {
  indexSegmentSize,
  nameDirectoryKey,
  nameSegmentKey,
  nameSegmentSpan,
  streamHeadSpan,
  streamNameOfHeadKey,
} from "../format/key-families.ts";
import {
  decodeNameDirectory,
  encodeNameDirectory,
  hashName,
  type NameDirectory,
  NameSegment,
} from "../format/name-filter.ts";
import type { KeyValueStore, KvOperation, KvReader } from "../kv/kv.ts";

/** At most so many segments, 32 MiB for 16.7 million names; with more names the filter is given up. */
const segmentsMax = 1_024;
/** The filter is stored when it is so many events behind: less than the recent events that are read at open anyhow. */
const storedEveryEvents: number = 8 * indexSegmentSize;
/** While the filter is made anew: names read at once, and segments in one batch. */
const rowsAtOnce = 512;
const segmentsPerWrite = 64;

/** What a commit group is to write of the filter; to be confirmed once durable. */
export interface NamesPlan {
  readonly rows: readonly KvOperation[];
  readonly stored: { readonly firstDirty: number; readonly coveredTo: number } | undefined;
}

const nothingToStore: NamesPlan = { rows: [], stored: undefined };

export class StreamNames {
  readonly #segments: NameSegment[];
  #overflowed: boolean;
  #coveredTo: number;
  /** Segments before this one are stored as they are. */
  #firstDirty: number;

  constructor(
    segments: NameSegment[] = [],
    { coveredTo, overflowed }: Omit<NameDirectory, "segments"> = { coveredTo: 0, overflowed: false },
  ) {
    this.#segments = segments;
    this.#overflowed = overflowed;
    this.#coveredTo = coveredTo;
    this.#firstDirty = Math.max(0, segments.length - 1);
  }

  /** Every stream that was born at this position or before is in what is stored. */
  get coveredTo(): number {
    return this.#coveredTo;
  }

  /** False: there is no such stream. True: there may be one. */
  mayExist(streamName: string): boolean {
    if (this.#overflowed) return true;
    const hash = hashName(streamName);
    return this.#segments.some((segment) => segment.mayHave(hash));
  }

  /** A stream has its first event, which is durable. */
  add(streamName: string): void {
    if (this.#overflowed) return;
    let last = this.#segments.at(-1);
    if (last === undefined || last.isFull) {
      if (this.#segments.length >= segmentsMax) {
        this.#giveUp();
        return;
      }
      last = new NameSegment();
      this.#segments.push(last);
    }
    last.add(hashName(streamName));
  }

  /**
   * What the next group writes: the filter up to `durablePosition`, whose names are all in it, if it is time; or if events are
   * dropped, after which opening would not find the names among them.
   */
  plan(durablePosition: number, dropsEvents = false): NamesPlan {
    const behind = durablePosition - this.#coveredTo;
    if (behind === 0 || (behind < storedEveryEvents && !dropsEvents)) return nothingToStore;
    const stored = { firstDirty: Math.max(0, this.#segments.length - 1), coveredTo: durablePosition };
    return { rows: this.rows(this.#firstDirty, durablePosition), stored };
  }

  confirm({ stored }: NamesPlan): void {
    if (stored === undefined) return;
    this.#firstDirty = stored.firstDirty;
    this.#coveredTo = stored.coveredTo;
  }

  /** The rows of the segments from `first` on, and the directory. */
  rows(first: number, coveredTo: number): readonly KvOperation[] {
    const rows: KvOperation[] = this.#segments
      .slice(first)
      .map((segment, index) => ({ kind: "put", ...segment.encode(nameSegmentKey(first + index)) }));
    const directory = { segments: this.#segments.length, coveredTo, overflowed: this.#overflowed };
    rows.push({ kind: "put", key: nameDirectoryKey, value: encodeNameDirectory(directory) });
    return rows;
  }

  #giveUp(): void {
    this.#overflowed = true;
    this.#segments.length = 0;
    this.#firstDirty = 0;
  }
}

/** The filter as it is stored, or `undefined` where it is not there or not whole. */
export async function loadStreamNames(kv: KvReader): Promise<StreamNames | undefined> {
  const bytes = await kv.get(nameDirectoryKey);
  if (bytes === undefined) return undefined;
  const cursor = await kv.scan(nameSegmentSpan, "replay");
  try {
    const directory = decodeNameDirectory(bytes);
    const segments: NameSegment[] = [];
    while (segments.length < directory.segments) {
      const rows = await cursor.next(directory.segments - segments.length);
      if (rows.length === 0) return undefined;
      for (const row of rows) {
        // In the order of their keys, each under its own.
        if (!nameSegmentKey(segments.length).equals(row.key)) return undefined;
        segments.push(NameSegment.decode(row));
      }
    }
    return new StreamNames(segments, directory);
  } catch (error) {
    if (error instanceof StorageCorruptError) return undefined;
    throw error;
  } finally {
    cursor.close();
  }
}

/**
 * Makes the filter anew from the heads of all streams, as they are up to `lastPosition`, and stores it; the directory is
 * removed first, so that half of it is never taken for the whole. `last` goes into the batch that ends it.
 */
export async function rebuildStreamNames(
  kv: KeyValueStore,
  lastPosition: number,
  last: readonly KvOperation[],
): Promise<StreamNames> {
  const names = new StreamNames();
  const cursor = await kv.scan(streamHeadSpan(""), "replay");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      for (const { key } of rows) names.add(streamNameOfHeadKey(key));
    }
  } finally {
    cursor.close();
  }
  await kv.write([{ kind: "delete", key: nameDirectoryKey }]);
  const rows = names.rows(0, lastPosition);
  for (let from = 0; from < rows.length; from += segmentsPerWrite) {
    const some = rows.slice(from, from + segmentsPerWrite);
    await kv.write(from + segmentsPerWrite < rows.length ? some : [...some, ...last]);
  }
  names.confirm({ rows, stored: { firstDirty: Math.max(0, rows.length - 2), coveredTo: lastPosition } });
  return names;
}
