/**
 * The events that scenarios import: a file of CloudEvents, one JSON object a line, or events of the same shape made up here.
 * They come in batches, in the order of the file, and are never all in memory: the store's memory is what is measured.
 */

import { existsSync } from "node:fs";
import { generatedBatches } from "./generated-events.ts";
import { UsageError } from "./usage-error.ts";

export interface SourceEvent {
  readonly id: string;
  readonly type: string;
  readonly streamName: string;
  readonly occurredAt: Date;
  readonly data: Readonly<Record<string, unknown>>;
}

export type EventBatches = AsyncIterable<readonly SourceEvent[]>;

export interface EventSource {
  /** What the report says of it. */
  readonly kind: "file" | "generated";
  /** What `--data` takes to get the same again. */
  readonly data: string;
  /** The first `count` events, or as many as there are. */
  batches(count: number): EventBatches;
}

/** What `--data` takes for events that are made up. */
export const generatedData = "generated";

const batchEventsMax = 1_000;

/** `data`: a file, or "generated"; without it, the file that STRATA_TEST_DATA names, or else made-up events. */
export function openEventSource(data: string | undefined): EventSource {
  const file = data ?? process.env.STRATA_TEST_DATA ?? generatedData;
  if (file === generatedData) {
    return { kind: "generated", data: generatedData, batches: (count) => generatedBatches(count, batchEventsMax) };
  }
  if (!existsSync(file)) throw new UsageError(`There is no file of events: ${file}`);
  return { kind: "file", data: file, batches: (count) => fileBatches(file, count) };
}

async function* linesOf(file: string): AsyncGenerator<readonly string[]> {
  const bytes = Bun.file(file).stream();
  const text = file.endsWith(".gz") ? bytes.pipeThrough(new DecompressionStream("gzip")) : bytes;
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of text) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield lines;
  }
  yield [rest];
}

interface CloudEvent {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

function fromCloudEvent(line: string): SourceEvent {
  const { id, type, subject, time, data } = JSON.parse(line) as CloudEvent;
  return { id, type, streamName: subject, occurredAt: new Date(time), data };
}

async function* fileBatches(file: string, count: number): AsyncGenerator<readonly SourceEvent[]> {
  let left = count;
  let batch: SourceEvent[] = [];
  for await (const lines of linesOf(file)) {
    for (const line of lines) {
      if (line === "") continue;
      batch.push(fromCloudEvent(line));
      left -= 1;
      if (batch.length < batchEventsMax && left > 0) continue;
      yield batch;
      batch = [];
      if (left <= 0) return;
    }
  }
  if (batch.length > 0) yield batch;
}
