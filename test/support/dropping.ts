/** Takes events out of a closed store, row by row, as retention does: for tests of who reads such a log. */

import { dropFromPages, segmentsOfDrops } from "../../src/format/drop-events.ts";
import type { DropReason } from "../../src/format/dropped.ts";
import { globalPageSpan, storeHeaderKey } from "../../src/format/key-families.ts";
import { decodeStoreHeader, encodeStoreHeader } from "../../src/format/records.ts";
import type { KeyValueStore, KvOperation, KvRange, KvReader, KvRow } from "../../src/kv/kv.ts";
import { loadDropped } from "../../src/log/dropped-events.ts";

export async function rowsIn(kv: KvReader, range: KvRange): Promise<readonly KvRow[]> {
  const rows: KvRow[] = [];
  const cursor = await kv.scan(range, "replay");
  for (let some = await cursor.next(64); some.length > 0; some = await cursor.next(64)) rows.push(...some);
  cursor.close();
  return rows;
}

/** The operations that drop these positions. */
export async function dropOperations(
  kv: KvReader,
  reasons: ReadonlyMap<number, DropReason>,
): Promise<readonly KvOperation[]> {
  const pages = await rowsIn(kv, globalPageSpan(1));
  return dropFromPages(pages, reasons, await loadDropped(kv, segmentsOfDrops(reasons.keys()))).operations;
}

/** Drops them, and says in the header that such rows are there. */
export async function dropPositions(kv: KeyValueStore, reasons: ReadonlyMap<number, DropReason>): Promise<void> {
  const header = decodeStoreHeader((await kv.get(storeHeaderKey)) ?? new Uint8Array(0));
  const families = [...new Set([...header.families, "dropped"])];
  const put: KvOperation = { kind: "put", key: storeHeaderKey, value: encodeStoreHeader({ ...header, families }) };
  await kv.write([put, ...(await dropOperations(kv, reasons))]);
}

/** Each of the positions, for one reason. */
export function reasonsFor(
  positions: Iterable<number>,
  reason: DropReason = "expired",
): ReadonlyMap<number, DropReason> {
  return new Map(Array.from(positions, (position) => [position, reason]));
}

/** The positions from `from` to `to`. */
export function range(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}
