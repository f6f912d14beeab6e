/** Backups and what they are for: a copy of a store at another place, made while it is in use, and a store made of it again. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import { checkOptions, checkSignal } from "../log/arguments.ts";
import { systemClock } from "../runtime/clock.ts";
import { archivesPrefix, keysPrefix } from "./copy-objects.ts";
import { storeAtSource } from "./copy-source.ts";
import { type CopyProgress, type CopyReport, type CopyStoreOptions, copyStore } from "./copy-store.ts";
import { openTarget } from "./copy-target.ts";

/** What both directions take. Unknown options are refused. */
interface CopyOptions {
  /** `file:DIR` or `s3://bucket/prefix`. */
  readonly from: string;
  /** `file:DIR` or `s3://bucket/prefix`, where there is nothing yet, or this copy as it was broken off. */
  readonly to: string;
  /** How to reach the bucket that is read. */
  readonly fromS3?: Omit<S3Options, "createBucket">;
  /** How to reach the bucket that is written. */
  readonly toS3?: S3Options;
  /** Breaks it off, with the signal's reason; the next call goes on with it. */
  readonly signal?: AbortSignal;
  /** Told now and then how far it is. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

/** How to make a backup. */
export interface BackupOptions extends CopyOptions {
  /**
   * Whether the keys of personal data go along, wrapped as they are. Without them the backup's personal fields cannot be read; with
   * them, whoever forgets a subject must see to the backups too. Default: true.
   */
  readonly withKeys?: boolean;
}

/** How to make a store of a backup. */
export interface RestoreOptions extends CopyOptions {
  /**
   * Whether reactors, process managers and SQL projections, which act outside of the store, go on by themselves where the backup
   * has them. Default: false: they are paused, until `resumeProcessor`.
   */
  readonly resumeProcessors?: boolean;
}

const commonNames = ["from", "to", "fromS3", "toS3", "signal", "onProgress"];

/**
 * Copies a store to another place, whole and as of one moment, while anybody writes to it; nobody is fenced. What it makes is a
 * database of the same kind, marked as a backup: it can be read by `openEventStoreReader`, verified, and restored, and not be
 * opened for writing. It is verified by the hash chain before it is called complete. Broken off, killed or failed, it goes on where
 * it was when it is called again with the same places; what changed meanwhile is copied, too.
 *
 * Throws `invalid-argument` (options; a target that holds anything but this backup, unfinished), `store-not-found`,
 * `storage-unavailable`, `storage-corrupt` (the source is damaged, or the copy does not verify), `writer-fenced` (another call
 * writes to the same target), or the signal's reason.
 */
export async function backupStore(options: BackupOptions): Promise<CopyReport> {
  const given = checkOptions(options, [...commonNames, "withKeys"]);
  const prefixes = checkFlag(given.withKeys, "withKeys", true) ? [keysPrefix, archivesPrefix] : [archivesPrefix];
  return await copyBetween(options, {
    purpose: "backup",
    pausesProcessors: false,
    objectPrefixes: prefixes,
    checkSource: () => {},
  });
}

/**
 * Makes a store of a backup, at a place where there is none. It is a store of its own; whatever was appended to the
 * first one after the backup is not in it, so who keeps positions of that one must not go on with them here. Broken off, it goes on
 * when it is called again; until it is through, nobody can open it. Throws as `backupStore`, and `invalid-argument` where `from` is
 * no backup.
 */
export async function restoreStore(options: RestoreOptions): Promise<CopyReport> {
  const given = checkOptions(options, [...commonNames, "resumeProcessors"]);
  return await copyBetween(options, {
    purpose: "restore",
    pausesProcessors: !checkFlag(given.resumeProcessors, "resumeProcessors", false),
    objectPrefixes: [keysPrefix, archivesPrefix],
    checkSource: ({ record }) => {
      if (record !== undefined) return;
      throw new InvalidArgumentError("from", `must name a backup; there is a store: ${printable(options.from)}`);
    },
  });
}

type Fixed = Pick<CopyStoreOptions, "purpose" | "pausesProcessors" | "objectPrefixes" | "checkSource">;

async function copyBetween(options: CopyOptions, fixed: Fixed): Promise<CopyReport> {
  const from = parseStoreUrl(options.from);
  const to = placeOf(parseStoreUrl(options.to));
  if (samePlace(from, to) && options.fromS3?.endpoint === options.toS3?.endpoint) {
    throw new InvalidArgumentError("to", `must be another place than from: ${printable(options.to)}`);
  }
  const signal = checkSignal(options.signal);
  const { onProgress = () => {} } = options;
  if (typeof onProgress !== "function")
    throw new InvalidArgumentError("onProgress", `must be a function, not ${printable(onProgress)}`);
  const clock = systemClock;
  const s3 = options.toS3 ?? {};
  const source = await storeAtSource(from, options.fromS3 ?? {}, clock);
  const targetObjects = await openObjects(to, s3);
  try {
    return await copyStore({
      ...fixed,
      ...{ source, targetObjects, clock, signal, onProgress },
      openTarget: (sourceStoreId) => openTarget({ location: to, s3, clock }, fixed.purpose, sourceStoreId),
    });
  } finally {
    await Promise.all([source.objects.close(), targetObjects.close()]);
  }
}

function placeOf(location: StoreLocation): StoreLocation & { kind: "folder" | "s3" } {
  if (location.kind !== "memory") return location;
  throw new InvalidArgumentError("to", 'must be "file:DIR" or "s3://bucket/prefix": "memory:" would be gone at once');
}

function samePlace(one: StoreLocation, other: StoreLocation): boolean {
  if (one.kind === "folder" && other.kind === "folder") return one.directory === other.directory;
  if (one.kind !== "s3" || other.kind !== "s3") return false;
  return one.bucket === other.bucket && one.prefix === other.prefix;
}

function checkFlag(given: unknown, name: string, byDefault: boolean): boolean {
  if (given === undefined) return byDefault;
  if (typeof given === "boolean") return given;
  throw new InvalidArgumentError(name, `must be true or false, not ${printable(given)}`);
}
