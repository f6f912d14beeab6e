/**
 * What the runner runs: a name, a filter, a handler of batches, and a checkpoint that the handler keeps wherever its effects
 * are kept, in the same transaction. Pure types. Projections of every kind, reactors and process managers all come as these.
 */

import type { UnreadableEventError } from "../errors.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import type { ParkingControls } from "./parking.ts";
import type { RetryPolicy } from "./retries.ts";
import type { ProcessorError } from "./worker.ts";

/** What a processor is. */
export type ProcessorKind = "projection" | "sql-projection" | "reactor" | "process-manager" | "compactor";

/** The events of a piece of the log that match a processor's filter. */
export interface Batch {
  /** In the order of their positions; none where there is only a checkpoint to be saved. Parts of a split event come together. */
  readonly events: readonly RecordedEvent[];
  readonly fromPosition: number;
  /** Everything up to here is in the batch, or does not match: the checkpoint to save. */
  readonly toPosition: number;
}

export interface BatchContext {
  /** Aborted when the store closes: what waits should give up, what is written should be finished. */
  readonly signal: AbortSignal;
  /** Which attempt at this batch it is, from 1. */
  readonly attempt: number;
  /** Whether the processor stops (`failed`) where this attempt fails, too. */
  readonly lastAttempt: boolean;
}

/** Where batches go. */
export interface BatchTarget {
  /** The position up to which everything is handled, as it is durable; 0 at the beginning. */
  loadCheckpoint(): Promise<number>;
  /**
   * Handles all events of a batch and saves `toPosition` with their effects, all or nothing; resolves when that is durable.
   * What it throws is retried with the same or a longer batch, so it must be harmless to repeat up to the saved checkpoint.
   */
  handle(batch: Batch, context: BatchContext): Promise<void>;
  /**
   * Takes a forgotten subject's data out of what it keeps, as its definition says; how many documents that changed. Called between
   * two batches; harmless to repeat.
   */
  erase?(subject: string): Promise<number>;
}

/** A read model that is being built anew beside the one that serves. */
export interface Rebuilding {
  readonly version: number;
  readonly startedAtMs: number;
  readonly target: BatchTarget;
  /**
   * Makes the new one serve, atomically and durably. It has handled everything up to `position`; the old one stands still,
   * and is not ahead. From then on the processor's own `handle` goes on from there.
   */
  finish(position: number): Promise<void>;
  /** Drops the new one; the old one goes on serving. */
  discard(): Promise<void>;
}

/** What can be built anew. */
export interface Rebuilds {
  /** Asked once, at the start: a rebuild that was under way, or that a new version asks for. */
  pending(): Promise<Rebuilding | undefined>;
  /** Begins one from nothing, because somebody asked for it. */
  begin(): Promise<Rebuilding>;
}

/** Something that reads the log and does something about it. */
export interface Processor extends BatchTarget {
  /** Unique in its store; at most 512 bytes. */
  readonly name: string;
  readonly kind: ProcessorKind;
  /** An integer from 1. One below what was run before is refused at the start. */
  readonly version: number;
  readonly filter: CheckedFilter;
  /** Default: 2,048. */
  readonly batchEventsMax?: number;
  readonly retries?: RetryPolicy;
  /** Errors after which it is always tried again, such as a database that does not answer. Those of the store are known. */
  isTransient?(error: unknown): boolean;
  /** Called once, after the settings were checked and before anything else. What it throws fails the opening of the store. */
  prepare?(): Promise<void>;
  /**
   * Whether `handle` can go on with the read model that serves. Not where that is of an older version: it is served as it
   * stands until the rebuild is done. Default: it can. Asked after `prepare`.
   */
  continues?(): boolean;
  /** Its work is done elsewhere (inline, in the commits): the runner has nothing to do but rebuilds. */
  readonly passive?: { position(): number; lastError?(): ProcessorError | undefined };
  readonly rebuilds?: Rebuilds;
  /** What it has put aside. */
  readonly parking?: ParkingControls & { readonly count: number };
  /** The time at which it wants `wake`, if any; asked after each batch and each wake. */
  wakeAtMs?(): number | undefined;
  /** Called when that time has come and everything that was in the log by then is handled. Failures are retried. */
  wake?(context: BatchContext): Promise<void>;
}

/** A batch as the log is read for it; `unreadable`: what stands right behind it. */
export interface ReadBatch extends Batch {
  readonly unreadable?: UnreadableEventError;
}
