/**
 * Documents that are kept nowhere but in memory: folded from events, and read out of what has come of them. Whoever owns one
 * feeds it events in order; a fold that fails stays before the position that it failed at.
 */

import { InvalidArgumentError, OverloadedError, printable } from "../errors.ts";
import { checkInteger } from "../log/arguments.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import { absentDocument, DocumentOverlay } from "./document-overlay.ts";
import { checkBounds, manyKeysMax } from "./documents.ts";
import { HandlingFailure } from "./worker.ts";

/** The most documents that are folded in memory. */
export const foldedDocumentsMax = 100_000;

type Entry = readonly [key: string, document: unknown];

export class FoldedDocuments {
  readonly projection: AnyProjection;
  readonly #overlay: DocumentOverlay;
  #position = 0;

  constructor(projection: AnyProjection) {
    this.projection = projection;
    this.#overlay = new DocumentOverlay(projection, () => absentDocument);
  }

  /** Everything up to here is in it, as far as the log goes in order. */
  get position(): number {
    return this.#position;
  }

  /**
   * Applies events; then all up to `to` is in it. `settled` is told of each document that has changed, and its change can no
   * more be undone. Throws `invalid-argument` for what a handler does wrong, `overloaded` for too many documents.
   */
  async fold(
    events: AsyncIterable<RecordedEvent>,
    to: number,
    settled: (key: string, document: unknown) => void = () => {},
  ): Promise<void> {
    const { name } = this.projection;
    let mark = this.#overlay.mark();
    let at: number | undefined;
    const settle = (): void => {
      for (const key of this.#overlay.changedSince(0)) settled(key, this.#overlay.document(key));
      this.#overlay.settle();
      mark = this.#overlay.mark();
    };
    for await (const event of events) {
      if (event.position !== at) {
        // Everything before this position is in it, should what follows fail.
        if (at === undefined || event.position > at) this.#position = Math.max(this.#position, event.position - 1);
        at = event.position;
        settle();
      }
      try {
        this.#overlay.apply(event);
      } catch (error) {
        this.#overlay.undo(mark);
        throw new InvalidArgumentError(name, new HandlingFailure(name, event, error).message, { cause: error });
      }
      if (this.#overlay.changed > foldedDocumentsMax)
        throw new OverloadedError(`Projection ${printable(name)} has more than ${foldedDocumentsMax} documents`);
    }
    settle();
    this.#position = to;
  }

  getMany(keys: unknown): readonly unknown[] {
    return checkKeys(keys).map((key) => this.#overlay.document(key));
  }

  /** The documents within the bounds that `list` is given, in the order of their keys. */
  list(given: Record<string, unknown>): readonly Entry[] {
    const { prefix, from, to, after } = checkBounds(given);
    const limit = checkInteger(given.limit, "limit", 0);
    const wanted = (key: string): boolean =>
      key.startsWith(prefix) &&
      (from === undefined || !isBefore(key, from)) &&
      (to === undefined || isBefore(key, to)) &&
      (after === undefined || isBefore(after, key));
    return sorted([...this.#overlay.documents()].filter(([key]) => wanted(key))).slice(0, limit);
  }

  /** The documents under a secondary key, in the order of their own. */
  find(index: unknown, value: unknown, given: Record<string, unknown>): readonly Entry[] {
    if (typeof index !== "string" || !Object.hasOwn(this.projection.indexes, index)) {
      const problem = `is not one of ${printable(this.projection.name)}: ${printable(index)}`;
      throw new InvalidArgumentError("index", problem);
    }
    const wanted = checkName(value, "value");
    const { after } = checkBounds({ after: given.after });
    const limit = checkInteger(given.limit, "limit", 0);
    const found = [...this.#overlay.documents()].filter(
      ([key, document]) =>
        (after === undefined || isBefore(after, key)) &&
        this.#overlay.indexEntries(key, document).some(([one, its]) => one === index && its === wanted),
    );
    return sorted(found).slice(0, limit);
  }
}

/** Throws `invalid-argument` for what are no keys, or too many. */
export function checkKeys(keys: unknown): readonly string[] {
  if (!Array.isArray(keys)) throw new InvalidArgumentError("keys", `must be a list, not ${printable(keys)}`);
  if (keys.length > manyKeysMax)
    throw new InvalidArgumentError("keys", `must be at most ${manyKeysMax}, not ${keys.length}`);
  return keys.map((key) => checkName(key, "key"));
}

function isBefore(one: string, other: string): boolean {
  return Buffer.compare(Buffer.from(one), Buffer.from(other)) < 0;
}

function sorted(found: readonly Entry[]): readonly Entry[] {
  return found.toSorted(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}
