/**
 * One generation of a projection's documents in the store: reads them through a cache, and keeps that true as commits become
 * durable. Only whoever writes the generation may have one: the cache would not hear of changes by others.
 */

import { freezeDeeply } from "../decider/freeze.ts";
import { InvalidDocumentError, StorageCorruptError } from "../errors.ts";
import { allDocumentKeysSpan, checkpointKey, documentKey, partsOfDocumentKeyKey } from "../format/processor-keys.ts";
import {
  type DocumentIndexEntry,
  decodeDocument,
  decodeRecord,
  type PutRow,
  recordRow,
  type StoredDocument,
} from "../format/processor-records.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { checkBySchema } from "../schema/check-by-schema.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { AnyProjection } from "./define-projection.ts";
import { absentDocument, DocumentOverlay, type LoadedDocument } from "./document-overlay.ts";

/** The most documents, and bytes of them as they are stored, in the cache of one generation. */
export const cachedDocumentsMax = 50_000;
export const cachedBytesMax: number = 8 * 1024 * 1024;
/** How many documents are read at once. */
const readAtOnce = 1_000;
/** What a document counts for besides its bytes. */
const bytesPerDocument = 128;

interface Cached extends LoadedDocument {
  readonly bytes: number;
}

/** How events are applied. */
export interface ApplyOptions {
  /** Decides about an event that its handler throws at: by throwing, or by going on without it. */
  failed(event: RecordedEvent, error: unknown): void;
  /** Events, by position, that are known to fail, and why. */
  readonly refused?: ReadonlyMap<number, unknown>;
  /** Ends when so many documents have changed. Default: with the events. */
  readonly changedMax?: number;
}

/** A document as it is stored. Throws `invalid-document`, without issues, for a damaged one. */
export function decodeStored(projection: string, key: string, row: Uint8Array, value: Uint8Array): StoredDocument {
  try {
    return decodeDocument({ key: row, value }, key);
  } catch (cause) {
    if (cause instanceof StorageCorruptError) throw new InvalidDocumentError(projection, key, [], { cause });
    throw cause;
  }
}

function checked({ name, document: schema }: AnyProjection, key: string, { document }: StoredDocument): unknown {
  const result = checkBySchema(schema, document, "document", `${name}.document`);
  if ("issues" in result) throw new InvalidDocumentError(name, key, result.issues);
  return result.value;
}

/** A stored document, checked. Throws `invalid-document`, naming its key, for a damaged one, and one against the schema. */
export function readDocument(
  projection: AnyProjection,
  key: string,
  row: Uint8Array,
  value: Uint8Array,
): StoredDocument {
  const stored = decodeStored(projection.name, key, row, value);
  return { ...stored, document: checked(projection, key, stored) };
}

export class DocumentStore {
  readonly #core: StoreCore;
  readonly #projection: AnyProjection;
  readonly generation: number;
  /** The least recently used first. */
  readonly #cache = new Map<string, Cached>();
  #cachedBytes = 0;
  /** Whether all that is stored is in the cache, as it is where nothing was stored when this began and all has fitted since. */
  #isComplete = false;
  /** Read for the changes under way, however many. */
  #fetched = new Map<string, LoadedDocument>();

  constructor(core: StoreCore, projection: AnyProjection, generation: number) {
    this.#core = core;
    this.#projection = projection;
    this.generation = generation;
  }

