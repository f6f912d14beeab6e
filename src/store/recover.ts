/** Opening: the store's header, the end of the log, and the newest events, from which everything in memory is built. */

import { StorageCorruptError } from "../errors.ts";
import { beginChain, readChainEnd, withChainEnd } from "../format/chain.ts";
import {
  everyKey,
  indexSegmentSize,
  type LaterFamily,
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
import { loadStreamNames, rebuildStreamNames, StreamNames } from "../log/stream-names.ts";
import type { Clock } from "../runtime/clock.ts";
import type { IdSource } from "../runtime/ids.ts";

/** Every store has a chain from its first event on, so a new one lists it at once. */
const chainFamily: LaterFamily = "chainLinks";

export interface Recovered {
  readonly header: StoreHeader;
  readonly end: LogEnd;
  readonly recent: RecentLog;
  readonly names: StreamNames;
}

/** Reads what is there, or makes a new store where there is nothing at all. */
export async function recover(kv: KeyValueStore, clock: Clock, ids: IdSource): Promise<Recovered> {
  const [headerBytes, endBytes] = await kv.getMany([storeHeaderKey, logEndKey]);
  if (headerBytes === undefined) return await create(kv, clock, ids);
  const header = decodeStoreHeader(headerBytes);
  if (endBytes === undefined) throw new StorageCorruptError("The store has a header and no end of the log");
  const { header: chained, end } = await chainOf(kv, header, decodeLogEnd(endBytes));
  const { header: current, names } = await namesOf(kv, chained, end);
  const { recent, namesMissed } = await recall(kv, end, names);
  if (!namesMissed) return { header: current, end, names, recent };
  return { header: current, end, recent, names: await rebuildStreamNames(kv, end.lastPosition, []) };
}

/**
 * The hash chain, as the end of the log has it; it begins here in a store that is older than it is. Throws `storage-corrupt`
 * where it does not reach to the end of the log.
 */
async function chainOf(
  kv: KeyValueStore,
  header: StoreHeader,
  end: LogEnd,
): Promise<{ readonly header: StoreHeader; readonly end: LogEnd }> {
  if (header.families.includes(chainFamily)) {
    if (readChainEnd(end.extension)?.position === end.lastPosition) return { header, end };
    throw new StorageCorruptError(`The hash chain does not reach to the end of the log at ${end.lastPosition}`);
  }
  // From now on a writer that does not continue the chain must not write here.
  const chained = { ...header, families: [...header.families, chainFamily] };
  const chainedEnd = { ...end, extension: withChainEnd(end.extension, beginChain(end.lastPosition)) };
  await kv.write([
    { kind: "put", key: storeHeaderKey, value: encodeStoreHeader(chained) },
    { kind: "put", key: logEndKey, value: encodeLogEnd(chainedEnd) },
  ]);
  return { header: chained, end: chainedEnd };
}

/** The filter of stream names; made anew for a store that is older than it is, or where it is damaged. */
async function namesOf(
  kv: KeyValueStore,
  header: StoreHeader,
  end: LogEnd,
): Promise<{ readonly header: StoreHeader; readonly names: StreamNames }> {
  const known = header.families.includes("streamNames");
  const stored = known ? await loadStreamNames(kv) : undefined;
  if (stored !== undefined && stored.coveredTo <= end.lastPosition) return { header, names: stored };
  // From now on a writer that does not know the filter must not write here.
  const current = { ...header, families: [...new Set([...header.families, "streamNames"])] };
  const value = encodeStoreHeader(current);
  return {
    header: current,
    names: await rebuildStreamNames(kv, end.lastPosition, [{ kind: "put", key: storeHeaderKey, value }]),
  };
}

async function create(kv: KeyValueStore, clock: Clock, ids: IdSource): Promise<Recovered> {
  const cursor = await kv.scan(everyKey, "lookup");
  const rows = await cursor.next(1);
  cursor.close();
  if (rows.length > 0) throw new StorageCorruptError(`There is a database that is no store of Strata: ${kv.url}`);
  const storeId = ids.next();
  const families = [...logFamilyNames, chainFamily];
  const header = { formatVersion, storeId, createdAtMs: clock.now(), families };
  const end: LogEnd = { ...emptyLogEnd, extension: withChainEnd(emptyLogEnd.extension, beginChain(0)) };
  const names = new StreamNames();
  await kv.write([
    { kind: "put", key: storeHeaderKey, value: encodeStoreHeader(header) },
    { kind: "put", key: logEndKey, value: encodeLogEnd(end) },
    ...names.rows(0, 0),
  ]);
  return { header, end, recent: new RecentLog(0), names };
}

/**
 * The newest events: all that the index or the filter of names does not hold yet, and as many as ids are remembered for.
 * Where some were dropped that the filter does not cover, it may miss a stream that was born with one of them.
 */
async function recall(
  kv: KeyValueStore,
  end: LogEnd,
  names: StreamNames,
): Promise<{ readonly recent: RecentLog; readonly namesMissed: boolean }> {
  const remembered = (segmentOf(Math.max(1, end.lastPosition)) - recentSegmentsMin) * indexSegmentSize;
  const namedTo = names.coveredTo;
  const before = Math.max(0, Math.min(end.indexedTo, namedTo - (namedTo % indexSegmentSize), remembered));
  const recent = new RecentLog(before);
  let unnamed = end.lastPosition - namedTo;
  for await (const events of new LogReader(kv).forwards(before + 1, end.lastPosition)) {
    for (const { streamName, version, position } of events) {
      if (position <= namedTo) continue;
      unnamed -= 1;
      if (version === 1) names.add(streamName);
    }
    recent.add(events.map(recentFromStored), end.indexedTo);
  }
  recent.add([], end.indexedTo, end.lastPosition);
  return { recent, namesMissed: unnamed > 0 };
}
