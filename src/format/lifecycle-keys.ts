/**
 * The keys of retention and of archives. Rules are sorted by scope and name; streams with events to drop by the time when
 * that is due, so that what is due is one range; the archive's objects by stream and last version, so that "from N" is one
 * seek, as with pages. The tags are in key-families.ts.
 */

import { type KeySpan, spanOf, tagged, upperTags } from "./key-families.ts";
import { OrderedReader, orderedInteger, orderedString } from "./ordered-bytes.ts";

/** What a rule is about. */
export type RetentionScope = "category" | "stream";

const kinds = { rule: 1, due: 2, progress: 3 } as const;
const scopes: Readonly<Record<RetentionScope, number>> = { category: 1, stream: 2 };

export function retentionRuleKey(scope: RetentionScope, name: string): Buffer {
  return tagged(upperTags.retention, Buffer.of(kinds.rule, scopes[scope]), orderedString(name));
}

export const retentionRuleSpan: KeySpan = spanOf(tagged(upperTags.retention, Buffer.of(kinds.rule)));

export function ruleOfKey(key: Uint8Array): { readonly scope: RetentionScope; readonly name: string } {
  return { scope: key[2] === scopes.stream ? "stream" : "category", name: new OrderedReader(key, 3).string() };
}

/** The stream has events to drop from `dueAtMs` on. */
export function dueStreamKey(dueAtMs: number, streamName: string): Buffer {
  return tagged(upperTags.retention, Buffer.of(kinds.due), orderedInteger(dueAtMs), orderedString(streamName));
}

/** All streams with events to drop, the earliest due first. */
export const dueStreamSpan: KeySpan = spanOf(tagged(upperTags.retention, Buffer.of(kinds.due)));

export function dueStreamOfKey(key: Uint8Array): { readonly dueAtMs: number; readonly streamName: string } {
  const reader = new OrderedReader(key, 2);
  return { dueAtMs: reader.integer(), streamName: reader.string() };
}

/** How far the rule of a category has got. */
export function retentionProgressKey(category: string): Buffer {
  return tagged(upperTags.retention, Buffer.of(kinds.progress), orderedString(category));
}

export function archivePartKey(streamName: string, lastVersion: number): Buffer {
  return tagged(upperTags.archives, orderedString(streamName), orderedInteger(lastVersion));
}

/** The archive's objects of one stream that hold versions from `fromVersion` on. */
export function archivePartSpan(streamName: string, fromVersion: number): KeySpan {
  const stream = tagged(upperTags.archives, orderedString(streamName));
  return { start: Buffer.concat([stream, orderedInteger(fromVersion)]), end: spanOf(stream).end };
}

/** The archive's objects of all streams, sorted as their heads are. */
export const everyArchivePart: KeySpan = spanOf(tagged(upperTags.archives));

export function placeOfArchivePartKey(key: Uint8Array): { readonly streamName: string; readonly lastVersion: number } {
  const reader = new OrderedReader(key, 1);
  return { streamName: reader.string(), lastVersion: reader.integer() };
}

export function lastVersionOfArchivePartKey(key: Uint8Array): number {
  return new OrderedReader(key, key.length - 8).integer();
}
