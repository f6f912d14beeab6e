/**
 * What is stored of one subject's keys, and destroying them there. An object keeps of a destroyed key when that was and nothing of
 * the key, so that what was sealed under it is known to be forgotten and not lost.
 */

import { type KeyShard, keyShardName } from "../format/key-shard.ts";
import type { KeyShards } from "./key-shards.ts";

/** What forgetting has come to. */
export interface DestroyedKeys {
  /** The ids of all keys that the subject has ever had, those destroyed earlier included. */
  readonly keyIds: readonly string[];
  /** Those destroyed now. */
  readonly destroyed: readonly string[];
  /** When the last of them was destroyed; `undefined` for a subject that never had one. */
  readonly forgottenAtMs: number | undefined;
}

/** What is stored of a subject's keys; `live`: the ids of those that are still there. */
export interface StoredKeys extends DestroyedKeys {
  readonly live: readonly string[];
}

/** As they are in storage now. Throws `storage-corrupt`, `storage-unavailable`. */
export async function storedKeysOf(shards: KeyShards, subject: string): Promise<StoredKeys> {
  const { shard } = await shards.read(keyShardName(subject), 0);
  return { ...summaryOf(shard, subject, []), live: liveKeysOf(shard, subject) };
}

/** Destroys all keys of a subject in storage; those in memory are for the caller to overwrite. Throws as `storedKeysOf`. */
export async function destroyStoredKeys(shards: KeyShards, subject: string, atMs: number): Promise<DestroyedKeys> {
  let destroyed: readonly string[] = [];
  const shard = await shards.change(keyShardName(subject), async (found) => {
    destroyed = liveKeysOf(found, subject);
    if (destroyed.length === 0) return undefined;
    const keys = new Map([...found.keys].filter(([, key]) => key.subject !== subject));
    const gone = destroyed.map((id) => [id, { subject, id, forgottenAtMs: atMs }] as const);
    return { keys, forgotten: new Map([...found.forgotten, ...gone]) };
  });
  return summaryOf(shard, subject, destroyed);
}

function liveKeysOf(shard: KeyShard, subject: string): readonly string[] {
  return [...shard.keys.values()].filter((key) => key.subject === subject).map(({ id }) => id);
}

function summaryOf(shard: KeyShard, subject: string, destroyed: readonly string[]): DestroyedKeys {
  const gone = [...shard.forgotten.values()].filter((key) => key.subject === subject);
  const times = gone.map(({ forgottenAtMs }) => forgottenAtMs);
  return {
    keyIds: gone.map(({ id }) => id),
    destroyed,
    forgottenAtMs: times.length === 0 ? undefined : Math.max(...times),
  };
}
