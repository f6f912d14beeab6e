/**
 * What can go wrong while a projection writes, told apart because the runner acts differently: the database is in trouble
 * (wait for it, for as long as it takes), a handler failed at an event (retry, then stop or park), the build is somebody
 * else's by now (stand by). None of these is thrown at users as it is.
 */

import { EventStoreError, InvalidArgumentError, OverloadedError, StorageUnavailableError } from "../errors.ts";

/** A handler threw, or a statement of its, at the event of that position. */
export class HandlerFailure extends Error {
  override readonly name = "HandlerFailure";
  readonly position: number;

  constructor(position: number, cause: unknown) {
    super(`The handler of the event at position ${position} failed: ${messageOf(cause)}`, { cause });
    this.position = position;
  }
}

/** The checkpoint is not as this owner left it: another one took over, or the build was replaced or given up. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/** Another process has the lease. */
export class LeaseHeld extends Error {
  override readonly name = "LeaseHeld";
}

/** The definition and what the database holds do not go together; only another definition helps. */
export class DefinitionRefused extends Error {
  override readonly name = "DefinitionRefused";
}

export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split("\n", 1)[0] ?? "";
  return line.length > 300 ? `${line.slice(0, 297)}...` : line;
}

function codeOf(error: object, key: "code" | "errno"): string {
  const value: unknown = Reflect.get(error, key);
  return typeof value === "string" ? value : "";
}

/** SQLite's results that say something of the file, the disk or other users of it, not of the statement. */
const sqliteTrouble =
  /^(SQLITE_(BUSY|LOCKED|IOERR|FULL|CANTOPEN|NOMEM|PROTOCOL|READONLY|CORRUPT|NOTADB|INTERRUPT)|ERR_SQLITE_)/;
/**
 * PostgreSQL's classes: connection, transaction rollback (deadlocks among them), resources, operator intervention, system
 * error; 25P03 is our own limit on standing still within a transaction, 55P03 a lock that was not to be had.
 */
const postgresTrouble = /^(08|40|53|57|58|25P03|25006|55P03|28)/;

/** Whether an error speaks of the database, and not of what it was asked to do. */
export function isDatabaseTrouble(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  const code = codeOf(error, "code");
  if (code === "ERR_POSTGRES_SERVER_ERROR") return postgresTrouble.test(codeOf(error, "errno"));
  if (code.startsWith("ERR_POSTGRES_"))
    return !/COMMIT_ROLLED_BACK|TOO_MANY_PARAMETERS|NOT_TAGGED_CALL|INVALID_|UNSUPPORTED_|SYNTAX/.test(code);
  return sqliteTrouble.test(code) || error instanceof StorageUnavailableError;
}

/** Whether SQLite's file is in use by another connection, which will pass. */
export function isLock(error: unknown): boolean {
  return typeof error === "object" && error !== null && /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error, "code"));
}

/** What a user is told who asked for something himself: one of the public errors, or what his own handler has thrown. */
export function asPublicError(error: unknown, label: string): unknown {
  if (error instanceof HandlerFailure) return error.cause;
  if (error instanceof EventStoreError) return error;
  if (error instanceof LeaseHeld || error instanceof LeaseLost) return new OverloadedError(error.message);
  if (isDatabaseTrouble(error))
    return new StorageUnavailableError(`${label} is in trouble: ${messageOf(error)}`, { cause: error });
  return new InvalidArgumentError("projection", `cannot be built: ${messageOf(error)}`, { cause: error });
}

/** As `work`, with public errors. */
export async function withPublicErrors<T>(label: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asPublicError(error, label);
  }
}
