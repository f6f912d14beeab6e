/**
 * How the command ends: its exit codes, which scripts rely on, and what of an error is told. A failure is one sentence on
 * standard error with its code at the end; a stack trace only where `STRATA_DEBUG=1` asks for one.
 */

import { EventStoreError, type EventStoreErrorCode, WriterActiveError } from "../errors.ts";

export const exitCodes = { ok: 0, failed: 1, usage: 2, badInput: 3, notFound: 4 } as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** For `--help`: each code and what it means. */
export const exitCodeTexts: readonly (readonly [ExitCode, string])[] = [
  [exitCodes.ok, "done"],
  [exitCodes.failed, "the store, its storage, the input or the output failed"],
  [exitCodes.usage, "the command line is wrong"],
  [exitCodes.badInput, "the input holds a line that is refused, or is damaged"],
  [exitCodes.notFound, "there is no such stream, store or input file"],
];

/** What the command itself has to complain about; what the store says is an `EventStoreError`. */
export type CommandFailureCode = "usage" | "bad-input" | "not-found" | "input-failed" | "output-failed";

export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly code: CommandFailureCode;

  constructor(code: CommandFailureCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Whoever read the output has gone away, as in `| head`: the command ends quietly. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

export function usageFailure(message: string): CommandFailure {
  return new CommandFailure("usage", message);
}

function exitCodeOfCommand(code: CommandFailureCode): ExitCode {
  switch (code) {
    case "usage":
      return exitCodes.usage;
    case "bad-input":
      return exitCodes.badInput;
    case "not-found":
      return exitCodes.notFound;
    case "input-failed":
    case "output-failed":
      return exitCodes.failed;
  }
}

function exitCodeOfStore(code: EventStoreErrorCode): ExitCode {
  switch (code) {
    case "invalid-argument":
      return exitCodes.usage;
    case "invalid-event":
    case "invalid-command":
    case "invalid-document":
      return exitCodes.badInput;
    case "store-not-found":
    case "stream-deleted":
      return exitCodes.notFound;
    case "conflict":
    case "stream-truncated":
    case "unreadable-event":
    case "encryption-key":
    case "store-closed":
    case "writer-fenced":
    case "writer-active":
    case "overloaded":
    case "storage-unavailable":
    case "storage-corrupt":
    case "internal":
      return exitCodes.failed;
  }
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof OutputClosed) return exitCodes.ok;
  if (error instanceof CommandFailure) return exitCodeOfCommand(error.code);
  if (error instanceof EventStoreError) return exitCodeOfStore(error.code);
  return exitCodes.failed;
}

/** The error that came first, where closing the store failed after it. */
export function firstError(error: unknown): unknown {
  return error instanceof SuppressedError ? firstError(error.suppressed) : error;
}

/** The sentence for standard error. */
export function sentenceOf(error: unknown): string {
  if (error instanceof WriterActiveError) {
    // Nobody is told apart from somebody who was killed, until the lease has run out.
    return `${error.message}; if it is gone, its lease runs out within a minute: try --wait 60 (${error.code})`;
  }
  if (error instanceof CommandFailure || error instanceof EventStoreError) return `${error.message} (${error.code})`;
  return `${error instanceof Error ? `${error.name}: ${error.message}` : String(error)} (internal)`;
}

/** The `code` of a system error such as `ENOENT`, if it has one. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
