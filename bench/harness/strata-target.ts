/** Strata as a target of the scenarios, and the import that they share. */

import { type EventStore, type NewEvent, openEventStore } from "../../src/index.ts";
import type { EventBatches, SourceEvent } from "./event-source.ts";
import type { SampleEvent } from "./sample-events.ts";
import type { ImportedCommit, Target } from "./target.ts";

/** A batch of the source is a commit; so many are under way, so that the next is encoded while the last is written. */
const commitsUnderWayMax = 4;

/** The tags that an event is imported with; none by default. */
export type TagsOf = (event: SourceEvent, index: number) => readonly string[];

/** Where the versions of the streams stand while an import goes on. */
type Versions = Map<string, number>;

function appendsOf(
  batch: readonly SourceEvent[],
  versions: Versions,
  firstIndex: number,
  tagsOf: TagsOf | undefined,
): { streamName: string; events: NewEvent[]; expectedVersion: number }[] {
  const appends = new Map<string, { streamName: string; events: NewEvent[]; expectedVersion: number }>();
  for (const [offset, event] of batch.entries()) {
    const { id, type, streamName, occurredAt, data } = event;
    const expectedVersion = versions.get(streamName) ?? 0;
    const append = appends.get(streamName) ?? { streamName, events: [], expectedVersion };
    appends.set(streamName, append);
    const tags = tagsOf?.(event, firstIndex + offset);
    append.events.push({ id, type, data, occurredAt, ...(tags === undefined ? {} : { tags }) });
  }
  for (const { streamName, events, expectedVersion } of appends.values()) {
    versions.set(streamName, expectedVersion + events.length);
  }
  return [...appends.values()];
}

/** Imports in big commits that expect each stream to be where the import left it; answers how many events. */
export async function importInto(
  store: EventStore,
  batches: EventBatches,
  onCommit: (commit: ImportedCommit) => void,
  tagsOf?: TagsOf,
): Promise<number> {
  const versions: Versions = new Map();
  const underWay: Promise<void>[] = [];
  let read = 0;
  let durable = 0;
  const commit = async (appends: ReturnType<typeof appendsOf>, count: number): Promise<void> => {
    const startedMs = performance.now();
    await store.commit({ appends });
    durable += count;
    onCommit({ events: durable, tookMs: performance.now() - startedMs });
  };
  for await (const batch of batches) {
    underWay.push(commit(appendsOf(batch, versions, read, tagsOf), batch.length));
    read += batch.length;
    if (underWay.length >= commitsUnderWayMax) await underWay.shift();
  }
  await Promise.all(underWay);
  return durable;
}

/** Reads to the end, looking at each event's data; answers how many there were. */
export async function countEvents(events: AsyncIterable<{ readonly data: unknown }>): Promise<number> {
  let count = 0;
  for await (const event of events) if (event.data !== undefined) count += 1;
  return count;
}

export async function openStrataTarget(url: string): Promise<Target> {
  const store = await openEventStore({ url });
  const append = async (streamName: string, event: SampleEvent, expectedVersion: number | "no-stream") => {
    await store.append(streamName, [event], { expectedVersion });
  };
  return {
    appendNew: (streamName, event) => append(streamName, event, "no-stream"),
    appendAt: append,
    readStream: (streamName) => countEvents(store.readStream(streamName)),
    importEvents: (batches, onCommit) => importInto(store, batches, onCommit),
    readAll: () => countEvents(store.readAll()),
    [Symbol.asyncDispose]: () => store.close(),
  };
}
