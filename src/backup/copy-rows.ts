/**
 * Makes the rows of one database those of another: both are walked in the order of their keys, and only what differs is
 * written. So a copy that was broken off goes on where it was, and one whose source has moved meanwhile catches up with it.
 */

import { StorageCorruptError } from "../errors.ts";
import { backupKey, everyKey, logEndKey, storeHeaderKey } from "../format/key-families.ts";
import { decodeLogEnd, decodeStoreHeader, type LogEnd, type StoreHeader } from "../format/records.ts";
import type { KeyValueStore, KvCursor, KvOperation, KvRow } from "../kv/kv.ts";

const rowsAtOnce = 256;
/** The most rows and bytes of one write. Two batches are in memory at a time. */
const batchRowsMax = 1_000;
const batchBytesMax: number = 4 * 1024 * 1024;

export interface CopyRowsOptions {
  /** All rows of the source, as they were at one moment. */
  readonly source: KvCursor;
  readonly target: KeyValueStore;
  /** Whether the target may hold rows of an earlier attempt. */
  readonly resumes: boolean;
  /** A row as it is to be in the copy. */
  readonly transform: (row: KvRow) => KvRow;
  readonly onBatch: (counts: CopiedRows) => void;
}

export interface CopiedRows {
  /** Rows of the source that were looked at, and their bytes. */
  readonly rows: number;
  readonly bytes: number;
  /** Rows that were put or deleted because they differed. */
  readonly written: number;
}

export interface CopiedStore extends CopiedRows {
  readonly header: StoreHeader;
  readonly end: LogEnd;
}

/** Rows one by one, with a look at the next. */
class RowFeed {
  readonly #cursor: KvCursor;
  #rows: readonly KvRow[] = [];
  #at = 0;

  constructor(cursor: KvCursor) {
    this.#cursor = cursor;
  }

  async peek(): Promise<KvRow | undefined> {
    if (this.#at >= this.#rows.length) {
      this.#rows = await this.#cursor.next(rowsAtOnce);
      this.#at = 0;
    }
    return this.#rows[this.#at];
  }

  skip(): void {
    this.#at += 1;
  }
}

/** Operations gather while the batch before them is being written. */
class BatchWriter {
  readonly #target: KeyValueStore;
  #operations: KvOperation[] = [];
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();
  written = 0;

  constructor(target: KeyValueStore) {
    this.#target = target;
  }

  async add(operation: KvOperation): Promise<boolean> {
    this.#operations.push(operation);
    this.#bytes += operation.key.length + (operation.kind === "put" ? operation.value.length : 0);
    if (this.#operations.length < batchRowsMax && this.#bytes < batchBytesMax) return false;
    await this.#turn();
    return true;
  }

  async end(): Promise<void> {
    await this.#turn();
    await this.#writing;
  }

  async #turn(): Promise<void> {
    await this.#writing;
    const operations = this.#operations;
    this.#operations = [];
    this.#bytes = 0;
    this.written += operations.length;
    if (operations.length === 0) return;
    this.#writing = this.#target.write(operations);
    // Whoever waits for it next hears of its failure.
    this.#writing.catch(() => {});
  }
}

/** Rows that a copy has of its own: its header is written by whoever makes it. */
function isOwn(key: Uint8Array): boolean {
  return Buffer.compare(key, storeHeaderKey) === 0 || Buffer.compare(key, backupKey) === 0;
}

/** Throws `storage-corrupt` where the source is no store, and what reading and writing throw. */
export async function copyRows(options: CopyRowsOptions): Promise<CopiedStore> {
  const { target, resumes, transform, onBatch } = options;
  const source = new RowFeed(options.source);
  const known = await target.scan(everyKey, "replay");
  const there = new RowFeed(known);
  const batches = new BatchWriter(target);
  const counts = { rows: 0, bytes: 0 };
  let header: StoreHeader | undefined;
  let end: LogEnd | undefined;
  const told = (full: boolean): void => {
    if (full) onBatch({ ...counts, written: batches.written });
  };
  try {
    for (let found = await source.peek(); found !== undefined; found = await source.peek()) {
      source.skip();
      counts.rows += 1;
      counts.bytes += found.key.length + found.value.length;
      if (counts.rows % batchRowsMax === 0) told(true);
      if (Buffer.compare(found.key, storeHeaderKey) === 0) header = decodeStoreHeader(found.value);
      if (Buffer.compare(found.key, logEndKey) === 0) end = decodeLogEnd(found.value);
      if (isOwn(found.key)) continue;
      const row = transform(found);
      if (resumes && (await isThere(there, row, batches))) continue;
      told(await batches.add({ kind: "put", key: row.key, value: row.value }));
    }
    for (let row = await there.peek(); resumes && row !== undefined; row = await there.peek()) {
      there.skip();
      if (!isOwn(row.key)) await batches.add({ kind: "delete", key: row.key });
    }
    await batches.end();
  } finally {
    known.close();
  }
  if (header === undefined || end === undefined)
    throw new StorageCorruptError("What is to be copied is no store of Strata");
  onBatch({ ...counts, written: batches.written });
  return { ...counts, written: batches.written, header, end };
}

/** Whether the copy has the row already; what it has before it, and the source has not, is deleted. */
async function isThere(there: RowFeed, row: KvRow, batches: BatchWriter): Promise<boolean> {
  for (let known = await there.peek(); known !== undefined; known = await there.peek()) {
    const order = Buffer.compare(known.key, row.key);
    if (order > 0) return false;
    there.skip();
    if (order === 0) return Buffer.compare(known.value, row.value) === 0;
    if (!isOwn(known.key)) await batches.add({ kind: "delete", key: known.key });
  }
  return false;
}
