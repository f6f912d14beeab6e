/** What an open store has for its personal data: the keys, and the objects that they are in. Opened and closed with the store. */

import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import { type OpenKeysOptions, openKeysToRead, openKeysToWrite } from "./encryption.ts";
import type { KeyService } from "./key-service.ts";
import { KeyWrapping } from "./key-wrapping.ts";
import type { SubjectKeys } from "./subject-keys.ts";

export interface StoreKeys {
  readonly keys: SubjectKeys;
  readonly objects: ObjectAccess;
  readonly wrapping: KeyWrapping;
  /** Overwrites the keys in memory. Idempotent. */
  close(): Promise<void>;
}

export interface OpenStoreKeysOptions {
  readonly service: KeyService;
  readonly storeId: string;
  readonly openObjects: () => Promise<ObjectAccess>;
  readonly clock: Clock;
  readonly random: Random;
  /** `"new"`: for writing, in a store that never had keys; `"used"`: in one that has had them. `"reading"`: changes nothing. */
  readonly mode: "new" | "used" | "reading";
}

/**
 * Throws `encryption-key` (a wrong master key, a lost record), `storage-corrupt` (a damaged record, or another store's), and
 * `storage-unavailable`.
 */
export async function openStoreKeys(options: OpenStoreKeysOptions): Promise<StoreKeys> {
  const { service, storeId, clock, random, mode } = options;
  const objects = await options.openObjects();
  try {
    const opening: OpenKeysOptions = { objects, service, storeId, clock, random };
    const keys = await (mode === "reading" ? openKeysToRead(opening) : openKeysToWrite(opening, mode === "used"));
    const close = async (): Promise<void> => {
      keys.close();
      await objects.close();
    };
    return { keys, objects, wrapping: new KeyWrapping(service, storeId), close };
  } catch (error) {
    await objects.close();
    throw error;
  }
}
