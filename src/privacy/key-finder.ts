/**
 * Finds the keys that stored events were sealed under: in memory as far as what is there may still be believed, else in the key
 * objects. What was destroyed, is lost, or is damaged is told apart; a key that is neither there nor known to be forgotten is lost,
 * and that is never read as forgotten. Makes no keys.
 */

import { EncryptionKeyError, StorageUnavailableError } from "../errors.ts";
import type { KeyShard } from "../format/key-shard.ts";
import type { Clock } from "../runtime/clock.ts";
import { inChunks } from "./in-chunks.ts";
import { isAboutTheObject, type KeyShards, type ReadShard } from "./key-shards.ts";
import { type KeyWrapping, keysAtOnce } from "./key-wrapping.ts";
import { SubjectKey, type SubjectKeyRing } from "./subject-key.ts";

/** A key that an object does not have is looked for again when the object was read longer ago than this. */
const lookAgainMs = 1_000;
/** How often keys are looked for anew because they were doubted meanwhile. */
const findingsMax = 5;

export interface KeyFinderOptions {
  readonly shards: KeyShards;
  readonly ring: SubjectKeyRing;
  readonly wrapping: KeyWrapping;
  readonly clock: Clock;
  /** After so long a key in memory is looked for in storage again. */
  readonly recheckMs: number;
}

/** What an event in memory has for a key: the key itself, or why there is none. */
export type HeldKey = SubjectKey | { readonly lost: EncryptionKeyError };

export class KeyFinder {
  readonly #options: KeyFinderOptions;
  /** How often keys were doubted, and when last, by the monotonic clock. */
  #doubts = 0;
  #doubtedAtMs = Number.NEGATIVE_INFINITY;
  #onFoundDestroyed: () => void = () => {};

  constructor(options: KeyFinderOptions) {
    this.#options = options;
  }

  /** Calls `drop` when a key that was in use turns out to have been destroyed by another process. It must not throw. */
  whenFoundDestroyed(drop: () => void): void {
    this.#onFoundDestroyed = drop;
  }

  /** Another process may have destroyed any of them: each is looked for in storage again before it is used. */
  doubt(): void {
    this.#doubts += 1;
    this.#doubtedAtMs = this.#options.clock.monotonic();
    this.#options.shards.doubt();
  }

  /** Whether it may be used without a look into storage. */
  isFresh(held: HeldKey | undefined): boolean {
    if (held === undefined || "lost" in held) return false;
    if (held.forgottenAtMs !== undefined) return true;
    if (held.checkedAtMs <= this.#doubtedAtMs) return false;
    return this.#options.clock.monotonic() - held.checkedAtMs <= this.#options.recheckMs;
  }

  /**
   * The keys of these ids in one object, each or why there is none; none of what it answers was doubted while it was found.
   * Throws where the object, or the key service, cannot be reached: `storage-unavailable`.
   */
  async find(name: string, ids: ReadonlySet<string>): Promise<ReadonlyMap<string, HeldKey>> {
    for (let finding = 1; finding <= findingsMax; finding += 1) {
      const doubts = this.#doubts;
      const found = await this.#find(name, ids);
      if (doubts === this.#doubts) return found;
    }
    throw new StorageUnavailableError(`The log moves on faster than the key object ${name} can be read`);
  }

  async #find(name: string, ids: ReadonlySet<string>): Promise<ReadonlyMap<string, HeldKey>> {
    const { shards, recheckMs } = this.#options;
    const found = new Map<string, HeldKey>();
    try {
      const has = ({ keys, forgotten }: KeyShard): boolean => [...ids].every((id) => keys.has(id) || forgotten.has(id));
      const known = await shards.read(name, recheckMs);
      const stored = has(known.shard) ? known : await shards.read(name, lookAgainMs);
      await inChunks([...ids], keysAtOnce, async (id) => {
        const held = await this.#heldIn(stored, id);
        found.set(id, held ?? (stored.exists ? lostKey(name) : lostObject(name)));
      });
    } catch (cause) {
      if (!isAboutTheObject(cause)) throw cause;
      const lost = cause instanceof EncryptionKeyError ? cause : new EncryptionKeyError(messageOf(cause), { cause });
      for (const id of ids) found.set(id, { lost });
    }
    return found;
  }

  async #heldIn({ shard, atMs }: ReadShard, id: string): Promise<HeldKey | undefined> {
    const { ring, wrapping } = this.#options;
    const forgotten = shard.forgotten.get(id);
    const known = ring.find(id);
    if (forgotten !== undefined) {
      if (known?.bytes !== undefined) {
        known.destroy(forgotten.forgottenAtMs);
        this.#onFoundDestroyed();
      }
      return known ?? ring.add(new SubjectKey(forgotten, forgotten, atMs));
    }
    // The object was read before it was destroyed.
    if (known?.forgottenAtMs !== undefined) return known;
    const stored = shard.keys.get(id);
    if (stored === undefined) return undefined;
    if (known?.bytes !== undefined) {
      known.checkedAtMs = atMs;
      return known;
    }
    try {
      return ring.add(new SubjectKey(stored, { bytes: await wrapping.unwrap(stored) }, atMs));
    } catch (cause) {
      if (cause instanceof EncryptionKeyError) return { lost: cause };
      // The service says that it will be there again: who reads waits, instead of passing over the event.
      if (cause instanceof StorageUnavailableError) throw cause;
      return { lost: new EncryptionKeyError(`its key cannot be unwrapped: ${messageOf(cause)}`, { cause }) };
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An object that does not have a key which it should have. */
export function lostKey(name: string): HeldKey {
  return { lost: new EncryptionKeyError(`its key is lost: the key object ${name} does not have it`) };
}

function lostObject(name: string): HeldKey {
  return { lost: new EncryptionKeyError(`its key is lost: there is no key object ${name}`) };
}
