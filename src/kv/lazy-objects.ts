/** Objects beside a store that are opened when somebody first asks for them: most stores never do. */

import type { ObjectAccess } from "./objects.ts";

export class LazyObjects {
  readonly #open: () => Promise<ObjectAccess>;
  #opening: Promise<ObjectAccess> | undefined;

  constructor(open: () => Promise<ObjectAccess>) {
    this.#open = open;
  }

  /** The same ones each time. Rejects where they cannot be opened; the next call tries again. */
  get(): Promise<ObjectAccess> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  /** Closes them if they were opened. Never rejects. */
  async close(): Promise<void> {
    await this.#opening?.then((objects) => objects.close()).catch(() => {});
  }
}
