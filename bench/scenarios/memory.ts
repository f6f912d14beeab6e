/** The process's memory through an import and through one full replay after another: it must end somewhere, and stay there. */

import { openEventStore } from "../../src/index.ts";
import type { MemoryNow } from "../harness/memory-sampler.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface MemorySettings {
  readonly events: number;
  readonly replays: number;
}

const thirds = ["start", "middle", "end"] as const;

/** The most in each third: single moments would be an accident of when garbage was last collected. */
function rowOf(phase: string, n: number, moments: readonly MemoryNow[], rssMaxMb: number): Row {
  const extra: Record<string, number> = {};
  for (const [index, third] of thirds.entries()) {
    const from = Math.floor((moments.length * index) / thirds.length);
    const to = Math.max(from + 1, Math.floor((moments.length * (index + 1)) / thirds.length));
    const some = moments.slice(from, to);
    extra[`${third} MB`] = Math.max(...some.map(({ rssMb }) => rssMb));
    extra[`${third} heap MB`] = Math.max(...some.map(({ heapMb }) => heapMb));
  }
  return { parameters: { phase }, n, rssMaxMb, extra };
}

async function run(context: ScenarioContext<MemorySettings>): Promise<readonly Row[]> {
  const { settings, source, memory } = context;
  await using store = await openEventStore({ url: context.freshUrl("") });
  context.progress(`importing ${settings.events} events`);
  await memory.settle();
  const importing = [memory.sample()];
  const events = await importInto(store, source.batches(settings.events), () => importing.push(memory.sample()));
  const importRow = rowOf("import", events, importing, memory.maxSinceSettledMb());
  await memory.settle();
  const replaying: MemoryNow[] = [];
  for (let index = 1; index <= settings.replays; index += 1) {
    checkEqual(await countEvents(store.readAll()), events, "events read in a replay");
    replaying.push(memory.sample());
    context.progress(`replay ${index}: ${Math.round(memory.sample().rssMb)} MB`);
  }
  return [importRow, rowOf("replay", events * settings.replays, replaying, memory.maxSinceSettledMb())];
}

export const memory: Scenario<MemorySettings> = {
  name: "memory",
  question: "How much memory does the process take through an import, and does it stay flat over repeated replays?",
  sizes: {
    smoke: { events: 2_000, replays: 3 },
    quick: { events: 50_000, replays: 45 },
    full: { events: 262_200, replays: 45 },
  },
  run,
};
