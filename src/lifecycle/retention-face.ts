/** What a store offers to keep streams for as long as they are wanted, and no longer. Pure types. */

import type { EventMetadata } from "../vocabulary/event.ts";
import type { ExpectedVersion } from "../vocabulary/expected-version.ts";
import type { Retention, RetentionInfo } from "../vocabulary/retention.ts";

/** What a change of a stream as a whole has come to. All of it is durable. */
export interface StreamChangeResult {
  readonly streamName: string;
  /** How many events the stream has ever had. */
  readonly streamVersion: number;
  /** The position of the event in `$strata-lifecycle` that records it; of the last event where it was `replayed`. */
  readonly position: number;
  /** Whether it was so already, and nothing was written. */
  readonly replayed: boolean;
}

/** What truncating a stream has come to. */
export interface TruncateResult extends StreamChangeResult {
  /** Versions before this one are gone. */
  readonly truncatedBefore: number;
}

/** What deleting a stream has come to. */
export interface DeleteResult extends StreamChangeResult {
  readonly deletedAt: Date;
  /** Until then `undeleteStream` takes it back; absent where the events are dropped already. */
  readonly undeletableUntil?: Date;
}

/** What archiving a stream has come to. */
export interface ArchiveResult extends StreamChangeResult {
  /** Versions before this one are in the archive, as far as they are not gone. */
  readonly archivedBefore: number;
  /** What this call wrote: events, their bytes, and the objects and bytes that they became. */
  readonly events: number;
  readonly bytes: number;
  readonly objects: number;
  readonly objectBytes: number;
}

/** Who and why, for the audit trail. */
export interface LifecycleOptions {
  /** Of the event that records the change. */
  readonly metadata?: EventMetadata;
}

/** How far to truncate a stream. */
export interface TruncateOptions extends LifecycleOptions {
  /** The first version to keep: from 1 to one behind the end of the stream. */
  readonly beforeVersion: number;
  /** Default: `"any"`. */
  readonly expectedVersion?: ExpectedVersion;
}

/** Which stream to delete: one that is as expected. */
export interface DeleteOptions extends LifecycleOptions {
  /** Always given; `"any"` for no check. */
  readonly expectedVersion: Exclude<ExpectedVersion, "no-stream">;
}

/** How much of a stream to archive. */
export interface ArchiveOptions extends LifecycleOptions {
  /** The first version to leave where it is. Default: all events are archived. */
  readonly beforeVersion?: number;
  /** Default: `"any"`. */
  readonly expectedVersion?: ExpectedVersion;
  /** Ends it between two objects with the signal's reason; what is archived stays so. */
  readonly signal?: AbortSignal;
}

/** The life of streams. Whatever is dropped is dropped in the background, by the compactor. */
export interface RetentionFace {
  /**
   * The versions before `beforeVersion` are gone for readers of the stream, at once and for good, in views of the past, too. The
   * log shows them until they are dropped. Throws `invalid-argument` (no such stream, a version behind the end), `conflict`,
   * `stream-deleted`, and as `append`.
   */
  truncateStream(streamName: string, options: TruncateOptions): Promise<TruncateResult>;
  /**
   * Deletes a stream: from now on reads and appends throw `stream-deleted`, whatever they expect, and its name is not born
   * again. Its events are dropped after the grace period (`deletionGraceMs`); the tombstone and the version stay. Throws
   * `conflict`, `invalid-argument` (no such stream), and as `append`.
   */
  deleteStream(streamName: string, options: DeleteOptions): Promise<DeleteResult>;
  /**
   * Takes a deletion back, within the grace period: the stream is as it was. Throws `stream-deleted` after it,
   * `invalid-argument` (no such stream), and as `append`.
   */
  undeleteStream(streamName: string, options?: LifecycleOptions): Promise<StreamChangeResult>;
  /**
   * Moves a stream's events into the archive beside the database: objects of up to 8 MiB of events, compressed. They leave the
   * log and the stream's pages, and stay readable by `readStream`, at the price of fetching such an object. Resumable: it goes on
   * where an earlier call was broken off. Throws as `truncateStream`.
   */
  archiveStream(streamName: string, options?: ArchiveOptions): Promise<ArchiveResult>;
  /**
   * How long events are kept: of a category (a name without `-`), or of one stream, whose rule then holds instead of its
   * category's. `null`: for ever, as without a rule; what is gone stays gone. What is too many is gone for the stream's readers
   * at once; what is too old when the compactor comes to it, but for what a category has in the archive. Throws `invalid-argument`, and as `append`.
   */
  setRetention(categoryOrStream: string, retention: Retention | null, options?: LifecycleOptions): Promise<void>;
  /** The rules that hold: categories first, each sorted by name. */
  retentions(): Promise<readonly RetentionInfo[]>;
}
