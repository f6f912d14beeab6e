/**
 * What a pass of the compactor does beside merging: the place where retention, archiving and whatever else looks after old
 * events plugs in. Steps run one after another, within the pass's turn of maintenance, so that what one has read of pages
 * holds until it has committed. A step must be harmless to repeat: a pass that was broken off begins again.
 */

import type { KvOperation } from "../kv/kv.ts";
import type { CoreCommit, StoreCore } from "../log/store-internals.ts";

/** What a pass has done. All of it is durable; a step adds to these. */
export interface CompactionCounts {
  /** Pages of streams, and of the log, that were merged into larger ones, and what they became. */
  readonly streamPagesMerged: number;
  readonly streamPagesWritten: number;
  readonly logPagesMerged: number;
  readonly logPagesWritten: number;
  /** Rows of the index that were merged, and what they became. */
  readonly indexRowsMerged: number;
  readonly indexRowsWritten: number;
  readonly snapshotsWritten: number;
  /** Snapshots that nothing reads any more. */
  readonly snapshotsDropped: number;
  /** Events that are gone from the log. */
  readonly eventsDropped: number;
  /** How many bytes fewer the rows have, keys and values: what the engine gives back once it has merged its tables. */
  readonly bytesFreed: number;
}

export const noCounts: CompactionCounts = {
  streamPagesMerged: 0,
  streamPagesWritten: 0,
  logPagesMerged: 0,
  logPagesWritten: 0,
  indexRowsMerged: 0,
  indexRowsWritten: 0,
  snapshotsWritten: 0,
  snapshotsDropped: 0,
  eventsDropped: 0,
  bytesFreed: 0,
};

/** A stream that was appended to since the last pass. */
export interface TouchedStream {
  readonly streamName: string;
  /** The first and the last of its versions that came since then, as far as this part of the pass goes. */
  readonly fromVersion: number;
  readonly toVersion: number;
  /** The bytes of these events. */
  readonly bytes: number;
}

/** A pass, as its steps see it. */
export interface LifecyclePass {
  readonly core: StoreCore;
  /** Somebody asked for it and waits: it goes to the end of the log, and does what a pass in the background puts off. */
  readonly full: boolean;
  /** Aborted when the pass is to end: between two commits. */
  readonly signal: AbortSignal;
  /**
   * Puts a commit through the pipeline, then adds `counts`, then waits as the compactor's share of the pipeline asks. Throws as
   * `submit`, and the signal's reason.
   */
  commit(commit: CoreCommit, counts?: Partial<CompactionCounts>): Promise<void>;
  /**
   * Has rows of maintenance written together with others, all of `operations` in the same commit: at once where enough have
   * gathered, else later. What was given here is read as it was before until `flush`.
   */
  maintain(operations: readonly KvOperation[], counts?: Partial<CompactionCounts>): Promise<void>;
  /** Commits what has gathered. Called between two steps anyhow. */
  flush(): Promise<void>;
  /** Gives others a turn where much was read and nothing committed. Throws the signal's reason. */
  breathe(): Promise<void>;
}

/** Something that looks after old events. */
export interface LifecycleStep {
  readonly name: string;
  /** The time by the store's clock at which it wants a pass though nothing was appended. Asked from memory, each minute. */
  dueAtMs?(): number | undefined;
  /** At the beginning of each pass: what time alone brings about. */
  begin?(pass: LifecyclePass): Promise<void>;
  /** Streams that were touched, at most 512 at once, before their pages are merged. One may come again in the same pass. */
  streams?(streams: readonly TouchedStream[], pass: LifecyclePass): Promise<void>;
  /** Behind all of that. */
  end?(pass: LifecyclePass): Promise<void>;
}
