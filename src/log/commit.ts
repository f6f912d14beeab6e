/** A commit, from what a caller gives to what the pipeline judges: checked, validated, encoded. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { currentCause } from "../runtime/causation.ts";
import type { EventDefinitions, NewEventOf } from "../schema/define-events.ts";
import type { EventRegistry, PreparedEvent } from "../schema/registry.ts";
import type { PreparedPersonal } from "../schema/sealing.ts";
import type { EventMetadata, NewEvent } from "../vocabulary/event.ts";
import { checkExpectedVersion, type ExpectedVersion } from "../vocabulary/expected-version.ts";
import { type CheckedFilter, checkFilter, type EventFilter, namesOf } from "../vocabulary/filter.ts";
import { checkName, isReserved } from "../vocabulary/names.ts";
import { type CommitExtras, commitHeadsMax, extrasBytes } from "./commit-extras.ts";

/** The most events, streams and encoded bytes of one commit. */
export const commitEventsMax = 10_000;
export const commitStreamsMax = 1_000;
export const commitBytesMax: number = 16 * 1024 * 1024;

/** Refuses the commit if any event matches `filter` with a position after `afterPosition` (default 0: any event at all). */
export interface FailIfMatch {
  readonly filter: EventFilter;
  readonly afterPosition?: number;
}

/** What `append` takes besides the events. */
export interface AppendOptions {
  /** Always given; `"any"` for no check. */
  readonly expectedVersion: ExpectedVersion;
  readonly failIfMatch?: FailIfMatch;
  /** Repeating a commit with the same key, within the store's window, returns the first result. */
  readonly idempotencyKey?: string;
  /** Takes the append back while it waits in the queue; once it is being written it has no effect. */
  readonly signal?: AbortSignal;
}

/** One stream's part of a commit. `events` has at least one event; they are appended in order. */
export interface StreamAppend<Definitions extends EventDefinitions = never> {
  readonly streamName: string;
  readonly events: readonly NewEventOf<Definitions>[];
  readonly expectedVersion: ExpectedVersion;
}

/** A stream that must be as expected, and is not written. */
export interface StreamCheck {
  readonly streamName: string;
  readonly expectedVersion: ExpectedVersion;
}

/** Appends to several streams, all or none. A stream appears once in `appends`. */
export interface CommitRequest<Definitions extends EventDefinitions = never> {
  readonly appends: readonly StreamAppend<Definitions>[];
  readonly checks?: readonly StreamCheck[];
  readonly failIfMatch?: FailIfMatch;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

/** What an append has come to. All of it is durable. */
export interface AppendResult {
  /** How many events the stream has with these. */
  readonly streamVersion: number;
  /** The position of the last event that was appended. */
  readonly position: number;
  readonly recordedAt: Date;
  /** Whether this is the result of an earlier append that this one repeats. */
  readonly replayed: boolean;
}

/** What a commit has come to. All of it is durable. */
export interface CommitResult {
  /** In the order of the commit's `appends`. */
  readonly streams: readonly { readonly streamName: string; readonly streamVersion: number }[];
  /** The position of the last event that was appended. */
  readonly position: number;
  readonly recordedAt: Date;
  /** Whether this is the result of an earlier commit that this one repeats. */
  readonly replayed: boolean;
}

export interface PreparedAppend {
  readonly streamName: string;
  readonly expectedVersion: ExpectedVersion;
  readonly events: readonly PreparedEvent[];
}

/** `filter` as the caller gave it, and over the names that events were stored with. */
export interface MatchCondition {
  readonly filter: CheckedFilter;
  readonly storedFilter: CheckedFilter;
  readonly afterPosition: number;
}

/** A commit that is valid in itself; whether its conditions hold is for the pipeline to say. */
export interface PreparedCommit {
  readonly appends: readonly PreparedAppend[];
  readonly checks: readonly StreamCheck[];
  readonly failIfMatch: MatchCondition | undefined;
  readonly idempotencyKey: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** What the layers above add; only with them may there be no appends. */
  readonly extras: CommitExtras | undefined;
  /** What it counts for in the bounds of queue and group, rows of the layers above included. */
  readonly bytes: number;
  readonly eventCount: number;
  /** The personal fields of its events, to be sealed before it is submitted; absent where there are none. */
  readonly personal?: readonly PreparedPersonal[];
}

const requestKeys = ["appends", "checks", "failIfMatch", "idempotencyKey", "signal"];
/** What a name that waits in the queue counts for besides its bytes. */
const bytesPerName = 64;

function refuse(argument: string, problem: string): never {
  throw new InvalidArgumentError(argument, problem, { outcome: "not-applied" });
}

function checkObject(value: unknown, argument: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null) refuse(argument, `must be an object, not ${printable(value)}`);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) refuse(`${argument}.${key}`, `is not a part of it (${known.join(", ")})`);
  }
  return value as Record<string, unknown>;
}

function checkList(value: unknown, argument: string, lengthMax: number): readonly unknown[] {
  if (!Array.isArray(value)) return refuse(argument, `must be a list, not ${printable(value)}`);
  if (value.length > lengthMax) refuse(argument, `must have at most ${lengthMax} items, not ${value.length}`);
  return value;
}

/** What the store says of itself must not be said by anybody else. */
function checkNotReserved(name: string, argument: string): void {
  if (isReserved(name)) refuse(argument, `must not begin with "$", which is kept for the store: ${printable(name)}`);
}

function checkHeads(heads: CommitExtras["heads"]): void {
  if (heads !== undefined && heads.length > commitHeadsMax)
    refuse("heads", `must have at most ${commitHeadsMax} items, not ${heads.length}`);
}

