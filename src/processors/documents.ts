/**
 * Reads the documents of a projection, in the writer's process or on a replica: of the generation that serves, as they are
 * durable. Which that is, is asked again behind each read, and where it has changed meanwhile the read is done again: what a
 * switch has replaced may be gone in part. A document that is damaged, or does not satisfy the schema, is an error that names
 * its key. Those of an older version of the projection are handed out as they are, unchecked: they have that one's shape.
 */

import { freezeDeeply } from "../decider/freeze.ts";
import { InvalidArgumentError, OverloadedError, printable } from "../errors.ts";
import {
  documentKey,
  documentKeyKey,
  documentKeySpan,
  documentSpan,
  keyOfDocumentKey,
  keyOfDocumentKeyKey,
} from "../format/processor-keys.ts";
import type { StoredDocument } from "../format/processor-records.ts";
import type { KvRange, KvReader, KvRow } from "../kv/kv.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import { decodeStored, readDocument } from "./document-store.ts";
import type { DocumentReader, WaitForOptions } from "./face.ts";

/** How many documents are read at once. */
const rowsAtOnce = 100;
/** The most keys of one `getMany`. */
export const manyKeysMax = 10_000;

/** The generation that serves. */
export interface ServingGeneration {
  readonly generation: number;
  /** Whether the projection as it is here has made it. */
  readonly isCurrent: boolean;
}

export interface DocumentsOptions {
  readonly projection: AnyProjection;
  readonly rows: KvReader;
  serving(): ServingGeneration | Promise<ServingGeneration>;
  /** Resolves once the documents can be read, and are as fresh as asked for. Throws where they cannot. */
  fresh(freshness: Freshness): Promise<void>;
}

/** How fresh documents must be, checked. */
export interface Freshness extends WaitForOptions {
  readonly atLeast?: number;
}

