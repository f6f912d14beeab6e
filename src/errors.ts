/**
 * The closed set of errors that reach a user. A code exists only where a caller acts differently on it.
 * Nothing else is thrown across the public surface: native and third-party errors are put into `cause`.
 * Messages are one sentence with the values last; they never carry credentials.
 */

import type { RecordedEvent } from "./vocabulary/event.ts";
import type { ExpectedVersion } from "./vocabulary/expected-version.ts";
import type { WriterLease } from "./vocabulary/writer-lease.ts";

/** What a caller can branch on; the README's table says what to do for each. */
export type EventStoreErrorCode =
  | "conflict"
  | "invalid-argument"
  | "invalid-event"
  | "invalid-command"
  | "invalid-document"
  | "unreadable-event"
  | "encryption-key"
  | "store-not-found"
  | "stream-deleted"
  | "stream-truncated"
  | "store-closed"
  | "writer-fenced"
  | "writer-active"
  | "overloaded"
  | "storage-unavailable"
  | "storage-corrupt"
  | "internal";

/**
 * What is known of a write that failed. `not-applied`: nothing of it is or will be stored.
 * `unknown`: it may be stored; repeat it with the same event ids or the same `idempotencyKey`, which is harmless.
 */
export type WriteOutcome = "not-applied" | "unknown";

/** What every error carries besides its message. */
export interface EventStoreErrorOptions {
  readonly cause?: unknown;
  readonly outcome?: WriteOutcome;
}

/** The base of every error of Strata. `outcome` is set on failed writes, and on failed opens, which write too. */
export class EventStoreError extends Error {
  readonly code: EventStoreErrorCode;
  readonly outcome: WriteOutcome | undefined;

  constructor(code: EventStoreErrorCode, message: string, options: EventStoreErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.outcome = options.outcome;
  }
}

/** The same error, saying what is known of the write that it ended. */
export function withOutcome(error: EventStoreError, outcome: WriteOutcome): EventStoreError {
  const copy: EventStoreError = Object.create(Object.getPrototypeOf(error), Object.getOwnPropertyDescriptors(error));
  return Object.defineProperty(copy, "outcome", { value: outcome, enumerable: true });
}

/** A condition of an append or commit did not hold. Reload and decide again. */
export class ConflictError extends EventStoreError {
  declare readonly code: "conflict";
  /** The stream whose expectation failed; absent where `failIfMatch` failed. */
  readonly streamName: string | undefined;
  readonly expectedVersion: ExpectedVersion | undefined;
  readonly actualVersion: number | undefined;
  /** Up to 16 of the events that stand in the way, oldest first; they may be fewer than there are. */
  readonly conflictingEvents: readonly RecordedEvent[];

  constructor(
    message: string,
    detail: {
      readonly streamName?: string;
      readonly expectedVersion?: ExpectedVersion;
      readonly actualVersion?: number;
      readonly conflictingEvents?: readonly RecordedEvent[];
    },
  ) {
    super("conflict", message, { outcome: "not-applied" });
    this.streamName = detail.streamName;
    this.expectedVersion = detail.expectedVersion;
    this.actualVersion = detail.actualVersion;
    this.conflictingEvents = detail.conflictingEvents ?? [];
  }
}

/** The call itself is wrong: mend it. `argument` names the part, as in `options.fromVersion`. */
export class InvalidArgumentError extends EventStoreError {
  declare readonly code: "invalid-argument";
  readonly argument: string;

  constructor(argument: string, problem: string, options: EventStoreErrorOptions = {}) {
    super("invalid-argument", `${argument} ${problem}`, options);
    this.argument = argument;
  }
}

/** One problem of an event's or a command's data: where, and what. */
export interface EventIssue {
  /** The path within the event or command, as in `data.items.0.sku`. */
  readonly path: string;
  readonly message: string;
}

/** An event does not satisfy its definition; nothing was written. */
export class InvalidEventError extends EventStoreError {
  declare readonly code: "invalid-event";
  readonly eventType: string;
  /** The event within the call, as in `events[3]` or `appends[1].events[0]`. */
  readonly argument: string;
  readonly issues: readonly EventIssue[];

