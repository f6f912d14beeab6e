/** Tells a store from a copy of one: backups are read and never written to, and nobody opens half a copy. */

import { InvalidArgumentError, StorageCorruptError } from "../errors.ts";
import { type BackupRecord, backupFamily, decodeBackupRecord } from "../format/backup-record.ts";
import { backupKey } from "../format/key-families.ts";
import type { StoreHeader } from "../format/records.ts";
import type { KvReader } from "../kv/kv.ts";

/** What a copy says of itself; `undefined` for a store, and where there is nothing. */
export async function backupRecordOf(kv: KvReader): Promise<BackupRecord | undefined> {
  const value = await kv.get(backupKey);
  return value === undefined ? undefined : decodeBackupRecord(value);
}

/**
 * Throws `invalid-argument` for a copy that must not be opened as a store: an unfinished one, and for writing any backup; and
 * `storage-corrupt` for one that does not say what it is.
 */
export async function assertNoCopy(
  kv: KvReader,
  header: StoreHeader,
  url: string,
  mode: "write" | "read",
): Promise<void> {
  if (!header.families.includes(backupFamily)) return;
  const record = await backupRecordOf(kv);
  if (record === undefined) throw new StorageCorruptError(`A copy of a store does not say what it is: ${url}`);
  if (record.state === "copying") {
    throw new InvalidArgumentError("url", `names an unfinished ${record.purpose}, which is to be run again: ${url}`);
  }
  if (mode === "write") {
    throw new InvalidArgumentError("url", `names a backup, which is read, or restored elsewhere: ${url}`);
  }
}
