/**
 * The processes of `cold-open` and `bucket-cold-open`: one imports, to be killed or to end; one commits event by event, to be killed;
 * one opens what the others left, and times that.
 */

import { openEventStore, type S3Options } from "../../src/index.ts";
import { openEventSource } from "../harness/event-source.ts";
import { MemorySampler } from "../harness/memory-sampler.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { countEvents, importInto } from "../harness/strata-target.ts";

export interface StoreJob {
  readonly url: string;
  readonly events: number;
  readonly data: string;
  /** Default: as the environment says. */
  readonly s3?: S3Options;
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

function say(acknowledged: number): void {
  process.stdout.write(`${importProgress}${acknowledged}\n`);
}

async function importAll({ url, events, data, s3 = {} }: StoreJob): Promise<void> {
  await using store = await openEventStore({ url, s3 });
  await importInto(store, openEventSource(data).batches(events), ({ events: acknowledged }) => {
    say(acknowledged);
  });
}

/** One commit group after another, each of one event; then it waits to be killed. */
async function commitSingly({ url, events, s3 = {} }: StoreJob): Promise<void> {
  const store = await openEventStore({ url, s3 });
  for (let number = 1; number <= events; number += 1) {
    await store.append(`order-${number}`, [sampleEvent(number)], { expectedVersion: "any" });
    say(number);
  }
  await new Promise(() => {});
}

async function openAndRead({ url, data, s3 = {} }: StoreJob): Promise<OpenReport> {
  let streamName = "";
  for await (const [event] of openEventSource(data).batches(1)) streamName = event?.streamName ?? "";
  using memory = new MemorySampler();
  const startedMs = performance.now();
  const store = await openEventStore({ url, s3 });
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
  else if (command === "commit-singly") await commitSingly(job);
  else await Bun.write(Bun.stdout, JSON.stringify(await openAndRead(job)));
  process.exit(0);
}
