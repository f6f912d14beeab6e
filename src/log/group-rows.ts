/** The rows of one commit group: what the accepted commits of a judge become in storage, all in one batch. */

import { continueChain, readChainEnd, withChainEnd } from "../format/chain.ts";
import { recordedAtMsOf, type StoredEvent } from "../format/envelope.ts";
import {
  idempotencyAgeKey,
  idempotencyKeyKey,
  indexKey,
  indexSegmentSize,
  logEndKey,
  minuteOf,
  streamHeadKey,
  timeKey,
} from "../format/key-families.ts";
import { encodeGlobalPage, encodeStreamPage, type PageRow, splitIntoPages } from "../format/pages.ts";
import {
  encodeCommitRecord,
  encodeIdempotencyAge,
  encodeLogEnd,
  encodePostings,
  encodeTimeEntry,
  type LogEnd,
} from "../format/records.ts";
import { encodeStreamHead, fitsTail, type StreamHead } from "../format/stream-head.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { GroupJudge, StagedStream } from "./judge.ts";
import type { RecentLog } from "./recent-log.ts";

/** The fewest and, for each new event, the most rows of the index that a group writes. An event has at most 34 names. */
const indexRowsMin = 64;
const indexRowsPerEvent = 40;

function pageRow({ key, value }: PageRow): KvOperation {
  return put(key, value);
}

function put(key: Uint8Array, value: Uint8Array): KvOperation {
  return { kind: "put", key, value };
}

/** A stream's rows, and its head as it will be. The newest events stay in the head until they outgrow it. */
function streamRows(streamName: string, stream: StagedStream): { head: StreamHead; rows: KvOperation[] } {
  const { base, appended } = stream;
  const first = appended[0];
  const last = appended.at(-1);
  const newest = [...(base?.tail ?? []), ...appended];
  const stays = fitsTail(newest);
  const head: StreamHead = {
    streamName,
    version: stream.version,
    firstPosition: base?.firstPosition ?? first?.position ?? 0,
    createdAtMs: base?.createdAtMs ?? (first === undefined ? 0 : recordedAtMsOf(first.bytes)),
    lastPosition: last?.position ?? 0,
    lastRecordedAtMs: last === undefined ? 0 : recordedAtMsOf(last.bytes),
    truncatedBefore: base?.truncatedBefore ?? 0,
    extension: base?.extension ?? new Uint8Array(0),
    tail: stays ? newest : [],
  };
  const pages = stays ? [] : splitIntoPages(newest);
  const rows = pages.map((page) => pageRow(encodeStreamPage(page)));
  rows.push(put(streamHeadKey(streamName), encodeStreamHead(head)));
  return { head, rows };
}

interface IndexProgress {
  readonly indexedTo: number;
  /** The rows of the segment after `indexedTo` that are not written yet; `undefined` where it was not begun. */
  readonly waiting: readonly KvOperation[] | undefined;
}

/** Writes the index of complete segments, a bounded number of rows a group, from what is in memory. */
export class IndexWriter {
  readonly #recent: RecentLog;
  #progress: IndexProgress;

  constructor(recent: RecentLog, indexedTo: number) {
    this.#recent = recent;
    this.#progress = { indexedTo, waiting: undefined };
  }

  /** The next rows to write; `confirm` the progress once they are durable. */
  plan(newEvents: number): { readonly rows: readonly KvOperation[]; readonly progress: IndexProgress } {
    const rowsMax = Math.max(indexRowsMin, newEvents * indexRowsPerEvent);
    const rows: KvOperation[] = [];
    let { indexedTo, waiting } = this.#progress;
    while (rows.length < rowsMax) {
      waiting ??= this.#rowsOf(indexedTo / indexSegmentSize);
      if (waiting === undefined) break;
      const taken = waiting.slice(0, rowsMax - rows.length);
      for (const row of taken) rows.push(row);
      waiting = waiting.slice(taken.length);
      if (waiting.length > 0) break;
      waiting = undefined;
      indexedTo += indexSegmentSize;
    }
    return { rows, progress: { indexedTo, waiting } };
  }

