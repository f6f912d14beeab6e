/** Reads of every kind over an imported store, each with its data decoded and looked at. */

import { type EventFilter, type EventStore, openEventStore } from "../../src/index.ts";
import { timeRepeatedly } from "../harness/closed-loop.ts";
import type { SourceEvent } from "../harness/event-source.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface ReplaySettings {
  readonly events: number;
  /** Of the one long stream. */
  readonly longStreamEvents: number;
  /** Passes over everything. */
  readonly passes: number;
  /** Repetitions of each short read. */
  readonly repetitions: number;
}

const rareTag = "audit:flagged";
const rareHits = 10;
const combinationHitsWanted = 100;
const shortStream = "shop-short";
const shortStreamEvents = 20;
const longStream = "shop-long";
const longStreamAppendEvents = 10;
const backwardsEvents = 100;

/** What the store should answer, counted while the events went in. */
interface Imported {
  readonly events: number;
  readonly types: ReadonlyMap<string, number>;
  /** By type and tag, as JSON. */
  readonly combinations: ReadonlyMap<string, number>;
}

function countUp(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

async function importTagged(
  store: EventStore,
  { source, settings }: ScenarioContext<ReplaySettings>,
): Promise<Imported> {
  const types = new Map<string, number>();
  const combinations = new Map<string, number>();
  const rareEvery = Math.floor(settings.events / rareHits);
  const tagsOf = ({ type, data }: SourceEvent, index: number): readonly string[] => {
    const tag = `resource:${String(data.resource)}`;
    countUp(types, type);
    countUp(combinations, JSON.stringify([type, tag]));
    return index % rareEvery === rareEvery >> 1 ? [tag, rareTag] : [tag];
  };
  const events = await importInto(store, source.batches(settings.events), () => {}, tagsOf);
  return { events, types, combinations };
}

/** A short stream, one append an event; and a long one, of ten events an append. */
async function appendStreams(store: EventStore, { settings }: ScenarioContext<ReplaySettings>): Promise<void> {
  for (let version = 0; version < shortStreamEvents; version += 1) {
    await store.append(shortStream, [sampleEvent(version)], { expectedVersion: version });
  }
  for (let version = 0; version < settings.longStreamEvents; version += longStreamAppendEvents) {
    const events = Array.from({ length: longStreamAppendEvents }, (_, index) => sampleEvent(version + index));
    await store.append(longStream, events, { expectedVersion: version });
  }
}

interface Read {
  readonly name: string;
  readonly expected: number;
  readonly times: number;
  readonly events: () => AsyncIterable<{ readonly data: unknown }>;
}

function readsOf(store: EventStore, imported: Imported, settings: ReplaySettings): readonly Read[] {
  const [commonType, commonHits] = [...imported.types].reduce((most, entry) => (entry[1] > most[1] ? entry : most));
  const [combination, combinationHits] = [...imported.combinations].reduce((best, entry) =>
    Math.abs(entry[1] - combinationHitsWanted) < Math.abs(best[1] - combinationHitsWanted) ? entry : best,
  );
  const [type, tag] = JSON.parse(combination) as [string, string];
  const all = imported.events + shortStreamEvents + settings.longStreamEvents;
  const filtered = (filter: EventFilter) => () => store.readAll({ filter });
  const { passes, repetitions } = settings;
  return [
    { name: "all", expected: all, times: passes, events: () => store.readAll() },
    {
      name: "short-stream",
      expected: shortStreamEvents,
      times: repetitions,
      events: () => store.readStream(shortStream),
    },
    {
      name: "long-stream",
      expected: settings.longStreamEvents,
      times: passes,
      events: () => store.readStream(longStream),
    },
    { name: "rare-tag", expected: rareHits, times: repetitions, events: filtered({ tags: [rareTag] }) },
    { name: "common-type", expected: commonHits, times: passes, events: filtered({ types: [commonType] }) },
    {
      name: "type-and-tag",
      expected: combinationHits,
      times: repetitions,
      events: filtered({ types: [type], tags: [tag] }),
    },
    {
      name: "last-backwards",
      expected: backwardsEvents,
      times: repetitions,
      events: () => store.readAll({ direction: "backwards", limit: backwardsEvents }),
    },
  ];
}

async function measure(read: Read, { memory }: ScenarioContext<ReplaySettings>): Promise<Row> {
  await memory.settle();
  const { firstMs, totalMs, latencyMs } = await timeRepeatedly(read.times, Math.ceil(read.times / 5), async () => {
    checkEqual(await countEvents(read.events()), read.expected, `events of ${read.name}`);
    memory.sample();
  });
  return {
    parameters: { read: read.name },
    n: read.expected,
    perSecond: (read.expected * read.times * 1_000) / totalMs,
    latencyMs,
    rssMaxMb: memory.maxSinceSettledMb(),
    extra: { "first ms": firstMs },
  };
}

async function run(context: ScenarioContext<ReplaySettings>): Promise<readonly Row[]> {
  const { settings } = context;
  const url = context.freshUrl("");
  context.progress(`importing ${settings.events} events`);
  let store = await openEventStore({ url });
  try {
    const imported = await importTagged(store, context);
    await appendStreams(store, context);
    check(imported.events >= rareHits * 2, "too few events to hide a rare tag in");
    // What is in memory would go with it.
    if (url !== "memory:") {
      await store.close();
      store = await openEventStore({ url });
    }
    const rows: Row[] = [];
    for (const read of readsOf(store, imported, settings)) {
      context.progress(read.name);
      rows.push(await measure(read, context));
    }
    return rows;
  } finally {
    await store.close();
  }
}

export const replay: Scenario<ReplaySettings> = {
  name: "replay",
  question: "How fast are all events, one stream, or the events that match a filter read, with their data decoded?",
  sizes: {
    smoke: { events: 2_000, longStreamEvents: 200, passes: 1, repetitions: 5 },
    quick: { events: 50_000, longStreamEvents: 5_000, passes: 5, repetitions: 100 },
    full: { events: 262_200, longStreamEvents: 20_000, passes: 5, repetitions: 200 },
  },
  run,
};
