/**
 * The one table of what is stored under which key. The tag bytes are frozen: they stay in storage for ever.
 * A key is its family's tag, then order-preserving fields. A page's key carries its LAST version or position, so that
 * "from N" is one ascending seek: the first row at or after N holds N.
 *
 * | tag | family           | key                          | value                                                        |
 * |-----|------------------|------------------------------|--------------------------------------------------------------|
 * | 01  | store header     | -                            | format version, store id, families in use                    |
 * | 02  | log end          | -                            | last position, its time, up to where the index is complete   |
 * | 10  | stream heads     | stream name                  | version, times, the newest events (stream-head.ts)           |
 * | 11  | stream names     | - ; segment                  | what the filter of names covers; a segment of it             |
 * | 20  | stream events    | stream name, last version    | a page (pages.ts)                                            |
 * | 30  | global log       | last position                | a page, complete without look-ups                            |
 * | 31  | chain links      | position                     | the link of the hash chain there (chain.ts)                  |
 * | 32  | dropped          | part, segment                | which positions have no event any more, and their digests    |
 * | 40  | index            | kind, value, segment         | the positions of a full segment that match, or, merged, of several up to it |
 * | 50  | time             | minute since 1970            | the first position recorded in or after it                   |
 * | 60  | idempotency keys | key                          | the result of the commit                                     |
 * | 61  | idempotency ages | minute, last position (, key)| the keys written then, to be dropped when the window passed  |
 * | 70  | snapshots        | stream, decider, its version | stream version, state (snapshots.ts): a cache                |
 * | 71  | checkpoints      | processor, generation        | the last position that it has handled                        |
 * | 72  | documents        | projection, generation, key  | a document, and the secondary keys that it stands under      |
 * | 73  | document keys    | projection, generation, index, value, key | -                                               |
 * | 74  | parked events    | processor, position, part    | why, and of which key                                        |
 * | 75  | timers           | processor, due, instance, name | what to say when it is due                                 |
 * | 76  | process instances| process manager, instance    | its state, and its timers                                    |
 * | 77  | outbox           | process manager, number      | a command or an append that is not carried out yet           |
 * | 78  | processor settings | processor                  | paused, which generation serves, which is being built        |
 * | 79  | compaction       | name                         | up to where the log is compacted, and what is remembered of it |
 * | 7a  | retention        | kind; scope, name / time, stream / category | rules, streams with events to drop, how far rules have got |
 * | 7b  | archives         | stream, last version         | an object of the archive: what is in it, and its checksum    |
 * | 7c  | erasures         | subject's hash               | a subject that is being forgotten (erasure-record.ts)        |
 * | 7d  | backup           | -                            | what this copy of another store is, and whether it is whole  |
 *
 * Families from 70 on belong to the layers above the log; keys of 71 to 78 are made in processor-keys.ts,
 * those of 7a and 7b in lifecycle-keys.ts.
 * Free for later families: 12-1f, 21-2f, 33-3f, 41-4f, 51-5f, 62-6f, 7e-fe.
 */

import {
  afterPrefix,
  OrderedReader,
  orderedInteger,
  orderedString,
  stringPrefix,
  writeOrderedInteger,
} from "./ordered-bytes.ts";

const tags = {
  storeHeader: 0x01,
  logEnd: 0x02,
  streamHeads: 0x10,
  streamNames: 0x11,
  streamEvents: 0x20,
  globalLog: 0x30,
  index: 0x40,
  time: 0x50,
  idempotencyKeys: 0x60,
  idempotencyAges: 0x61,
} as const;

/** Families of the log that came after its first format: a store's header lists them from their first use on. */
const laterTags = { chainLinks: 0x31, dropped: 0x32 } as const;

/** For the files that make keys; nobody else has a use for them. */
export const upperTags = {
  snapshots: 0x70,
  checkpoints: 0x71,
  documents: 0x72,
  documentKeys: 0x73,
  parkedEvents: 0x74,
  timers: 0x75,
  processInstances: 0x76,
  outbox: 0x77,
  processorSettings: 0x78,
  compaction: 0x79,
  retention: 0x7a,
  archives: 0x7b,
  erasures: 0x7c,
  backup: 0x7d,
} as const;

/** From here on families belong to the layers above the log. */
export const firstUpperTag = 0x70;

/**
 * The families of the log whose rows may be rearranged or dropped behind the events: pages, the index, and what is noted of
 * positions whose events are gone (32).
 */
const maintainedTags: readonly number[] = [tags.streamEvents, tags.globalLog, laterTags.dropped, tags.index];

/** Whether a row belongs to a family that maintenance may change. */
export function isMaintained(key: Uint8Array): boolean {
  return maintainedTags.includes(key[0] ?? 0);
}

/** The families that every store of this format uses; a new store's header lists them. */
export const logFamilyNames: readonly string[] = Object.keys(tags);