  confirm(progress: IndexProgress): void {
    this.#progress = progress;
  }

  #rowsOf(segment: number): readonly KvOperation[] | undefined {
    const terms = this.#recent.completeSegment(segment);
    if (terms === undefined) return undefined;
    return terms
      .entries()
      .map(({ term, positions }) => {
        const key = indexKey(term.kind, term.value, segment);
        return put(key, encodePostings(key, segment, positions));
      })
      .toArray();
  }
}

/** The hash chain behind the group's events: the extension of the end of the log, and the links that are stored. */
function chainRows(
  extension: Uint8Array,
  events: readonly StoredEvent[],
): { readonly extension: Uint8Array; readonly rows: readonly KvOperation[] } {
  const before = events.length === 0 ? undefined : readChainEnd(extension);
  if (before === undefined) return { extension, rows: [] };
  const { end, rows } = continueChain(before, events);
  return { extension: withChainEnd(extension, end), rows: rows.map(pageRow) };
}

export interface GroupRows {
  readonly operations: readonly KvOperation[];
  /** The heads of the written streams, to take over once durable. */
  readonly heads: readonly StreamHead[];
  readonly end: LogEnd;
  /** To be confirmed once durable. */
  readonly indexProgress: IndexProgress;
}

/** Whether what a judge has accepted changes anything in storage. */
export function hasRows(judge: GroupJudge, decorated: readonly KvOperation[]): boolean {
  return judge.events.length > 0 || judge.rows.length > 0 || judge.keys.size > 0 || decorated.length > 0;
}

/**
 * Everything a group writes, `decorated` included: rows that are added to the group as a whole. `before` is the end of the
 * log that it continues; a group without events leaves it where it is.
 */
export function groupRows(
  judge: GroupJudge,
  before: LogEnd,
  recordedAtMs: number,
  index: IndexWriter,
  decorated: readonly KvOperation[],
): GroupRows {
  const operations: KvOperation[] = [];
  const heads: StreamHead[] = [];
  for (const [streamName, stream] of judge.staged) {
    const { head, rows } = streamRows(streamName, stream);
    heads.push(head);
    for (const row of rows) operations.push(row);
  }
  for (const page of splitIntoPages(judge.events)) operations.push(pageRow(encodeGlobalPage(page)));
  const minute = minuteOf(recordedAtMs);
  const hasEvents = judge.events.length > 0;
  if (hasEvents && (before.lastPosition === 0 || minute > minuteOf(before.lastRecordedAtMs))) {
    const key = timeKey(minute);
    operations.push(put(key, encodeTimeEntry(key, before.lastPosition + 1)));
  }
  const lastPosition = before.lastPosition + judge.events.length;
  if (judge.keys.size > 0) {
    for (const [idempotencyKey, record] of judge.keys) {
      const key = idempotencyKeyKey(idempotencyKey);
      operations.push(put(key, encodeCommitRecord(key, record)));
    }
    const keys = [...judge.keys.keys()];
    const key = idempotencyAgeKey(minute, lastPosition, hasEvents ? undefined : keys[0]);
    operations.push(put(key, encodeIdempotencyAge(key, keys)));
  }
  for (const row of judge.rows) operations.push(row);
  for (const row of decorated) operations.push(row);
  const indexed = index.plan(judge.events.length);
  for (const row of indexed.rows) operations.push(row);
  const chained = chainRows(before.extension, judge.events);
  for (const row of chained.rows) operations.push(row);
  const end: LogEnd = {
    ...before,
    extension: chained.extension,
    lastPosition,
    lastRecordedAtMs: hasEvents ? recordedAtMs : before.lastRecordedAtMs,
    indexedTo: indexed.progress.indexedTo,
  };
  if (hasEvents || end.indexedTo !== before.indexedTo) operations.push(put(logEndKey, encodeLogEnd(end)));
  return { operations, heads, end, indexProgress: indexed.progress };
}
