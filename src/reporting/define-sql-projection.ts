/**
 * SQL projections: tables in a reporting database that follow the log. Pure declarations, checked when they are made;
 * `run-sql-projections.ts` runs them. One definition serves SQLite and PostgreSQL where its SQL does.
 */

import type { SQL, TransactionSQL } from "bun";
import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { checkEvents, type EventHandlers, type HandledEvent, narrowed } from "../processors/define-projection.ts";
import { createProcessor, type ProcessorDefinition } from "../processors/definition.ts";
import { type CheckedRetries, checkRetries, type RetryPolicy } from "../processors/retries.ts";
import type { EventDefinitions, EventTypeOf } from "../schema/define-events.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter, type EventFilter } from "../vocabulary/filter.ts";
import { forgottenType, type SubjectForgotten } from "../vocabulary/forgotten.ts";
import { checkName } from "../vocabulary/names.ts";
import { SqlProcessor } from "./sql-processor.ts";

/** `sqlite:FILE`, `postgres://...`, or a client of Bun's that is open already (SQLite or PostgreSQL; it is not closed). */
export type ReportingDatabaseOption = string | SQL;

/** A name of this build's own, quoted: to be put into a statement, as in `` sql`insert into ${table("orders")} ...` ``. */
export type SqlName = SQL.Query<unknown>;

/** What `create` and `drop` are told besides the transaction. */
export interface SqlCreateContext {
  /**
   * The table of that name, of this build. The first call in `create` makes the name one of the projection's; readers find
   * the table under the plain name, as a view. Lower-case letters, digits and `_`, at most 48.
   */
  table(name: string): SqlName;
  /** A name for what else a build needs one for of its own (an index, a trigger); nobody reads by it. */
  name(name: string): SqlName;
}

/** What handlers are told besides the event and the transaction. */
export interface SqlHandlerContext {
  /** The table of that name, of this build; `create` has made it. */
  table(name: string): SqlName;
  /**
   * Adds a row to a table: the fastest way, because rows are collected and written many at a time. They are written
   * before the projection's next statement and before the commit, so no statement misses them.
   */
  insert(table: string, row: Readonly<Record<string, unknown>>): void;
}

/** What a projection does with one type of event. Whatever it awaits must be statements of `sql`, and nothing else. */
export type SqlHandler<Event> = (event: Event, sql: TransactionSQL, context: SqlHandlerContext) => unknown;

/** What `defineSqlProjection` is told. */
export interface SqlProjectionOptions<Definitions extends EventDefinitions = never> {
  /** An integer from 1. A higher one builds new tables beside the old ones; a lower one is refused by the database. */
  readonly version: number;
  readonly database: ReportingDatabaseOption;
  /** The events that it is about, for their types: those of these categories. Left out, handlers take events of any data. */
  readonly events?: readonly Definitions[];
  /** Which events it sees, of those that there are functions for. Default: all of them. */
  readonly filter?: EventFilter<NoInfer<EventTypeOf<Definitions>>>;
  /** Makes the tables of a build, each named by `context.table(...)`. Runs in one transaction with the first checkpoint. */
  readonly create: (sql: TransactionSQL, context: SqlCreateContext) => unknown;
  /** One function for each type of event that matters: a `SqlHandler`. */
  readonly on: EventHandlers<Definitions, [sql: TransactionSQL, context: SqlHandlerContext], unknown>;
  /** For events of all types that `on` has no function for. Left out, they are passed over. */
  readonly onAny?: SqlHandler<HandledEvent<Definitions, EventTypeOf<Definitions>>>;
  /**
   * Told of each subject that is forgotten, behind all that was handled before: removes, or overwrites, what rows hold of it. They
   * are known by its hash, which is `personal.subject` of its events. It runs in the process that keeps the tables, whichever that is.
   */
  readonly forget?: SqlHandler<RecordedEvent<typeof forgottenType, SubjectForgotten>>;
  /** Removes what `create` made besides tables and their indexes (those go by themselves), when a build is given up. */
  readonly drop?: (sql: TransactionSQL, context: SqlCreateContext) => unknown;
  /**
   * What is done about an event that fails again and again: `"stop"` there, with the reason (`failed`); `"park"` sets the event
   * aside and goes on (until 5,000 are), which is right only where events do not build on each other. Default: `"stop"`.
   */
  readonly onFailure?: "stop" | "park";
  /** How often an event is tried, and how soon. A database in trouble is waited for whatever this says. */
  readonly retries?: RetryPolicy;
  /** The most events in one transaction. Default: 1,000; at most 10,000. */
  readonly batchEvents?: number;
}

/** A SQL projection, made by `defineSqlProjection`. Give it to `openEventStore`, or to `runSqlProjections`. */
export interface SqlProjection extends ProcessorDefinition {
  readonly version: number;
  readonly database: ReportingDatabaseOption;
  readonly filter: CheckedFilter;
  readonly create: (sql: TransactionSQL, context: SqlCreateContext) => unknown;
  readonly on: Readonly<Record<string, SqlHandler<unknown>>>;
  readonly onAny: SqlHandler<unknown> | undefined;
  readonly drop: ((sql: TransactionSQL, context: SqlCreateContext) => unknown) | undefined;
  readonly onFailure: "stop" | "park";
  readonly retries: CheckedRetries;
  readonly batchEvents: number;
}

