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
  type Projection,
} from "../../src/index.ts";

/** So many streams get a third of all events. */
export const busyStreams = 20;
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

type LedgerEvents = EventDefinitions<"ledger", { readonly Entered: EventDefinition<EntrySchema> }>;

/** The events of the long life. */
export const ledger: LedgerEvents = defineEvents("ledger", {
  Entered: event({ schema: entry, tags: ({ number }) => [`tenth:${number % 10}`] }),
});

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

export function streamNameOf(stream: number): `ledger-${number}` {
  return `ledger-${stream}`;
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

/** Whether an event is the one that the model has in its place. */
export function isAsModelled(recorded: { streamName: string; version: number; data: unknown }): boolean {
  const stream = Number(recorded.streamName.slice("ledger-".length));
  return JSON.stringify(recorded.data) === JSON.stringify(dataOf(stream, recorded.version));
}
