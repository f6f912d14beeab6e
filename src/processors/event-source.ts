/**
 * One pass over the log for all processors that are at about the same place. At the end of the log a single feed reads what
 * is new and wakes those that it concerns; a processor that waits for events of other types costs nothing. Who is behind reads
 * pieces that others behind share; who is far behind, and alone, reads its own matches from the index. Everything is
 * addressed by position, so there is no seam between the three, and nothing that a slow processor could overflow.
 */

import { UnreadableEventError } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, type Filterable, matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { ReadBatch } from "./processor.ts";

/** How many positions a shared piece of the log has, and how many pieces are kept for others. */
const pieceEvents = 2_048;
const piecesKept = 4;
/** How many of the newest events stay at hand, at most, and how many the feed reads at a time. */
const newestEventsMax = 1_024;
const feedEventsMax = 512;
/** From so far behind on, one with a filter reads on its own; unless so many others are about there. */
const farEvents = 8_192;
const companyMin = 3;
/** A checkpoint is saved after so many events without a match. */
const saveAfterEvents = 50_000;
const retryMs = 50;
const retryMsMax = 5_000;

interface Entry {
  readonly event: RecordedEvent;
  readonly shape: Filterable;
}

/** All events from `from` to `to`, and those that cannot be read. */
interface Piece {
  readonly from: number;
  readonly to: number;
  readonly entries: readonly Entry[];
  readonly unreadable: readonly UnreadableEventError[];
}

/** Where a processor stands: it has handled, or need not handle, everything up to `position`. */
export interface Cursor {
  readonly filter: CheckedFilter;
  readonly batchEventsMax: number;
  position: number;
  /** Called when it has come to the end of the log, and begins to wait. */
  onRest?(): void;
  /** What is read ahead of need. */
  ahead?: { readonly from: number; readonly batch: Promise<ReadBatch | undefined> } | undefined;
}

interface Waiting {
  readonly cursor: Cursor;
  readonly resolve: (batch: ReadBatch | undefined) => void;
}

export class EventSource {
  readonly #core: StoreCore;
  readonly #onHead: () => void;
  readonly #stop = new AbortController();
  #head: number;
  #newest: Piece[] = [];
  readonly #pieces = new Map<number, Promise<Piece | undefined>>();
  readonly #waiting = new Map<Cursor, Waiting>();
  readonly #waitingForType = new Map<string, Set<Waiting>>();
  readonly #waitingForAny = new Set<Waiting>();
  readonly #behind = new Set<Cursor>();
  #feeding: Promise<void> | undefined;
  #failure: unknown;
  /** Grows when what was decoded before must not be handed out any more. */
  #dropped = 0;