  constructor(argument: string, eventType: string, issues: readonly EventIssue[]) {
    const shown = issues.slice(0, 3).map((issue) => `${issue.path}: ${issue.message}`);
    const more = issues.length > shown.length ? ` and ${issues.length - shown.length} more` : "";
    super("invalid-event", `Event ${printable(eventType)} (${argument}) is not valid: ${shown.join("; ")}${more}`, {
      outcome: "not-applied",
    });
    this.argument = argument;
    this.eventType = eventType;
    this.issues = issues;
  }
}

/** A command is unknown, or does not satisfy its schema; nothing was read or written. Tell whoever sent it, by `issues`. */
export class InvalidCommandError extends EventStoreError {
  declare readonly code: "invalid-command";
  readonly commandType: string;
  /** Paths within the command, as in `data.items.0.sku`. */
  readonly issues: readonly EventIssue[];

  constructor(commandType: string, issues: readonly EventIssue[]) {
    const shown = issues.slice(0, 3).map((issue) => `${issue.path}: ${issue.message}`);
    const more = issues.length > shown.length ? ` and ${issues.length - shown.length} more` : "";
    super("invalid-command", `Command ${printable(commandType)} is not valid: ${shown.join("; ")}${more}`, {
      outcome: "not-applied",
    });
    this.commandType = commandType;
    this.issues = issues;
  }
}

/**
 * A projection's document does not satisfy its schema, or is damaged. Told to a reader: mend the projection, and build it anew.
 * Told to an append, by an inline projection that would have stored it: nothing was written.
 */
export class InvalidDocumentError extends EventStoreError {
  declare readonly code: "invalid-document";
  readonly projection: string;
  /** The document's key. */
  readonly key: string;
  /** Paths within the document, as in `document.total`; none where it is damaged. */
  readonly issues: readonly EventIssue[];

  constructor(projection: string, key: string, issues: readonly EventIssue[], options: EventStoreErrorOptions = {}) {
    const shown = issues.slice(0, 3).map((issue) => `${issue.path}: ${issue.message}`);
    const problem = issues.length === 0 ? "is damaged" : `is not valid: ${shown.join("; ")}`;
    super("invalid-document", `Document ${printable(key)} of ${printable(projection)} ${problem}`, options);
    this.projection = projection;
    this.key = key;
    this.issues = issues;
  }
}

/** A stored event cannot be handed out: no upcaster leads from its version to today's, or an upcaster threw. */
export class UnreadableEventError extends EventStoreError {
  declare readonly code: "unreadable-event";
  readonly eventType: string;
  readonly streamName: string;
  readonly version: number;
  readonly position: number;

  constructor(
    event: {
      readonly type: string;
      readonly streamName: string;
      readonly version: number;
      readonly position: number;
    },
    problem: string,
    cause?: unknown,
  ) {
    const where = `${printable(event.type)} at version ${event.version} of ${printable(event.streamName)}`;
    super("unreadable-event", `Stored event ${where} cannot be read: ${problem}`, { cause });
    this.eventType = event.type;
    this.streamName = event.streamName;
    this.version = event.version;
    this.position = event.position;
  }
}

/**
 * A key that personal data needs is missing, damaged, or not the one that fits: at open, of the master key or the record of the
 * keys; at a read, as the `cause` of `unreadable-event`. Give the right key, or put back the object that the message names.
 */
export class EncryptionKeyError extends EventStoreError {
  declare readonly code: "encryption-key";
  constructor(message: string, options: EventStoreErrorOptions = {}) {
    super("encryption-key", message, options);
  }
}

/** There is no store at the URL, and who only reads makes none. Mend the URL, or try again once a writer has opened it. */
export class StoreNotFoundError extends EventStoreError {
  declare readonly code: "store-not-found";
  constructor(url: string, options: EventStoreErrorOptions = {}) {
    super("store-not-found", `There is no store at ${url}`, options);
  }
}

