/**
 * Process managers: long-running processes over several streams. Events are led to an instance by what they are about; the
 * instance keeps a state, and answers with commands, appends and timers. Its functions are plain: they do no reading or waiting
 * of their own, and what they ask for is carried out once in effect.
 */

import type { Command, CommandOf, CommandSchemas, Decider } from "../decider/define-decider.ts";
import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { EventDefinitions, EventTypeOf, StoredData } from "../schema/define-events.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import type { ExpectedVersion } from "../vocabulary/expected-version.ts";
import type { CheckedFilter, EventFilter } from "../vocabulary/filter.ts";
import { checkName } from "../vocabulary/names.ts";
import {
  checkEvents,
  checkFunctions,
  checkHandledTypes,
  type EventHandlers,
  type HandledEvent,
  narrowed,
} from "./define-projection.ts";
import { checkFrom } from "./define-reactor.ts";
import { createProcessor, type ProcessorDefinition } from "./definition.ts";
import { processManagerProcessor } from "./process-manager.ts";
import { type CheckedRetries, checkRetries, type RetryPolicy } from "./retries.ts";

/** A timer that has come due. */
export interface DueTimer {
  readonly name: string;
  /** What it was scheduled with. */
  readonly data: StoredData;
  readonly dueAt: Date;
}

/** When a timer is due, one of the two, and what it is to say then. */
export interface ScheduleOptions {
  /** From the recording of the event that is reacted to; in a reaction to a timer, from when that was due. */
  readonly afterMs?: number;
  readonly at?: Date;
  /** Plain data. */
  readonly data?: unknown;
}

/** What a process manager may ask for. All of it comes about, or, where its function throws, nothing. */
export interface ProcessContext<State> {
  /** What `correlate` answered. */
  readonly instance: string;
  /** When the event was recorded, or the timer was due. */
  readonly now: Date;
  /** Executes a command, once in effect. A refusal, or a command that is not valid, is parked. */
  execute<DeciderState, Definitions extends EventDefinitions, Commands extends CommandSchemas>(
    decider: Decider<DeciderState, Definitions, Commands>,
    id: string,
    command: CommandOf<Commands>,
  ): void;
  /** Appends events, once. Default: whatever the stream's version is. A conflict is parked. */
  append(
    streamName: string,
    events: readonly NewEvent[],
    options?: { readonly expectedVersion?: ExpectedVersion },
  ): void;
  /** Sets a timer of that name, in the place of an earlier one of the instance. The manager must have a function for it. */
  schedule(timer: string, options: ScheduleOptions): void;
  /** Takes a timer back; nothing where there is none. */
  cancel(timer: string): void;
  /** Ends the instance: its state and its timers are forgotten. */
  complete(): void;
  /** Replaces the state, where it is a timer that changes it. */
  setState(state: State): void;
}

/** What `defineProcessManager` is told. */
export interface ProcessManagerOptions<State, Definitions extends EventDefinitions = never> {
  /** Default: 1. It may not go back. */
  readonly version?: number;
  /** The events that it is about, for their types. */
  readonly events?: readonly Definitions[];
  /** Which events it sees, of those that `correlate` names. Default: all of them. */
  readonly filter?: EventFilter<EventTypeOf<Definitions>>;
  /** For each type of event that matters: the instance that it is about, or `undefined` where it is about none. */
  readonly correlate: EventHandlers<Definitions, [], string | undefined>;
  /** The types of events that begin an instance; others are passed over where there is none. Default: all. */
  readonly startedBy?: readonly EventTypeOf<Definitions>[];
  readonly initialState: () => State;
  /** What an event makes of the state; those without a function leave it as it is. */
  readonly evolve: {
    readonly [Type in EventTypeOf<Definitions>]?: (
      state: NoInfer<State>,
      event: HandledEvent<Definitions, Type>,
    ) => NoInfer<State>;
  };
  /** What is to be done about an event, with the state behind it. */
  readonly react: EventHandlers<Definitions, [state: NoInfer<State>, context: ProcessContext<NoInfer<State>>], unknown>;
  /** What is to be done when a timer is due, by its name. */
  readonly timers?: Readonly<
    Record<string, (timer: DueTimer, state: NoInfer<State>, context: ProcessContext<NoInfer<State>>) => unknown>
  >;
  /** What is in vain so often is parked, and later events of its instance behind it. Default: 5 attempts. */
  readonly retries?: RetryPolicy;
  /** Where it begins if it was never run before. Default: `"start"`. */
  readonly from?: "start" | "end";
}

