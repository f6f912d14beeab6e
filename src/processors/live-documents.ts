/**
 * Documents that are kept nowhere: folded from the log when somebody reads them. What was folded is kept in memory, and the
 * next read goes on from there, so a read costs what was appended since. For small read models, and to try handlers out.
 */

import { InvalidArgumentError, OverloadedError, printable } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import { absentDocument, DocumentOverlay } from "./document-overlay.ts";
import { checkBounds } from "./documents.ts";
import type { DocumentReader } from "./face.ts";
import { HandlingFailure } from "./worker.ts";

/** The most documents that a live projection may have. */
export const liveDocumentsMax = 100_000;
const freshness = ["atLeast", "timeoutMs", "signal"];

export class LiveDocuments implements DocumentReader<unknown, string> {
  readonly #core: StoreCore;
  readonly #projection: AnyProjection;
  #overlay: DocumentOverlay;
  #position = 0;
  #folding: Promise<void> = Promise.resolve();

  constructor(core: StoreCore, projection: AnyProjection) {
    this.#core = core;
    this.#projection = projection;
    this.#overlay = new DocumentOverlay(projection, () => absentDocument);
    core.erasures.add(() => this.#dropDecoded());
  }

  async get(key: string, options?: unknown): Promise<unknown> {
    const [document] = await this.getMany([key], options);
    return document;
  }

  async getMany(keys: readonly string[], options?: unknown): Promise<readonly unknown[]> {
    const given = checkOptions(options, freshness);
    if (!Array.isArray(keys)) throw new InvalidArgumentError("keys", `must be a list, not ${printable(keys)}`);
    const names: readonly string[] = keys.map((key) => checkName(key, "key"));
    await this.#fold(given);
    return names.map((key) => this.#overlay.document(key));
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit", ...freshness]);
    const { prefix, from, to, after } = checkBounds(given);
    const limit = checkInteger(given.limit, "limit", 0);
    await this.#fold(given);
    const before = (one: string, other: string): boolean => Buffer.compare(Buffer.from(one), Buffer.from(other)) < 0;
    const wanted = (key: string): boolean =>
      key.startsWith(prefix) &&
      (from === undefined || !before(key, from)) &&
      (to === undefined || before(key, to)) &&
      (after === undefined || before(after, key));
    const found = [...this.#overlay.documents()].filter(([key]) => wanted(key));
    yield* sorted(found).slice(0, limit);
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit", ...freshness]);
    if (typeof index !== "string" || !Object.hasOwn(this.#projection.indexes, index)) {
      const problem = `is not one of ${printable(this.#projection.name)}: ${printable(index)}`;
      throw new InvalidArgumentError("index", problem);
    }
    const { after } = checkBounds({ after: given.after });
    const limit = checkInteger(given.limit, "limit", 0);
    await this.#fold(given);
    const found = [...this.#overlay.documents()].filter(([key, document]) => {
      const entries = this.#overlay.indexEntries(key, document);
      return entries.some(([one, its]) => one === index && its === value);
    });
    const behind = sorted(found).filter(
      ([key]) => after === undefined || Buffer.compare(Buffer.from(after), Buffer.from(key)) < 0,
    );
    yield* behind.slice(0, limit);
  }

  async #fold(given: Record<string, unknown>): Promise<void> {
    const atLeast = checkInteger(given.atLeast, "atLeast", 0) ?? 0;
    checkInteger(given.timeoutMs, "timeoutMs", 0);
    const signal = checkSignal(given.signal);
    signal?.throwIfAborted();
    this.#core.assertOpen();
    const last = this.#core.lastPosition();
    if (atLeast > last)
      throw new InvalidArgumentError("atLeast", `is behind the end of the log, which is ${last}: ${atLeast}`);
    const folding = this.#folding.then(() => this.#foldTo(last));
    this.#folding = folding.catch(() => {});
    await folding;
  }

  /** Folds anew from the beginning, without what was forgotten. A fold under way begins again. */
  #dropDecoded(): void {
    this.#overlay = new DocumentOverlay(this.#projection, () => absentDocument);
    this.#position = 0;
  }

  async #foldTo(to: number): Promise<void> {
    for (let overlay: DocumentOverlay | undefined; overlay !== this.#overlay; ) {
      overlay = this.#overlay;
      await this.#foldOnto(overlay, to);
    }
  }

  /** Stops early where the documents were dropped meanwhile. */
  async #foldOnto(overlay: DocumentOverlay, to: number): Promise<void> {
    const { name, filter = {} } = this.#projection;
    if (to <= this.#position) return;
    const read = this.#core.readerAt(to).readAll({ fromPosition: this.#position + 1, filter });
    let mark = overlay.mark();
    let at = this.#position;
    for await (const event of read) {
      if (overlay !== this.#overlay) return;
      if (event.position !== at) {
        // Everything before this position is in it, should what follows fail.
        this.#position = event.position - 1;
        at = event.position;
        mark = overlay.mark();
      }
      try {
        overlay.apply(event);
      } catch (error) {
        overlay.undo(mark);
        throw new InvalidArgumentError(name, new HandlingFailure(name, event, error).message, { cause: error });
      }
      if (overlay.changed > liveDocumentsMax)
        throw new OverloadedError(`Projection ${printable(name)} has more than ${liveDocumentsMax} documents`);
    }
    if (overlay !== this.#overlay) return;
    this.#position = to;
    overlay.settle();
  }
}

function sorted(found: readonly (readonly [string, unknown])[]): (readonly [string, unknown])[] {
  return found.toSorted(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}
