/** The public face of a reader of a store that somebody else writes to. Pure types. */

import type { EventStoreError } from "../errors.ts";
import type { KvReaderStats } from "../kv/kv.ts";
import type { EventDefinitions, EventTypeOf, RecordedEventOf } from "../schema/define-events.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { ProvenLog } from "../vocabulary/verification.ts";
import type { EventReader, SubscribeOptions } from "./event-store.ts";

/** How long to wait for a position. */
export interface WaitOptions {
  /** Default: 30,000 ms. */
  readonly timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** `open`: all is well. `stalled`: the storage cannot be followed at the moment, and is tried again and again. */
export interface ReaderHealth {
  readonly state: "open" | "stalled" | "closed";
  /** Why it is stalled. */
  readonly error?: EventStoreError;
  /** The newest event that it has seen. */
  readonly lastPosition: number;
}

/** Counted since the reader was opened. */
export interface ReaderStats {
  readonly storage: KvReaderStats;
  /** How often the log was found to have grown. */
  readonly advances: number;
  /** How often looking for new events failed; it is tried again. */
  readonly failures: number;
}

/**
 * A read replica: the reads and subscriptions of a store, from the storage itself, beside its writer or without one. It
 * sees what is durable, whole commits in their order, some time after they were acknowledged (see `openEventStoreReader`);
 * it never goes back, and sees nothing newer than its `lastPosition()`. It outlives writers that come and go.
 */
export interface EventStoreReader<Definitions extends EventDefinitions = never>
  extends EventReader<Definitions>,
    ProvenLog,
    AsyncDisposable {
  /** As `EventStore.subscribe`; new events come as this reader sees them. Throws as `readStream`. */
  subscribe(options: SubscribeOptions<EventTypeOf<Definitions>>): AsyncIterableIterator<RecordedEventOf<Definitions>>;
  /** As `EventStore.on`, for events that this reader sees from now on. */
  on(
    filter: EventFilter<EventTypeOf<Definitions>> | undefined,
    handler: (event: RecordedEventOf<Definitions>) => unknown,
  ): () => void;
  /** The same reads, frozen at a position or at a time of recording. */
  asOf(when: Date | number): EventReader<Definitions>;
  /**
   * Resolves when this reader sees the event at that position, as an append has answered it: reads your own writes.
   * Throws `storage-unavailable` after the time-out, `store-closed`, `invalid-argument`, or the signal's reason.
   */
  waitForPosition(position: number, options?: WaitOptions): Promise<void>;
  health(): ReaderHealth;
  stats(): ReaderStats;
  /** Ends subscriptions and waits, removes what it has left in the storage, and closes. Never rejects. Idempotent. */
  close(): Promise<void>;
}
