/**
 * What the comparable scenarios drive: an event store reduced to what all of them can do. Strata is one; others can stand
 * beside it in the same run. Nothing here knows Strata.
 */

import type { EventBatches } from "./event-source.ts";
import type { SampleEvent } from "./sample-events.ts";

export interface ImportedCommit {
  /** How many events have become durable with this commit, and before. */
  readonly events: number;
  /** From handing the commit over to its being durable. */
  readonly tookMs: number;
}

export interface Target extends AsyncDisposable {
  /** Appends one event to a stream that must not exist; resolves when it is durable. */
  appendNew(streamName: string, event: SampleEvent): Promise<void>;
  /** Appends one event behind `version`, which must be the stream's. */
  appendAt(streamName: string, event: SampleEvent, version: number): Promise<void>;
  /** Reads a stream, data and all; answers how many events it has. */
  readStream(streamName: string): Promise<number>;
  /** Imports events in order, keeping each stream's order; answers how many. */
  importEvents(batches: EventBatches, onCommit: (commit: ImportedCommit) => void): Promise<number>;
  /** Reads all events in order, data and all; answers how many. */
  readAll(): Promise<number>;
}
