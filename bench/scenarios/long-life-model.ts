/** What the store of the long life must hold: each event is a function of its stream and version, so the model needs no memory. */

import * as v from "valibot";
import {
  type Decider,
  defineDecider,
  defineEvents,
  defineProjection,
  type EventDefinition,
  type EventDefinitions,
  event,
  isLogGap,
  type LogGap,
  type Projection,
  type RecordedEvent,
} from "../../src/index.ts";

/** So many streams get a third of all events. */
export const busyStreams = 20;
/** Every tenth stream is of notes, of which only so many are kept. */
export const keptNotes = 40;
const noteEvery = 10;
const textLengthMax = 200;

/** What one event says. */
export interface Entry {
  readonly stream: number;
  readonly number: number;
  readonly sum: number;
  readonly text: string;
}

type EntrySchema = v.GenericSchema<Entry, Entry>;
const entry: EntrySchema = v.object({ stream: v.number(), number: v.number(), sum: v.number(), text: v.string() });

type EntryEvents<Category extends string> = EventDefinitions<
  Category,
  { readonly Entered: EventDefinition<EntrySchema> }
>;
type LedgerEvents = EntryEvents<"ledger">;
export type LifeEvents = LedgerEvents | EntryEvents<"note">;

const entered: EventDefinition<EntrySchema> = event({
  schema: entry,
  tags: ({ number }) => [`tenth:${number % 10}`],
});

/** The events of the long life. */
export const ledger: LedgerEvents = defineEvents("ledger", { Entered: entered });
/** The same in streams with retention. */
export const notes: EntryEvents<"note"> = defineEvents("note", { Entered: entered });

export interface LedgerState {
  readonly count: number;
  readonly sum: number;
}

/** A state that says of itself whether an event was missed or folded twice. */
export const ledgers: Decider<LedgerState, LedgerEvents, Record<never, never>> = defineDecider("ledger", {
  events: ledger,
  commands: {},
  initialState: (): LedgerState => ({ count: 0, sum: 0 }),
  evolve: { Entered: ({ count, sum }, { data }) => ({ count: count + 1, sum: sum + data.number }) },
  decide: {},
  snapshots: { version: 1, everyEvents: 500 },
});

/** Events a bucket of streams. */
export const tally: Projection<{ events: number }> = defineProjection("tally", {
  version: 1,
  mode: "async",
  events: [ledger],
  document: v.object({ events: v.number() }),
  on: {
    Entered: (recorded, documents) =>
      documents.update(`bucket-${recorded.data.stream % 100}`, (before) => ({ events: (before?.events ?? 0) + 1 })),
  },
});

export type LifeStream = `ledger-${number}` | `note-${number}`;

export function isNote(stream: number): boolean {
  return stream % noteEvery === noteEvery - 1;
}

export function streamNameOf(stream: number): LifeStream {
  return isNote(stream) ? `note-${stream}` : `ledger-${stream}`;
}

export function streamOf(streamName: string): number {
  return Number(streamName.slice(streamName.indexOf("-") + 1));
}

/** How many events a reader of the stream finds that has had so many. */
export function keptOf(stream: number, version: number): number {
  return isNote(stream) ? Math.min(version, keptNotes) : version;
}

/** The data of one event. */
export function dataOf(stream: number, version: number): Entry {
  const length = (stream * 31 + version * 17) % textLengthMax;
  return {
    stream,
    number: version,
    sum: (version * (version + 1)) / 2,
    text: "lorem ipsum ".repeat(17).slice(0, length),
  };
}

/** Whether an event is the one that the model has in its place; what the store says of itself is. */
export function isAsModelled(recorded: { streamName: string; version: number; data: unknown }): boolean {
  if (recorded.streamName.startsWith("$")) return true;
  const modelled = dataOf(streamOf(recorded.streamName), recorded.version);
  return JSON.stringify(recorded.data) === JSON.stringify(modelled);
}

/** Goes through what a reader of the log is given with its gaps; throws where anything is not as modelled. */
export class LogCheck {
  /** How far it has come. */
  position: number;
  /** How many positions were in gaps. */
  dropped = 0;

  constructor(position: number) {
    this.position = position;
  }

  take(item: RecordedEvent | LogGap): void {
    const first = isLogGap(item) ? item.fromPosition : item.position;
    if (first !== this.position + 1) throw new Error(`After position ${this.position} came ${first}`);
    if (!isLogGap(item)) {
      if (!isAsModelled(item)) throw new Error(`The event at position ${first} is not as modelled`);
      this.position = first;
      return;
    }
    if (item.reason !== "excess") throw new Error(`The gap at position ${first} is of ${item.reason}`);
    this.dropped += item.toPosition - first + 1;
    this.position = item.toPosition;
  }
}
