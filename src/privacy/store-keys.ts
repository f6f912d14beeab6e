/** What an open store has for its personal data: the keys, and the objects that they are in, which are closed by who opened them. */

import type { ObjectAccess } from "../kv/objects.ts";
import { type OpenKeysOptions, openKeysToRead, openKeysToWrite } from "./encryption.ts";
import { KeyWrapping } from "./key-wrapping.ts";
import type { SubjectKeys } from "./subject-keys.ts";

export interface StoreKeys {
  readonly keys: SubjectKeys;
  readonly objects: ObjectAccess;
  readonly wrapping: KeyWrapping;
  /** Overwrites the keys in memory. Idempotent. */
  close(): void;
}

export interface OpenStoreKeysOptions extends OpenKeysOptions {
  /** `"new"`: for writing, in a store that never had keys; `"used"`: in one that has had them. `"reading"`: changes nothing. */
  readonly mode: "new" | "used" | "reading";
}

/**
 * Throws `encryption-key` (a wrong master key, a lost record), `storage-corrupt` (a damaged record, or another store's), and
 * `storage-unavailable`.
 */
export async function openStoreKeys({ mode, ...options }: OpenStoreKeysOptions): Promise<StoreKeys> {
  const keys = await (mode === "reading" ? openKeysToRead(options) : openKeysToWrite(options, mode === "used"));
  const wrapping = new KeyWrapping(options.service, options.storeId);
  return { keys, objects: options.objects, wrapping, close: () => keys.close() };
}
