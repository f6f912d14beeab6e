/** What a store offers for deciders, as its users see it. Pure types. */

import type { EventDefinitions, EventTypeOf, NewEventOf, RecordedEventOf } from "../schema/define-events.ts";
import type { EventMetadata } from "../vocabulary/event.ts";
import type { ExpectedVersion } from "../vocabulary/expected-version.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { CommandOf, CommandSchemas, Decider, Literal } from "./define-decider.ts";

/** What may be said beside a decision over several streams or over a query. */
export interface DecideOptions {
  /** Put into each event's metadata; what the event itself says holds. */
  readonly metadata?: EventMetadata;
  /** Makes the whole of it harmless to repeat: the first result is returned, also where it would be decided otherwise now. */
  readonly idempotencyKey?: string;
  /** Gives up while nothing is written yet: rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What may be said beside a command. */
export interface ExecuteOptions extends DecideOptions {
  /** What the caller knows of the stream, as from an earlier answer: if it is not so, a conflict, without another attempt. */
  readonly expectedVersion?: ExpectedVersion;
}

/** What a command has come to. All of it is durable. */
export interface ExecuteResult<State, Definitions extends EventDefinitions = never> {
  /** The state behind the events. Frozen, and shared with later commands. */
  readonly state: State;
  /** The events that were decided; none where there was nothing to do. */
  readonly events: readonly RecordedEventOf<Definitions>[];
  readonly streamName: string;
  /** How many events the stream has with these. */
  readonly streamVersion: number;
  /** The position of the last of the events; where there are none, a position at which the decision holds. */
  readonly position: number;
  /** Whether this is the result of an earlier execution that this one repeats. */
  readonly replayed: boolean;
  /**
   * Only where it is `replayed`: the stream was truncated or deleted since, so that the state of then is gone. `state` is then
   * that of now, or where that cannot be had either, the initial one; `events` are those that the log still has.
   */
  readonly incomplete?: true;
}

/** A stream's state for a decider, and the version it is of; 0 and the initial state where there is no such stream. */
export interface StreamState<State> {
  /** Frozen, and shared with others. */
  readonly state: State;
  readonly version: number;
}

/** What `decide` of a decision answers: events for a stream. */
export interface DecidedAppend<Definitions extends EventDefinitions = never> {
  readonly streamName: string;
  readonly events: readonly NewEventOf<Definitions>[];
  /** Default: the version that was read; in a decision over a query, where the query is the condition, `"any"`. */
  readonly expectedVersion?: ExpectedVersion;
}

/** What `decide` of a decision is told besides the state. */
export interface DecisionContext {
  /** Up to where the log was read. */
  readonly position: number;
  /** The time by the store's clock. */
  readonly now: Date;
  /** What the caller gave. */
  readonly metadata: EventMetadata;
  /**
   * Only over a query: events up to `position` were dropped from the log (expired, excess, truncated, deleted or archived), and the
   * state is folded from what is left. It may lack nothing, because nobody knows any more what they were, and whether they
   * would have matched; where it is absent, it lacks nothing for certain.
   */
  readonly incomplete?: true;
}

/** A decision that rests on more than one stream. Either `filter` or `streams` is given. */
export interface Decision<State, Definitions extends EventDefinitions = never> {
  /** It rests on the events that match; another one before the commit is a conflict. */
  readonly filter?: EventFilter<EventTypeOf<Definitions>>;
  /** It rests on these streams, at most 64; a change of any of them before the commit is a conflict. */
  readonly streams?: readonly string[];
  readonly initialState: () => State;
  /** Events, in the order of their positions, of types that are not here leave the state as it is. */
  readonly evolve: {
    readonly [Type in EventTypeOf<Definitions>]?: (
      state: NoInfer<State>,
      event: Extract<RecordedEventOf<Definitions>, { readonly type: Type }>,
    ) => NoInfer<State> & Literal;
  };
  /** What to append to which streams, nothing where there is nothing to do; or it `refuse`s. */
  decide(
    state: NoInfer<State>,
    context: DecisionContext,
  ): readonly DecidedAppend<Definitions>[] | Promise<readonly DecidedAppend<Definitions>[]>;
  /** How long a promise of `decide` may take. Default: 10,000 ms. */
  readonly decideTimeoutMs?: number;
}

/** What a decision has come to. All of it is durable. */
export interface DecisionResult<State, Definitions extends EventDefinitions = never> {
  /** The state behind those of the events that the decision rests on. Frozen. */
  readonly state: State;
  readonly events: readonly RecordedEventOf<Definitions>[];
  readonly streams: readonly { readonly streamName: string; readonly streamVersion: number }[];
  readonly position: number;
  readonly replayed: boolean;
  /**
   * Over streams, only where it is `replayed`: one of them was truncated or deleted since, so that the state of then is gone.
   * `state` is then the initial one; `events` are those that the log still has. Over a query: as `DecisionContext` tells it.
   */
  readonly incomplete?: true;
}

/** Reads of states, now or as of a moment. */
export interface StateReader<Definitions extends EventDefinitions = never> {
  /**
   * The state of the stream `<category>-<id>`. Throws as `readStream`, `invalid-argument` where `evolve` throws or returns
   * nothing, and `stream-truncated` where events that it needs are gone, those of a moment in the past included.
   */
  load<State, Own extends Definitions, Commands extends CommandSchemas>(
    decider: Decider<State, Own, Commands>,
    id: string,
  ): Promise<StreamState<State>>;
}

/** Decisions on states: reading, deciding and appending in one step. */
export interface DecisionMaker<Definitions extends EventDefinitions = never> extends StateReader<Definitions> {
  /**
   * Executes a command on the stream `<category>-<id>`: validates it, decides on the stream's state, appends the events, and
   * resolves when they are durable. A conflict loads and decides again, up to ten times. Commands of one process on one
   * stream wait for each other.
   *
   * Throws what `decide` refuses with (`DomainRefusal`, as it is), `invalid-command` (by path, before anything is read),
   * `invalid-argument` (`decide` or `evolve` threw, or returned nonsense), `conflict` (`expectedVersion` did not hold, or
   * ten attempts were in vain), and what `append` throws. Nothing is written unless an error says `outcome: "unknown"`.
   */
  execute<State, Own extends Definitions, Commands extends CommandSchemas>(
    decider: Decider<State, Own, Commands>,
    id: string,
    command: CommandOf<Commands>,
    options?: ExecuteOptions,
  ): Promise<ExecuteResult<State, Own>>;
  /**
   * Decides on several streams, or on all events that match a query, and appends what was decided in one atomic step, on
   * condition that nothing it rests on has changed; if it has, it is decided again, up to ten times. Throws as `execute`.
   */
  decide<State>(
    decision: Decision<State, Definitions>,
    options?: DecideOptions,
  ): Promise<DecisionResult<State, Definitions>>;
  /**
   * Keeps the stream's state, so that later loads begin there; answers the version that it reaches to. Throws as `load` and
   * `append`, and `invalid-argument` for a decider without `snapshots` or a state that cannot be stored (more than 1 MiB, or
   * not plain data).
   */
  snapshot<State, Own extends Definitions, Commands extends CommandSchemas>(
    decider: Decider<State, Own, Commands>,
    id: string,
  ): Promise<{ readonly streamName: string; readonly version: number }>;
}
