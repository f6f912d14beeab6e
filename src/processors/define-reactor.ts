/**
 * Reactors: something is done about an event, in the world outside or by another command. A reactor may be asked more than
 * once about an event (at least once, where it is async), so each handling carries a key by which repeats can be told.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import type { EventDefinitions, EventTypeOf } from "../schema/define-events.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter, EventFilter } from "../vocabulary/filter.ts";
import { checkName } from "../vocabulary/names.ts";
import { asyncReactor } from "./async-reactor.ts";
import {
  checkEvents,
  checkFunction,
  checkFunctions,
  checkHandledTypes,
  type EventHandlers,
  type HandledEvent,
  narrowed,
} from "./define-projection.ts";
import { createProcessor, type ProcessorDefinition } from "./definition.ts";
import { type CheckedRetries, checkRetries, type RetryPolicy } from "./retries.ts";
import { syncReactor } from "./sync-reactor.ts";

/**
 * When a reactor is asked. `"async"`: behind the commit, at least once, with retries. `"sync"`: when the commit is durable,
 * before `append` resolves; once, and not again after a crash.
 */
export type ReactorMode = "async" | "sync";

/** What a reactor is told besides the event. */
export interface ReactionContext {
  /** The same for every handling of this event by this reactor: give it to whatever must not do a thing twice. */
  readonly idempotencyKey: string;
  /** From 1. */
  readonly attempt: number;
  /** Aborted when the time is up, and when the store closes. */
  readonly signal: AbortSignal;
}

/** What `defineReactor` is told. */
export interface ReactorOptions<Definitions extends EventDefinitions = never> {
  readonly mode: ReactorMode;
  /** Default: 1. It may not go back. */
  readonly version?: number;
  /** The events that it is about, for their types. */
  readonly events?: readonly Definitions[];
  /** Which events it sees, of those that `on` names. Default: all of them. */
  readonly filter?: EventFilter<EventTypeOf<Definitions>>;
  readonly on: EventHandlers<Definitions, [context: ReactionContext], unknown>;
  /** Events of the same key are handled one after another, in order; others beside them. Default: the stream's name. */
  readonly key?: (event: HandledEvent<Definitions, EventTypeOf<Definitions>>) => string;
  /** What is in vain so often is parked. Default: 5 attempts; one where it is sync. */
  readonly retries?: RetryPolicy;
  /** How long one handling may take before it counts as failed. Default: 30,000 ms. */
  readonly timeoutMs?: number;
  /** Where an async one begins that was never run before. Default: `"start"`. */
  readonly from?: "start" | "end";
}

/** A reactor, made by `defineReactor`. */
export interface Reactor extends ProcessorDefinition {
  readonly mode: ReactorMode;
}

/** A reactor without its types, as what runs it sees it. */
export interface AnyReactor {
  readonly name: string;
  readonly version: number;
  readonly events: readonly EventDefinitions[];
  readonly filter: CheckedFilter;
  readonly on: Readonly<Record<string, (event: RecordedEvent, context: ReactionContext) => unknown>>;
  readonly key: ((event: RecordedEvent) => unknown) | undefined;
  readonly retries: CheckedRetries;
  readonly timeoutMs: number;
  readonly from: "start" | "end";
}

const optionNames = ["mode", "version", "events", "filter", "on", "key", "retries", "timeoutMs", "from"];
const timeoutMsDefault = 30_000;

/** Throws `invalid-argument`. */
export function checkTimeout(value: unknown, argument: string, otherwise: number): number {
  const timeoutMs = checkInteger(value, argument, 1) ?? otherwise;
  if (timeoutMs <= millisecondsMax) return timeoutMs;
  throw new InvalidArgumentError(argument, `must be at most ${millisecondsMax}, not ${timeoutMs}`);
}

export function checkFrom(value: unknown): "start" | "end" {
  if (value === undefined || value === "start") return "start";
  if (value === "end") return "end";
  throw new InvalidArgumentError("from", `must be "start" or "end", not ${printable(value)}`);
}

/** Defines a reactor; `openEventStore({ reactors: [...] })` runs it. Throws `invalid-argument` for options that are none. */
export function defineReactor<const Definitions extends EventDefinitions = never>(
  name: string,
  options: ReactorOptions<Definitions>,
): Reactor {
  checkName(name, "name");
  const given = checkOptions(options, optionNames);
  const { mode } = given;
  if (mode !== "async" && mode !== "sync")
    throw new InvalidArgumentError("mode", `must be "async" or "sync", not ${printable(mode)}`);
  const events = checkEvents(given.events);
  const on = checkFunctions(given.on, "on");
  checkHandledTypes(on, events, "on");
  const retries = given.retries === undefined && mode === "sync" ? { attempts: 1 } : given.retries;
  const checked = {
    name,
    version: checkInteger(given.version, "version", 1) ?? 1,
    events,
    filter: narrowed(given.filter, Object.keys(on), events),
    on,
    key: checkFunction(given.key, "key"),
    retries: checkRetries(retries),
    timeoutMs: checkTimeout(given.timeoutMs, "timeoutMs", timeoutMsDefault),
    from: checkFrom(given.from),
  };
  const reactor = checked as unknown as AnyReactor;
  const create = mode === "async" ? asyncReactor : syncReactor;
  return { name, mode, [createProcessor]: (host) => create(reactor, host) };
}