/** A family of the layers above the log: the store's header lists those that were ever used. */
export type UpperFamily = keyof typeof upperTags;

/** A family of the log that not every store has. */
export type LaterFamily = keyof typeof laterTags | "mergedIndex";

/** Rows of the index that are of several segments: no family of their own, but nothing that early versions can read. */
const mergedIndex: LaterFamily = "mergedIndex";

/** The families that this version understands. */
export const familyNames: readonly string[] = [
  ...logFamilyNames,
  ...Object.keys(laterTags),
  mergedIndex,
  ...Object.keys(upperTags),
];

/**
 * Families that a writer may be ignorant of and still keep the store whole, because what they hold is derived and says for
 * itself how far it reaches. A version that does not know them opens the store.
 */
export const cacheFamilies: readonly (UpperFamily | LaterFamily)[] = [
  "snapshots",
  "checkpoints",
  "documents",
  "documentKeys",
  "processorSettings",
  "compaction",
];

/** What an index entry is about. The byte is part of the key. */
export type IndexKind = "type" | "category" | "tag";

const indexKinds: Readonly<Record<IndexKind, number>> = { type: 1, category: 2, tag: 3 };

/** The index is written in segments of exactly this many positions: segment `s` holds `s * size + 1` to `(s + 1) * size`. */
export const indexSegmentSize = 1_024;

export function segmentOf(position: number): number {
  return Math.floor((position - 1) / indexSegmentSize);
}

/** A range of keys: from `start`, inclusive, to `end`, exclusive. */
export interface KeySpan {
  readonly start: Buffer;
  readonly end: Buffer;
}

export function tagged(tag: number, ...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.of(tag), ...fields]);
}

/** Everything that begins with `prefix`, which begins with a tag below FF and so has an end. */
export function spanOf(prefix: Buffer): KeySpan {
  return { start: prefix, end: afterPrefix(prefix) ?? Buffer.of(0xff) };
}

export const storeHeaderKey: Buffer = Buffer.of(tags.storeHeader);
export const logEndKey: Buffer = Buffer.of(tags.logEnd);

export function streamHeadKey(streamName: string): Buffer {
  return tagged(tags.streamHeads, orderedString(streamName));
}

/** The heads of all streams whose names begin with `prefix`. */
export function streamHeadSpan(prefix: string): KeySpan {
  return spanOf(tagged(tags.streamHeads, stringPrefix(prefix)));
}

export function streamNameOfHeadKey(key: Uint8Array): string {
  return new OrderedReader(key, 1).string();
}

/** What the filter of stream names covers. It sorts before the segments. */
export const nameDirectoryKey: Buffer = Buffer.of(tags.streamNames);

export function nameSegmentKey(segment: number): Buffer {
  return tagged(tags.streamNames, orderedInteger(segment));
}

/** The segments of the filter of stream names. */
export const nameSegmentSpan: KeySpan = { start: nameSegmentKey(0), end: Buffer.of(tags.streamNames + 1) };

export function streamPageKey(streamName: string, lastVersion: number): Buffer {
  return tagged(tags.streamEvents, orderedString(streamName), orderedInteger(lastVersion));
}

/** The pages of one stream that hold versions from `fromVersion` on. */
export function streamPageSpan(streamName: string, fromVersion: number): KeySpan {
  const stream = tagged(tags.streamEvents, orderedString(streamName));
  return { start: Buffer.concat([stream, orderedInteger(fromVersion)]), end: spanOf(stream).end };
}

/** The pages of all streams, sorted as their heads are. */
export const everyStreamPage: KeySpan = { start: Buffer.of(tags.streamEvents), end: Buffer.of(tags.streamEvents + 1) };

export function placeOfStreamPageKey(key: Uint8Array): { readonly streamName: string; readonly lastVersion: number } {
  const reader = new OrderedReader(key, 1);
  return { streamName: reader.string(), lastVersion: reader.integer() };
}

export function globalPageKey(lastPosition: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = tags.globalLog;
  writeOrderedInteger(key, lastPosition, 1);
  return key;
}

/** The pages of the global log that hold positions from `fromPosition` on. */
export function globalPageSpan(fromPosition: number): KeySpan {
  return { start: globalPageKey(fromPosition), end: Buffer.of(tags.globalLog + 1) };
}

export function lastPositionOfGlobalPageKey(key: Uint8Array): number {
  return new OrderedReader(key, 1).integer();
}

/** The link of the hash chain behind the event at a position. */
export function chainLinkKey(position: number): Buffer {
  return tagged(laterTags.chainLinks, orderedInteger(position));
}

/** What is kept of a segment's dropped events: which they are, and, apart from it because it is large, their digests. */
const droppedParts = { runs: 1, digests: 2 } as const;