function checkFreshness(given: Record<string, unknown>): Freshness {
  const atLeast = checkInteger(given.atLeast, "atLeast", 0);
  const timeoutMs = checkInteger(given.timeoutMs, "timeoutMs", 0);
  const signal = checkSignal(given.signal);
  return {
    ...(atLeast === undefined ? {} : { atLeast }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(signal === undefined ? {} : { signal }),
  };
}

const freshness = ["atLeast", "timeoutMs", "signal"];

export class StoredDocuments implements DocumentReader<unknown, string> {
  readonly #options: DocumentsOptions;
  /** What served last; what it was is looked at again behind each read. */
  #serving: ServingGeneration | undefined;

  constructor(options: DocumentsOptions) {
    this.#options = options;
  }

  async get(key: string, options?: unknown): Promise<unknown> {
    const [document] = await this.getMany([key], options);
    return document;
  }

  async getMany(keys: readonly string[], options?: unknown): Promise<readonly unknown[]> {
    const given = checkFreshness(checkOptions(options, freshness));
    if (!Array.isArray(keys)) throw new InvalidArgumentError("keys", `must be a list, not ${printable(keys)}`);
    if (keys.length > manyKeysMax)
      throw new InvalidArgumentError("keys", `must be at most ${manyKeysMax}, not ${keys.length}`);
    for (const key of keys) checkName(key, "key");
    await this.#options.fresh(given);
    for (;;) {
      const serving = this.#serving ?? (await this.#ask());
      const documents = await this.#read(keys, serving);
      // What is removed after a switch must not look as if it had never been.
      if (await this.#stillServes(serving)) return documents.map((read) => read()?.document);
    }
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit", ...freshness]);
    const bounds = checkBounds(given);
    const limit = checkInteger(given.limit, "limit", 0) ?? Number.POSITIVE_INFINITY;
    await this.#options.fresh(checkFreshness(given));
    const { name } = this.#options.projection;
    const spanIn = (generation: number, after: string | undefined): KvRange =>
      rangeOf(name, generation, after === undefined ? bounds : { ...bounds, after });
    let left = limit;
    if (left <= 0) return;
    for await (const [rows, serving] of this.#pages(spanIn, keyOfDocumentKey, checkSignal(given.signal))) {
      for (const { key: row, value } of rows) {
        const key = keyOfDocumentKey(row);
        yield [key, this.#decode(key, row, value, serving).document];
        left -= 1;
        if (left <= 0) return;
      }
    }
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit", ...freshness]);
    const { projection } = this.#options;
    const { name } = projection;
    if (typeof index !== "string" || !Object.hasOwn(projection.indexes, index))
      throw new InvalidArgumentError("index", `is not one of ${printable(name)}: ${printable(index)}`);
    checkName(value, "value");
    const first = given.after === undefined ? undefined : checkName(given.after, "after");
    let left = checkInteger(given.limit, "limit", 0) ?? Number.POSITIVE_INFINITY;
    await this.#options.fresh(checkFreshness(given));
    if (left <= 0) return;
    const spanIn = (generation: number, after = first): KvRange => {
      const span = documentKeySpan(name, generation, index, value);
      if (after === undefined) return span;
      return { ...span, start: behind(documentKeyKey(name, generation, index, value, after)) };
    };
    for await (const [, , found] of this.#pages(spanIn, keyOfDocumentKeyKey, checkSignal(given.signal), true)) {
      for (const [key, read] of found) {
        const stored = read();
        // It may have changed since its key was read.
        if (stored?.indexed.some(([one, its]) => one === index && its === value) !== true) continue;
        yield [key, stored.document];
        left -= 1;
        if (left <= 0) return;
      }
    }
  }

  /**
   * Rows in order, in pages that are each of the generation which served when they were read: after a switch it goes on behind
   * the last key. With `andDocuments` a page comes with the documents that its keys lead to.
   */
  async *#pages(
    spanIn: (generation: number, after?: string) => KvRange,
    keyOf: (row: Uint8Array) => string,
    signal: AbortSignal | undefined,
    andDocuments = false,
  ): AsyncGenerator<readonly [rows: readonly KvRow[], serving: ServingGeneration, documents: readonly Found[]]> {
    let after: string | undefined;
    for (;;) {
      const serving = await this.#ask();
      const cursor = await this.#options.rows.scan(spanIn(serving.generation, after), "lookup");
      try {
        for (;;) {
          signal?.throwIfAborted();
          const rows = await cursor.next(rowsAtOnce);
          const keys = rows.map(({ key }) => keyOf(key));
          const documents = andDocuments ? await this.#read(keys, serving) : [];
          if (!(await this.#stillServes(serving))) break;
          if (rows.length === 0) return;
          after = keys.at(-1);
          yield [rows, serving, documents.map((read, index) => [keys[index] ?? "", read] as const)];
        }
      } finally {
        cursor.close();
      }
    }
  }

  /** Documents as they are stored; each is decoded when it is known that they may be handed out. */
  async #read(
    keys: readonly string[],
    serving: ServingGeneration,
  ): Promise<readonly (() => StoredDocument | undefined)[]> {
    const { projection, rows: reader } = this.#options;
    const rows = keys.map((key) => documentKey(projection.name, serving.generation, key));
    const values = await reader.getMany(rows);
    return keys.map((key, index) => () => {
      const row = rows[index];
      const value = values[index];
      return row === undefined || value === undefined ? undefined : this.#decode(key, row, value, serving);
    });
  }

  async #ask(): Promise<ServingGeneration> {
    this.#serving = await this.#options.serving();
    return this.#serving;
  }

  async #stillServes({ generation }: ServingGeneration): Promise<boolean> {
    return (await this.#ask()).generation === generation;
  }

  #decode(key: string, row: Uint8Array, value: Uint8Array, { isCurrent }: ServingGeneration): StoredDocument {
    const { projection } = this.#options;
    const stored = isCurrent
      ? readDocument(projection, key, row, value)
      : // Of another version: it is what that made it.
        decodeStored(projection.name, key, row, value);
    return { ...stored, document: freezeDeeply(stored.document) };
  }
}

type Found = readonly [key: string, read: () => StoredDocument | undefined];

/** Waits for the documents of the writer's own process: until they are ready, and the processor has come far enough. */
export function freshInStore(options: {
  readonly core: StoreCore;
  readonly name: string;
  /** Resolves once documents are what they should be; `undefined` where they always are. */
  ready(): Promise<void> | undefined;
  waitFor(name: string, position: number, options: WaitForOptions): Promise<void>;
}): (freshness: Freshness) => Promise<void> {
  const { core, name, ready, waitFor } = options;
  return async ({ atLeast, ...limits }) => {
    core.assertOpen();
    const { signal, timeoutMs = core.timeoutMs } = limits;
    signal?.throwIfAborted();
    const isReady = ready();
    if (isReady !== undefined) {
      const late = new AbortController();
      try {
        await Promise.race([
          isReady,
          pause(timeoutMs, signal === undefined ? late.signal : AbortSignal.any([late.signal, signal])).then(() => {
            signal?.throwIfAborted();
            throw new OverloadedError(`Projection ${printable(name)} is still being built after ${timeoutMs} ms`);
          }),
        ]);
      } finally {
        late.abort();
      }
    }
    if (atLeast !== undefined) await waitFor(name, atLeast, limits);
  };
}

interface Bounds {
  readonly prefix: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly after: string | undefined;
}

export function checkBounds(given: Record<string, unknown>): Bounds {
  const name = (argument: "from" | "to" | "after"): string | undefined =>
    given[argument] === undefined ? undefined : checkName(given[argument], argument);
  const prefix = given.prefix === undefined || given.prefix === "" ? "" : checkName(given.prefix, "prefix");
  return { prefix, from: name("from"), to: name("to"), after: name("after") };
}

function behind(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

function rangeOf(projection: string, generation: number, { prefix, from, to, after }: Bounds): KvRange {
  const span = documentSpan(projection, generation, prefix);
  const starts = [span.start];
  if (from !== undefined) starts.push(documentKey(projection, generation, from));
  if (after !== undefined) starts.push(behind(documentKey(projection, generation, after)));
  const ends = [span.end];
  if (to !== undefined) ends.push(documentKey(projection, generation, to));
  const start = starts.reduce((one, other) => (Buffer.compare(one, other) >= 0 ? one : other));
  const end = ends.reduce((one, other) => (Buffer.compare(one, other) <= 0 ? one : other));
  return { start, end };
}