  /** `onHead`: called when what is new was handed out, or found to concern nobody. */
  constructor(core: StoreCore, onHead: () => void) {
    this.#core = core;
    this.#onHead = onHead;
    this.#head = core.lastPosition();
    core.onForget((positions) => this.#forget(positions));
    core.erasures.add(() => this.#dropDecoded());
  }

  /** The position up to which the feed has come. */
  get head(): number {
    return this.#head;
  }

  /** Nothing comes any more, because the store closes. */
  get hasStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Why nothing comes any more: the store was fenced or has failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Where a cursor really stands: one that waits has passed over all that did not concern it. */
  positionOf(cursor: Cursor): number {
    return this.#waiting.has(cursor) ? Math.max(cursor.position, this.#head) : cursor.position;
  }

  start(): void {
    this.#feeding ??= this.#feed();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    for (const waiting of [...this.#waiting.values()]) this.#release(waiting, undefined);
    await this.#feeding;
  }

  /**
   * The next events for a cursor, once there are some; an empty batch where a checkpoint should be saved. `undefined`: the
   * signal was aborted, or the source has stopped.
   */
  async next(cursor: Cursor, signal: AbortSignal): Promise<ReadBatch | undefined> {
    for (const startedAt = cursor.position; !signal.aborted && !this.#stop.signal.aborted; ) {
      if (this.#failure !== undefined) throw this.#failure;
      if (cursor.position >= this.#head) {
        this.#behind.delete(cursor);
        cursor.ahead = undefined;
        if (cursor.position - startedAt >= saveAfterEvents) return emptyBatch(startedAt + 1, cursor.position);
        return await this.#wait(cursor, signal);
      }
      const batch = this.#fromNewest(cursor) ?? (await this.#fromLog(cursor));
      if (batch === undefined) continue;
      if (batch.events.length > 0 || batch.unreadable !== undefined) return { ...batch, fromPosition: startedAt + 1 };
      cursor.position = batch.toPosition;
      if (cursor.position - startedAt >= saveAfterEvents) return emptyBatch(startedAt + 1, cursor.position);
    }
    return undefined;
  }

  /** It stands somewhere else now, or will not come back. */
  leave(cursor: Cursor): void {
    this.#behind.delete(cursor);
    cursor.ahead = undefined;
  }

  /** Batches that were handed out before are theirs who have them. */
  #dropDecoded(): void {
    this.#dropped += 1;
    this.#newest = [];
    this.#pieces.clear();
    for (const cursor of this.#behind) cursor.ahead = undefined;
  }

  #wait(cursor: Cursor, signal: AbortSignal): Promise<ReadBatch | undefined> {
    return new Promise((resolve) => {
      const onAbort = (): void => this.#release(waiting, undefined);
      const waiting: Waiting = {
        cursor,
        resolve: (batch) => {
          signal.removeEventListener("abort", onAbort);
          resolve(batch);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.set(cursor, waiting);
      const types = typesOf(cursor.filter);
      if (types === undefined) this.#waitingForAny.add(waiting);
      for (const type of types ?? []) {
        const others = this.#waitingForType.get(type) ?? new Set();
        this.#waitingForType.set(type, others.add(waiting));
      }
      cursor.onRest?.();
    });
  }

  #release(waiting: Waiting, batch: ReadBatch | undefined): void {
    const { cursor } = waiting;
    this.#waiting.delete(cursor);
    this.#waitingForAny.delete(waiting);
    for (const type of typesOf(cursor.filter) ?? []) {
      const others = this.#waitingForType.get(type);
      others?.delete(waiting);
      if (others?.size === 0) this.#waitingForType.delete(type);
    }
    const passed = batch === undefined ? this.#head : batch.fromPosition - 1;
    cursor.position = Math.max(cursor.position, passed);
    waiting.resolve(batch);
  }

  async #feed(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#core.grown(this.#head, signal);
        if (this.#core.lastPosition() <= this.#head) {
          // There will be no more: whoever waits is about to be told to stop.
          await pause(retryMs, signal);
          continue;
        }
        const dropped = this.#dropped;
        const piece = await this.#read(this.#head + 1, Math.min(this.#core.lastPosition(), this.#head + feedEventsMax));
        if (piece === undefined || piece.to < piece.from || dropped !== this.#dropped) continue;
        failures = 0;
        this.#announce(piece);
      } catch (error) {
        if (this.#hasStopped(error)) return;
        failures += 1;
        this.#core.warn(error);
        await pause(Math.min(retryMsMax, retryMs * 2 ** Math.min(failures, 10)), signal);
      }
    }
  }

  /** The end, where the store is closed, fenced or has failed. */
  #hasStopped(error: unknown): boolean {
    try {
      this.#core.assertOpen();
      return false;
    } catch {
      this.#failure = error;
      for (const waiting of [...this.#waiting.values()]) this.#release(waiting, undefined);
      return true;
    }
  }

  /** Events that are dropped from the log are not handed out from memory either. */
  #forget(positions: ReadonlySet<number>): void {
    this.#pieces.clear();
    this.#newest = this.#newest.map((piece) => {
      const entries = piece.entries.filter(({ event }) => !positions.has(event.position));
      return entries.length === piece.entries.length ? piece : { ...piece, entries };
    });
  }

  #announce(piece: Piece): void {
    const concerned = new Set<Waiting>();
    for (const { shape } of piece.entries) {
      for (const waiting of this.#waitingForType.get(shape.type) ?? []) {
        if (!concerned.has(waiting) && matches(waiting.cursor.filter, shape)) concerned.add(waiting);
      }
      for (const waiting of this.#waitingForAny) {
        if (!concerned.has(waiting) && matches(waiting.cursor.filter, shape)) concerned.add(waiting);
      }
    }
    for (const error of piece.unreadable) {
      for (const waiting of this.#waiting.values()) if (mayMatch(waiting.cursor.filter, error)) concerned.add(waiting);
    }
    for (const waiting of concerned) this.#release(waiting, batchFrom(piece, waiting.cursor, piece.from));
    this.#newest.push(piece);
    let kept = this.#newest.reduce((sum, { entries }) => sum + entries.length, 0);
    while (kept > newestEventsMax && this.#newest.length > 1) kept -= this.#newest.shift()?.entries.length ?? 0;
    this.#head = piece.to;
    this.#onHead();
  }

  #fromNewest(cursor: Cursor): ReadBatch | undefined {
    const from = cursor.position + 1;
    const piece = this.#newest.find((one) => one.from <= from && from <= one.to);
    return piece === undefined ? undefined : batchFrom(piece, cursor, from);
  }