export function droppedRunsKey(segment: number): Buffer {
  return tagged(laterTags.dropped, Buffer.of(droppedParts.runs), orderedInteger(segment));
}

export function droppedDigestsKey(segment: number): Buffer {
  return tagged(laterTags.dropped, Buffer.of(droppedParts.digests), orderedInteger(segment));
}

/** Which positions are dropped, from `fromSegment` on. */
export function droppedRunsSpan(fromSegment: number): KeySpan {
  return { start: droppedRunsKey(fromSegment), end: Buffer.of(laterTags.dropped, droppedParts.runs + 1) };
}

export function segmentOfDroppedKey(key: Uint8Array): number {
  return new OrderedReader(key, 2).integer();
}

/** Whether a row says of events that they were dropped. */
export function isDroppedKey(key: Uint8Array): boolean {
  return key[0] === laterTags.dropped;
}

export function indexKey(kind: IndexKind, value: string, segment: number): Buffer {
  return tagged(tags.index, Buffer.of(indexKinds[kind]), orderedString(value), orderedInteger(segment));
}

/** One value's entries, from `fromSegment` on. */
export function indexSpan(kind: IndexKind, value: string, fromSegment: number): KeySpan {
  const entries = tagged(tags.index, Buffer.of(indexKinds[kind]), orderedString(value));
  return { start: Buffer.concat([entries, orderedInteger(fromSegment)]), end: spanOf(entries).end };
}

export function segmentOfIndexKey(key: Uint8Array): number {
  return new OrderedReader(key, key.length - 8).integer();
}

export function timeKey(minute: number): Buffer {
  return tagged(tags.time, orderedInteger(minute));
}

/** The minutes from `fromMinute` on. */
export function timeSpan(fromMinute: number): KeySpan {
  return { start: timeKey(fromMinute), end: Buffer.of(tags.time + 1) };
}

export function minuteOfTimeKey(key: Uint8Array): number {
  return new OrderedReader(key, 1).integer();
}

/** The minute since 1970 in which a time in milliseconds lies. */
export function minuteOf(timeMs: number): number {
  return Math.floor(timeMs / 60_000);
}

export function idempotencyKeyKey(idempotencyKey: string): Buffer {
  return tagged(tags.idempotencyKeys, orderedString(idempotencyKey));
}

/** `distinct`: for groups without events, several of which may share minute and position, one of the keys that they wrote. */
export function idempotencyAgeKey(minute: number, lastPosition: number, distinct?: string): Buffer {
  const suffix = distinct === undefined ? [] : [orderedString(distinct)];
  return tagged(tags.idempotencyAges, orderedInteger(minute), orderedInteger(lastPosition), ...suffix);
}

/** The ages before `minute`. */
export function idempotencyAgeSpanBefore(minute: number): KeySpan {
  return {
    start: tagged(tags.idempotencyAges, orderedInteger(0)),
    end: tagged(tags.idempotencyAges, orderedInteger(minute)),
  };
}

/** A stream's snapshot for a decider and the version of its snapshots. */
export function snapshotKey(streamName: string, deciderName: string, snapshotVersion: number): Buffer {
  return tagged(
    upperTags.snapshots,
    orderedString(streamName),
    orderedString(deciderName),
    orderedInteger(snapshotVersion),
  );
}

/** All snapshots of one stream. */
export function snapshotSpan(streamName: string): KeySpan {
  return spanOf(tagged(upperTags.snapshots, orderedString(streamName)));
}

/** What a copy of another store says of itself (backup-record.ts). */
export const backupKey: Buffer = Buffer.of(upperTags.backup);

/** The snapshots of all streams. */
export const everySnapshot: KeySpan = spanOf(Buffer.of(upperTags.snapshots));

/** Of which stream, decider and version a snapshot is. */
export function ownerOfSnapshotKey(key: Uint8Array): {
  readonly streamName: string;
  readonly deciderName: string;
  readonly snapshotVersion: number;
} {
  const reader = new OrderedReader(key, 1);
  return { streamName: reader.string(), deciderName: reader.string(), snapshotVersion: reader.integer() };
}

/** What the compactor remembers under a name. */
export function compactionKey(name: string): Buffer {
  return tagged(upperTags.compaction, orderedString(name));
}

/** A subject that is being forgotten, by its hash. */
export function erasureKey(subjectHash: string): Buffer {
  return tagged(upperTags.erasures, orderedString(subjectHash));
}

export function subjectHashOfErasureKey(key: Uint8Array): string {
  return new OrderedReader(key, 1).string();
}

/** All subjects that are being forgotten. */
export const erasureSpan: KeySpan = spanOf(Buffer.of(upperTags.erasures));

/** Every key of the store; used to tell an empty database from one that is not ours. */
export const everyKey: { readonly start: Buffer } = { start: Buffer.of(0x00) };
