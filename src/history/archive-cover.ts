/**
 * Looks for archived versions that no object has: the rows of each archived stream must reach from its first to its last archived
 * version. A head that was read a while ago may have been overtaken, so it is asked once more before anything is said.
 */

import { streamHeadSpan, streamNameOfHeadKey } from "../format/key-families.ts";
import { archivePartSpan, lastVersionOfArchivePartKey } from "../format/lifecycle-keys.ts";
import { decodeArchivePart } from "../format/lifecycle-records.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import { archivedOf, headOf } from "./archived-versions.ts";
import { orNothing, tolerantRows } from "./tolerant-rows.ts";

/** An archived version without an object: the first one of its stream. */
export interface UncoveredVersion {
  readonly streamName: string;
  readonly version: number;
}

/** Goes through all streams. What of them is damaged is passed over, because it is told where the streams are walked. */
export async function* uncoveredVersions(kv: KvReader): AsyncGenerator<UncoveredVersion> {
  for await (const found of tolerantRows(kv, streamHeadSpan(""), "replay")) {
    if (found.kind === "unreadable") continue;
    const { row } = found;
    const streamName = streamNameOfHeadKey(row.key);
    const head = await orNothing(async () => decodeStreamHead(streamName, row.value));
    if (head === undefined || (await firstUncovered(kv, head)) === undefined) continue;
    // Once more, by the head as it is now.
    const now = await orNothing(() => headOf(kv, streamName));
    const version = now === undefined ? undefined : await firstUncovered(kv, now);
    if (version !== undefined) yield { streamName, version };
  }
}

/** The first archived version that no row names. */
async function firstUncovered(kv: KvReader, head: StreamHead): Promise<number | undefined> {
  const archived = archivedOf(head);
  if (archived === undefined) return undefined;
  let next = archived.from;
  for await (const found of tolerantRows(kv, archivePartSpan(head.streamName, next), "lookup")) {
    if (found.kind === "unreadable") return undefined;
    const part = await orNothing(async () => decodeArchivePart(found.row));
    // One that is damaged was told of.
    if (part !== undefined && part.from > next) return next;
    next = lastVersionOfArchivePartKey(found.row.key) + 1;
  }
  return next < archived.before ? next : undefined;
}
