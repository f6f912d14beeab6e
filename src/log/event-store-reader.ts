/** The public face of a reader of a log that somebody else writes to. Pure types. */

import type { EventStoreError } from "../errors.ts";
import type { KvReaderStats } from "../kv/kv.ts";
import type { EventDefinitions, EventTypeOf, RecordedEventOf } from "../schema/define-events.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { AsOf } from "../vocabulary/moment.ts";
import type { RetentionInfo } from "../vocabulary/retention.ts";
import type { ProvenLog } from "../vocabulary/verification.ts";
import type { EventReader, LogGap, SubscribeOptions, SubscribeWithGapsOptions } from "./event-store.ts";

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

/** The log of a read replica: what `EventStoreReader` has without the layers above it. */
export interface EventLogReader<Definitions extends EventDefinitions = never>
  extends EventReader<Definitions>,
    ProvenLog,
    AsyncDisposable {
  /**
   * As `EventStore.subscribe`; new events come as this reader sees them. The newest ones come out of its memory, which lets go of
   * what was dropped from the log a moment after its reads pass over it; not while it is `stalled`. Throws as `readStream`.
   */
  subscribe(
    options: SubscribeWithGapsOptions<EventTypeOf<Definitions>>,
  ): AsyncIterableIterator<RecordedEventOf<Definitions> | LogGap>;
  subscribe(options: SubscribeOptions<EventTypeOf<Definitions>>): AsyncIterableIterator<RecordedEventOf<Definitions>>;
  /** As `EventStore.on`, for events that this reader sees from now on. */
  on(
    filter: EventFilter<EventTypeOf<Definitions>> | undefined,
    handler: (event: RecordedEventOf<Definitions>) => unknown,
  ): () => void;
  /** The same reads, frozen at a moment. */
  asOf(when: AsOf): EventReader<Definitions>;
  /** The rules of retention that are stored now; see `EventStore.setRetention`. */
  retentions(): Promise<readonly RetentionInfo[]>;
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