/** A process manager, made by `defineProcessManager`. Its type keeps that of its state. */
export interface ProcessManager<State = unknown> extends ProcessorDefinition {
  /** Never there: carries the type of its states. */
  readonly stateType?: () => State;
}

/** A process manager without its types, as what runs it sees it. */
export interface AnyProcessManager {
  readonly name: string;
  readonly version: number;
  readonly events: readonly EventDefinitions[];
  readonly filter: CheckedFilter;
  readonly correlate: Readonly<Record<string, (event: RecordedEvent) => unknown>>;
  readonly startedBy: readonly string[] | undefined;
  readonly initialState: () => unknown;
  readonly evolve: Readonly<Record<string, (state: unknown, event: unknown) => unknown>>;
  readonly react: Readonly<
    Record<string, (event: RecordedEvent, state: unknown, context: AnyProcessContext) => unknown>
  >;
  readonly timers: Readonly<Record<string, (timer: DueTimer, state: unknown, context: AnyProcessContext) => unknown>>;
  readonly retries: CheckedRetries;
  readonly from: "start" | "end";
}

export interface AnyProcessContext extends Omit<ProcessContext<unknown>, "execute"> {
  execute(decider: unknown, id: string, command: Command): void;
}

const optionNames = [
  ...["version", "events", "filter", "correlate", "startedBy", "initialState", "evolve", "react", "timers"],
  ...["retries", "from"],
];
const made = new WeakMap<object, AnyProcessManager>();

/**
 * Defines a process manager; `openEventStore({ processManagers: [...] })` runs it. Throws `invalid-argument` for options that
 * are none.
 */
export function defineProcessManager<State, const Definitions extends EventDefinitions = never>(
  name: string,
  options: ProcessManagerOptions<State, Definitions>,
): ProcessManager<State> {
  checkName(name, "name");
  const given = checkOptions(options, optionNames);
  const events = checkEvents(given.events);
  const correlate = checkFunctions(given.correlate, "correlate");
  checkHandledTypes(correlate, events, "correlate");
  const evolve = checkFunctions(given.evolve, "evolve");
  checkHandledTypes(evolve, events, "evolve");
  const types = Object.keys(correlate);
  if (typeof given.initialState !== "function")
    throw new InvalidArgumentError("initialState", `must be a function, not ${printable(given.initialState)}`);
  const react = checkFunctions(given.react, "react");
  // A function for what is no event is for the timer of that name.
  const timers = Object.fromEntries(Object.entries(react).filter(([type]) => !types.includes(type)));
  const checked = {
    name,
    version: checkInteger(given.version, "version", 1) ?? 1,
    events,
    filter: narrowed(given.filter, types, events),
    correlate,
    startedBy: checkStartedBy(given.startedBy, types),
    initialState: given.initialState,
    evolve,
    react,
    timers: { ...timers, ...checkFunctions(given.timers ?? {}, "timers") },
    retries: checkRetries(given.retries),
    from: checkFrom(given.from),
  };
  const manager = checked as unknown as AnyProcessManager;
  const defined: ProcessManager<State> = {
    name,
    [createProcessor]: (host) => processManagerProcessor(manager, host),
  };
  made.set(defined, manager);
  return defined;
}

/** The process manager without its types. Throws `invalid-argument` for what `defineProcessManager` did not make. */
export function processManagerOf(defined: unknown): AnyProcessManager {
  const manager = typeof defined === "object" && defined !== null ? made.get(defined) : undefined;
  if (manager !== undefined) return manager;
  throw new InvalidArgumentError("processManager", "must be made by defineProcessManager(...)");
}

function checkStartedBy(value: unknown, types: readonly string[]): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw new InvalidArgumentError("startedBy", `must be a list, not ${printable(value)}`);
  const unknown = value.find((type) => !types.includes(type));
  if (unknown === undefined) return value;
  throw new InvalidArgumentError("startedBy", `names a type that correlate does not: ${printable(unknown)}`);
}
