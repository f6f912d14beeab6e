/**
 * Where a copy reads from: all rows of a store as they were at one moment, whoever writes to it meanwhile. On a writer that is a
 * snapshot, as long as its engine is not exchanged; beside a writer in another process that is one scan of a replica's reader, which shows the rows as they were when it was opened; as long as
 * that reader was not replaced by another one.
 */

import { InvalidArgumentError, StoreNotFoundError } from "../errors.ts";
import type { BackupRecord } from "../format/backup-record.ts";
import { everyKey, storeHeaderKey } from "../format/key-families.ts";
import { decodeStoreHeader, type StoreHeader } from "../format/records.ts";
import type { KeyValueStore, KvCursor, KvReader } from "../kv/kv.ts";
import type { S3Options, StoreLocation } from "../kv/object-store.ts";
import { type ObjectAccess, openObjects } from "../kv/objects.ts";
import { openSlateReaderKv } from "../kv/slatedb-reader-kv.ts";
import type { SlateReaderTuning } from "../kv/slatedb-reader-tuning.ts";
import { assertNoCopy, backupRecordOf } from "../log/copies.ts";
import type { Clock } from "../runtime/clock.ts";

/**
 * It looks for news so seldom that the garbage collector spares all that one scan needs for hours; a process that is killed
 * leaves that mark behind for as long.
 */
const viewTuning: Partial<SlateReaderTuning> = {
  pollMs: 2 * 3_600_000,
  checkpointLifetimeMs: 5 * 3_600_000,
  rotateMs: 4 * 3_600_000,
};

/** How often a view is opened anew, where the one before was lost while it was opened. */
const opensMax = 3;

export interface CopyView extends AsyncDisposable {
  readonly header: StoreHeader;
  /** Where it is a backup itself. */
  readonly record: BackupRecord | undefined;
  readonly rows: KvCursor;
  /** Whether the rows are not all of one moment, so that they must be read again. */
  hasMoved(): boolean;
}

export interface CopySource {
  readonly objects: ObjectAccess;
  /** The rows as they are now. */
  open(): Promise<CopyView>;
}

/** A store that this process has open for writing. */
export function openStoreSource(kv: KeyValueStore, objects: ObjectAccess): CopySource {
  return {
    objects,
    open: async () => {
      for (let attempt = 1; ; attempt += 1) {
        const snapshot = await kv.snapshot();
        const hasMoved = (): boolean => snapshot.isLost?.() ?? false;
        try {
          return await view(snapshot, kv.url, { hasMoved, close: async () => snapshot.close() });
        } catch (error) {
          if (!hasMoved() || attempt >= opensMax) throw error;
        }
      }
    },
  };
}

/** A store that anybody may be writing to. Throws `invalid-argument` for `memory:`. */
export async function storeAtSource(location: StoreLocation, s3: S3Options, clock: Clock): Promise<CopySource> {
  if (location.kind === "memory") {
    const problem = 'must be "file:DIR" or "s3://bucket/prefix": only its own process can read "memory:"';
    throw new InvalidArgumentError("from", problem);
  }
  return {
    objects: await openObjects(location, s3),
    open: async () => {
      const kv = await openSlateReaderKv({ location, s3, clock, tuning: viewTuning });
      const hasMoved = (): boolean => kv.stats().readersOpened !== 1;
      return await view(kv, location.url, { hasMoved, close: () => kv.close() });
    },
  };
}

async function view(
  kv: KvReader,
  url: string,
  { hasMoved, close }: { readonly hasMoved: () => boolean; readonly close: () => Promise<void> },
): Promise<CopyView> {
  try {
    const value = await kv.get(storeHeaderKey);
    if (value === undefined) throw new StoreNotFoundError(url);
    const header = decodeStoreHeader(value);
    await assertNoCopy(kv, header, url, "read");
    const record = await backupRecordOf(kv);
    const rows = await kv.scan(everyKey, "replay");
    const dispose = async (): Promise<void> => {
      rows.close();
      await close();
    };
    return { header, record, rows, hasMoved, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await close();
    throw error;
  }
}
