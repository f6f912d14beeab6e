/**
 * Idempotency keys: one row each, kept for a window of time, and dropped in small steps by the groups that write new ones.
 */

import { idempotencyAgeSpanBefore, idempotencyKeyKey, minuteOf } from "../format/key-families.ts";
import { type CommitRecord, decodeCommitRecord, decodeIdempotencyAge } from "../format/records.ts";
import type { KvOperation, KvReader } from "../kv/kv.ts";

/** How long a key is remembered at least, unless the store's options say otherwise. */
export const idempotencyWindowMsDefault: number = 7 * 24 * 60 * 60_000;

/** The most groups' keys that one sweep drops, and how often it looks. */
const sweepRowsMax = 16;
const sweepIntervalMs = 1_000;

export class IdempotencyKeys {
  readonly #kv: KvReader;
  readonly #windowMs: number;
  #sweptAtMs = 0;

  constructor(kv: KvReader, windowMs: number) {
    this.#kv = kv;
    this.#windowMs = windowMs;
  }

  /** The stored results of those keys that were used before. */
  async find(keys: Iterable<string>): Promise<Map<string, CommitRecord>> {
    const wanted = [...new Set(keys)];
    const found = new Map<string, CommitRecord>();
    if (wanted.length === 0) return found;
    const values = await this.#kv.getMany(wanted.map(idempotencyKeyKey));
    for (const [index, key] of wanted.entries()) {
      const bytes = values[index];
      if (bytes !== undefined) found.set(key, decodeCommitRecord(bytes));
    }
    return found;
  }

  /** Deletes for some keys whose window has passed. Keys in `inUse` are being written anew and stay. */
  async sweep(nowMs: number, inUse: ReadonlyMap<string, unknown>): Promise<readonly KvOperation[]> {
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return [];
    this.#sweptAtMs = nowMs;
    const before = minuteOf(nowMs - this.#windowMs);
    if (before <= 0) return [];
    const cursor = await this.#kv.scan(idempotencyAgeSpanBefore(before), "lookup");
    try {
      const rows = await cursor.next(sweepRowsMax);
      return rows.flatMap((row): KvOperation[] => [
        ...decodeIdempotencyAge(row.value)
          .filter((key) => !inUse.has(key))
          .map((key): KvOperation => ({ kind: "delete", key: idempotencyKeyKey(key) })),
        { kind: "delete", key: row.key },
      ]);
    } finally {
      cursor.close();
    }
  }
}
