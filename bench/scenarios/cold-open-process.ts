/** The processes of `cold-open`: one imports, to be killed or to end; one opens what the first left, and times that. */

import { openEventStore } from "../../src/index.ts";
import { openEventSource } from "../harness/event-source.ts";
import { MemorySampler } from "../harness/memory-sampler.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface StoreJob {
  readonly url: string;
  readonly events: number;
  readonly data: string;
}

export interface OpenReport {
  readonly openMs: number;
  /** From the beginning of the open to the first stream read. */
  readonly firstReadMs: number;
  readonly closeMs: number;
  /** All that there are, counted by reading them. */
  readonly events: number;
  /** Until the first read was done. */
  readonly rssMaxMb: number;
}

/** Before the number of events acknowledged so far, on a line of standard output. */
export const importProgress = "acknowledged ";

async function importAll({ url, events, data }: StoreJob): Promise<void> {
  await using store = await openEventStore({ url });
  await importInto(store, openEventSource(data).batches(events), ({ events: acknowledged }) => {
    process.stdout.write(`${importProgress}${acknowledged}\n`);
  });
}

async function openAndRead({ url, data }: StoreJob): Promise<OpenReport> {
  let streamName = "";
  for await (const [event] of openEventSource(data).batches(1)) streamName = event?.streamName ?? "";
  using memory = new MemorySampler();
  const startedMs = performance.now();
  const store = await openEventStore({ url });
  const openedMs = performance.now();
  const inStream = await countEvents(store.readStream(streamName));
  const readMs = performance.now();
  memory.sample();
  const rssMaxMb = memory.maxMb;
  if (inStream === 0) throw new Error(`The stream ${streamName} is empty`);
  const events = await countEvents(store.readAll());
  const closingMs = performance.now();
  await store.close();
  const closeMs = performance.now() - closingMs;
  return { openMs: openedMs - startedMs, firstReadMs: readMs - startedMs, closeMs, events, rssMaxMb };
}

if (import.meta.main) {
  const [, , command, argument] = process.argv;
  const job = JSON.parse(argument ?? "null") as StoreJob;
  if (command === "import") await importAll(job);
  else await Bun.write(Bun.stdout, JSON.stringify(await openAndRead(job)));
  process.exit(0);
}
