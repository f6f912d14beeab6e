/**
 * Folded states by decider and stream, the most recently used ones. An entry may be stale: whoever decides on it has its
 * version judged by the commit pipeline. Bounded by count, and roughly by bytes.
 */

import type { AnyDecider } from "./define-decider.ts";
import { weigh } from "./freeze.ts";

/** The most states, and roughly the most bytes of them, that stay in memory. */
export const cachedStatesMax = 16_384;
export const cachedStateBytesMax: number = 32 * 1024 * 1024;
/** A single state that takes more of the cache than this is not kept. */
const entryBytesMax: number = cachedStateBytesMax / 8;
/** How full it is after making room. */
const evictedTo = 0.9;
/** A state is weighed again when its stream has grown by this factor; in between its new events are counted. */
const weighAgainAt = 1.25;

/** A stream's state for a decider. */
export interface FoldedState {
  readonly state: unknown;
  /** How many events the stream has with it. */
  readonly version: number;
}

interface Entry extends FoldedState {
  readonly bytes: number;
  readonly weighedAt: number;
}

/** What an event adds to a state is taken for this much until it is weighed again. */
const bytesPerNewEvent = 256;

export class StateCache {
  /** In the order of their last use, oldest first. */
  readonly #entries = new Map<string, Entry>();
  /** Deciders are told apart by identity: two of one name may evolve differently. */
  readonly #numbers = new WeakMap<AnyDecider, number>();
  #deciders = 0;
  #bytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(decider: AnyDecider, streamName: string): FoldedState | undefined {
    const key = this.#keyOf(decider, streamName);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  put(decider: AnyDecider, streamName: string, folded: FoldedState): void {
    const key = this.#keyOf(decider, streamName);
    const before = this.#entries.get(key);
    this.#remove(key, before);
    const grown = before === undefined ? Number.POSITIVE_INFINITY : folded.version - before.version;
    const weighed = before !== undefined && grown >= 0 && folded.version <= before.weighedAt * weighAgainAt;
    const bytes = weighed ? before.bytes + grown * bytesPerNewEvent : weigh(folded.state);
    if (bytes === undefined || bytes > entryBytesMax) return;
    const weighedAt = weighed ? before.weighedAt : folded.version;
    this.#entries.set(key, { state: folded.state, version: folded.version, bytes, weighedAt });
    this.#bytes += bytes;
    if (this.#entries.size > cachedStatesMax || this.#bytes > cachedStateBytesMax) this.#evict();
  }

  drop(decider: AnyDecider, streamName: string): void {
    const key = this.#keyOf(decider, streamName);
    this.#remove(key, this.#entries.get(key));
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #keyOf(decider: AnyDecider, streamName: string): string {
    let number = this.#numbers.get(decider);
    if (number === undefined) {
      this.#deciders += 1;
      number = this.#deciders;
      this.#numbers.set(decider, number);
    }
    return `${number}:${streamName}`;
  }

  #remove(key: string, entry: Entry | undefined): void {
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  #evict(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= cachedStatesMax * evictedTo && this.#bytes <= cachedStateBytesMax * evictedTo) break;
      this.#remove(key, entry);
    }
  }
}
