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
import type { CheckedFilter } from "../vocabulary/filter.ts";
import { batchFrom, type Piece, PieceEntry, typesOf, type Wanted } from "./event-piece.ts";
import type { ReadBatch } from "./processor.ts";

/** The most positions, and about as many bytes of events as they are stored, of a piece of the log, and so of a batch. */
const pieceEventsMax = 8_192;
export const batchBytesMax: number = 4 * 1024 * 1024;
/** How many pieces are kept for others. */
const piecesKept = 4;
/** How many of the newest events stay at hand, at most, with how many bytes, and how many the feed reads at a time. */
const newestEventsMax = 1_024;
const newestBytesMax = 2 * batchBytesMax;
const feedEventsMax = 512;
/** From so far behind on, one with a filter reads on its own; unless so many others are about there. */
const farEvents = 8_192;
const companyMin = 3;
/** A checkpoint is saved after so many events without a match. */
const saveAfterEvents = 50_000;
const retryMs = 50;
const retryMsMax = 5_000;

/** Where a processor stands: it has handled, or need not handle, everything up to `position`. */
export interface Cursor {
  readonly filter: CheckedFilter;
  readonly batchEventsMax: number;
  position: number;
  /** Called when it has come to the end of the log, and begins to wait. */
  onRest?(): void;
  /** What it wants, by the names that events are stored under; found out once. */
  wanted?: Wanted;
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
      const types = typesOf(this.#wanted(cursor).storedFilter);
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
    for (const type of typesOf(this.#wanted(cursor).storedFilter) ?? []) {
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
      const entries = piece.entries.filter(({ stored }) => !positions.has(stored.position));
      return entries.length === piece.entries.length ? piece : { ...piece, entries };
    });
  }

  #announce(piece: Piece): void {
    // All of them are made before the first is handed out: a piece that fails comes again, for all who wait.
    const batches = Array.from(
      this.#concerned(piece),
      (waiting) => [waiting, this.#batchFrom(piece, waiting.cursor, piece.from)] as const,
    );
    for (const [waiting, batch] of batches) {
      // What was renamed or split may have turned out to be something else.
      if (batch.events.length > 0 || batch.unreadable !== undefined) this.#release(waiting, batch);
    }
    this.#newest.push(piece);
    let events = 0;
    let bytes = 0;
    for (const one of this.#newest) {
      events += one.entries.length;
      bytes += one.bytes;
    }
    while ((events > newestEventsMax || bytes > newestBytesMax) && this.#newest.length > 1) {
      const oldest = this.#newest.shift();
      events -= oldest?.entries.length ?? 0;
      bytes -= oldest?.bytes ?? 0;
    }
    this.#head = piece.to;
    this.#onHead();
  }

  /** Who waits for one of the events, as far as their stored names tell. */
  #concerned(piece: Piece): ReadonlySet<Waiting> {
    const concerned = new Set<Waiting>();
    const ask = (entry: PieceEntry, some: Iterable<Waiting>): void => {
      for (const waiting of some) {
        if (!concerned.has(waiting) && entry.mayMatch(this.#wanted(waiting.cursor).storedFilter))
          concerned.add(waiting);
      }
    };
    for (const entry of piece.entries) {
      ask(entry, this.#waitingForAny);
      if (this.#waitingForType.size > 0) ask(entry, this.#waitingForTypeOf(entry));
    }
    return concerned;
  }

  #waitingForTypeOf(entry: PieceEntry): Iterable<Waiting> {
    const type = entry.type;
    return type === undefined ? this.#waiting.values() : (this.#waitingForType.get(type) ?? []);
  }

  #wanted(cursor: Cursor): Wanted {
    const { filter, batchEventsMax } = cursor;
    cursor.wanted ??= { filter, storedFilter: this.#core.registry.storedFilter(filter), batchEventsMax };
    return cursor.wanted;
  }

  #batchFrom(piece: Piece, cursor: Cursor, from: number): ReadBatch {
    return batchFrom(piece, this.#wanted(cursor), from, this.#core.registry, this.#core.decode);
  }

  #fromNewest(cursor: Cursor): ReadBatch | undefined {
    const from = cursor.position + 1;
    const piece = this.#newest.find((one) => one.from <= from && from <= one.to);
    return piece === undefined ? undefined : this.#batchFrom(piece, cursor, from);
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
    const piece = await this.#piece(from);
    return piece === undefined ? undefined : this.#batchFrom(piece, cursor, from);
  }

  /** How many others read in the neighbourhood. */
  #companyOf(cursor: Cursor): number {
    let company = 0;
    for (const other of this.#behind) {
      if (other !== cursor && Math.abs(other.position - cursor.position) < farEvents) company += 1;
    }
    return company;
  }

