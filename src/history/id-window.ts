/**
 * The ids of a stretch of the log, in memory while a history is told: whoever looks before one event and then before its
 * neighbour reads each position once.
 */

import type { EventPlace } from "../log/store-reader.ts";
import type { Look } from "./look.ts";

/** The most positions that are held; a stretch elsewhere takes their place. */
const heldPositionsMax = 32_768;
/** A stretch grows by at least so many positions. */
const aheadPositions = 512;

export class IdWindow {
  readonly #look: Look;
  /** In the order of positions: all that there are from `#from` to `#to`. */
  #places: readonly EventPlace[] = [];
  #positions = new Map<string, readonly number[]>();
  #from = 1;
  #to = 0;
  #read = 0;
  #last: number | undefined;

  constructor(look: Look) {
    this.#look = look;
  }

  /** How many positions were read so far. */
  get read(): number {
    return this.#read;
  }

  /** Whether all that was recorded since a time, and up to where it reaches, is in it. */
  holdsSince(timeMs: number): boolean {
    return this.#from === 1 || (this.#places[0]?.recordedAtMs ?? Number.POSITIVE_INFINITY) < timeMs;
  }

  /** The first position that was recorded at or after a time; `undefined` where that is not in it. */
  firstSince(timeMs: number): number | undefined {
    if (!this.holdsSince(timeMs)) return undefined;
    // The first place in [lower, upper] that is not earlier.
    let [lower, upper] = [0, this.#places.length];
    while (lower < upper) {
      const middle = Math.floor((lower + upper) / 2);
      if ((this.#places[middle]?.recordedAtMs ?? 0) < timeMs) lower = middle + 1;
      else upper = middle;
    }
    return this.#places[lower]?.position;
  }

  /** The newest position of an event of that id at or before `to`: from `from` on, or from where the window begins. */
  async find(id: string, from: number, to: number, signal?: AbortSignal): Promise<number | undefined> {
    if (from > to) return undefined;
    const touches = from <= this.#to + 1 && to >= this.#from - 1;
    const all = Math.max(to, this.#to) - Math.min(from, this.#from) + 1;
    if (!touches || all > heldPositionsMax) this.#beginAt(from);
    // Whoever goes on will come back for the next one, and the one after that.
    if (from < this.#from) {
      const start = Math.max(1, Math.min(from, this.#from - aheadPositions));
      this.#places = [...(await this.#take(start, this.#from - 1, signal)), ...this.#places];
      this.#from = start;
    }
    if (to > this.#to) {
      this.#last ??= await this.#look.reader.lastPosition();
      const end = Math.max(to, Math.min(this.#last, this.#to + aheadPositions));
      this.#places = [...this.#places, ...(await this.#take(this.#to + 1, end, signal))];
      this.#to = end;
    }
    return this.#positions.get(id)?.findLast((position) => position <= to);
  }

  #beginAt(from: number): void {
    this.#places = [];
    this.#positions = new Map();
    [this.#from, this.#to] = [from, from - 1];
  }

  async #take(from: number, to: number, signal?: AbortSignal): Promise<readonly EventPlace[]> {
    const found = await Array.fromAsync(this.#look.ids(from, to, signal));
    // All or nothing: a read that fails half-way leaves the window as it was.
    for (const { id, position } of found) {
      const known = this.#positions.get(id);
      const positions = known === undefined ? [position] : [...known, position].sort((one, other) => one - other);
      this.#positions.set(id, positions);
    }
    this.#read += to - from + 1;
    return found;
  }
}
