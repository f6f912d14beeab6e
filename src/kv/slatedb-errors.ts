/**
 * What the engine's errors become: errors of ours, with the native one as their cause. It goes by the `tag` they carry, so it
 * does not need the binding.
 */

import {
  EventStoreError,
  InternalError,
  StorageCorruptError,
  StorageUnavailableError,
  type WriteOutcome,
  WriterFencedError,
} from "../errors.ts";
import { DeadlineExpired } from "../runtime/deadline.ts";

/** What the binding's errors have in common, without relying on classes it does not export. */
function tagOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "tag" in error && typeof error.tag === "string") return error.tag;
  return error instanceof Error ? error.constructor.name : "unknown";
}

/** Why the engine closed itself, as the error says it: the engine's own status may say so only a moment later. */
export function closeReasonOf(error: unknown): string | undefined {
  if (tagOf(error) !== "Closed" || typeof error !== "object" || error === null || !("reason" in error))
    return undefined;
  return typeof error.reason === "string" ? error.reason : undefined;
}

/** Whether it says that an object is damaged or gone. */
export function namesMissingData(error: unknown): boolean {
  return tagOf(error) === "Data";
}

export interface Failure {
  readonly state: "fenced" | "failed";
  readonly error: EventStoreError;
}

export function failureFrom(reason: string | undefined, cause: unknown): Failure {
  if (reason === "Fenced") return { state: "fenced", error: new WriterFencedError({ cause }) };
  return {
    state: "failed",
    error: new StorageUnavailableError("The storage engine stopped, so the store must be opened again", { cause }),
  };
}

/** The same failure, told of one call. */
export function errorOf(failure: Failure, outcome: WriteOutcome | undefined): EventStoreError {
  const options = { cause: failure.error.cause ?? failure.error, ...(outcome === undefined ? {} : { outcome }) };
  if (failure.state === "fenced") return new WriterFencedError(options);
  return new StorageUnavailableError(failure.error.message, options);
}

/** A bucket that is gone: the engine counts it among the objects that are gone, which would mean damage. */
function saysNoSuchBucket(error: unknown): boolean {
  return error instanceof Error && error.message.includes("<Code>NoSuchBucket</Code>");
}

/** The answer to a HEAD has no body, so it does not say whether the object is gone or the bucket with it. */
export function maySayNoSuchBucket(error: unknown): boolean {
  return error instanceof Error && error.message.includes("Error performing HEAD") && error.message.includes("404");
}

/** Two opens at once wrote the same manifest, and this one lost; an open that was given up on may be the other. */
function saysOpenedElsewhere(error: unknown): boolean {
  return error instanceof Error && error.message.includes("version already exists");
}

/** A manifest, or the compactor's state, that is no record: the engine takes it for a fault of its own. */
function saysUnreadableRecord(error: unknown): boolean {
  return error instanceof Error && error.message.includes("(e.g. manifest) error CallbackError");
}

/** An error of a single call, after which the store goes on. */
export function callError(error: unknown): EventStoreError {
  if (error instanceof EventStoreError) return error;
  switch (tagOf(error)) {
    case "Data":
      if (saysNoSuchBucket(error)) return new StorageUnavailableError("There is no such bucket", { cause: error });
      return new StorageCorruptError("The storage holds damaged data", { cause: error });
    case "Unavailable":
      return new StorageUnavailableError("The storage failed", { cause: error });
    default:
      return new InternalError("The storage engine refused a call", { cause: error });
  }
}

export function closeError(cause: unknown): StorageUnavailableError {
  const what = cause instanceof DeadlineExpired ? "did not answer in time" : "failed";
  const message = `The storage ${what} while the store was closing; what was acknowledged is durable`;
  return new StorageUnavailableError(message, { cause });
}

export function openError(cause: unknown, url: string): EventStoreError {
  if (cause instanceof EventStoreError) return cause;
  if (cause instanceof DeadlineExpired) {
    return new StorageUnavailableError(`The storage did not answer while the store was opening: ${url}`, {
      cause,
      outcome: "not-applied",
    });
  }
  if (saysNoSuchBucket(cause)) {
    return new StorageUnavailableError(`There is no such bucket: ${url}`, { cause, outcome: "not-applied" });
  }
  if (saysOpenedElsewhere(cause)) return new WriterFencedError({ cause, outcome: "not-applied" });
  if (tagOf(cause) === "Data" || saysUnreadableRecord(cause))
    return new StorageCorruptError(`The storage holds damaged data: ${url}`, { cause });
  if (tagOf(cause) === "Closed") return new WriterFencedError({ cause, outcome: "not-applied" });
  return new StorageUnavailableError(`The store cannot be opened: ${url}`, { cause, outcome: "not-applied" });
}
