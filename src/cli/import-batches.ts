/**
 * From lines to batches, and from batches to commits. A batch is bounded by events and bytes. In a commit a stream appears
 * once, with all its events of the batch, and no id appears twice; so one batch may need several commits.
 */

import type { CommitRequest, NewEvent } from "../index.ts";
import { type ParsedEvent, parseCloudEvent } from "./cloud-event.ts";
import type { TextLine } from "./lines.ts";
import type { StreamLedger } from "./stream-ledger.ts";

/** The most events of a batch: those of a commit. */
export const batchEventsMax = 10_000;
export const batchEventsDefault = 5_000;
/** The most characters of a batch; a commit takes 16 MiB, and numbers may be longer once they are written out. */
const batchCharactersMax = 2 * 1024 * 1024;
const commitStreamsMax = 1_000;

export interface RefusedLine {
  readonly line: number;
  readonly reason: string;
}

/** An event, and the line that it was read from. */
interface ReadEvent extends ParsedEvent {
  readonly line: number;
}

export interface Batch {
  readonly events: readonly ReadEvent[];
  readonly refused: readonly RefusedLine[];
  /** How much text the events were parsed from. */
  readonly characters: number;
  /** As `BatchOptions` have it. */
  readonly skipBad: boolean;
}

export interface BatchOptions {
  readonly category: string | undefined;
  readonly eventsMax: number;
  /** Go on behind a line that is refused; else it ends the batch, and is the last. */
  readonly skipBad: boolean;
}

class BatchBuilder {
  readonly #options: BatchOptions;
  #events: ReadEvent[] = [];
  #refused: RefusedLine[] = [];
  #characters = 0;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#events.length === 0 && this.#refused.length === 0;
  }

  get isFull(): boolean {
    const { eventsMax } = this.#options;
    const count = Math.max(this.#events.length, this.#refused.length);
    return count >= eventsMax || this.#characters >= batchCharactersMax;
  }

  /** Answers whether the line is good. */
  add({ number, text, problem }: TextLine): boolean {
    const { category } = this.#options;
    const parsed = text === undefined ? { refused: problem ?? "unreadable" } : parseCloudEvent(text, category);
    if ("refused" in parsed) {
      this.#refused.push({ line: number, reason: parsed.refused });
      return false;
    }
    this.#events.push({ ...parsed, line: number });
    this.#characters += text?.length ?? 0;
    return true;
  }

  take(): Batch {
    const { skipBad } = this.#options;
    const batch = { events: this.#events, refused: this.#refused, characters: this.#characters, skipBad };
    this.#events = [];
    this.#refused = [];
    this.#characters = 0;
    return batch;
  }
}

/** Parses lines into batches. Where the input fails, what was read before is a batch first. */
export async function* batchesOf(
  lists: AsyncIterable<readonly TextLine[]>,
  options: BatchOptions,
): AsyncGenerator<Batch> {
  const builder = new BatchBuilder(options);
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const lines of lists) {
      for (const line of lines) {
        const ends = !builder.add(line) && !options.skipBad;
        if (ends || builder.isFull) yield builder.take();
        if (ends) return;
      }
    }
  } catch (error) {
    failure = { error };
  }
  if (!builder.isEmpty) yield builder.take();
  if (failure !== undefined) throw failure.error;
}

export interface PlannedBatch {
  readonly commits: readonly CommitRequest[];
  /** How many events the commits append. */
  readonly events: number;
  readonly alreadyThere: number;
  /** In the order of the lines; also those that could not be parsed. */
  readonly refused: readonly RefusedLine[];
  /** A refused line has ended the import: nothing that stands behind it is to be imported. */
  readonly isLast: boolean;
  readonly characters: number;
}

interface PlannedStream {
  readonly streamName: string;
  readonly expectedVersion: number | "no-stream";
  readonly events: NewEvent[];
}

/** Leaves out what the streams hold already or cannot take, and says which version each must have. */
export async function planBatch(batch: Batch, ledger: StreamLedger): Promise<PlannedBatch> {
  const counts = new Map<string, number>();
  for (const { streamName } of batch.events) counts.set(streamName, (counts.get(streamName) ?? 0) + 1);
  await ledger.begin(counts);
  const streams = new Map<string, PlannedStream>();
  const refused: RefusedLine[] = [];
  let planned = 0;
  let alreadyThere = 0;
  for (const { streamName, event, line } of batch.events) {
    const version = ledger.versionOf(streamName);
    const outcome = ledger.plan(streamName, event.id ?? "");
    if (typeof outcome === "object") {
      refused.push({ line, reason: outcome.refused });
      if (batch.skipBad) continue;
      break;
    }
    if (outcome === "already-there") {
      alreadyThere += 1;
      continue;
    }
    planned += 1;
    const stream = streams.get(streamName);
    if (stream !== undefined) stream.events.push(event);
    else
      streams.set(streamName, { streamName, expectedVersion: version === 0 ? "no-stream" : version, events: [event] });
  }
  return {
    commits: commitsOf(streams.values()),
    events: planned,
    alreadyThere,
    ...refusedOf(batch, refused),
    characters: batch.characters,
  };
}

/** `untellable`: what the streams cannot take. */
function refusedOf(
  { refused, skipBad }: Batch,
  untellable: readonly RefusedLine[],
): Pick<PlannedBatch, "refused" | "isLast"> {
  if (skipBad)
    return { refused: [...untellable, ...refused].sort((one, other) => one.line - other.line), isLast: false };
  // A line that could not be parsed has ended the batch, so it stands behind all others.
  const first = untellable.length > 0 ? untellable : refused;
  return { refused: first, isLast: first.length > 0 };
}

function commitsOf(streams: Iterable<PlannedStream>): readonly CommitRequest[] {
  const commits: PlannedStream[][] = [];
  let current: PlannedStream[] = [];
  let ids = new Set<string>();
  for (const stream of streams) {
    // The store wants the ids of a commit to differ; in an input, they need to within a stream only.
    if (current.length >= commitStreamsMax || stream.events.some(({ id }) => ids.has(id ?? ""))) {
      commits.push(current);
      current = [];
      ids = new Set();
    }
    current.push(stream);
    for (const { id } of stream.events) ids.add(id ?? "");
  }
  if (current.length > 0) commits.push(current);
  return commits.map((appends) => ({ appends }));
}
