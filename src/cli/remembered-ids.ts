/** The ids of one stream, as far as they are remembered: all of them up to a bound, beyond it at least the newest half. */

export class RememberedIds {
  #newer = new Set<string>();
  #older = new Set<string>();
  readonly #halfMax: number;

  constructor(idsMax: number) {
    this.#halfMax = Math.max(1, Math.floor(idsMax / 2));
  }

  get size(): number {
    return this.#newer.size + this.#older.size;
  }

  has(id: string): boolean {
    return this.#newer.has(id) || this.#older.has(id);
  }

  add(id: string): void {
    if (this.#newer.size >= this.#halfMax) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    this.#newer.add(id);
  }
}
