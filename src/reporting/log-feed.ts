/**
 * The log, cut into batches for many readers: projections at the same place share one read, and the next batch is read
 * while one is being written. Each batch says up to which position it holds all that was asked for, so those who want
 * rare events know how far they have come. Bounded by events, bytes and remembered batches.
 */

import type { EventReader, StreamInfo } from "../log/event-store.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import {
  type CheckedFilter,
  type EventFilter,
  filterClausesMax,
  filterNamesMax,
  namesOf,
} from "../vocabulary/filter.ts";

/** What is followed: an open store or a read replica of it; both satisfy it as they are. */
export interface ProjectionSource {
  readAll(options?: {
    readonly fromPosition?: number;
    readonly filter?: EventFilter;
    readonly signal?: AbortSignal;
  }): AsyncIterableIterator<RecordedEvent>;
  subscribe(options: {
    readonly from: { readonly after: number };
    readonly signal?: AbortSignal;
  }): AsyncIterableIterator<RecordedEvent>;
  lastPosition(): Promise<number>;
  /**
   * With these two, a parked event is replayed out of the archive, and one that was dropped is known to be gone. Without them
   * either stays parked.
   */
  asOf?(when: number): Pick<EventReader, "readAll" | "readStream">;
  streamInfo?(streamName: string): Promise<StreamInfo | undefined>;
}

export interface Batch {
  /** In order; the parts of a split event come together. */
  readonly events: readonly RecordedEvent[];
  /** All events up to here are in this batch or earlier ones. */
  readonly to: number;
  /** Whether the log ended here when it was read. */
  readonly atEnd: boolean;
}

/** The most events, and roughly the most bytes of data, in a batch that is read. */
const batchEventsMax = 1_000;
const batchBytesMax = 4 * 1024 * 1024;
/** The most batches that are remembered: two for each reader, who may be anywhere, and some for those who come the same way. */
const batchesForOthers = 8;
const batchesAReader = 2;

interface Entry {
  readonly batch: Promise<Batch>;
  /** Reads on behind the batch. */
  rest: ReadOn | undefined;
}

interface ReadOn {
  readonly events: AsyncIterator<RecordedEvent>;
  /** The event that began the next batch. */
  readonly first: RecordedEvent;
  /** What the log's end was when the read began. */
  readonly last: number;
}

export class LogFeed {
  readonly #source: ProjectionSource;
  readonly #filter: CheckedFilter;
  readonly #signal: AbortSignal;
  readonly #batchesMax: number;
  readonly #entries = new Map<number, Entry>();

