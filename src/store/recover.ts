/** Opening: the store's header, the end of the log, and the newest events, from which everything in memory is built. */

import { StorageCorruptError } from "../errors.ts";
import {
  everyKey,
  indexSegmentSize,
  logEndKey,
  logFamilyNames,
  segmentOf,
  storeHeaderKey,
} from "../format/key-families.ts";
import {
  decodeLogEnd,
  decodeStoreHeader,
  emptyLogEnd,
  encodeLogEnd,
  encodeStoreHeader,
  formatVersion,
  type LogEnd,
  type StoreHeader,
} from "../format/records.ts";
import type { KeyValueStore } from "../kv/kv.ts";
import { LogReader } from "../log/log-reader.ts";
import { RecentLog, recentFromStored, recentSegmentsMin } from "../log/recent-log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { IdSource } from "../runtime/ids.ts";

export interface Recovered {
  readonly header: StoreHeader;
  readonly end: LogEnd;
  readonly recent: RecentLog;
}

/** Reads what is there, or makes a new store where there is nothing at all. */
export async function recover(kv: KeyValueStore, clock: Clock, ids: IdSource): Promise<Recovered> {
  const [headerBytes, endBytes] = await kv.getMany([storeHeaderKey, logEndKey]);
  if (headerBytes === undefined) return await create(kv, clock, ids);
  const header = decodeStoreHeader(headerBytes);
  if (endBytes === undefined) throw new StorageCorruptError("The store has a header and no end of the log");
  const end = decodeLogEnd(endBytes);
  return { header, end, recent: await recall(kv, end) };
}

async function create(kv: KeyValueStore, clock: Clock, ids: IdSource): Promise<Recovered> {
  const cursor = await kv.scan(everyKey, "lookup");
  const rows = await cursor.next(1);
  cursor.close();
  if (rows.length > 0) throw new StorageCorruptError(`There is a database that is no store of Strata: ${kv.url}`);
  const storeId = ids.next();
  const header = { formatVersion, storeId, createdAtMs: clock.now(), families: logFamilyNames };
  await kv.write([
    { kind: "put", key: storeHeaderKey, value: encodeStoreHeader(header) },
    { kind: "put", key: logEndKey, value: encodeLogEnd(emptyLogEnd) },
  ]);
  return { header, end: emptyLogEnd, recent: new RecentLog(0) };
}

/** The newest events: all that the index does not hold yet, and as many as ids are remembered for. */
async function recall(kv: KeyValueStore, end: LogEnd): Promise<RecentLog> {
  const remembered = (segmentOf(Math.max(1, end.lastPosition)) - recentSegmentsMin) * indexSegmentSize;
  const before = Math.max(0, Math.min(end.indexedTo, remembered));
  const recent = new RecentLog(before);
  for await (const events of new LogReader(kv).forwards(before + 1, end.lastPosition)) {
    recent.add(events.map(recentFromStored), end.indexedTo);
  }
  return recent;
}
