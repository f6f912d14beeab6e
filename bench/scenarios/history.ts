/**
 * Looking back: a search of the whole log for a correlation id, which has no index; what such an index would cost each append,
 * as a tag of its own on each event has exactly its rows; and the history and blame of one long stream beside reading it.
 */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type EventStore, openEventStore } from "../../src/index.ts";
import { closedLoop, timeRepeatedly } from "../harness/closed-loop.ts";
import { folderOf } from "../harness/locations.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface HistorySettings {
  readonly searchedEvents: number;
  readonly searches: number;
  readonly appenders: number;
  readonly durationMs: number;
  /** With and without the index, one after the other. */
  readonly pairs: number;
  readonly streamEvents: number;
  readonly passes: number;
}

type Context = ScenarioContext<HistorySettings>;

async function searching(context: Context): Promise<readonly Row[]> {
  const { searchedEvents, searches } = context.settings;
  const url = context.freshUrl("search");
  let store = await openEventStore({ url });
  try {
    const events = await importInto(store, context.source.batches(searchedEvents), () => {});
    if (url !== "memory:") {
      await store.close();
      store = await openEventStore({ url });
    }
    const search = async (correlationId: string): Promise<void> => {
      const trace = await store.trace(correlationId);
      checkEqual(trace.events, 0, "events of a correlation id that nobody has");
      checkEqual(trace.toPosition, events, "the end of what was searched");
    };
    const { totalMs, latencyMs } = await timeRepeatedly(searches, 1, () => search("an id that nobody has"));
    return [{ parameters: { what: "search" }, n: events, perSecond: (events * searches * 1_000) / totalMs, latencyMs }];
  } finally {
    await store.close();
  }
}

async function bytesBelow(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(names.map((name) => stat(join(folder, name))));
  return sizes.reduce((sum, one) => sum + (one.isFile() ? one.size : 0), 0);
}

/** Each event has a correlation id of its own, as requests give them; `indexed`: and a row of the index for it. */
async function appending(context: Context, indexed: boolean, pair: number): Promise<Row> {
  const { appenders, durationMs } = context.settings;
  const url = context.freshUrl(`append-${indexed}-${pair}`);
  const store = await openEventStore({ url });
  let report: Awaited<ReturnType<typeof closedLoop>>;
  try {
    report = await closedLoop(
      appenders,
      { warmUpMs: durationMs / 4, durationMs, runs: 1 },
      async (worker, sequence) => {
        const correlationId = crypto.randomUUID();
        const tags = indexed ? [correlationId] : [];
        const event = { ...sampleEvent(sequence), metadata: { correlationId }, tags };
        await store.append(`order-${worker}-${sequence}`, [event], { expectedVersion: "no-stream" });
      },
    );
  } finally {
    await store.close();
  }
  const folder = folderOf(url);
  const { count: n, perSecond, latencyMs, total } = report;
  const extra = folder === undefined ? {} : { "bytes an event": Math.round((await bytesBelow(folder)) / total) };
  return {
    parameters: { what: indexed ? "append, an index row an id" : "append", appenders },
    n,
    perSecond,
    latencyMs,
    extra,
  };
}

async function tellingOf(store: EventStore, { settings }: Context): Promise<readonly Row[]> {
  const { streamEvents, passes } = settings;
  const streamName = "order-long";
  for (let version = 0; version < streamEvents; version += 100) {
    const events = Array.from({ length: 100 }, (_, index) => sampleEvent(version + index));
    await store.append(streamName, events, { expectedVersion: version });
  }
  const told = async (entries: AsyncIterable<{ readonly event: { readonly data: unknown } }>): Promise<number> => {
    let count = 0;
    for await (const { event } of entries) if (event.data !== undefined) count += 1;
    return count;
  };
  const ways: readonly (readonly [string, () => Promise<number>])[] = [
    ["read", () => countEvents(store.readStream(streamName))],
    ["history", () => told(store.history(streamName))],
    ["history, backwards", () => told(store.history(streamName, { direction: "backwards" }))],
    ["blame", async () => (await store.blame(streamName))?.version ?? 0],
  ];
  const rows: Row[] = [];
  for (const [what, way] of ways) {
    const { totalMs } = await timeRepeatedly(passes, 1, async () => checkEqual(await way(), streamEvents, what));
    rows.push({ parameters: { what }, n: streamEvents, perSecond: (streamEvents * passes * 1_000) / totalMs });
  }
  return rows;
}

async function run(context: Context): Promise<readonly Row[]> {
  const rows = [...(await searching(context))];
  for (let pair = 0; pair < context.settings.pairs; pair += 1)
    for (const indexed of [false, true]) rows.push(await appending(context, indexed, pair));
  await using store = await openEventStore({ url: context.freshUrl("stream") });
  return [...rows, ...(await tellingOf(store, context))];
}

export const history: Scenario<HistorySettings> = {
  name: "history",
  question:
    "What does a search for a correlation id cost, what would an index of them, and how fast is a history told?",
  sizes: {
    smoke: {
      searchedEvents: 2_000,
      searches: 2,
      appenders: 16,
      durationMs: 200,
      pairs: 1,
      streamEvents: 500,
      passes: 1,
    },
    quick: {
      searchedEvents: 50_000,
      searches: 10,
      appenders: 1_024,
      durationMs: 2_000,
      pairs: 2,
      streamEvents: 10_000,
      passes: 3,
    },
    full: {
      searchedEvents: 262_200,
      searches: 20,
      appenders: 1_024,
      durationMs: 5_000,
      pairs: 3,
      streamEvents: 20_000,
      passes: 5,
    },
  },
  run,
};
