/**
 * Idempotency keys: one row each, kept for a window of time, and dropped in small steps by the groups that write new ones.
 */

import { idempotencyAgeSpanBefore, idempotencyKeyKey, minuteOf } from "../format/key-families.ts";
import { type CommitRecord, decodeCommitRecord, decodeIdempotencyAge } from "../format/records.ts";
import type { KvOperation, KvReader } from "../kv/kv.ts";

/** How long a key is remembered at least, unless the store's options say otherwise. */
export const idempotencyWindowMsDefault: number = 7 * 24 * 60 * 60_000;

/** A group that writes new keys drops those of up to so many older groups, and looks again at once while there are more. */
const sweepRowsMax = 4;
const sweepIntervalMs = 1_000;

export class IdempotencyKeys {
  readonly #kv: KvReader;
  readonly #windowMs: number;
  #sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(kv: KvReader, windowMs: number) {
    this.#kv = kv;
    this.#windowMs = windowMs;
  }

  /** The stored results of those keys that were used before. */
  async find(keys: Iterable<string>): Promise<Map<string, CommitRecord>> {
    const wanted = [...new Set(keys)];
    const found = new Map<string, CommitRecord>();
    if (wanted.length === 0) return found;
    const keysOfRows = wanted.map(idempotencyKeyKey);
    const values = await this.#kv.getMany(keysOfRows);
    for (const [index, key] of keysOfRows.entries()) {
      const value = values[index];
      if (value !== undefined) found.set(wanted[index] ?? "", decodeCommitRecord({ key, value }));
    }
    return found;
  }

  /**
   * Deletes for some keys whose window has passed by the clock, not by a time of recording that may be ahead of it. Keys in
   * `inUse` are being written anew and stay. Never fails: what cannot be swept now is swept later.
   */
  async sweep(nowMs: number, inUse: ReadonlyMap<string, unknown>): Promise<readonly KvOperation[]> {
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return [];
    this.#sweptAtMs = nowMs;
    const before = minuteOf(nowMs - this.#windowMs);
    if (before <= 0) return [];
    try {
      return await this.#sweep(before, inUse);
    } catch {
      return [];
    }
  }

  async #sweep(before: number, inUse: ReadonlyMap<string, unknown>): Promise<readonly KvOperation[]> {
    const cursor = await this.#kv.scan(idempotencyAgeSpanBefore(before), "lookup");
    try {
      const rows = await cursor.next(sweepRowsMax);
      if (rows.length === sweepRowsMax) this.#sweptAtMs = Number.NEGATIVE_INFINITY;
      return rows.flatMap((row): KvOperation[] => [
        ...decodeIdempotencyAge(row)
          .filter((key) => !inUse.has(key))
          .map((key): KvOperation => ({ kind: "delete", key: idempotencyKeyKey(key) })),
        { kind: "delete", key: row.key },
      ]);
    } finally {
      cursor.close();
    }
  }
}