  async #fromLog(cursor: Cursor): Promise<ReadBatch | undefined> {
    this.#behind.add(cursor);
    const from = cursor.position + 1;
    const { ahead } = cursor;
    cursor.ahead = undefined;
    const batch = await (ahead?.from === from ? ahead.batch : this.#readFor(cursor, from));
    const next = (batch?.toPosition ?? this.#head) + 1;
    if (next <= this.#head && batch?.unreadable === undefined) {
      const reading = this.#readFor(cursor, next);
      // Whoever comes for it hears of its failure.
      reading.catch(() => {});
      cursor.ahead = { from: next, batch: reading };
    }
    return batch;
  }

  async #readFor(cursor: Cursor, from: number): Promise<ReadBatch | undefined> {
    const far = this.#head - from >= farEvents;
    if (cursor.filter !== undefined && far && this.#companyOf(cursor) < companyMin)
      return await this.#readMatches(cursor, cursor.filter, from);
    const piece = await this.#piece(Math.floor((from - 1) / pieceEvents));
    // A piece that others asked for may have been read when the log was shorter.
    return piece === undefined || piece.to < from ? undefined : batchFrom(piece, cursor, from);
  }

  /** How many others read in the neighbourhood. */
  #companyOf(cursor: Cursor): number {
    let company = 0;
    for (const other of this.#behind) {
      if (other !== cursor && Math.abs(other.position - cursor.position) < farEvents) company += 1;
    }
    return company;
  }

  /** A piece of the log that others may want, too. */
  #piece(number: number): Promise<Piece | undefined> {
    const known = this.#pieces.get(number);
    if (known !== undefined) return known;
    const from = number * pieceEvents + 1;
    const to = Math.min(from + pieceEvents - 1, this.#head);
    const reading = this.#read(from, to);
    this.#pieces.set(number, reading);
    const forget = (): void => {
      if (this.#pieces.get(number) === reading) this.#pieces.delete(number);
    };
    reading.then((piece) => {
      // One that is not full yet will have more events later.
      if (piece === undefined || piece.to - piece.from + 1 < pieceEvents) forget();
    }, forget);
    for (const oldest of this.#pieces.keys()) {
      if (this.#pieces.size <= piecesKept) break;
      this.#pieces.delete(oldest);
    }
    return reading;
  }

  /** All events from `from` to `to`; `undefined` where the source has stopped meanwhile. */
  async #read(from: number, to: number): Promise<Piece | undefined> {
    const { signal } = this.#stop;
    const entries: Entry[] = [];
    const unreadable: UnreadableEventError[] = [];
    for (let next = from; next <= to; ) {
      try {
        for await (const event of this.#core.follow(next, undefined, signal, to)) {
          const shape = { type: event.type, category: categoryOf(event.streamName), tags: event.tags };
          entries.push({ event, shape });
        }
        next = to + 1;
      } catch (error) {
        if (!(error instanceof UnreadableEventError)) throw error;
        unreadable.push(error);
        next = error.position + 1;
      }
    }
    // A read that was cut short looks like one that found no more.
    return signal.aborted ? undefined : { from, to, entries, unreadable };
  }

  /** The next matches out of the index. */
  async #readMatches(cursor: Cursor, filter: NonNullable<CheckedFilter>, from: number): Promise<ReadBatch | undefined> {
    const end = this.#head;
    const limit = cursor.batchEventsMax;
    const events: RecordedEvent[] = [];
    try {
      for await (const event of this.#core.readerAt(end).readAll({ fromPosition: from, filter, limit }))
        events.push(event);
    } catch (error) {
      if (!(error instanceof UnreadableEventError)) throw error;
      return { events, fromPosition: from, toPosition: error.position - 1, unreadable: error };
    }
    const toPosition = events.length < limit ? end : (events.at(-1)?.position ?? end);
    return { events, fromPosition: from, toPosition };
  }
}

function emptyBatch(fromPosition: number, toPosition: number): ReadBatch {
  return { events: [], fromPosition, toPosition };
}

/** The types that a filter is about; `undefined` where it may be about any. */
function typesOf(filter: CheckedFilter): ReadonlySet<string> | undefined {
  if (filter === undefined || filter.some((clause) => clause.types === undefined)) return undefined;
  return new Set(filter.flatMap((clause) => clause.types ?? []));
}

/** Whether an event that cannot be read may be one of those wanted; its tags are not known. */
function mayMatch(filter: CheckedFilter, { eventType, streamName }: UnreadableEventError): boolean {
  const withoutTags = filter?.map(({ tags: _tags, ...clause }) => clause);
  return matches(withoutTags, { type: eventType, category: categoryOf(streamName), tags: [] });
}

/** What of a piece, from a position on, is for a cursor; ends before the first event that it wants and that cannot be read. */
function batchFrom(piece: Piece, { filter, batchEventsMax }: Cursor, from: number): ReadBatch {
  const unreadable = piece.unreadable.find((error) => error.position >= from && mayMatch(filter, error));
  const end = unreadable === undefined ? piece.to : unreadable.position - 1;
  const events: RecordedEvent[] = [];
  for (const { event, shape } of piece.entries) {
    if (event.position < from || event.position > end || !matches(filter, shape)) continue;
    const last = events.at(-1)?.position;
    // Never between the parts of a split event.
    if (last !== undefined && events.length >= batchEventsMax && event.position !== last)
      return { events, fromPosition: from, toPosition: last };
    events.push(event);
  }
  return { events, fromPosition: from, toPosition: end, ...(unreadable === undefined ? {} : { unreadable }) };
}
