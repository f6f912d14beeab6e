/**
 * Digests of events as the log has them, a segment at a time: of dropped events those that were kept, of the others those of the
 * pages. What is damaged is passed over here, because it is told where the log is walked.
 */

import { eventDigest } from "../format/chain.ts";
import { entriesOf } from "../format/drop-events.ts";
import {
  globalPageKey,
  globalPageSpan,
  indexSegmentSize,
  lastPositionOfGlobalPageKey,
  segmentOf,
} from "../format/key-families.ts";
import { decodeGlobalPage } from "../format/pages.ts";
import type { KvReader } from "../kv/kv.ts";
import { loadDropped } from "../log/dropped-events.ts";
import { byNumber, orNothing, tolerantRows } from "./tolerant-rows.ts";

/** By position, the digests of at least those `wanted` positions that lie in the segment and that the log has. */
export async function digestsOf(
  kv: KvReader,
  segment: number,
  wanted: readonly number[],
): Promise<ReadonlyMap<number, Uint8Array>> {
  const digests = new Map<number, Uint8Array>();
  const lacks = (): boolean => wanted.some((position) => segmentOf(position) === segment && !digests.has(position));
  await addDropped(kv, segment, digests);
  if (!lacks()) return digests;
  await addLogged(kv, segment, digests);
  // What was dropped while the log was read.
  if (lacks()) await addDropped(kv, segment, digests);
  return digests;
}

async function addDropped(kv: KvReader, segment: number, digests: Map<number, Uint8Array>): Promise<void> {
  const found = await orNothing(() => loadDropped(kv, [segment]));
  for (const { position, digest } of entriesOf(found?.get(segment))) digests.set(position, digest);
}

async function addLogged(kv: KvReader, segment: number, digests: Map<number, Uint8Array>): Promise<void> {
  const first = segment * indexSegmentSize + 1;
  const last = first + indexSegmentSize - 1;
  const seek = byNumber(lastPositionOfGlobalPageKey, globalPageKey, last);
  for await (const found of tolerantRows(kv, globalPageSpan(first), "lookup", seek)) {
    // What cannot be read was told where the log was walked.
    if (found.kind === "unreadable") continue;
    for (const event of (await orNothing(async () => decodeGlobalPage(found.row))) ?? []) {
      if (segmentOf(event.position) === segment) digests.set(event.position, eventDigest(event));
    }
    if (lastPositionOfGlobalPageKey(found.row.key) >= last) return;
  }
}
