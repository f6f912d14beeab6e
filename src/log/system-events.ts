/**
 * The store's own events: what is done to the log itself (deleted, truncated, archived, kept for so long, forgotten) is an
 * event, too, so that the audit trail shows it. They stand in one stream, their types begin with `$`, and they go in the
 * same commit as what they tell of wherever that can be. A log is a log: whoever reads all of it without a filter sees them.
 */

import type { EventMetadata } from "../vocabulary/event.ts";
import type { StreamAppend } from "./commit.ts";

/** The stream of the store's own events. */
export const lifecycleStreamName = "$strata-lifecycle";

/** One event of the store's own. */
export interface SystemEvent {
  /** Begins with `$`, in the past tense. */
  readonly type: `$${string}`;
  /** What JSON can say. */
  readonly data: unknown;
  /** The caller's. */
  readonly metadata?: EventMetadata | undefined;
  /** What the event is about, to be found by. */
  readonly tags?: readonly string[];
}

/** The part of a commit that records the event. The commit has to be one with `system: true`. */
export function systemAppend({ type, data, metadata, tags }: SystemEvent): StreamAppend {
  const event = {
    type,
    data,
    ...(metadata === undefined ? {} : { metadata }),
    ...(tags === undefined ? {} : { tags }),
  };
  return { streamName: lifecycleStreamName, events: [event], expectedVersion: "any" };
}