function inheritedMetadata(): EventMetadata {
  const cause = currentCause();
  return cause === undefined ? {} : { ...cause };
}

function checkFailIfMatch(value: unknown, registry: EventRegistry): PreparedCommit["failIfMatch"] {
  if (value === undefined) return undefined;
  const condition = checkObject(value, "failIfMatch", ["filter", "afterPosition"]);
  if (condition.filter === undefined) refuse("failIfMatch.filter", "is missing");
  const afterPosition = condition.afterPosition ?? 0;
  if (typeof afterPosition !== "number" || !Number.isSafeInteger(afterPosition) || afterPosition < 0) {
    return refuse("failIfMatch.afterPosition", `must be an integer from 0, not ${printable(afterPosition)}`);
  }
  const filter = checkFilter(condition.filter, "failIfMatch.filter", "not-applied");
  return { filter, storedFilter: registry.storedFilter(filter), afterPosition };
}

function prepareAppend(
  value: unknown,
  argument: string,
  registry: EventRegistry,
  inherited: EventMetadata,
  system: boolean,
): PreparedAppend {
  const append = checkObject(value, argument === "" ? "append" : argument.slice(0, -1), [
    "streamName",
    "events",
    "expectedVersion",
  ]);
  const streamName = checkName(append.streamName, `${argument}streamName`);
  if (!system) checkNotReserved(streamName, `${argument}streamName`);
  const expectedVersion = checkExpectedVersion(append.expectedVersion, `${argument}expectedVersion`);
  const events = checkList(append.events, `${argument}events`, commitEventsMax);
  if (events.length === 0) refuse(`${argument}events`, "must have at least one event");
  const prepared = events.map((event, index) =>
    registry.prepare(streamName, event as NewEvent, `${argument}events[${index}]`, inherited),
  );
  if (!system)
    for (const [index, { type }] of prepared.entries()) checkNotReserved(type, `${argument}events[${index}].type`);
  return { streamName, expectedVersion, events: prepared };
}

function checkNoRepeats(appends: readonly PreparedAppend[]): void {
  const names = new Set<string>();
  for (const append of appends) {
    const ids = new Set<string>();
    if (names.has(append.streamName)) refuse("appends", `name a stream twice: ${printable(append.streamName)}`);
    names.add(append.streamName);
    for (const { id, idGiven } of append.events) {
      if (idGiven && ids.has(id)) refuse("events", `have an id twice: ${printable(id)}`);
      ids.add(id);
    }
  }
}

function personalOf(events: readonly PreparedEvent[]): Pick<PreparedCommit, "personal"> {
  const personal = events.flatMap((event) => event.personal ?? []);
  return personal.length === 0 ? {} : { personal };
}

/**
 * Checks, validates and encodes a commit. Throws `invalid-argument` or `invalid-event`; then nothing was written.
 * `single`: it came from `append`, so that errors name the arguments of that. `extras`: it came from a layer above the log.
 */
export function prepareCommit(
  request: unknown,
  registry: EventRegistry,
  single: boolean,
  extras?: CommitExtras,
): PreparedCommit {
  const given = checkObject(request, "commit", requestKeys);
  const inherited = inheritedMetadata();
  const appends = checkList(given.appends, "appends", commitStreamsMax).map((append, index) =>
    prepareAppend(append, single ? "" : `appends[${index}].`, registry, inherited, extras?.system === true),
  );
  if (appends.length === 0 && extras === undefined) refuse("appends", "must have at least one stream");
  checkNoRepeats(appends);
  checkHeads(extras?.heads);
  const checks = checkList(given.checks ?? [], "checks", commitStreamsMax).map((value, index): StreamCheck => {
    const check = checkObject(value, `checks[${index}]`, ["streamName", "expectedVersion"]);
    return {
      streamName: checkName(check.streamName, `checks[${index}].streamName`),
      expectedVersion: checkExpectedVersion(check.expectedVersion, `checks[${index}].expectedVersion`),
    };
  });
  const { idempotencyKey, signal } = given;
  if (idempotencyKey !== undefined) checkName(idempotencyKey, "idempotencyKey");
  if (signal !== undefined && !(signal instanceof AbortSignal))
    refuse("signal", `must be an AbortSignal, not ${printable(signal)}`);
  const events = appends.flatMap((append) => append.events);
  const failIfMatch = checkFailIfMatch(given.failIfMatch, registry);
  const names = [
    ...appends.map(({ streamName }) => streamName),
    ...checks.map(({ streamName }) => streamName),
    ...namesOf(failIfMatch?.storedFilter),
  ];
  const eventBytes = events.reduce((sum, event) => sum + event.bytes.length, 0);
  const rowBytes = extrasBytes(extras);
  const bytes = names.reduce((sum, name) => sum + name.length + bytesPerName, eventBytes + rowBytes);
  if (events.length > commitEventsMax)
    refuse("events", `must be at most ${commitEventsMax} in one commit, not ${events.length}`);
  if (eventBytes > commitBytesMax)
    refuse("events", `must have at most ${commitBytesMax} bytes in one commit, not ${eventBytes}`);
  if (rowBytes > commitBytesMax)
    refuse("rows", `must have at most ${commitBytesMax} bytes in one commit, not ${rowBytes}`);
  return {
    appends,
    checks,
    failIfMatch,
    idempotencyKey: idempotencyKey as string | undefined,
    signal,
    extras,
    bytes,
    eventCount: events.length,
    ...personalOf(events),
  };
}
