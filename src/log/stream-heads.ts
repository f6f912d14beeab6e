/** The heads of streams as they are durable: a bounded cache, else one `get`. Only the commit pipeline moves them. */

import { StorageCorruptError } from "../errors.ts";
import { streamHeadKey } from "../format/key-families.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import type { StreamNames } from "./stream-names.ts";

/**
 * Bounds of the cache; a head costs about as much as the events in it, and something for itself. It is kept small, because
 * the collector lets the process grow to several times what is alive.
 */
const cachedHeadsMax = 8_192;
/** How full it is after making room. */
const evictedTo = 0.9;
const cachedBytesMax = 12 * 1024 * 1024;
const bytesPerHead = 256;
const bytesPerEvent = 128;

function costOf(head: StreamHead): number {
  return head.tail.reduce((sum, event) => sum + event.bytes.length + bytesPerEvent, bytesPerHead);
}

/** The heads of some streams, and what is wrong with those that cannot be read. */
export interface FoundHeads {
  readonly heads: ReadonlyMap<string, StreamHead>;
  readonly damaged: ReadonlyMap<string, StorageCorruptError>;
}

export class StreamHeads {
  readonly #kv: KvReader;
  readonly #names: StreamNames | undefined;
  /** In the order of their last use, oldest first. */
  readonly #cache = new Map<string, StreamHead>();
  #cachedBytes = 0;

  /** `names`: which streams exist, where that is known; without it the storage is asked. */
  constructor(kv: KvReader, names?: StreamNames) {
    this.#kv = kv;
    this.#names = names;
  }

  /** The stream's head, or `undefined` where it has no events. */
  async get(streamName: string): Promise<StreamHead | undefined> {
    const cached = this.#touch(streamName);
    if (cached !== undefined) return cached;
    if (this.#names?.mayExist(streamName) === false) return undefined;
    const bytes = await this.#kv.get(streamHeadKey(streamName));
    return bytes === undefined ? undefined : decodeStreamHead(streamName, bytes);
  }

  /** The heads of those streams that have events. To be called between commit groups only: it fills the cache. */
  async getMany(streamNames: Iterable<string>): Promise<FoundHeads> {
    const heads = new Map<string, StreamHead>();
    const damaged = new Map<string, StorageCorruptError>();
    const missing: string[] = [];
    for (const name of new Set(streamNames)) {
      const cached = this.#touch(name);
      if (cached !== undefined) heads.set(name, cached);
      else if (this.#names?.mayExist(name) !== false) missing.push(name);
    }
    if (missing.length === 0) return { heads, damaged };
    const values = await this.#kv.getMany(missing.map(streamHeadKey));
    for (const [index, name] of missing.entries()) {
      const bytes = values[index];
      if (bytes === undefined) continue;
      try {
        const head = decodeStreamHead(name, bytes);
        heads.set(name, head);
        this.put(head);
      } catch (error) {
        if (!(error instanceof StorageCorruptError)) throw error;
        damaged.set(name, error);
      }
    }
    return { heads, damaged };
  }

  /** Takes over a head that has become durable. */
  put(head: StreamHead): void {
    const before = this.#cache.get(head.streamName);
    if (before !== undefined) {
      this.#cachedBytes -= costOf(before);
      this.#cache.delete(head.streamName);
    }
    this.#cache.set(head.streamName, head);
    this.#cachedBytes += costOf(head);
    if (this.#cache.size > cachedHeadsMax || this.#cachedBytes > cachedBytesMax) this.#evict();
  }

  /** Makes room for many: finding the oldest passes over all that was deleted before it, so it is not done for each. */
  #evict(): void {
    for (const [name, oldest] of this.#cache) {
      if (this.#cache.size <= cachedHeadsMax * evictedTo && this.#cachedBytes <= cachedBytesMax * evictedTo) break;
      this.#cache.delete(name);
      this.#cachedBytes -= costOf(oldest);
    }
  }

  #touch(streamName: string): StreamHead | undefined {
    const head = this.#cache.get(streamName);
    if (head === undefined) return undefined;
    this.#cache.delete(streamName);
    this.#cache.set(streamName, head);
    return head;
  }
}