/** The stream was deleted: it cannot be read or appended to, and its name is not used again. Take the deletion back, or let it be. */
export class StreamDeletedError extends EventStoreError {
  declare readonly code: "stream-deleted";
  readonly streamName: string;
  readonly deletedAt: Date;
  /** Until when `undeleteStream` takes the deletion back; `undefined` where its events are gone for good. */
  readonly undeletableUntil: Date | undefined;

  constructor(streamName: string, deletedAt: Date, undeletableUntil?: Date, options: EventStoreErrorOptions = {}) {
    super("stream-deleted", `The stream was deleted at ${deletedAt.toISOString()}: ${printable(streamName)}`, options);
    this.streamName = streamName;
    this.deletedAt = deletedAt;
    this.undeletableUntil = undeletableUntil;
  }
}

/**
 * A state cannot be folded, because the stream's first events are gone and no snapshot covers them. Keep snapshots of streams
 * that are truncated, or let the decider fold what is left (`truncated: "fold"`).
 */
export class StreamTruncatedError extends EventStoreError {
  declare readonly code: "stream-truncated";
  readonly streamName: string;
  /** Versions before this one are gone. */
  readonly truncatedBefore: number;

  constructor(streamName: string, truncatedBefore: number, options: EventStoreErrorOptions = {}) {
    const message = `The state of ${printable(streamName)} needs events that are gone: those before version ${truncatedBefore}`;
    super("stream-truncated", message, options);
    this.streamName = streamName;
    this.truncatedBefore = truncatedBefore;
  }
}

/** The store is closed, or was closed while the call was under way. Open it again. */
export class StoreClosedError extends EventStoreError {
  declare readonly code: "store-closed";
  constructor(message = "The store is closed", options: EventStoreErrorOptions = {}) {
    super("store-closed", message, options);
  }
}

/** Another writer has opened the same store. This one acknowledges nothing any more. */
export class WriterFencedError extends EventStoreError {
  declare readonly code: "writer-fenced";
  constructor(options: EventStoreErrorOptions = {}) {
    super("writer-fenced", "Another writer has opened this store, so this one stopped", options);
  }
}

/**
 * Another writer holds the store's lease: a standby gave up waiting, or this process does not write the stream's partition.
 * Wait on, ask that writer, or take over with `takeover: "always"`.
 */
export class WriterActiveError extends EventStoreError {
  declare readonly code: "writer-active";
  /** What the lease said last; `undefined` where it could not be read. */
  readonly writer: WriterLease | undefined;

  constructor(message: string, writer: WriterLease | undefined) {
    const who = writer === undefined ? "" : `: process ${writer.pid} on ${printable(writer.host)}`;
    super("writer-active", `${message}${who}`, { outcome: "not-applied" });
    this.writer = writer;
  }
}

/** A bound was reached; nothing was written. Back off and try again. */
export class OverloadedError extends EventStoreError {
  declare readonly code: "overloaded";
  constructor(message: string) {
    super("overloaded", message, { outcome: "not-applied" });
  }
}

/** The storage did not answer, or answered with a failure. Try again, or open the store again where the message says so. */
export class StorageUnavailableError extends EventStoreError {
  declare readonly code: "storage-unavailable";
  constructor(message: string, options: EventStoreErrorOptions = {}) {
    super("storage-unavailable", message, options);
  }
}

/** What is stored is damaged, or is not a store of this format. Stop and look. */
export class StorageCorruptError extends EventStoreError {
  declare readonly code: "storage-corrupt";
  constructor(message: string, options: EventStoreErrorOptions = {}) {
    super("storage-corrupt", message, options);
  }
}

/** A fault of Strata itself. Please report it. */
export class InternalError extends EventStoreError {
  declare readonly code: "internal";
  constructor(message: string, options: EventStoreErrorOptions = {}) {
    super("internal", message, options);
  }
}

/** A value that a user gave, made fit for a one-line message: quoted, escaped, at most 80 characters. */
export function printable(value: unknown): string {
  let text: string | undefined;
  try {
    text = typeof value === "bigint" ? `${value}n` : JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= typeof value === "object" ? "an object" : typeof value === "function" ? "a function" : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
