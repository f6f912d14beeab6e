/**
 * Reads the documents of a projection: of the generation that serves, as they are durable. A document that is damaged, or does
 * not satisfy the schema, is an error that names its key. While a new version is built the documents of the old one are handed
 * out as they are, unchecked: they have the old one's shape.
 */

import { freezeDeeply } from "../decider/freeze.ts";
import {
  InvalidArgumentError,
  InvalidDocumentError,
  OverloadedError,
  printable,
  StorageCorruptError,
} from "../errors.ts";
import {
  documentKey,
  documentKeyKey,
  documentKeySpan,
  documentSpan,
  keyOfDocumentKey,
  keyOfDocumentKeyKey,
} from "../format/processor-keys.ts";
import { decodeDocument, type StoredDocument } from "../format/processor-records.ts";
import type { KvRange } from "../kv/kv.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import { readDocument } from "./document-store.ts";
import type { DocumentReader, WaitForOptions } from "./face.ts";
import type { Generations } from "./generations.ts";

/** How many documents are read at once. */
const rowsAtOnce = 100;
/** The most keys of one `getMany`. */
export const manyKeysMax = 10_000;

export interface DocumentsOptions {
  readonly core: StoreCore;
  readonly projection: AnyProjection;
  readonly generations: Generations;
  /** Resolves once documents are what they should be; `undefined` where they always are. */
  ready(): Promise<void> | undefined;
  waitFor(name: string, position: number, options: WaitForOptions): Promise<void>;
}

interface Freshness extends WaitForOptions {
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
    await this.#wait(given);
    for (;;) {
      const generation = this.#generation();
      const rows = keys.map((key) => documentKey(this.#options.projection.name, generation, key));
      const values = await this.#options.core.rows.getMany(rows);
      // What is removed after a switch must not look as if it had never been.
      if (generation !== this.#generation()) continue;
      return keys.map((key, index) => this.#decode(key, rows[index], values[index])?.document);
    }
  }

  async *list(options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["prefix", "from", "to", "after", "limit", ...freshness]);
    const bounds = checkBounds(given);
    const limit = checkInteger(given.limit, "limit", 0) ?? Number.POSITIVE_INFINITY;
    await this.#wait(checkFreshness(given));
    const signal = checkSignal(given.signal);
    const { name } = this.#options.projection;
    const spanIn = (generation: number, after: string | undefined): KvRange =>
      rangeOf(name, generation, after === undefined ? bounds : { ...bounds, after });
    let left = limit;
    for await (const [key, row, value] of this.#rows(spanIn, keyOfDocumentKey, signal)) {
      if (left <= 0) return;
      const stored = this.#decode(key, row, value);
      if (stored === undefined) continue;
      left -= 1;
      yield [key, stored.document];
      if (left <= 0) return;
    }
  }

  async *find(index: string, value: string, options?: unknown): AsyncGenerator<readonly [string, unknown]> {
    const given = checkOptions(options, ["after", "limit", ...freshness]);
    const { projection, core } = this.#options;
    const { name } = projection;
    if (typeof index !== "string" || !Object.hasOwn(projection.indexes, index))
      throw new InvalidArgumentError("index", `is not one of ${printable(name)}: ${printable(index)}`);
    checkName(value, "value");
    const first = given.after === undefined ? undefined : checkName(given.after, "after");
    let left = checkInteger(given.limit, "limit", 0) ?? Number.POSITIVE_INFINITY;
    await this.#wait(checkFreshness(given));
    const spanIn = (generation: number, after = first): KvRange => {
      const span = documentKeySpan(name, generation, index, value);
      if (after === undefined) return span;
      return { ...span, start: behind(documentKeyKey(name, generation, index, value, after)) };
    };
    for await (const [key] of this.#rows(spanIn, keyOfDocumentKeyKey, checkSignal(given.signal))) {
      if (left <= 0) return;
      const row = documentKey(name, this.#generation(), key);
      const stored = this.#decode(key, row, await core.rows.get(row));
      // It may have changed since its key was read.
      if (stored?.indexed.some(([one, its]) => one === index && its === value) !== true) continue;
      left -= 1;
      yield [key, stored.document];
    }
  }

  /** Rows in order, from the generation that serves at each moment: after a switch it goes on behind the last key. */
  async *#rows(
    spanIn: (generation: number, after?: string) => KvRange,
    keyOf: (row: Uint8Array) => string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly [key: string, row: Uint8Array, value: Uint8Array]> {
    let after: string | undefined;
    for (;;) {
      const generation = this.#generation();
      const cursor = await this.#options.core.rows.scan(spanIn(generation, after), "lookup");
      try {
        while (generation === this.#generation()) {
          signal?.throwIfAborted();
          const rows = await cursor.next(rowsAtOnce);
          if (rows.length === 0) return;
          for (const { key: row, value } of rows) {
            after = keyOf(row);
            yield [after, row, value];
          }
        }
      } finally {
        cursor.close();
      }
    }
  }

  async #wait({ atLeast, ...options }: Freshness): Promise<void> {
    const { core, projection, waitFor, ready } = this.#options;
    core.assertOpen();
    const { signal, timeoutMs = core.timeoutMs } = options;
    signal?.throwIfAborted();
    const isReady = ready();
    if (isReady !== undefined) {
      const late = new AbortController();
      try {
        await Promise.race([
          isReady,
          pause(timeoutMs, signal === undefined ? late.signal : AbortSignal.any([late.signal, signal])).then(() => {
            signal?.throwIfAborted();
            const problem = `is still being built after ${timeoutMs} ms`;
            throw new OverloadedError(`Projection ${printable(projection.name)} ${problem}`);
          }),
        ]);
      } finally {
        late.abort();
      }
    }
    if (atLeast !== undefined) await waitFor(projection.name, atLeast, options);
  }

  #generation(): number {
    return this.#options.generations.serving?.generation ?? 0;
  }

  #decode(key: string, row: Uint8Array | undefined, value: Uint8Array | undefined): StoredDocument | undefined {
    if (row === undefined || value === undefined) return undefined;
    const { projection, generations } = this.#options;
    const stored = generations.isCurrent
      ? readDocument(projection, key, row, value)
      : decodeUnchecked(projection.name, key, row, value);
    return { ...stored, document: freezeDeeply(stored.document) };
  }
}

/** A document of another version: it is what that made it. */
function decodeUnchecked(projection: string, key: string, row: Uint8Array, value: Uint8Array): StoredDocument {
  try {
    return decodeDocument({ key: row, value }, key);
  } catch (cause) {
    if (cause instanceof StorageCorruptError) throw new InvalidDocumentError(projection, key, [], { cause });
    throw cause;
  }
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
