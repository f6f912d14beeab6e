/** Commands on streams of 20 events: load the state, decide, append one; with the state in the cache, and folded anew. */

import * as v from "valibot";
import { type Decider, defineDecider, defineEvents, type EventStore, event, openEventStore } from "../../src/index.ts";
import { closedLoop, type LoopSettings } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents } from "../harness/strata-target.ts";

export interface ExecuteSettings extends LoopSettings {
  readonly workers: readonly number[];
  /** Taken in turn, so that none grows far beyond its 20 events. */
  readonly streams: number;
}

interface OrderState {
  readonly lines: number;
  readonly totalCents: number;
}

const streamEvents = 20;
const schema = v.looseObject({ totalCents: v.number() });
const orderEvents = defineEvents("order", { OrderPlaced: event({ schema }) });
type OrderEvents = typeof orderEvents;
type OrderDecider = Decider<OrderState, OrderEvents, { PlaceOrder: typeof schema }>;

/** The cache tells deciders apart by identity, so that a new one finds no state in it. */
function defineOrders(): OrderDecider {
  return defineDecider("order", {
    events: orderEvents,
    commands: { PlaceOrder: schema },
    initialState: () => ({ lines: 0, totalCents: 0 }),
    evolve: {
      OrderPlaced: (state, { data }) => ({ lines: state.lines + 1, totalCents: state.totalCents + data.totalCents }),
    },
    decide: { PlaceOrder: ({ data }) => [{ type: "OrderPlaced", data }] },
  });
}

async function prepareStreams(store: EventStore<OrderEvents>, streams: number): Promise<void> {
  for (let version = 0; version < streamEvents; version += 1) {
    const appends = Array.from({ length: streams }, (_, number) => {
      const { metadata, data } = sampleEvent(number);
      const one = { type: "OrderPlaced", data: data as v.InferInput<typeof schema>, metadata } as const;
      return store.append(`order-${number}`, [one], { expectedVersion: version });
    });
    await Promise.all(appends);
  }
}

async function measure(
  store: EventStore<OrderEvents>,
  workers: number,
  cache: "warm" | "cold",
  context: ScenarioContext<ExecuteSettings>,
): Promise<{ row: Row; total: number }> {
  const { settings, memory } = context;
  check(settings.streams % workers === 0, "the streams cannot be shared out among the workers");
  const perRound = settings.streams / workers;
  const rounds = [defineOrders()];
  // Cold: another decider each time that all streams have been visited, so that no state is found; made once, not each time.
  const deciderOf = (sequence: number): OrderDecider => {
    const round = cache === "warm" ? 0 : Math.floor(sequence / perRound);
    const decider = rounds[round] ?? defineOrders();
    rounds[round] = decider;
    return decider;
  };
  if (cache === "warm")
    for (let number = 0; number < settings.streams; number += 1) await store.load(deciderOf(0), `${number}`);
  await memory.settle();
  const report = await closedLoop(workers, settings, async (worker, sequence) => {
    const { metadata, data } = sampleEvent(sequence);
    const decider = deciderOf(sequence);
    const id = String((worker + sequence * workers) % settings.streams);
    const command = { type: "PlaceOrder", data: data as v.InferInput<typeof schema> } as const;
    const { state, streamVersion } = await store.execute(decider, id, command, { metadata });
    check(state.lines === streamVersion, "a state was not the fold of its stream");
  });
  const { count: n, perSecond, latencyMs, total } = report;
  return {
    row: { parameters: { cache, workers }, n, perSecond, latencyMs, rssMaxMb: memory.maxSinceSettledMb() },
    total,
  };
}

async function run(context: ScenarioContext<ExecuteSettings>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const cache of ["warm", "cold"] as const) {
    for (const workers of context.settings.workers) {
      context.progress(`${workers} workers, ${cache}`);
      await using store = await openEventStore({ url: context.freshUrl(`${cache}-${workers}`), events: [orderEvents] });
      await prepareStreams(store, context.settings.streams);
      const { row, total } = await measure(store, workers, cache, context);
      rows.push(row);
      const expected = context.settings.streams * streamEvents + total;
      checkEqual(await countEvents(store.readAll()), expected, "events read at the end");
      checkEqual(store.stats().commits.conflicts, 0, "conflicts");
    }
  }
  return rows;
}

export const execute: Scenario<ExecuteSettings> = {
  name: "execute",
  question: "How many commands per second are decided on the state of a stream of 20 events, and append one?",
  sizes: {
    smoke: { workers: [1, 16], streams: 32, warmUpMs: 10, durationMs: 40, runs: 1 },
    quick: { workers: [1, 16], streams: 800, warmUpMs: 300, durationMs: 1_000, runs: 3 },
    full: { workers: [1, 16], streams: 3_200, warmUpMs: 1_000, durationMs: 5_000, runs: 3 },
  },
  run,
};
