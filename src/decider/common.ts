/** What commands and decisions over queries have in common: attempts, metadata, names, and what is said of failures. */

import {
  EventStoreError,
  InvalidArgumentError,
  printable,
  StreamDeletedError,
  StreamTruncatedError,
  withOutcome,
} from "../errors.ts";
import type { CommitRecord } from "../format/records.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import type { EventMetadata, NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import { type AnyDecider, checkDecider } from "./define-decider.ts";

/** How often a command is decided, at most, before its caller is told of the conflict. */
export const attemptsMax = 10;
/** How long to wait before another attempt, at first and at most; a random part of it. */
const retryMs = 2;
const retryMsMax = 100;

/** A decider whose events are the store's. Throws `invalid-argument`. */
export function knownDecider({ registry }: Pick<StoreCore, "registry">, given: unknown): AnyDecider {
  const decider = checkDecider(given);
  if (registry.has(decider.events)) return decider;
  const problem = `${printable(decider.name)} has events that the store was not opened with`;
  throw new InvalidArgumentError("decider", problem, { outcome: "not-applied" });
}

/**
 * Failed reads say nothing of writes: nothing was written by this call, though with a key an earlier one may have written,
 * and repeating it will tell.
 */
export async function withOutcomeOf<T>(idempotencyKey: string | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof EventStoreError) || error.outcome !== undefined) throw error;
    throw withOutcome(error, idempotencyKey === undefined ? "not-applied" : "unknown");
  }
}

/** The name of the stream that belongs to an id. */
export function streamNameFor(decider: AnyDecider, id: unknown): string {
  checkName(id, "id");
  return checkName(`${decider.events.category}-${id}`, "id");
}

/** Merges the caller's metadata into events that were decided; what an event says itself holds. */
export function withMetadata(events: readonly object[], metadata: EventMetadata): NewEvent[] {
  return (events as readonly NewEvent[]).map((event) =>
    event.metadata === undefined || (typeof event.metadata === "object" && event.metadata !== null)
      ? { ...event, metadata: { ...metadata, ...event.metadata } }
      : event,
  );
}

export function checkMetadataOption(value: unknown): EventMetadata {
  if (value === undefined) return {};
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as EventMetadata;
  throw new InvalidArgumentError("metadata", `must be an object, not ${printable(value)}`, { outcome: "not-applied" });
}

/** The events of a commit, as far as the log still has them; none where a record of an early version does not say how many there were. */
export async function eventsOf({ readerAt }: StoreCore, record: CommitRecord): Promise<readonly RecordedEvent[]> {
  const { position, eventCount = 0 } = record;
  const events: RecordedEvent[] = [];
  if (eventCount === 0) return events;
  const read = readerAt(position).readAll({ fromPosition: position - eventCount + 1 });
  for await (const event of read) events.push(event);
  return events;
}

/** Whether a state could not be had because its stream is deleted, or was truncated. */
export function isGone(error: unknown): boolean {
  return error instanceof StreamTruncatedError || error instanceof StreamDeletedError;
}

/** Waits before another attempt, longer each time, by chance. */
export async function pauseBetween(core: StoreCore, attempt: number, signal: AbortSignal | undefined): Promise<void> {
  await pause(core.random.next() * Math.min(retryMsMax, retryMs * 2 ** attempt), signal);
  signal?.throwIfAborted();
}
