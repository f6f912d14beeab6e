/**
 * Reads rows past damage: where a scan fails because an object is damaged or gone, it looks for the next key from which it
 * can be read on, and says what lies between. Only `storage-corrupt` is damage; any other failure is thrown.
 */

import { StorageCorruptError } from "../errors.ts";
import { afterPrefix } from "../format/ordered-bytes.ts";
import type { KvCursor, KvReader, KvRow, ScanPurpose } from "../kv/kv.ts";

const rowsAtOnce = 16;

/** Rows that cannot be read: those behind `after`, if any row came before, and before `before`, if any can be read behind. */
export interface UnreadableRows {
  readonly after: Uint8Array | undefined;
  readonly before: Uint8Array | undefined;
  readonly error: StorageCorruptError;
}

export type TolerantRow =
  | { readonly kind: "row"; readonly row: KvRow }
  | ({ readonly kind: "unreadable" } & UnreadableRows);

interface Range {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/** The first key behind `from`, which cannot be read, from which the range can be read on; `undefined` where there is none. */
export type Seek = (kv: KvReader, from: Uint8Array, end: Uint8Array) => Promise<Uint8Array | undefined>;

/**
 * How rows are read, from the fastest way to the one that comes closest to damage: reading ahead fails before it gets there, and
 * a batch that fails may have had good rows before the bad one.
 */
const ways: readonly { readonly purpose: ScanPurpose; readonly rowsMax: number }[] = [
  { purpose: "replay", rowsMax: rowsAtOnce },
  { purpose: "lookup", rowsMax: rowsAtOnce },
  { purpose: "lookup", rowsMax: 1 },
];

/** The rows of a range, ascending. `purpose`: how to read where nothing is damaged; `seek`: how to find the way past damage. */
export async function* tolerantRows(
  kv: KvReader,
  range: Range,
  purpose: ScanPurpose,
  seek: Seek = byPrefix,
): AsyncGenerator<TolerantRow> {
  const fastest = purpose === "replay" ? 0 : 1;
  let { start } = range;
  let last: Uint8Array | undefined;
  for (let way = fastest; ; ) {
    let cursor: KvCursor | undefined;
    const { purpose: how, rowsMax } = ways[way] ?? { purpose, rowsMax: 1 };
    try {
      cursor = await kv.scan({ start, end: range.end }, how);
      for (let rows = await cursor.next(rowsMax); rows.length > 0; rows = await cursor.next(rowsMax)) {
        for (const row of rows) {
          yield { kind: "row", row };
          last = row.key;
          start = successorOf(row.key);
        }
      }
      return;
    } catch (error) {
      if (!(error instanceof StorageCorruptError)) throw error;
      cursor?.close();
      way += 1;
      if (way < ways.length) continue;
      const before = await seek(kv, start, range.end);
      yield { kind: "unreadable", after: last, before, error };
      if (before === undefined) return;
      start = before;
      way = fastest;
    } finally {
      cursor?.close();
    }
  }
}

/** Whether a scan from there finds its first row, or finds that there is none. */
export async function canReadFrom(kv: KvReader, range: Range): Promise<boolean> {
  let cursor: KvCursor | undefined;
  try {
    cursor = await kv.scan(range, "lookup");
    await cursor.next(1);
    return true;
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    return false;
  } finally {
    cursor?.close();
  }
}

/** Leaps behind all keys that begin as this one does, then as all of it but its last byte does, and so on. */
async function byPrefix(kv: KvReader, from: Uint8Array, end: Uint8Array): Promise<Uint8Array | undefined> {
  for (let length = from.length; length > 0; length -= 1) {
    const start = afterPrefix(from.subarray(0, length));
    if (start === undefined || Buffer.compare(start, end) >= 0) return undefined;
    if (await canReadFrom(kv, { start, end })) return start;
  }
  return undefined;
}

/**
 * For keys that end with a number, up to `to`: leaps that double, and then halving, so that what is said to be unreadable is no
 * more than that.
 */
export function byNumber(
  numberOf: (key: Uint8Array) => number,
  keyOf: (number: number) => Uint8Array,
  to: number,
): Seek {
  return async (kv, from, end) => {
    const canRead = (number: number): Promise<boolean> => canReadFrom(kv, { start: keyOf(number), end });
    let bad = numberOf(from);
    let good: number | undefined;
    for (let step = 1; bad < to && good === undefined; step *= 2) {
      const next = Math.min(to, bad + step);
      if (await canRead(next)) good = next;
      else bad = next;
    }
    while (good !== undefined && good - bad > 1) {
      const middle = Math.floor((bad + good) / 2);
      if (await canRead(middle)) good = middle;
      else bad = middle;
    }
    return good === undefined ? undefined : keyOf(good);
  };
}

/** The first key that can stand behind `key`. */
export function successorOf(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** What `work` reads; nothing where that is damaged, for who passes over it. */
export async function orNothing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    return undefined;
  }
}
