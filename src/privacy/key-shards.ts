/**
 * The key objects at work: read through a cache, and changed by conditional PUTs, so that of two processes none loses the other's
 * keys. Changes of one object in this process take turns, and so do GETs: none that a change has overtaken brings back what it
 * removed. What is changed is written anew as a whole: nothing of the old is kept.
 */

import { EventStoreError, StorageUnavailableError } from "../errors.ts";
import { decodeKeyShard, emptyKeyShard, encodeKeyShard, type KeyShard } from "../format/key-shard.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { Random } from "../runtime/random.ts";

/** How often a change is tried again that others got ahead of, and how long it waits at most between two attempts. */
export const changeAttemptsMax = 20;
const retryMsMax = 200;
/** The most keys, wrapped, that stay in memory. */
export const cachedWrappedKeysMax = 131_072;

/** An object as it was found; `tag` is absent where there is none. */
interface FoundShard {
  readonly shard: KeyShard;
  readonly tag: string | undefined;
  readonly atMs: number;
}

export interface KeyShardsOptions {
  readonly objects: ObjectAccess;
  readonly clock: Clock;
  readonly random: Random;
}

/** A key object; `exists` is false for one that nobody has written, or that was removed. */
export interface ReadShard {
  readonly shard: KeyShard;
  readonly exists: boolean;
  /** By the monotonic clock: when it was read. */
  readonly atMs: number;
}

export class KeyShards {
  readonly #options: KeyShardsOptions;
  /** In the order of their last use, oldest first. */
  readonly #cache = new Map<string, FoundShard>();
  #cachedKeys = 0;
  readonly #turns = new Map<string, Promise<unknown>>();
  /** By the monotonic clock: what was asked for by then is not taken for what there is. */
  #doubtedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: KeyShardsOptions) {
    this.#options = options;
  }

  /** What was found at most so long ago; else as it is now. Throws `storage-corrupt`, `storage-unavailable`. */
  async read(name: string, maxAgeMs: number): Promise<ReadShard> {
    const sinceMs = this.#options.clock.monotonic() - maxAgeMs;
    const found =
      this.#cachedSince(name, sinceMs) ??
      (await this.#inTurn(name, async () => this.#cachedSince(name, sinceMs) ?? (await this.#load(name))));
    return { shard: found.shard, exists: found.tag !== undefined, atMs: found.atMs };
  }

  /** Whatever was read so far may be out of date: `read` reads it again. */
  doubt(): void {
    this.#doubtedAtMs = this.#options.clock.monotonic();
  }

  /**
   * Puts what `work` answers in the object's place; `undefined` leaves it as it is. Where another process has written meanwhile,
   * `work` is asked again about what that has left. Throws as `read`, and what `work` throws.
   */
  async change(name: string, work: (shard: KeyShard) => Promise<KeyShard | undefined>): Promise<KeyShard> {
    return await this.#inTurn(name, () => this.#change(name, work));
  }

  async #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name) ?? Promise.resolve();
    const turn = before.then(work);
    const settled = turn.catch(() => {});
    this.#turns.set(name, settled);
    void settled.then(() => {
      if (this.#turns.get(name) === settled) this.#turns.delete(name);
    });
    return await turn;
  }

  #cachedSince(name: string, sinceMs: number): FoundShard | undefined {
    const known = this.#cache.get(name);
    return known !== undefined && known.atMs >= sinceMs && known.atMs > this.#doubtedAtMs ? known : undefined;
  }

  async #change(name: string, work: (shard: KeyShard) => Promise<KeyShard | undefined>): Promise<KeyShard> {
    const { objects, random } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      const found = this.#cache.get(name) ?? (await this.#load(name));
      const changed = await work(found.shard);
      if (changed === undefined) return found.shard;
      const condition = found.tag === undefined ? { ifAbsent: true as const } : { ifTag: found.tag };
      // Should it fail, nobody knows what stands there.
      this.#drop(name);
      const written = await objects.put(name, encodeKeyShard(name, changed), condition);
      if (written !== "conflict") {
        this.#keep(name, { shard: changed, tag: written.tag, atMs: this.#options.clock.monotonic() });
        return changed;
      }
      if (attempt >= changeAttemptsMax)
        throw new StorageUnavailableError(`Other processes keep changing the key object ${name}`);
      await pause(random.next() * Math.min(retryMsMax, 2 ** attempt));
    }
  }

  /** To be called in the object's turn. */
  async #load(name: string): Promise<FoundShard> {
    this.#drop(name);
    const { objects, clock } = this.#options;
    const atMs = clock.monotonic();
    const stored = await objects.get(name);
    const shard = stored === undefined ? emptyKeyShard : decodeKeyShard(name, stored.bytes);
    return this.#keep(name, { shard, tag: stored?.tag, atMs });
  }

  #keep(name: string, found: FoundShard): FoundShard {
    this.#drop(name);
    this.#cache.set(name, found);
    this.#cachedKeys += weightOf(found.shard);
    for (const oldest of this.#cache.keys()) {
      if (this.#cachedKeys <= cachedWrappedKeysMax || oldest === name) break;
      this.#drop(oldest);
    }
    return found;
  }

  #drop(name: string): void {
    const known = this.#cache.get(name);
    if (known === undefined) return;
    this.#cache.delete(name);
    this.#cachedKeys -= weightOf(known.shard);
  }
}

function weightOf({ keys, forgotten }: KeyShard): number {
  return keys.size + forgotten.size;
}

/** Whether an error is about the object itself rather than about reaching it. */
export function isAboutTheObject(error: unknown): boolean {
  return error instanceof EventStoreError && (error.code === "storage-corrupt" || error.code === "encryption-key");
}
