/**
 * Documents while events are applied to them: what was read from the store below, what the events have made of it above.
 * Handlers do not wait: one that asks for a document that was not read yet is broken off and undone, and run again once it was.
 * Every change can be taken back to a mark, so that an event, or a commit, leaves no trace where it fails.
 */

import { thrownBy } from "../decider/fold.ts";
import { freezeDeeply } from "../decider/freeze.ts";
import { EventStoreError, InvalidArgumentError, InvalidDocumentError } from "../errors.ts";
import { type EncodedPayload, encodePayload } from "../format/payload.ts";
import { documentKey, documentKeyKey } from "../format/processor-keys.ts";
import { type DocumentIndexEntry, documentKeyRow, encodeDocument } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import { checkBySchema } from "../schema/check-by-schema.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection, DocumentChanges } from "./define-projection.ts";

/** A document as it is stored; without `document`, there is none. */
export interface LoadedDocument {
  readonly document: unknown;
  readonly indexed: readonly DocumentIndexEntry[];
  /** It is stored, and cannot be read: whoever asks for it is told so. */
  readonly broken?: Error;
  /** It is broken such that it does not even tell its secondary keys. */
  readonly damaged?: boolean;
}

export const absentDocument: LoadedDocument = { document: undefined, indexed: [] };

/** A document as events have left it. */
interface Staged {
  readonly document: unknown;
  readonly position: number;
  /** Made when they are asked for. */
  encoded?: EncodedPayload;
  indexed?: readonly DocumentIndexEntry[];
}

const noEntries: readonly DocumentIndexEntry[] = [];

interface Change {
  readonly key: string;
  readonly before: Staged | undefined;
}

/** Documents cannot be stored as events have left them: why, by the position of the event that changed each last. */
export class UnstorableDocuments extends Error {
  override readonly name = "UnstorableDocuments";
  readonly reasons: ReadonlyMap<number, unknown>;

  constructor(reasons: ReadonlyMap<number, unknown>) {
    super("Documents cannot be stored");
    this.reasons = reasons;
  }
}

/** Breaks off a handler that asks for what is not loaded. One for all: nobody looks at where it was thrown. */
const notLoaded: Error = new Error("A document was not read yet");

/** The most secondary keys of one document. */
export const indexEntriesMax = 64;

export class DocumentOverlay {
  readonly #projection: AnyProjection;
  readonly #loaded: (key: string) => LoadedDocument | undefined;
  readonly #staged = new Map<string, Staged>();
  readonly #changes: Change[] = [];
  readonly #hasIndexes: boolean;
  #missing: Set<string> = new Set();
  #position = 0;
  #eventKey: string | undefined;
  readonly #docs: DocumentChanges<unknown>;

  /** `loaded`: a document that was read, or is known not to be there; `undefined` where nobody has looked. */
  constructor(projection: AnyProjection, loaded: (key: string) => LoadedDocument | undefined) {
    this.#projection = projection;
    this.#loaded = loaded;
    this.#hasIndexes = Object.keys(projection.indexes).length > 0;
    this.#docs = this.#face();
  }

  /** How many documents have changed. */
  get changed(): number {
    return this.#staged.size;
  }

  mark(): number {
    return this.#changes.length;
  }

