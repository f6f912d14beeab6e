/**
 * Decisions over more than one stream: over several streams, or over the events that match a query (a Dynamic Consistency
 * Boundary). What was read is what the commit is conditional on: the streams at their versions, or no new match of the query.
 * On a conflict only what is new is read, and it is decided again.
 */

import { ConflictError, InvalidArgumentError, StreamTruncatedError } from "../errors.ts";
import type { CommitRecord } from "../format/records.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import { DroppedEvents } from "../log/dropped-events.ts";
import type { CoreCommit, CoreCommitResult, StoreCore } from "../log/store-internals.ts";
import type { EventMetadata, NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import type { ExpectedVersion } from "../vocabulary/expected-version.ts";
import { type CheckedFilter, checkFilter, type EventFilter, matches } from "../vocabulary/filter.ts";
import { categoryOf, checkName } from "../vocabulary/names.ts";
import {
  attemptsMax,
  checkMetadataOption,
  eventsOf,
  isGone,
  pauseBetween,
  withMetadata,
  withOutcomeOf,
} from "./common.ts";
import { decided } from "./deciding.ts";
import { decideTimeoutMsDefault } from "./define-decider.ts";
import { evolveState, type Folding, foldOnto, initialStateOf } from "./fold.ts";
import { freezeDeeply } from "./freeze.ts";
import { inPositionOrder } from "./in-position-order.ts";

/** The most streams that one decision may rest on. */
export const decisionStreamsMax = 64;

interface Job {
  readonly folding: Folding;
  readonly scope: { readonly filter: CheckedFilter } | { readonly streams: readonly string[] };
  readonly decide: (state: unknown, context: unknown) => unknown;
  readonly decideTimeoutMs: number;
  readonly metadata: EventMetadata;
  readonly idempotencyKey: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** What was read so far. */
interface Known {
  readonly state: unknown;
  readonly position: number;
  readonly versions: ReadonlyMap<string, number>;
  /** Events were dropped from what a query was read from. */
  readonly incomplete?: true;
}

/** A decision's outcome without its types. */
export interface DecidedOverQuery {
  readonly state: unknown;
  readonly events: readonly RecordedEvent[];
  readonly streams: CommitRecord["streams"];
  readonly position: number;
  readonly replayed: boolean;
  readonly incomplete?: true;
}

const parts = ["filter", "streams", "initialState", "evolve", "decide", "decideTimeoutMs"];
const name = "decision";

function refuseArgument(argument: string, problem: string): never {
  throw new InvalidArgumentError(argument, problem, { outcome: "not-applied" });
}

function checkScope({ filter, streams }: Record<string, unknown>): Job["scope"] {
  if ((filter === undefined) === (streams === undefined))
    return refuseArgument(name, "must have either a filter or streams");
  if (streams === undefined) return { filter: checkFilter(filter, `${name}.filter`, "not-applied") };
  if (!Array.isArray(streams) || streams.length === 0 || streams.length > decisionStreamsMax)
    return refuseArgument(`${name}.streams`, `must be a list of 1 to ${decisionStreamsMax} names`);
  return { streams: [...new Set(streams.map((one, index) => checkName(one, `${name}.streams[${index}]`)))] };
}

function checkJob(decision: unknown, options: unknown): Job {
  if (decision === undefined) refuseArgument(name, "is missing");
  const given = checkOptions(decision, parts, name, { outcome: "not-applied" });
  const told = checkOptions(options, ["metadata", "idempotencyKey", "signal"], "options", { outcome: "not-applied" });
  const { initialState, evolve, decide } = given;
  if (typeof initialState !== "function") refuseArgument(`${name}.initialState`, "must be a function");
  if (typeof decide !== "function") refuseArgument(`${name}.decide`, "must be a function");
  if (typeof evolve !== "object" || evolve === null)
    refuseArgument(`${name}.evolve`, "must be functions by event type");
  const wrong = Object.entries(evolve as object).find(([, step]) => typeof step !== "function");
  if (wrong !== undefined) refuseArgument(`${name}.evolve.${wrong[0]}`, "must be a function");
  return {
    folding: {
      name,
      initialState: initialState as Folding["initialState"],
      evolve: evolve as Folding["evolve"],
      exhaustive: false,
    },
    scope: checkScope(given),
    decide: decide as Job["decide"],
    decideTimeoutMs: checkInteger(given.decideTimeoutMs, `${name}.decideTimeoutMs`, 1) ?? decideTimeoutMsDefault,
    metadata: checkMetadataOption(told.metadata),
    idempotencyKey:
      told.idempotencyKey === undefined ? undefined : checkName(told.idempotencyKey, "options.idempotencyKey"),
    signal: checkSignal(told.signal),
  };
}

/** Decides, and commits what was decided. The face's `decide` says what it throws. */
export async function decideOverQuery(core: StoreCore, decision: unknown, options: unknown): Promise<DecidedOverQuery> {
  const job = await withOutcomeOf(undefined, async () => checkJob(decision, options));
  return await withOutcomeOf(job.idempotencyKey, () => run(core, job));
}

async function run(core: StoreCore, job: Job): Promise<DecidedOverQuery> {
  core.assertOpen();
  const first = await firstResult(core, job);
  if (first !== undefined) return first;
  let known: Known = { state: initialStateOf(job.folding), position: 0, versions: new Map() };
  for (let attempt = 1; ; attempt += 1) {
    job.signal?.throwIfAborted();
    known = await advance(core, job, known, core.lastPosition());
    let appends: readonly DecidedAppend[];
    try {
      appends = await decideOnce(core, job, known);
    } catch (error) {
      // Where an earlier attempt was accepted, it is no refusal that its caller is owed.
      const earlier = await firstResult(core, job);
      if (earlier !== undefined) return earlier;
      throw error;
    }
    try {
      return await commit(core, job, known, appends);
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt >= attemptsMax || isFinal(error, appends)) throw error;
    }
    await pauseBetween(core, attempt, job.signal);
  }
}

/** An expectation of `decide`'s own has failed, on a stream that it did not read: deciding again would change nothing. */
function isFinal(conflict: ConflictError, appends: readonly DecidedAppend[]): boolean {
  return appends.some(({ streamName, expectationGiven }) => expectationGiven && streamName === conflict.streamName);
}

/** Folds what has come behind `known`, up to a position. */
async function advance(core: StoreCore, { folding, scope, signal }: Job, known: Known, to: number): Promise<Known> {
  const reader = core.readerAt(to);
  const listen = signal === undefined ? {} : { signal };
  const versions = new Map(known.versions);
  let { state } = known;
  let events: AsyncIterable<RecordedEvent>;
  if ("filter" in scope) {
    const filter: EventFilter | undefined = scope.filter;
    const fromPosition = known.position + 1;
    events = reader.readAll({ fromPosition, ...(filter === undefined ? {} : { filter }), ...listen });
  } else {
    const reads = scope.streams.map((streamName) =>
      reader.readStream(streamName, { fromVersion: (known.versions.get(streamName) ?? 0) + 1, ...listen }),
    );
    for (const streamName of scope.streams) {
      const { version, truncatedBefore } = (await reader.streamInfo(streamName)) ?? {
        version: 0,
        truncatedBefore: (await core.truncatedBehind(streamName, to)) ?? 1,
      };
      if (truncatedBefore > (versions.get(streamName) ?? 0) + 1)
        throw new StreamTruncatedError(streamName, truncatedBefore, { outcome: "not-applied" });
      versions.set(streamName, version);
    }
    events = inPositionOrder(reads);
  }
  for await (const event of events) state = evolveState(folding, state, event);
  // Behind the read, so that what was dropped while it lasted counts.
  const lacks = "filter" in scope && (known.incomplete === true || (await isAnyDropped(core, known.position + 1, to)));
  return { state: freezeDeeply(state), position: to, versions, ...(lacks ? { incomplete: true } : {}) };
}

/** Whether events from `from` to `to` are gone from the log, of which nobody knows any more whether they would have matched. */
async function isAnyDropped(core: StoreCore, from: number, to: number): Promise<boolean> {
  if (!core.usesFamily("dropped")) return false;
  for await (const _ of new DroppedEvents(core.rows).runs(from, to)) return true;
  return false;
}

interface DecidedAppend {
  readonly streamName: string;
  readonly events: readonly NewEvent[];
  readonly expectedVersion: ExpectedVersion;
  readonly expectationGiven: boolean;
}

async function decideOnce(core: StoreCore, job: Job, known: Known): Promise<readonly DecidedAppend[]> {
  const { position, incomplete } = known;
  const context = {
    position,
    metadata: job.metadata,
    now: new Date(core.clock.now()),
    ...(incomplete && { incomplete }),
  };
  const deciding = { name: `${name}.decide`, timeoutMs: job.decideTimeoutMs, signal: job.signal };
  const list = await decided({ ...deciding, decide: () => job.decide(known.state, context) });
  return list.map((one, index) => decidedAppend(one as Record<string, unknown>, `decided[${index}]`, job, known));
}

function decidedAppend(one: Record<string, unknown>, argument: string, job: Job, known: Known): DecidedAppend {
  checkOptions(one, ["streamName", "events", "expectedVersion"], argument, { outcome: "not-applied" });
  const streamName = checkName(one.streamName, `${argument}.streamName`);
  const { events } = one;
  if (!Array.isArray(events) || events.length === 0) return refuseArgument(`${argument}.events`, "must have an event");
  const expectationGiven = one.expectedVersion !== undefined;
  const read = known.versions.get(streamName) ?? ("filter" in job.scope ? "any" : undefined);
  const expectedVersion = (one.expectedVersion as ExpectedVersion | undefined) ?? read;
  if (expectedVersion === undefined)
    return refuseArgument(`${argument}.expectedVersion`, "must be given for a stream that the decision did not read");
  return { streamName, events: withMetadata(events, job.metadata), expectedVersion, expectationGiven };
}

/** What the decision rests on, as conditions of its commit. */
function conditionsOf(job: Job, known: Known, appends: readonly DecidedAppend[]): Partial<CoreCommit> {
  if ("filter" in job.scope) {
    return { failIfMatch: { filter: job.scope.filter ?? {}, afterPosition: known.position } };
  }
  const guarded = new Set(appends.filter((one) => !one.expectationGiven).map((one) => one.streamName));
  const checks = job.scope.streams
    .filter((streamName) => !guarded.has(streamName))
    .map((streamName) => ({ streamName, expectedVersion: known.versions.get(streamName) ?? 0 }));
  return { checks };
}

async function commit(
  core: StoreCore,
  job: Job,
  known: Known,
  appends: readonly DecidedAppend[],
): Promise<DecidedOverQuery> {
  const { idempotencyKey, signal, folding } = job;
  const { position, incomplete } = known;
  const lacks = incomplete === undefined ? {} : { incomplete };
  // Just read, and nothing to write: there is nothing to judge either.
  if (appends.length === 0 && idempotencyKey === undefined)
    return { state: known.state, events: [], streams: [], position, replayed: false, ...lacks };
  let { state } = known;
  const recorded: RecordedEvent[] = [];
  const result: CoreCommitResult = await core.submit({
    appends: appends.map(({ streamName, events, expectedVersion }) => ({ streamName, events, expectedVersion })),
    ...conditionsOf(job, known, appends),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(signal === undefined ? {} : { signal }),
    rows: {
      bytesMax: 0,
      rowsMax: 0,
      compute: ({ events }) => {
        for (const stored of events) recorded.push(...core.registry.read(stored));
        const inScope = recorded.filter((event) => isInScope(job, event));
        state = foldOnto(folding, state, inScope);
        return [];
      },
    },
  });
  if (result.replayed) return await replayed(core, job, result.record);
  const { record } = result;
  return { state, events: recorded, streams: record.streams, position: record.position, replayed: false, ...lacks };
}

function isInScope({ scope }: Job, { type, streamName, tags }: RecordedEvent): boolean {
  if ("streams" in scope) return scope.streams.includes(streamName);
  return matches(scope.filter, { type, tags, category: categoryOf(streamName) });
}

async function firstResult(core: StoreCore, job: Job): Promise<DecidedOverQuery | undefined> {
  if (job.idempotencyKey === undefined) return undefined;
  const record = await core.findByKey(job.idempotencyKey);
  return record === undefined ? undefined : await replayed(core, job, record);
}

async function replayed(core: StoreCore, job: Job, record: CommitRecord): Promise<DecidedOverQuery> {
  const nothing: Known = { state: initialStateOf(job.folding), position: 0, versions: new Map() };
  const { streams, position } = record;
  const told = { events: await eventsOf(core, record), streams, position, replayed: true };
  try {
    const { state, incomplete } = await advance(core, job, nothing, record.position);
    return { state, ...told, ...(incomplete && { incomplete }) };
  } catch (error) {
    // What is gone of the first result makes the retry no less harmless.
    if (!isGone(error)) throw error;
    return { state: nothing.state, ...told, incomplete: true };
  }
}
