/**
 * The ids of a stretch of the log, in memory while a history is told: whoever looks before one event and then before its
 * neighbour reads each position once. Bounded by positions, and by how many are read in all.
 */

import type { Look } from "./look.ts";

/** The most positions that are held; a stretch elsewhere takes their place. */
const heldPositionsMax = 32_768;
/** A stretch grows by at least so many positions. */
const aheadPositions = 512;
export class IdWindow {
  readonly #look: Look;
  #positions = new Map<string, readonly number[]>();
  #from = 1;
  #to = 0;
  #firstRecordedAtMs = 0;
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
    return this.#from === 1 || this.#firstRecordedAtMs < timeMs;
  }

  /** The newest position of an event of that id at or before `to`: from `from` on, or from where the window begins. */
  async find(id: string, from: number, to: number, signal?: AbortSignal): Promise<number | undefined> {
    if (from > to) return undefined;
    const touches = from <= this.#to + 1 && to >= this.#from - 1;
    const all = Math.max(to, this.#to) - Math.min(from, this.#from) + 1;
    if (!touches || all > heldPositionsMax) {
      this.#positions = new Map();
      [this.#from, this.#to] = [from, from - 1];
    }
    // Whoever goes on will come back for the next one, and the one after that.
    if (from < this.#from) {
      const start = Math.max(1, Math.min(from, this.#from - aheadPositions));
      await this.#take(start, this.#from - 1, signal);
      this.#from = start;
    }
    if (to > this.#to) {
      this.#last ??= await this.#look.reader.lastPosition();
      const end = Math.max(to, Math.min(this.#last, this.#to + aheadPositions));
      await this.#take(this.#to + 1, end, signal);
      this.#to = end;
    }
    return this.#positions.get(id)?.findLast((position) => position <= to);
  }

  async #take(from: number, to: number, signal?: AbortSignal): Promise<void> {
    const found = await Array.fromAsync(this.#look.ids(from, to, signal));
    // All or nothing: a read that fails half-way leaves the window as it was.
    if (from <= this.#from) this.#firstRecordedAtMs = found[0]?.recordedAtMs ?? 0;
    for (const { id, position } of found) {
      const known = this.#positions.get(id) ?? [];
      this.#positions.set(
        id,
        [...known, position].sort((one, other) => one - other),
      );
    }
    this.#read += to - from + 1;
  }
}
