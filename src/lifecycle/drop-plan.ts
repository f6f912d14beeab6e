/**
 * What is to go of one stream, by its head: which of its events and why, and the rows that go with the last of them. Plans only:
 * whoever carries it out commits everything.
 */

import { reachOf } from "../decider/snapshots.ts";
import type { DropReason } from "../format/dropped.ts";
import { snapshotSpan } from "../format/key-families.ts";
import { archivePartKey, archivePartSpan, lastVersionOfArchivePartKey } from "../format/lifecycle-keys.ts";
import type { KvOperation, KvRow } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { DueHead } from "./due-streams.ts";
import type { StreamDrop } from "./event-dropper.ts";

/** What of a stream is dropped, and the objects of its archive that go behind the commit which removes their rows. */
export interface DropPlan {
  readonly drop: StreamDrop;
  /** The objects that hold versions before this one only, if there may be any; then the entry in the list outlives them. */
  readonly objectsBefore: number | undefined;
}

/** Throws `storage-corrupt` where rows of the stream are damaged. */
export async function planDrop(core: StoreCore, { streamName, keys, head, extension }: DueHead): Promise<DropPlan> {
  const { tombstone, archive, droppedBefore: from = 1, reason = "truncated" } = extension;
  const purged = tombstone?.purged === true;
  const goneBefore = purged ? head.version + 1 : head.truncatedBefore;
  const before = Math.max(from, goneBefore, archive?.before ?? 0);
  const reasonOf = (version: number): DropReason => {
    if (purged) return "deleted";
    return version < head.truncatedBefore ? reason : "archived";
  };
  const hasObjects = archive !== undefined && goneBefore > archive.from;
  const rowsWhenDone: KvOperation[] = hasObjects ? [] : keys.map((key) => ({ kind: "delete", key }));
  if (hasObjects) rowsWhenDone.push(...(await archiveRows(core, streamName, goneBefore)));
  rowsWhenDone.push(...(await unusableSnapshots(core, streamName, purged, goneBefore)));
  const drop = { head, extension, from, before, reasonOf, rowsWhenDone };
  return { drop, objectsBefore: hasObjects ? goneBefore : undefined };
}

/** The rows of the archive's objects whose events are gone for good. */
async function archiveRows(core: StoreCore, streamName: string, goneBefore: number): Promise<readonly KvOperation[]> {
  const operations: KvOperation[] = [];
  for await (const { key } of rowsOf(core, archivePartSpan(streamName, 1))) {
    const to = lastVersionOfArchivePartKey(key);
    if (to >= goneBefore) break;
    operations.push({ kind: "delete", key: archivePartKey(streamName, to) });
  }
  return operations;
}

/** Snapshots that nobody can go on from: events behind them are gone. */
async function unusableSnapshots(
  core: StoreCore,
  streamName: string,
  purged: boolean,
  goneBefore: number,
): Promise<readonly KvOperation[]> {
  if (!core.usesFamily("snapshots") || goneBefore <= 1) return [];
  const operations: KvOperation[] = [];
  for await (const row of rowsOf(core, snapshotSpan(streamName))) {
    if (!purged && reachOf(row) >= goneBefore - 1) continue;
    operations.push({ kind: "delete", key: row.key });
  }
  return operations;
}

async function* rowsOf(core: StoreCore, span: { readonly start: Buffer; readonly end: Buffer }): AsyncGenerator<KvRow> {
  const cursor = await core.rows.scan(span, "lookup");
  try {
    for (let rows = await cursor.next(16); rows.length > 0; rows = await cursor.next(16)) yield* rows;
  } finally {
    cursor.close();
  }
}
