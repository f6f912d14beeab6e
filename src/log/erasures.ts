/**
 * How often subjects were forgotten since the store was opened. What was decoded or folded before must not be kept, or written,
 * after: whoever keeps such things asks here when it began, and is told to drop what it has.
 */

export class Erasures {
  #count = 0;
  readonly #hooks: (() => void)[] = [];

  /** To be taken before anything is read, and compared before what came of it is kept. */
  get count(): number {
    return this.#count;
  }

  /** A key is gone: from here on everything decodes without it. */
  note(): void {
    this.#count += 1;
    for (const hook of this.#hooks) hook();
  }

  /** Calls `drop` whenever a subject was forgotten. It must not throw. */
  add(drop: () => void): void {
    this.#hooks.push(drop);
  }
}
