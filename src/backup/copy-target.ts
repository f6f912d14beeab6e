/**
 * Where a copy is written: a place without a store, or with an unfinished copy of the same. It is looked at by a reader first,
 * because opening it for writing would fence whoever has a store there. From the first row on it says what it is, so that
 * nobody takes half a copy for a store.
 */

import { InvalidArgumentError } from "../errors.ts";
import { type BackupRecord, backupFamily, type CopyPurpose, encodeBackupRecord } from "../format/backup-record.ts";
import { backupKey, everyKey, storeHeaderKey } from "../format/key-families.ts";
import { encodeStoreHeader, formatVersion, type StoreHeader } from "../format/records.ts";
import { findStore } from "../kv/bucket-access.ts";
import { findFolder } from "../kv/folder.ts";
import type { KeyValueStore, KvReader } from "../kv/kv.ts";
import type { S3Options, StoreLocation } from "../kv/object-store.ts";
import { openSlateKv } from "../kv/slatedb-kv.ts";
import { openSlateReaderKv } from "../kv/slatedb-reader-kv.ts";
import { backupRecordOf } from "../log/copies.ts";
import type { Clock } from "../runtime/clock.ts";

export interface CopyTarget {
  readonly kv: KeyValueStore;
  /** Whether an earlier attempt has left rows. */
  readonly resumes: boolean;
}

/** Where a copy goes. */
export interface TargetPlace {
  readonly location: StoreLocation & { kind: "folder" | "s3" };
  readonly s3: S3Options;
  readonly clock: Clock;
}

/** Throws `invalid-argument` where there is anything but an unfinished copy of that store for that purpose. */
export async function openTarget(place: TargetPlace, purpose: CopyPurpose, sourceStoreId: string): Promise<CopyTarget> {
  const { location, s3, clock } = place;
  const state = location.kind === "folder" ? await findFolder(location.directory) : await findStore(location, s3);
  let resumes = false;
  if (state === "existing") {
    const { createBucket: _, ...reading } = s3;
    await using reader = await openSlateReaderKv({ location, s3: reading, clock });
    resumes = await isUnfinished(reader, location.url, purpose, sourceStoreId);
  }
  return { kv: await openSlateKv({ location, s3, clock }), resumes };
}

async function isUnfinished(kv: KvReader, url: string, purpose: CopyPurpose, sourceStoreId: string): Promise<boolean> {
  const refuse = (what: string): never => {
    throw new InvalidArgumentError("to", `must name a place without a store; there is ${what}: ${url}`);
  };
  const [header] = await kv.getMany([storeHeaderKey]);
  if (header === undefined) {
    const cursor = await kv.scan(everyKey, "lookup");
    const rows = await cursor.next(1);
    cursor.close();
    return rows.length === 0 ? false : refuse("a database that is none of Strata");
  }
  const record = await backupRecordOf(kv);
  if (record === undefined) return refuse("a store already");
  if (record.state === "complete") return refuse("a backup already");
  if (record.purpose !== purpose) return refuse(`an unfinished ${record.purpose} already`);
  if (record.sourceStoreId !== sourceStoreId) return refuse(`an unfinished ${purpose} of another store`);
  return true;
}

/** Says what the copy is going to be, before it has any other row. */
export async function markTarget(kv: KeyValueStore, source: StoreHeader, record: BackupRecord): Promise<void> {
  const { storeId, createdAtMs } = source;
  const header: StoreHeader = { formatVersion, storeId, createdAtMs, families: [backupFamily] };
  await kv.write([
    { kind: "put", key: storeHeaderKey, value: encodeStoreHeader(header) },
    { kind: "put", key: backupKey, value: encodeBackupRecord(record) },
  ]);
}

/** Ends the copy: a backup says so from now on, anything else is a store. */
export async function finishTarget(
  kv: KeyValueStore,
  header: StoreHeader,
  record: BackupRecord | undefined,
): Promise<void> {
  const families = header.families.filter((family) => family !== backupFamily);
  const put = (families_: readonly string[]): { kind: "put"; key: Buffer; value: Buffer } => ({
    kind: "put",
    key: storeHeaderKey,
    value: encodeStoreHeader({ ...header, families: families_ }),
  });
  if (record === undefined) await kv.write([put(families), { kind: "delete", key: backupKey }]);
  else {
    const value = encodeBackupRecord(record);
    await kv.write([put([...families, backupFamily]), { kind: "put", key: backupKey, value }]);
  }
}