  /** `filters` are those of all who will read; events of any of them are handed out. */
  constructor(source: ProjectionSource, filters: readonly CheckedFilter[], signal: AbortSignal) {
    this.#source = source;
    this.#filter = anyOf(filters);
    this.#signal = signal;
    this.#batchesMax = batchesForOthers + batchesAReader * filters.length;
    signal.addEventListener("abort", () => this.#closeAll(), { once: true });
  }

  /**
   * The batch behind a position; waits where there is none yet. `undefined` where the source has ended. Rejects as the
   * source's reads do, and reads again when asked again.
   */
  async next(after: number): Promise<Batch | undefined> {
    const known = this.#entries.get(after);
    const entry = known ?? this.#enter(after, (own) => this.#open(after, own));
    if (known !== undefined) {
      this.#entries.delete(after);
      this.#entries.set(after, known);
    }
    const batch = await entry.batch.catch((error: unknown) => {
      if (this.#entries.get(after) === entry) this.#entries.delete(after);
      if (this.#signal.aborted) return undefined;
      throw error;
    });
    if (batch === undefined || this.#signal.aborted || batch.to === after) return undefined;
    this.#readAhead(entry, batch.to);
    return batch;
  }

  /** Lets go of what was read ahead behind a position where somebody has stopped. */
  forget(after: number): void {
    const entry = this.#entries.get(after);
    if (entry === undefined) return;
    this.#entries.delete(after);
    this.#leave(entry);
  }

  #readAhead(entry: Entry, to: number): void {
    const { rest } = entry;
    if (rest === undefined || this.#entries.has(to)) return;
    entry.rest = undefined;
    this.#enter(to, (own) => this.#cut(own, rest));
  }

  #enter(after: number, read: (entry: Entry) => Promise<Batch>): Entry {
    const { promise, resolve, reject } = Promise.withResolvers<Batch>();
    promise.catch(() => {});
    const entry: Entry = { batch: promise, rest: undefined };
    this.#entries.set(after, entry);
    read(entry).then(resolve, reject);
    for (const [position, old] of this.#entries) {
      if (this.#entries.size <= this.#batchesMax) break;
      this.#entries.delete(position);
      this.#leave(old);
    }
    return entry;
  }

  async #open(after: number, entry: Entry): Promise<Batch> {
    let last = await this.#source.lastPosition();
    while (last <= after) {
      if (!(await this.#waitBehind(Math.max(after, last)))) return { events: [], to: after, atEnd: true };
      last = await this.#source.lastPosition();
    }
    const events = this.#source.readAll({
      fromPosition: after + 1,
      ...(this.#filter === undefined ? {} : { filter: this.#filter }),
      signal: this.#signal,
    });
    const first = await events.next();
    if (first.done === true) return { events: [], to: last, atEnd: true };
    return await this.#cut(entry, { events, first: first.value, last });
  }

  /** Whether there is an event behind that position, now; not where the source has ended. */
  async #waitBehind(position: number): Promise<boolean> {
    const left = new AbortController();
    const signal = AbortSignal.any([this.#signal, left.signal]);
    const events = this.#source.subscribe({ from: { after: position }, signal });
    try {
      return (await events.next()).done !== true;
    } finally {
      left.abort();
      await events.return?.();
    }
  }

  async #cut(entry: Entry, { events, first, last }: ReadOn): Promise<Batch> {
    const batch: RecordedEvent[] = [];
    let bytes = 0;
    let event: RecordedEvent = first;
    while (event.position === batch.at(-1)?.position || (batch.length < batchEventsMax && bytes < batchBytesMax)) {
      batch.push(event);
      bytes += roughBytes(event.data, batchBytesMax);
      const next = await events.next();
      if (next.done === true) return { events: batch, to: Math.max(last, event.position), atEnd: true };
      event = next.value;
    }
    const rest: ReadOn = { events, first: event, last };
    if (this.#signal.aborted) this.#end(rest);
    else entry.rest = rest;
    return { events: batch, to: batch.at(-1)?.position ?? last, atEnd: false };
  }

  #leave(entry: Entry): void {
    entry.batch.then(
      () => {
        const { rest } = entry;
        entry.rest = undefined;
        if (rest !== undefined) this.#end(rest);
      },
      () => {},
    );
  }

  #end({ events }: ReadOn): void {
    Promise.resolve(events.return?.()).catch(() => {});
  }

  #closeAll(): void {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) this.#leave(entry);
  }
}

/** A filter for all of them; none where one of them has none, or where it would be too large. */
function anyOf(filters: readonly CheckedFilter[]): CheckedFilter {
  const clauses = [];
  for (const filter of filters) {
    if (filter === undefined) return undefined;
    clauses.push(...filter);
  }
  return clauses.length > filterClausesMax || namesOf(clauses).length > filterNamesMax ? undefined : clauses;
}

/** About how much memory a value takes, counted no further than `most`. */
function roughBytes(value: unknown, most: number): number {
  let bytes = 0;
  const open: unknown[] = [value];
  while (open.length > 0 && bytes < most) {
    const one = open.pop();
    bytes += 16;
    if (typeof one === "string") bytes += one.length;
    else if (one instanceof Uint8Array) bytes += one.byteLength;
    else if (one instanceof Map) open.push(...one.keys(), ...one.values());
    else if (one instanceof Set) open.push(...one);
    else if (typeof one === "object" && one !== null) open.push(...Object.values(one));
  }
  return bytes;
}
