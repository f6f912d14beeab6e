/**
 * Events that a processor could not handle, kept aside so that it can go on, each with what went wrong. Where they have a key,
 * later events of that key wait behind the first, in order, until somebody has it tried again or skipped. Bounded: a
 * processor with too many of them stops instead.
 */

import { InvalidArgumentError, OverloadedError, printable } from "../errors.ts";
import { parkedKey, parkedSpan } from "../format/processor-keys.ts";
import { decodeRecord, type PutRow, recordRow } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { EventReader, GapReason } from "../log/event-store.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { keptError } from "./kept-errors.ts";

/** The most events that one processor may have parked. */
export const parkedMax = 5_000;
/** How many rows are read at once. */
const rowsAtOnce = 100;

/** What is kept of a parked event. */
export interface ParkedRecord {
  readonly position: number;
  /** Which part of a split event; 0 for all others. */
  readonly part: number;
  readonly eventId: string;
  readonly type: string;
  readonly streamName: string;
  /** What waits behind it has the same; absent where nothing does. */
  readonly key?: string;
  readonly error: string;
  /** The event has personal data, so that no message is kept of what goes wrong with it. */
  readonly personal?: true;
  readonly attempts: number;
  readonly parkedAtMs: number;
  /** It was never tried: it waits behind one that failed. */
  readonly waiting: boolean;
  /** What a process manager could not carry out, where it is not the event itself that it failed at. */
  readonly work?: unknown;
}

/** An event that a processor has put aside. */
export interface ParkedEvent {
  /** For `replayParked` and `skipParked`. */
  readonly id: string;
  readonly processor: string;
  readonly position: number;
  readonly eventId: string;
  readonly type: string;
  readonly streamName: string;
  /** The stream, or the reactor's key: later events of the same wait behind this one. */
  readonly key: string | undefined;
  /** What went wrong the last time, or that it waits; of an event with personal data only what kind of error it was. */
  readonly error: string;
  readonly attempts: number;
  readonly parkedAt: Date;
  /** It was not tried: it waits behind an earlier one of the same key. */
  readonly waiting: boolean;
  /** Of a process manager: the command, append or timer that it is about, where it is not the event itself. */
  readonly work: unknown;
}

/** What a replay has come to. */
export interface ReplayResult {
  /** How many are handled now. */
  readonly replayed: number;
  /** How many have failed again, or wait behind one that has. */
  readonly parked: number;
  /** How many were skipped, because they are gone from the log for good; absent where none was. Each is told to `onError`. */
  readonly skipped?: number;
}

/** What a store does with a processor's parked events. To be called between two batches of the processor. */
export interface ParkingControls {
  list(): AsyncIterable<ParkedEvent>;
  replay(id: string | undefined): Promise<ReplayResult>;
  skip(id: string): Promise<void>;
}

export function partOf(event: RecordedEvent): number {
  return event.part?.index ?? 0;
}

export function parkedIdOf(processor: string, { position, part }: Pick<ParkedRecord, "position" | "part">): string {
  return `${position}.${part}@${processor}`;
}

/** The processor that an id of a parked event names; `undefined` for what is no such id. */
export function processorOfParkedId(
  id: string,
): { readonly processor: string; readonly position: number; readonly part: number } | undefined {
  const match = /^(\d{1,16})\.(\d{1,16})@(.+)$/s.exec(id);
  const [, position, part, processor] = match ?? [];
  if (processor === undefined) return undefined;
  return { processor, position: Number(position), part: Number(part) };
}

export class Parking implements ParkingControls {
  readonly #core: StoreCore;
  readonly #processor: string;
  /** Handles one again, and commits with `done` that it is no longer parked. */
  readonly #again: (record: ParkedRecord, done: KvOperation) => Promise<void>;
  readonly #byKey = new Map<string, number>();
  /** Positions and parts that are taken. */
  readonly #taken = new Set<string>();
  #count = 0;

  constructor(core: StoreCore, processor: string, again: (record: ParkedRecord, done: KvOperation) => Promise<void>) {
    this.#core = core;
    this.#processor = processor;
    this.#again = again;
  }

  get count(): number {
    return this.#count;
  }

