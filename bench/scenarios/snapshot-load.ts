/** Loads of the state of a long stream, by a process that has just opened the store: with a snapshot and without. */

import * as v from "valibot";
import {
  type Decider,
  defineDecider,
  defineEvents,
  type EventDefinition,
  type EventDefinitions,
  event,
  openEventStore,
} from "../../src/index.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { DurationRecorder } from "../harness/statistics.ts";

export interface SnapshotLoadSettings {
  readonly events: number;
  readonly loads: number;
}

type MovedSchema = v.GenericSchema<{ amount: number; note: string }, { amount: number; note: string }>;
type AccountEvents = EventDefinitions<"account", { readonly Moved: EventDefinition<MovedSchema> }>;

const moved: MovedSchema = v.object({ amount: v.number(), note: v.string() });
const account: AccountEvents = defineEvents("account", { Moved: event({ schema: moved }) });
const eventsPerCommit = 1_000;

type Account = Decider<{ readonly balance: number; readonly count: number }, AccountEvents, Record<never, never>>;

function defineAccount(snapshots: boolean): Account {
  return defineDecider("account", {
    events: account,
    commands: {},
    initialState: () => ({ balance: 0, count: 0 }),
    evolve: { Moved: ({ balance, count }, { data }) => ({ balance: balance + data.amount, count: count + 1 }) },
    decide: {},
    ...(snapshots ? { snapshots: { version: 1, everyEvents: 1_000 } } : {}),
  });
}

async function measure(
  { settings, memory }: ScenarioContext<SnapshotLoadSettings>,
  url: string,
  snapshot: "with" | "without",
): Promise<Row> {
  const decider = defineAccount(snapshot === "with");
  const loads = new DurationRecorder();
  let reads = 0;
  for (let load = 0; load < settings.loads; load += 1) {
    await using store = await openEventStore({ url, events: [account], compaction: false });
    const before = store.stats().storage;
    const startedMs = performance.now();
    const { state, version } = await store.load(decider, "1");
    loads.record(performance.now() - startedMs);
    const after = store.stats().storage;
    reads = after.gets - before.gets + after.rowsScanned - before.rowsScanned;
    checkEqual(state.count, settings.events, "events in the state");
    checkEqual(version, settings.events, "the version loaded");
    memory.sample();
  }
  return {
    parameters: { snapshot, events: settings.events },
    n: settings.loads,
    latencyMs: loads.summary(),
    extra: { "rows read": reads },
  };
}

async function run(context: ScenarioContext<SnapshotLoadSettings>): Promise<readonly Row[]> {
  const { events } = context.settings;
  const url = context.freshUrl("account");
  if (url === "memory:") return [{ parameters: { snapshot: "none in memory", events }, n: 0 }];
  {
    context.progress(`appending ${events} events to one stream`);
    const deciders = [defineAccount(true)];
    await using store = await openEventStore({ url, events: [account], deciders, compaction: false });
    for (let done = 0; done < events; ) {
      const count = Math.min(eventsPerCommit, events - done);
      const batch = Array.from({ length: count }, (_, index) => ({
        type: "Moved" as const,
        data: { amount: (done + index) % 100, note: `number ${done + index}` },
      }));
      await store.append("account-1", batch, { expectedVersion: done });
      done += count;
    }
    await store.compact();
  }
  return [await measure(context, url, "without"), await measure(context, url, "with")];
}

export const snapshotLoad: Scenario<SnapshotLoadSettings> = {
  name: "snapshot-load",
  question: "How long does a fresh process take to load the state of a long stream, with a snapshot and without?",
  sizes: {
    smoke: { events: 2_000, loads: 1 },
    quick: { events: 20_000, loads: 5 },
    full: { events: 100_000, loads: 11 },
  },
  run,
};