  get checkpointKey(): Buffer {
    return checkpointKey(this.#projection.name, this.generation);
  }

  async loadCheckpoint(): Promise<number> {
    const key = this.checkpointKey;
    const value = await this.#core.rows.get(key);
    return value === undefined ? 0 : (decodeRecord("checkpoint", { key, value }) as { position: number }).position;
  }

  /** Nothing is stored yet: what is not in the cache need not be looked for, for as long as all of it fits. */
  startsEmpty(): void {
    this.#isComplete = true;
  }

  checkpointRow(position: number): PutRow {
    return recordRow("checkpoint", this.checkpointKey, { position });
  }

  /** Changes to begin with. One at a time: what the last ones fetched is forgotten. */
  overlay(): DocumentOverlay {
    this.#fetched = new Map();
    const unknown = (): LoadedDocument | undefined => (this.#isComplete ? absentDocument : undefined);
    return new DocumentOverlay(this.#projection, (key) => this.#cache.get(key) ?? this.#fetched.get(key) ?? unknown());
  }

  /**
   * Applies events in order, reading what they need. Answers how many events were applied: never some of one position and not
   * the others.
   */
  async apply(
    overlay: DocumentOverlay,
    events: readonly RecordedEvent[],
    { failed, refused, changedMax = Number.POSITIVE_INFINITY }: ApplyOptions,
  ): Promise<number> {
    let next = 0;
    const isFull = (): boolean =>
      overlay.changed >= changedMax && events[next]?.position !== events[next - 1]?.position;
    while (next < events.length && !isFull()) {
      const missing = new Set<string>();
      for (let index = next; index < events.length; index += 1) {
        const event = events[index];
        if (event === undefined || (missing.size === 0 && isFull())) break;
        // Behind the first that lacks something the others are only asked what they will need.
        if (missing.size > 0) {
          for (const key of overlay.scout(event)) missing.add(key);
          if (missing.size >= readAtOnce) break;
          continue;
        }
        try {
          if (refused?.has(event.position) === true) throw refused.get(event.position);
          for (const key of overlay.apply(event)) missing.add(key);
        } catch (error) {
          failed(event, error);
        }
        if (missing.size === 0) next = index + 1;
      }
      if (missing.size > 0) await this.load(missing);
    }
    return next;
  }

  /** Reads documents, so that the changes under way find them. */
  async load(keys: Iterable<string>): Promise<void> {
    const wanted = [...keys].filter((key) => !this.#cache.has(key) && !this.#fetched.has(key));
    for (let at = 0; at < wanted.length; at += readAtOnce) {
      const some = wanted.slice(at, at + readAtOnce);
      const rows = some.map((key) => documentKey(this.#projection.name, this.generation, key));
      const values = await this.#core.rows.getMany(rows);
      for (const [index, key] of some.entries()) {
        const value = values[index];
        const row = rows[index];
        if (value === undefined || row === undefined) {
          this.#fetched.set(key, absentDocument);
          continue;
        }
        this.#fetched.set(key, this.#read(key, row, value));
      }
    }
  }

  /** The same for documents that will go: damaged ones, which do not tell their secondary keys, are looked for among all of these. */
  async loadToErase(keys: readonly string[]): Promise<void> {
    await this.load(keys);
    const damaged = new Map<string, DocumentIndexEntry[]>();
    for (const key of keys) if (this.#fetched.get(key)?.damaged === true) damaged.set(key, []);
    if (damaged.size === 0) return;
    const cursor = await this.#core.rows.scan(allDocumentKeysSpan(this.#projection.name, this.generation), "replay");
    try {
      for (let rows = await cursor.next(readAtOnce); rows.length > 0; rows = await cursor.next(readAtOnce)) {
        for (const row of rows) {
          const { index, value, key } = partsOfDocumentKeyKey(row.key);
          damaged.get(key)?.push([index, value]);
        }
      }
    } finally {
      cursor.close();
    }
    for (const [key, indexed] of damaged)
      this.#fetched.set(key, { ...absentDocument, ...this.#fetched.get(key), indexed });
  }

  /** What an overlay of this store has changed is durable. */
  confirm(overlay: DocumentOverlay, bytes: number): void {
    const each = Math.ceil(bytes / Math.max(1, overlay.changed)) + bytesPerDocument;
    for (const [key, document] of overlay.stored()) this.#keep(key, document, each);
    this.#fetched = new Map();
  }

  /** After a failure nobody knows what is stored. */
  forget(): void {
    this.#isComplete = false;
    this.#cache.clear();
    this.#cachedBytes = 0;
    this.#fetched = new Map();
  }

  #read(key: string, row: Uint8Array, value: Uint8Array): LoadedDocument {
    let indexed: readonly DocumentIndexEntry[] | undefined;
    try {
      const stored = decodeStored(this.#projection.name, key, row, value);
      // It stands under these whether or not it is what the schema says.
      indexed = stored.indexed;
      return { document: freezeDeeply(checked(this.#projection, key, stored)), indexed };
    } catch (error) {
      if (!(error instanceof InvalidDocumentError)) throw error;
      const { projection, issues } = error;
      const broken = new InvalidDocumentError(projection, key, issues, { cause: error, outcome: "not-applied" });
      return { document: undefined, indexed: indexed ?? [], broken, damaged: indexed === undefined };
    }
  }

  #keep(key: string, document: LoadedDocument, bytes: number): void {
    this.#drop(key);
    this.#cache.set(key, { ...document, bytes });
    this.#cachedBytes += bytes;
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= cachedDocumentsMax && this.#cachedBytes <= cachedBytesMax) break;
      this.#isComplete = false;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    this.#cachedBytes -= this.#cache.get(key)?.bytes ?? 0;
    this.#cache.delete(key);
  }
}
