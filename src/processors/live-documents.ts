/**
 * Documents that are kept nowhere: folded from the log when somebody reads them. What was folded is kept in memory, and the
 * next read goes on from there, so a read costs what was appended since. For small read models, and to try handlers out.
 */

import { InvalidArgumentError } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { AnyProjection } from "./define-projection.ts";
import type { DocumentReader, WaitForOptions } from "./face.ts";
import { checkKeys, FoldedDocuments } from "./folded-documents.ts";

const freshness = ["atLeast", "timeoutMs", "signal"];

/** The log that documents are folded from. */
export type FoldedLog = Pick<StoreCore, "assertOpen" | "lastPosition" | "readerAt" | "erasures"> & {
  /** Waits for a position that the log has not reached; without it, such a position is a mistake. */
  reach?(position: number, options: WaitForOptions): Promise<void>;
};

export class LiveDocuments implements DocumentReader<unknown, string> {
  readonly #core: FoldedLog;
  #documents: FoldedDocuments;
  #folding: Promise<unknown> = Promise.resolve();

  constructor(core: FoldedLog, projection: AnyProjection) {
    this.#core = core;
    this.#documents = new FoldedDocuments(projection);
    // Folded anew from the beginning, without what was forgotten.
    core.erasures.add(() => {
      this.#documents = new FoldedDocuments(projection);
    });
  }

  async get(key: string, options?: unknown): Promise<unknown> {
    const [document] = await this.getMany([key], options);
    return document;
  }

  async getMany(keys: readonly string[], options?: unknown): Promise<readonly unknown[]> {
    const given = checkOptions(options, freshness);
    const names = checkKeys(keys);
    return (await this.#fold(given)).getMany(names);
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit", ...freshness]);
    yield* (await this.#fold(given)).list(given);
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit", ...freshness]);
    yield* (await this.#fold(given)).find(index, value, given);
  }

  /** What was folded: should somebody be forgotten from here on, the next fold begins anew, and this one stays as it is. */
  async #fold(given: Record<string, unknown>): Promise<FoldedDocuments> {
    const atLeast = checkInteger(given.atLeast, "atLeast", 0) ?? 0;
    const timeoutMs = checkInteger(given.timeoutMs, "timeoutMs", 0);
    const signal = checkSignal(given.signal);
    signal?.throwIfAborted();
    this.#core.assertOpen();
    if (atLeast > this.#core.lastPosition())
      await this.#core.reach?.(atLeast, { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal && { signal }) });
    const last = this.#core.lastPosition();
    if (atLeast > last)
      throw new InvalidArgumentError("atLeast", `is behind the end of the log, which is ${last}: ${atLeast}`);
    const folding = this.#folding.then(() => this.#foldTo(last));
    this.#folding = folding.catch(() => {});
    return await folding;
  }

  async #foldTo(to: number): Promise<FoldedDocuments> {
    for (;;) {
      const documents = this.#documents;
      const { projection, position } = documents;
      if (to > position) {
        const { filter = {} } = projection;
        await documents.fold(this.#core.readerAt(to).readAll({ fromPosition: position + 1, filter }), to);
      }
      // A fold during which something was forgotten has folded for nobody.
      if (documents === this.#documents) return documents;
    }
  }
}