  async prepare(): Promise<void> {
    for await (const record of this.#records()) this.parked(record);
  }

  /** Whether something of that key is parked, so that what comes has to wait. */
  blocks(key: string): boolean {
    return this.#byKey.has(key);
  }

  record(
    event: RecordedEvent,
    about: { readonly key?: string; readonly error: unknown; readonly attempts: number; readonly waiting: boolean },
  ): ParkedRecord {
    const isPersonal = event.personal !== undefined;
    return {
      position: event.position,
      part: partOf(event),
      eventId: event.id,
      type: event.type,
      streamName: event.streamName,
      ...(about.key === undefined ? {} : { key: about.key }),
      // That it waits is our own text.
      error: keptError(about.error, isPersonal && !about.waiting),
      ...(isPersonal ? { personal: true } : {}),
      attempts: about.attempts,
      parkedAtMs: this.#core.clock.now(),
      waiting: about.waiting,
    };
  }

  /** A part, from `from` on, under which nothing is parked at that position. */
  freePart(position: number, from: number): number {
    let part = from;
    while (this.#taken.has(`${position}.${part}`)) part += 1;
    this.#taken.add(`${position}.${part}`);
    return part;
  }

  /** Throws `overloaded` where there would be too many with these. */
  assertRoom(more: number): void {
    if (this.#count + more <= parkedMax) return;
    throw new OverloadedError(`Processor ${printable(this.#processor)} has parked ${this.#count} events already`);
  }

  row(record: ParkedRecord): PutRow {
    return recordRow("parked", parkedKey(this.#processor, record.position, record.part), record);
  }

  /** Its row is durable. */
  parked({ key, position, part }: ParkedRecord): void {
    this.#count += 1;
    this.#taken.add(`${position}.${part}`);
    if (key !== undefined) this.#byKey.set(key, (this.#byKey.get(key) ?? 0) + 1);
  }

  /** The rows that remove all of them, and what to do once these are durable. */
  async removal(): Promise<{ readonly rows: readonly KvOperation[]; forget(): void }> {
    const rows: KvOperation[] = [];
    for await (const record of this.#records()) rows.push(this.#done(record));
    const forget = (): void => {
      this.#count = 0;
      this.#byKey.clear();
      this.#taken.clear();
    };
    return { rows, forget };
  }

  async *list(): AsyncGenerator<ParkedEvent> {
    for await (const { parkedAtMs, part: _part, personal: _personal, ...record } of this.#records()) {
      const id = parkedIdOf(this.#processor, { position: record.position, part: _part });
      const { key, work } = record;
      yield { ...record, key, work, id, processor: this.#processor, parkedAt: new Date(parkedAtMs) };
    }
  }

  async replay(id: string | undefined): Promise<ReplayResult> {
    if (id === undefined) return await this.#replay(() => true);
    const wanted = await this.#find(id);
    // What waits behind it goes on with it; what stands before it has to come first.
    const { key } = wanted;
    return await this.#replay((one) => (key === undefined ? isSame(one, wanted) : one.key === key));
  }

  async skip(id: string): Promise<void> {
    const record = await this.#find(id);
    await this.#core.submit({ rows: [this.#done(record)] });
    this.gone(record);
    const { key } = record;
    if (key !== undefined && this.blocks(key)) await this.#replay((one) => one.key === key && one.waiting);
  }

  /** It is durable that it is parked no longer. */
  gone({ key, position, part }: ParkedRecord): void {
    this.#count -= 1;
    this.#taken.delete(`${position}.${part}`);
    const left = key === undefined ? 0 : (this.#byKey.get(key) ?? 1) - 1;
    if (key === undefined) return;
    if (left === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, left);
  }

  async #replay(wanted: (record: ParkedRecord) => boolean): Promise<ReplayResult> {
    const stuck = new Set<string>();
    let replayed = 0;
    let parked = 0;
    let skipped = 0;
    for await (const record of this.#records()) {
      const { key } = record;
      const isStuck = key !== undefined && stuck.has(key);
      const outcome = !isStuck && wanted(record) ? await this.#try(record) : "parked";
      if (outcome === "replayed") replayed += 1;
      else if (outcome === "skipped") skipped += 1;
      else if (wanted(record)) parked += 1;
      if (outcome === "parked" && key !== undefined) stuck.add(key);
    }
    return { replayed, parked, ...(skipped === 0 ? {} : { skipped }) };
  }

  async #try(record: ParkedRecord): Promise<"replayed" | "skipped" | "parked"> {
    try {
      await this.#again(record, this.#done(record));
    } catch (error) {
      this.#core.assertOpen();
      if (error instanceof EventGone) {
        await this.#core.submit({ rows: [this.#done(record)] });
        this.gone(record);
        this.#core.warn(error);
        return "skipped";
      }
      const failed = { ...record, error: keptError(error, record.personal === true), attempts: record.attempts + 1 };
      await this.#core.submit({ rows: [this.row({ ...failed, waiting: false })] });
      return "parked";
    }
    this.gone(record);
    return "replayed";
  }

  #done({ position, part }: ParkedRecord): KvOperation {
    return { kind: "delete", key: parkedKey(this.#processor, position, part) };
  }

  async #find(id: string): Promise<ParkedRecord> {
    const named = processorOfParkedId(id);
    if (named !== undefined) {
      const key = parkedKey(this.#processor, named.position, named.part);
      const value = await this.#core.rows.get(key);
      if (value !== undefined) return decodeRecord("parked", { key, value }) as ParkedRecord;
    }
    throw new InvalidArgumentError("id", `is not that of a parked event: ${printable(id)}`);
  }

  async *#records(): AsyncGenerator<ParkedRecord> {
    const cursor = await this.#core.rows.scan(parkedSpan(this.#processor), "lookup");
    try {
      for (;;) {
        const rows = await cursor.next(rowsAtOnce);
        if (rows.length === 0) return;
        for (const row of rows) yield decodeRecord("parked", row) as ParkedRecord;
      }
    } finally {
      cursor.close();
    }
  }
}

function isSame(one: ParkedRecord, other: ParkedRecord): boolean {
  return one.position === other.position && one.part === other.part;
}

/** The event that a parked record is about was dropped on purpose: there is nothing left to handle. */
export class EventGone extends Error {
  override readonly name = "EventGone";
}

/** The log that parked events are read from again. */
export interface ParkedLog {
  /** Its reads, frozen at a position. */
  readerAt(position: number): Pick<EventReader, "readAll" | "readStream">;
  readonly reader: Pick<EventReader, "streamInfo">;
}

/**
 * The event that a record is about, out of its stream where it is archived. Throws as reads do, `invalid-argument` where it reads
 * as another now, and what has `Parking` skip it where it was dropped.
 */
export async function eventOf(log: ParkedLog, record: ParkedRecord): Promise<RecordedEvent> {
  const event = (await eventsOf(log, record)).find((one) => partOf(one) === record.part);
  if (event === undefined) throw readsAsAnother(record.position);
  return event;
}

/** All parts of it, which are one as a rule; throws as `eventOf`. */
export async function eventsOf(
  log: ParkedLog,
  about: Pick<ParkedRecord, "position" | "streamName" | "type">,
): Promise<readonly RecordedEvent[]> {
  const { position } = about;
  const events: RecordedEvent[] = [];
  for await (const event of log.readerAt(position).readAll({ fromPosition: position, gaps: "report" })) {
    if ("gap" in event) return await archivedEventsOf(log, about, event.reason);
    events.push(event);
  }
  if (events.length === 0) throw readsAsAnother(position);
  return events;
}

/** Throws `EventGone` where it is not in the archive. */
async function archivedEventsOf(
  log: ParkedLog,
  { position, streamName, type }: Pick<ParkedRecord, "position" | "streamName" | "type">,
  reason: GapReason,
): Promise<readonly RecordedEvent[]> {
  if (reason === "archived" && !(await isPurged(log, streamName))) {
    // As of its position it is the newest of its stream; all its parts count as one.
    const newest = log.readerAt(position).readStream(streamName, { direction: "backwards", limit: 1 });
    const events = (await Array.fromAsync(newest)).filter((event) => event.position === position);
    if (events.length > 0) return events;
  }
  const what = `${printable(type)} at position ${position} of ${printable(streamName)}`;
  throw new EventGone(`A parked event is skipped, because it is gone from the log (${reason}): ${what}`);
}

function readsAsAnother(position: number): InvalidArgumentError {
  return new InvalidArgumentError("id", `is that of an event that reads as another now, at position ${position}`);
}

/** Deleted for good. */
async function isPurged({ reader }: ParkedLog, streamName: string): Promise<boolean> {
  const deleted = (await reader.streamInfo(streamName))?.deleted;
  return deleted !== undefined && deleted.undeletableUntil === undefined;
}
