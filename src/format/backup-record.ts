/**
 * What a copy of another store says of itself while it is being made, and for good where it is a backup: such a database is
 * no store that may be written to, which the family in its header says to versions that do not know it.
 *
 * seal | JSON
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { backupKey, type UpperFamily } from "./key-families.ts";

const backupKind = 0x7d;

/** The family that the header of such a copy lists. */
export const backupFamily: UpperFamily = "backup";

/** What a copy is made for. */
export type CopyPurpose = "backup" | "restore" | "fork";

export interface BackupRecord {
  readonly purpose: CopyPurpose;
  /** `"copying"`: it is not whole yet, and whoever made it may go on with it. Only backups are ever `"complete"`. */
  readonly state: "copying" | "complete";
  /** The store that it is a copy of. */
  readonly sourceStoreId: string;
  readonly startedAtMs: number;
  /** Of a complete one: when it was, up to where the log goes, and the head of its chain. */
  readonly completedAtMs?: number;
  readonly position?: number;
  readonly head?: string;
}

export function encodeBackupRecord(record: BackupRecord): Buffer {
  const writer = new ByteWriter(256);
  beginSealed(writer, backupKind);
  writer.rest(JSON.stringify(record));
  return seal(writer, backupKey);
}

export function decodeBackupRecord(bytes: Uint8Array): BackupRecord {
  const what = "What a backup says of itself";
  const reader = openSealed(backupKey, bytes, backupKind, what);
  try {
    return JSON.parse(reader.rest()) as BackupRecord;
  } catch (cause) {
    throw new StorageCorruptError(`${what} is damaged`, { cause });
  }
}
