/**
 * Documents that are kept nowhere: folded from the log when somebody reads them. What was folded is kept in memory, and the
 * next read goes on from there, so a read costs what was appended since. For small read models, and to try handlers out.
 */

import { InvalidArgumentError } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { AnyProjection } from "./define-projection.ts";
import type { DocumentReader, WaitForOptions } from "./face.ts";
import { checkKeys, FoldedDocuments, foldedDocumentsMax } from "./folded-documents.ts";

/** The most documents that a live projection may have. */
export const liveDocumentsMax: number = foldedDocumentsMax;
const freshness = ["atLeast", "timeoutMs", "signal"];

/** The log that documents are folded from. */
export type FoldedLog = Pick<StoreCore, "assertOpen" | "lastPosition" | "readerAt" | "erasures"> & {
  /** Waits for a position that the log has not reached; without it, such a position is a mistake. */
  reach?(position: number, options: WaitForOptions): Promise<void>;
};

export class LiveDocuments implements DocumentReader<unknown, string> {
  readonly #core: FoldedLog;
  #documents: FoldedDocuments;
  #folding: Promise<void> = Promise.resolve();

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
    await this.#fold(given);
    return this.#documents.getMany(names);
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit", ...freshness]);
    await this.#fold(given);
    yield* this.#documents.list(given);
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit", ...freshness]);
    await this.#fold(given);
    yield* this.#documents.find(index, value, given);
  }

  async #fold(given: Record<string, unknown>): Promise<void> {
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
    await folding;
  }

  async #foldTo(to: number): Promise<void> {
    // A fold during which something was forgotten has folded for nobody.
    for (let documents: FoldedDocuments | undefined; documents !== this.#documents; ) {
      documents = this.#documents;
      const { projection, position } = documents;
      if (to <= position) continue;
      const { filter = {} } = projection;
      await documents.fold(this.#core.readerAt(to).readAll({ fromPosition: position + 1, filter }), to);
    }
  }
}