  /**
   * The piece that begins at `from`, which others may want, too. Pieces end where their number of positions is full, counted
   * from the beginning of the log, so that processors which began at different places soon ask for the same ones.
   */
  #piece(from: number): Promise<Piece | undefined> {
    const known = this.#pieces.get(from);
    if (known !== undefined) return known;
    const full = Math.ceil(from / pieceEventsMax) * pieceEventsMax;
    const to = Math.min(full, this.#head);
    const reading = this.#read(from, to);
    this.#pieces.set(from, reading);
    const forget = (): void => {
      if (this.#pieces.get(from) === reading) this.#pieces.delete(from);
    };
    // One that ends with the log will have more events later.
    reading.then((piece) => {
      if (piece === undefined || (piece.to === to && to < full)) forget();
    }, forget);
    for (const oldest of this.#pieces.keys()) {
      if (this.#pieces.size <= piecesKept) break;
      this.#pieces.delete(oldest);
    }
    return reading;
  }

  /** The events from `from` to `to`, or as many as fit the bytes; `undefined` where the source has stopped meanwhile. */
  async #read(from: number, to: number): Promise<Piece | undefined> {
    const { signal } = this.#stop;
    const entries: PieceEntry[] = [];
    let bytes = 0;
    for await (const list of this.#core.stored(from, to, undefined, signal)) {
      const keys = this.#core.registry.fetchKeys(list);
      if (keys !== undefined) await keys;
      for (const stored of list) {
        const entry = new PieceEntry(stored);
        // Now, while its keys are at hand: others may have taken their place when somebody asks for it.
        if (keys !== undefined) entry.decoded(this.#core.decode);
        entries.push(entry);
        bytes += stored.bytes.length;
        if (bytes >= batchBytesMax && !signal.aborted) return { from, to: stored.position, bytes, entries };
      }
    }
    // A read that was cut short looks like one that found no more.
    return signal.aborted ? undefined : { from, to, bytes, entries };
  }

  /** The next matches out of the index. */
  async #readMatches(cursor: Cursor, filter: NonNullable<CheckedFilter>, from: number): Promise<ReadBatch | undefined> {
    const { signal } = this.#stop;
    const end = this.#head;
    const events: RecordedEvent[] = [];
    let bytes = 0;
    for await (const list of this.#core.stored(from, end, filter, signal)) {
      const keys = this.#core.registry.fetchKeys(list);
      if (keys !== undefined) await keys;
      for (const stored of list) {
        const { position } = stored;
        const decoded = new PieceEntry(stored).decoded(this.#core.decode);
        if (decoded instanceof UnreadableEventError)
          return { events, fromPosition: from, toPosition: position - 1, unreadable: decoded };
        for (const event of decoded) if (this.#core.registry.passes(filter, event)) events.push(event);
        bytes += stored.bytes.length;
        if (events.length >= cursor.batchEventsMax || bytes >= batchBytesMax)
          return { events, fromPosition: from, toPosition: position };
      }
    }
    return signal.aborted ? undefined : { events, fromPosition: from, toPosition: end };
  }
}

function emptyBatch(fromPosition: number, toPosition: number): ReadBatch {
  return { events: [], fromPosition, toPosition };
}