  /** The documents that have changed since the mark. */
  changedSince(mark: number): ReadonlySet<string> {
    return new Set(this.#changes.slice(mark).map(({ key }) => key));
  }

  /** Takes back all changes since the mark. */
  undo(mark: number): void {
    while (this.#changes.length > mark) {
      const change = this.#changes.pop();
      if (change === undefined) return;
      if (change.before === undefined) this.#staged.delete(change.key);
      else this.#staged.set(change.key, change.before);
    }
  }

  /**
   * Has the projection handle an event. Answers the keys of documents that have to be read first; then it has left no trace,
   * nor has it where it throws: what the handler did wrong, as a typed error.
   */
  apply(event: RecordedEvent): ReadonlySet<string> {
    const mark = this.mark();
    this.#missing = new Set();
    this.#position = event.position;
    try {
      this.#run(event);
    } catch (error) {
      this.undo(mark);
      if (this.#missing.size === 0) throw error;
    }
    // A handler may have caught what was to break it off.
    if (this.#missing.size > 0) this.undo(mark);
    return this.#missing;
  }

  /** What the event would need to be read, as far as that can be told from what there is. Leaves no trace. */
  scout(event: RecordedEvent): ReadonlySet<string> {
    const mark = this.mark();
    try {
      const missing = this.apply(event);
      return missing;
    } catch {
      // It may only fail because what comes before it was not applied.
      return new Set();
    } finally {
      this.undo(mark);
    }
  }

  /**
   * The bytes that the documents changed since the mark take. Throws `invalid-document` for one that cannot be stored, and
   * `invalid-argument` where its secondary keys cannot be told; what has passed here makes its rows without fail.
   */
  encodeSince(mark: number): number {
    let bytes = 0;
    for (const { key } of this.#changes.slice(mark)) {
      const staged = this.#staged.get(key);
      if (staged === undefined || staged.document === undefined || staged.encoded !== undefined) continue;
      this.#indexed(key, staged);
      bytes += this.#encoded(key, staged).content.length;
    }
    return bytes;
  }

  /** All rows that the changes come to, in the generation's part of the key space. Throws `UnstorableDocuments`. */
  rows(generation: number): KvOperation[] {
    const rows: KvOperation[] = [];
    const reasons = new Map<number, unknown>();
    for (const [key, staged] of this.#staged) {
      try {
        this.#documentRows(key, staged, generation, rows);
      } catch (reason) {
        reasons.set(staged.position, reason);
      }
    }
    if (reasons.size > 0) throw new UnstorableDocuments(reasons);
    return rows;
  }

  /** What is stored once the rows are. */
  *stored(): Generator<readonly [key: string, document: LoadedDocument]> {
    for (const [key, staged] of this.#staged) {
      const { document } = staged;
      yield [key, document === undefined ? absentDocument : { document, indexed: this.#indexed(key, staged) }];
    }
  }

  /**
   * Puts what `change` makes of a document in its place, which must have been read; without one, or where it cannot take the
   * document, that is deleted. Whether there was one.
   */
  erase(key: string, position: number, change: ((document: unknown) => unknown) | undefined): boolean {
    this.#position = position;
    const found = this.#staged.get(key) ?? this.#loaded(key);
    if (found === undefined || (found.document === undefined && !("broken" in found && found.broken))) return false;
    let left: unknown;
    try {
      left = found.document === undefined ? undefined : change?.(found.document);
      this.#write(key, left);
      const staged = this.#staged.get(key);
      if (staged?.document !== undefined) this.#encoded(key, staged);
    } catch {
      // Of an older version, or damaged: what is personal in it must go all the same.
      this.#changes.push({ key, before: this.#staged.get(key) });
      this.#staged.set(key, { document: undefined, position });
    }
    return true;
  }

  /** Nothing so far can be taken back any more. */
  settle(): void {
    this.#changes.length = 0;
  }

  /** A document that events have made; `undefined` where there is none. */
  document(key: string): unknown {
    return this.#staged.get(key)?.document;
  }

  /** The documents that there are, with their keys; for those who keep nothing below. */
  *documents(): Generator<readonly [key: string, document: unknown]> {
    for (const [key, { document }] of this.#staged) if (document !== undefined) yield [key, document];
  }

  /** The secondary keys of a document. */
  indexEntries(key: string, document: unknown): readonly DocumentIndexEntry[] {
    const { name, indexes } = this.#projection;
    const entries: DocumentIndexEntry[] = [];
    for (const [index, valuesOf] of Object.entries(indexes)) {
      let given: unknown;
      try {
        given = valuesOf(document, key);
      } catch (cause) {
        throw thrownBy(`${name}.indexes.${index}`, cause);
      }
      const values: readonly unknown[] = given === undefined ? [] : Array.isArray(given) ? given : [given];
      for (const value of new Set(values)) entries.push([index, checkName(value, `${name}.indexes.${index}`)]);
    }
    if (entries.length > indexEntriesMax)
      throw new InvalidArgumentError(`${name}.indexes`, `give more than ${indexEntriesMax} keys for one document`);
    return entries;
  }

  #indexed(key: string, staged: Staged): readonly DocumentIndexEntry[] {
    const { document } = staged;
    if (!this.#hasIndexes || document === undefined) return noEntries;
    staged.indexed ??= this.indexEntries(key, document);
    return staged.indexed;
  }

  #documentRows(key: string, staged: Staged, generation: number, rows: KvOperation[]): void {
    const row = documentKey(this.#projection.name, generation, key);
    const indexed = this.#indexed(key, staged);
    if (staged.document === undefined) rows.push({ kind: "delete", key: row });
    else {
      const about = { position: staged.position, indexed };
      rows.push({ kind: "put", key: row, value: encodeDocument(row, about, this.#encoded(key, staged)) });
    }
    this.#indexRows(key, indexed, generation, rows);
  }

  #indexRows(key: string, indexed: readonly DocumentIndexEntry[], generation: number, rows: KvOperation[]): void {
    const { name } = this.#projection;
    const before = this.#loaded(key)?.indexed ?? [];
    if (before.length === 0 && indexed.length === 0) return;
    const text = ([index, value]: DocumentIndexEntry): string => JSON.stringify([index, value]);
    const had = new Set(before.map(text));
    const has = new Set(indexed.map(text));
    for (const entry of before) {
      if (!has.has(text(entry)))
        rows.push({ kind: "delete", key: documentKeyKey(name, generation, entry[0], entry[1], key) });
    }
    for (const entry of indexed) {
      if (!had.has(text(entry))) rows.push(documentKeyRow(documentKeyKey(name, generation, entry[0], entry[1], key)));
    }
  }

  #encoded(key: string, staged: Staged): EncodedPayload {
    if (staged.encoded !== undefined) return staged.encoded;
    const encoded = encodePayload(staged.document, "document");
    if ("issues" in encoded)
      throw new InvalidDocumentError(this.#projection.name, key, encoded.issues, { outcome: "not-applied" });
    staged.encoded = encoded;
    return encoded;
  }

  #run(event: RecordedEvent): void {
    const { name, on, onAny, key } = this.#projection;
    const handler = Object.hasOwn(on, event.type) ? on[event.type] : onAny;
    if (handler === undefined) return;
    this.#eventKey = key === undefined ? undefined : this.#keyOf(event, key);
    let result: unknown;
    try {
      result = handler(event, this.#docs);
    } catch (cause) {
      if (cause === notLoaded || cause instanceof EventStoreError) throw cause;
      throw thrownBy(`${name}.on.${event.type}`, cause);
    }
    if (result instanceof Promise) {
      result.catch(() => {});
      const problem = "must not return a promise: handlers of documents do not wait";
      throw new InvalidArgumentError(`${name}.on.${event.type}`, problem, { outcome: "not-applied" });
    }
  }

  #keyOf(event: RecordedEvent, key: (event: RecordedEvent) => unknown): string | undefined {
    const name = `${this.#projection.name}.key`;
    let found: unknown;
    try {
      found = key(event);
    } catch (cause) {
      throw thrownBy(name, cause);
    }
    if (found === undefined) return undefined;
    const checked = checkName(found, name);
    if (this.#find(checked) === undefined) this.#missing.add(checked);
    return checked;
  }

  /** `document` is `undefined` where there is none; the whole is, where nobody has looked. */
  #find(key: string): { readonly document: unknown } | undefined {
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    const loaded = this.#loaded(key);
    if (loaded?.broken !== undefined) throw loaded.broken;
    return loaded;
  }

  #read(given: unknown): unknown {
    const key = checkName(given, "key");
    const found = this.#find(key);
    if (found !== undefined) return found.document;
    this.#missing.add(key);
    throw notLoaded;
  }

  #write(given: unknown, document: unknown): void {
    const key = checkName(given, "key");
    // What it stood under before must be known, to be taken away. The handler may go on meanwhile, and ask for more.
    if (this.#hasIndexes && this.#find(key) === undefined) this.#missing.add(key);
    const kept = document === undefined ? undefined : freezeDeeply(this.#checked(key, document));
    this.#changes.push({ key, before: this.#staged.get(key) });
    this.#staged.set(key, { document: kept, position: this.#position });
  }

  #update(given: unknown, change: (document: unknown) => unknown): void {
    const key = checkName(given, "key");
    const found = this.#find(key);
    // Nobody sees what an update makes before the handler has ended, so it need not be broken off.
    if (found === undefined) this.#missing.add(key);
    else this.#write(key, change(found.document));
  }

  #checked(key: string, document: unknown): unknown {
    const { name, document: schema } = this.#projection;
    const checked = checkBySchema(schema, document, "document", `${name}.document`);
    if ("value" in checked) return checked.value;
    throw new InvalidDocumentError(name, key, checked.issues, { outcome: "not-applied" });
  }

  #face(): DocumentChanges<unknown> {
    const eventKey = (): string => {
      if (this.#eventKey !== undefined) return this.#eventKey;
      throw new InvalidArgumentError(`${this.#projection.name}.key`, "says nothing of this event");
    };
    return {
      get: (key) => this.#read(key),
      set: (key, document) => {
        if (document === undefined) throw new InvalidArgumentError("document", "is missing");
        this.#write(key, document);
      },
      update: (key, change) => this.#update(key, change),
      delete: (key) => this.#write(key, undefined),
      get key() {
        return eventKey();
      },
    };
  }
}
