/**
 * Has the storage read beforehand what a first read would otherwise wait for, request after request: the filter and the index of
 * each of its tables. An idle store is not asked for anything. It is a convenience and no more: nothing waits for it or fails by it.
 */

import { streamHeadKey, streamPageSpan } from "../format/key-families.ts";
import type { KvReader } from "../kv/kv.ts";
import { nameBytesMax } from "../vocabulary/names.ts";

/** How often tables that came since are looked at, at most. */
const lookIntervalMs = 60_000;

/**
 * Looks for the head and the pages of a stream that cannot be there. The look for the head asks the filter of each table whose
 * range it lies in, one after another; the scan opens the index of each, and reads a block of it. What was read before costs no request:
 * a table that is new costs three. `beside`: a stream near which reads are likely, since of the tables that share out a range
 * between them only those around it are opened.
 */
export async function openTables(kv: KvReader, beside: string): Promise<void> {
  // Longer than a name may be.
  const absent = beside.padEnd(nameBytesMax + 1, "\u0001");
  const scan = async (): Promise<void> => (await kv.scan(streamPageSpan(absent, 1), "lookup")).close();
  await Promise.all([kv.get(streamHeadKey(absent)), scan()]);
}

export interface TableWarmerOptions {
  readonly kv: KvReader;
  /** A number that changes when there may be new tables. Asking costs nothing. */
  readonly changes: () => number;
  /** The stream that was written last, or empty where that is not known. */
  readonly newest: () => string;
  /** It ends then. */
  readonly isClosed: () => boolean;
  /** For tests. Default: a minute. */
  readonly intervalMs?: number;
}

/**
 * Looks now, and each minute in which tables may have changed; once more after the last change, because tables are merged some
 * time after it. One look at a time.
 */
export function warmTables({ kv, changes, newest, isClosed, intervalMs = lookIntervalMs }: TableWarmerOptions): void {
  let seen = changes();
  let settled = false;
  let looking = false;
  const look = async (): Promise<void> => {
    looking = true;
    // What is wrong with the storage, a read will be told.
    await openTables(kv, newest()).catch(() => {});
    looking = false;
  };
  const timer = setInterval(() => {
    if (isClosed()) {
      clearInterval(timer);
      return;
    }
    const changed = changes() !== seen;
    if (looking || (!changed && settled)) return;
    settled = !changed;
    seen = changes();
    void look();
  }, intervalMs);
  timer.unref();
  void look();
}