export const batchEventsDefault = 1_000;
const batchEventsMax = 10_000;
const optionNames = [
  ...[
    "version",
    "database",
    "events",
    "filter",
    "create",
    "on",
    "onAny",
    "forget",
    "drop",
    "onFailure",
    "retries",
    "batchEvents",
  ],
] as const;
const made = new WeakSet<object>();

/**
 * Defines a SQL projection. What its handlers write and how far it has come are committed in one transaction of the
 * reporting database, so each event takes effect exactly once, whatever dies when. Throws `invalid-argument`.
 */
export function defineSqlProjection<const Definitions extends EventDefinitions = never>(
  name: string,
  options: SqlProjectionOptions<Definitions>,
): SqlProjection {
  checkName(name, "name");
  checkOptions(options, optionNames);
  const { version, database, create, drop, onFailure } = options;
  if (checkInteger(version, "version", 1) === undefined) throw new InvalidArgumentError("version", "is missing");
  checkDatabase(database);
  checkFunction(create, "create");
  if (drop !== undefined) checkFunction(drop, "drop");
  const handlers = checkHandlers(options.on, options.onAny !== undefined);
  const forget = options.forget as SqlHandler<unknown> | undefined;
  if (forget !== undefined) checkFunction(forget, "forget");
  const on = forget === undefined ? handlers : { ...handlers, [forgottenType]: forget };
  if (options.onAny !== undefined) checkFunction(options.onAny, "onAny");
  const onAny = options.onAny as SqlHandler<unknown> | undefined;
  if (onFailure !== undefined && onFailure !== "stop" && onFailure !== "park")
    throw new InvalidArgumentError("onFailure", `must be "stop" or "park", not ${printable(onFailure)}`);
  const types = onAny === undefined ? Object.keys(handlers) : undefined;
  const filter = narrowed(options.filter, types, checkEvents(options.events));
  const projection: SqlProjection = {
    [createProcessor]: (host) => new SqlProcessor(projection, host.core),
    name,
    version,
    database,
    filter: forget === undefined ? filter : withReceipts(filter),
    create,
    on,
    onAny,
    drop,
    onFailure: onFailure ?? "stop",
    retries: checkRetries(options.retries),
    batchEvents: checkAtMost(
      checkInteger(options.batchEvents, "batchEvents", 1) ?? batchEventsDefault,
      "batchEvents",
      batchEventsMax,
    ),
  };
  made.add(projection);
  return projection;
}

/** Throws `invalid-argument` for what `defineSqlProjection` did not make. */
export function checkSqlProjection(value: unknown, argument: string): SqlProjection {
  if (isSqlProjection(value)) return value;
  throw new InvalidArgumentError(argument, "must be made by defineSqlProjection(...)");
}

export function isSqlProjection(value: unknown): value is SqlProjection {
  return typeof value === "object" && value !== null && made.has(value);
}

/** Receipts are in no category of the user's. */
function withReceipts(filter: CheckedFilter): CheckedFilter {
  return filter === undefined ? undefined : checkFilter([...filter, { types: [forgottenType] }]);
}

function checkDatabase(database: unknown): void {
  if (typeof database === "string") {
    if (/^(sqlite:|postgres:\/\/|postgresql:\/\/)./.test(database)) return;
    // What is not a URL of ours may still hold a password.
    throw new InvalidArgumentError("database", 'must begin with "sqlite:" or "postgres://"');
  }
  const options: unknown = typeof database === "function" ? Reflect.get(database, "options") : undefined;
  const adapter: unknown =
    typeof options === "object" && options !== null ? Reflect.get(options, "adapter") : undefined;
  if (adapter === "sqlite" || adapter === "postgres") return;
  throw new InvalidArgumentError("database", "must be a URL, or a client of Bun's SQL for SQLite or PostgreSQL");
}

function checkFunction(value: unknown, argument: string): void {
  if (typeof value === "function") return;
  throw new InvalidArgumentError(argument, `must be a function, not ${printable(value)}`);
}

function checkHandlers(on: unknown, mayBeEmpty: boolean): Readonly<Record<string, SqlHandler<unknown>>> {
  if (typeof on !== "object" || on === null)
    throw new InvalidArgumentError("on", `must be an object of functions, not ${printable(on)}`);
  const entries = Object.entries(on);
  if (entries.length === 0 && !mayBeEmpty)
    throw new InvalidArgumentError("on", "must have a function for at least one type of event");
  for (const [type, handler] of entries) {
    checkName(type, `on.${type}`);
    checkFunction(handler, `on.${type}`);
  }
  return Object.fromEntries(entries);
}

function checkAtMost(value: number, argument: string, most: number): number {
  if (value <= most) return value;
  throw new InvalidArgumentError(argument, `must be at most ${most}, not ${value}`);
}
