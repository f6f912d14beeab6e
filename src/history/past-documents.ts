/**
 * The documents of a projection as of a moment: its log is folded up to there, in memory, when the first document is asked
 * for, and anew once a subject was forgotten. Bounded by events, documents and bytes; what is beyond is refused, because nothing
 * smaller than the fold would do.
 */

import { weigh } from "../decider/freeze.ts";
import { OverloadedError, printable } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { AnyProjection } from "../processors/define-projection.ts";
import { checkKeys, FoldedDocuments } from "../processors/folded-documents.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { PastDocuments } from "./face.ts";
import { inOrderOfHappening, type Look, orderedEventsMax } from "./look.ts";

/** The most events that are folded, unless it is said otherwise. */
export const foldedEventsMax = 1_000_000;
/** The most bytes of documents, roughly, as they lie in memory. */
export const foldedBytesMax: number = 128 * 1024 * 1024;

/** How often the log is folded anew for one read because subjects were forgotten meanwhile. */
const foldsMax = 5;

/** A fold, and how many erasures there had been when it began. */
interface Folding {
  readonly since: number;
  readonly documents: Promise<FoldedDocuments>;
}

export class DocumentsThen implements PastDocuments<unknown> {
  readonly #look: Look;
  readonly #projection: AnyProjection;
  readonly #eventsMax: number;
  readonly #signal: AbortSignal | undefined;
  #folding: Folding | undefined;

  constructor(look: Look, projection: AnyProjection, options: unknown) {
    const given = checkOptions(options, ["eventsMax", "signal"]);
    this.#look = look;
    this.#projection = projection;
    const eventsMax = look.order === "recorded" ? foldedEventsMax : orderedEventsMax;
    this.#eventsMax = checkInteger(given.eventsMax, "eventsMax", 1) ?? eventsMax;
    this.#signal = checkSignal(given.signal);
  }

  async get(key: string): Promise<unknown> {
    const [document] = await this.getMany([key]);
    return document;
  }

  async getMany(keys: readonly string[]): Promise<readonly unknown[]> {
    const names = checkKeys(keys);
    return (await this.#folded()).getMany(names);
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit"]);
    yield* (await this.#folded()).list(given);
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit"]);
    yield* (await this.#folded()).find(index, value, given);
  }

  /** Folded once for all who ask; where it fails, or somebody was forgotten, again for the next one. */
  async #folded(): Promise<FoldedDocuments> {
    const { erasures } = this.#look;
    for (let folds = 1; folds <= foldsMax; folds += 1) {
      const folding = this.#folding?.since === erasures.count ? this.#folding : this.#begin(erasures.count);
      const documents = await folding.documents;
      if (folding.since === erasures.count) return documents;
    }
    throw new OverloadedError(
      `Documents of ${printable(this.#projection.name)} cannot be folded while subjects are forgotten again and again`,
    );
  }

  #begin(since: number): Folding {
    const folding: Folding = { since, documents: this.#fold() };
    this.#folding = folding;
    folding.documents.catch(() => {
      if (this.#folding === folding) this.#folding = undefined;
    });
    return folding;
  }

  async #fold(): Promise<FoldedDocuments> {
    const { reader, order } = this.#look;
    const documents = new FoldedDocuments(this.#projection);
    const to = await reader.lastPosition();
    const events = order === "recorded" ? this.#events() : await inOrderOfHappening(this.#events(), this.#eventsMax);
    const weights = new Map<string, number>();
    let bytes = 0;
    await documents.fold(oneByOne(events), to, (key, document) => {
      const weight = document === undefined ? 0 : key.length * 2 + (weigh(document) ?? foldedBytesMax);
      bytes += weight - (weights.get(key) ?? 0);
      weights.set(key, weight);
      if (bytes > foldedBytesMax) throw this.#tooMuch(`${foldedBytesMax} bytes`);
    });
    return documents;
  }

  async *#events(): AsyncGenerator<RecordedEvent> {
    const { filter = {} } = this.#projection;
    const read = { filter, ...(this.#signal === undefined ? {} : { signal: this.#signal }) };
    let events = 0;
    for await (const event of this.#look.reader.readAll(read)) {
      events += 1;
      if (events > this.#eventsMax) throw this.#tooMuch(`${this.#eventsMax} events`);
      yield event;
    }
  }

  #tooMuch(bound: string): OverloadedError {
    return new OverloadedError(`Documents of ${printable(this.#projection.name)} as of then take more than ${bound}`);
  }
}

async function* oneByOne(
  events: Iterable<RecordedEvent> | AsyncIterable<RecordedEvent>,
): AsyncGenerator<RecordedEvent> {
  yield* events;
}
