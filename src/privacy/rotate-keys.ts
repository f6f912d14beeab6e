/** Wraps a store's keys anew under the current master key, one key object after another, beside whoever reads and writes them. */

import { EventStoreError } from "../errors.ts";
import { type KeyShard, keyFolder, type WrappedSubjectKey } from "../format/key-shard.ts";
import { rotateRecord } from "./encryption.ts";
import type { RotationReport } from "./face.ts";
import { inChunks } from "./in-chunks.ts";
import { isAboutTheObject } from "./key-shards.ts";
import { type KeyWrapping, keysAtOnce } from "./key-wrapping.ts";
import type { StoreKeys } from "./store-keys.ts";

/** What a listing may hold is bounded by the number of key objects. */
const shardName: RegExp = new RegExp(`^${keyFolder}/[0-9a-f]{3}$`);

export async function rotateKeys({ objects, keys, wrapping }: StoreKeys): Promise<RotationReport> {
  const masterKeyId = await wrapping.currentKeyId();
  const names: string[] = [];
  for await (const { name } of objects.list(`${keyFolder}/`)) if (shardName.test(name)) names.push(name);
  const damaged: string[] = [];
  let rewrapped = (await rotateRecord(objects, wrapping, masterKeyId)) ? 1 : 0;
  let unchanged = 1 - rewrapped;
  for (const name of names) {
    let old = 0;
    let all = 0;
    try {
      await keys.shards.change(name, async (shard) => {
        const wrappedByOthers = [...shard.keys.values()].filter((key) => key.masterKeyId !== masterKeyId);
        old = wrappedByOthers.length;
        all = shard.keys.size;
        return old === 0 ? undefined : await rewrappedShard(shard, wrappedByOthers, wrapping);
      });
    } catch (error) {
      if (!(error instanceof EventStoreError) || !isAboutTheObject(error)) throw error;
      damaged.push(name);
      continue;
    }
    rewrapped += old;
    unchanged += all - old;
  }
  return { masterKeyId, rewrapped, unchanged, damaged };
}

async function rewrappedShard(
  shard: KeyShard,
  old: readonly WrappedSubjectKey[],
  wrapping: KeyWrapping,
): Promise<KeyShard> {
  const changed = new Map(shard.keys);
  await inChunks(old, keysAtOnce, async (key) => {
    const bytes = await wrapping.unwrap(key);
    try {
      changed.set(key.id, { ...key, ...(await wrapping.wrap(key, bytes)) });
    } finally {
      bytes.fill(0);
    }
  });
  return { ...shard, keys: changed };
}
