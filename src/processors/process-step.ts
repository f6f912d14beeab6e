/**
 * One step of a process: an event or a timer, an instance, and what the manager's functions make of them. Pure: it changes
 * nothing, and what it throws leaves nothing behind. The running manager and the test kit both take their steps here.
 */

import { type AnyDecider, type Command, checkDecider } from "../decider/define-decider.ts";
import { evolveState, initialStateOf, thrownBy } from "../decider/fold.ts";
import { freezeDeeply } from "../decider/freeze.ts";
import { EventStoreError, InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { Cause } from "../runtime/causation.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { checkExpectedVersion, type ExpectedVersion } from "../vocabulary/expected-version.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProcessContext, AnyProcessManager, DueTimer } from "./define-process-manager.ts";

/** The most commands, appends and timers that one step may ask for. */
export const stepOutputsMax = 256;

/** A timer of an instance. */
export interface SetTimer {
  readonly dueAtMs: number;
  /** Tells it from earlier ones of the instance. */
  readonly number: number;
  readonly data: unknown;
  readonly cause: Cause;
}

/** An instance between two steps. */
export interface ProcessInstance {
  readonly state: unknown;
  readonly timers: Readonly<Record<string, SetTimer>>;
  /** How many timers it ever had. */
  readonly timersSet: number;
  /** The position of the event that began it: tells it from earlier instances of the same name. */
  readonly begunAt: number;
}

/** A command to execute, or events to append. */
export type ProcessOutput =
  | { readonly kind: "execute"; readonly decider: string; readonly id: string; readonly command: Command }
  | {
      readonly kind: "append";
      readonly streamName: string;
      readonly events: readonly NewEvent[];
      readonly expectedVersion: ExpectedVersion;
    };

/** The deciders of commands that were asked for by this process; those that were kept from before know only a name. */
const deciders = new WeakMap<ProcessOutput, AnyDecider>();

export function deciderOf(output: ProcessOutput): AnyDecider | undefined {
  return deciders.get(output);
}

/** What a step is about. */
export type ProcessInput =
  | { readonly kind: "event"; readonly event: RecordedEvent }
  | { readonly kind: "timer"; readonly name: string; readonly timer: SetTimer };

/** What a step has come to; `instance` is `undefined` where there is none any more. */
export interface ProcessStep {
  readonly instance: ProcessInstance | undefined;
  readonly outputs: readonly ProcessOutput[];
}

/** What caused the outputs of a step. */
export function causeOf(input: ProcessInput): Cause {
  if (input.kind === "timer") return input.timer.cause;
  const { id, metadata } = input.event;
  const { correlationId, actor } = metadata;
  const cause = { correlationId: correlationId ?? id, causationId: id };
  return actor === undefined ? cause : { ...cause, actor };
}

/** The instance that an event is about. Throws `invalid-argument` for what is no name. */
export function correlated({ name, correlate }: AnyProcessManager, event: RecordedEvent): string | undefined {
  const find = Object.hasOwn(correlate, event.type) ? correlate[event.type] : undefined;
  if (find === undefined) return undefined;
  let found: unknown;
  try {
    found = find(event);
  } catch (cause) {
    throw thrownBy(`${name}.correlate.${event.type}`, cause);
  }
  return found === undefined ? undefined : checkName(found, `${name}.correlate.${event.type}`);
}

/**
 * Takes a step. `undefined`: the event is passed over, because there is no instance and it begins none. Throws
 * `invalid-argument` for what the manager's functions did wrong.
 */
export function takeStep(
  manager: AnyProcessManager,
  instanceName: string,
  instance: ProcessInstance | undefined,
  input: ProcessInput,
): ProcessStep | undefined {
  const { name, initialState, evolve, startedBy } = manager;
  const folding = { name, initialState, evolve, exhaustive: false };
  if (input.kind === "timer" && instance === undefined) return undefined;
  if (input.kind === "event" && instance === undefined && startedBy?.includes(input.event.type) === false)
    return undefined;
  const begun: ProcessInstance = instance ?? {
    state: initialStateOf(folding),
    timers: {},
    timersSet: 0,
    begunAt: input.kind === "event" ? input.event.position : 0,
  };
  const taking = new Step(manager, instanceName, begun, input);
  if (input.kind === "event") {
    taking.state = evolveState(folding, freezeDeeply(begun.state), input.event);
    taking.run(`${name}.react.${input.event.type}`, manager.react[input.event.type], input.event);
  } else {
    const { dueAtMs, data } = input.timer;
    const due: DueTimer = { name: input.name, data, dueAt: new Date(dueAtMs) };
    taking.run(`${name}.timers.${input.name}`, manager.timers[input.name], due);
  }
  return taking.result();
}

class Step {
  readonly #manager: AnyProcessManager;
  readonly #instanceName: string;
  readonly #begun: ProcessInstance;
  readonly #cause: Cause;
  readonly #nowMs: number;
  readonly #timers: Map<string, SetTimer>;
  #timersSet: number;
  #completed = false;
  #asked = 0;
  readonly #outputs: ProcessOutput[] = [];
  state: unknown;

  constructor(manager: AnyProcessManager, instanceName: string, begun: ProcessInstance, input: ProcessInput) {
    this.#manager = manager;
    this.#instanceName = instanceName;
    this.#begun = begun;
    this.#cause = causeOf(input);
    this.#nowMs = input.kind === "event" ? input.event.recordedAt.getTime() : input.timer.dueAtMs;
    this.#timers = new Map(Object.entries(begun.timers));
    this.#timersSet = begun.timersSet;
    this.state = freezeDeeply(begun.state);
    if (input.kind === "timer") this.#timers.delete(input.name);
  }

  run<Input>(
    name: string,
    work: ((input: Input, state: unknown, context: AnyProcessContext) => unknown) | undefined,
    input: Input,
  ): void {
    if (work === undefined) return;
    let result: unknown;
    try {
      result = work(input, this.state, this.#context());
    } catch (cause) {
      if (cause instanceof EventStoreError) throw cause;
      throw thrownBy(name, cause);
    }
    if (!(result instanceof Promise)) return;
    result.catch(() => {});
    throw new InvalidArgumentError(name, "must not return a promise: it asks for what takes time by its context");
  }

  result(): ProcessStep {
    if (this.#completed) return { instance: undefined, outputs: this.#outputs };
    const { begunAt } = this.#begun;
    const timers = Object.fromEntries(this.#timers);
    return {
      instance: { state: this.state, timers, timersSet: this.#timersSet, begunAt },
      outputs: this.#outputs,
    };
  }

  #ask(): void {
    this.#asked += 1;
    if (this.#asked > stepOutputsMax)
      throw new InvalidArgumentError(this.#manager.name, `asks for more than ${stepOutputsMax} things in one step`);
  }

  #context(): AnyProcessContext {
    return {
      instance: this.#instanceName,
      now: new Date(this.#nowMs),
      execute: (given, id, command) => {
        this.#ask();
        const decider = checkDecider(given);
        checkName(id, "id");
        if (typeof command?.type !== "string")
          throw new InvalidArgumentError("command", `must be { type, data }, not ${printable(command)}`);
        const output: ProcessOutput = { kind: "execute", decider: decider.name, id, command };
        deciders.set(output, decider);
        this.#outputs.push(output);
      },
      append: (streamName, events, options) => {
        this.#ask();
        const { expectedVersion = "any" } = checkOptions(options, ["expectedVersion"]);
        checkName(streamName, "streamName");
        if (!Array.isArray(events) || events.length === 0)
          throw new InvalidArgumentError("events", `must be a list of events, not ${printable(events)}`);
        const expected = checkExpectedVersion(expectedVersion, "expectedVersion");
        this.#outputs.push({ kind: "append", streamName, events, expectedVersion: expected });
      },
      schedule: (timer, options) => this.#schedule(timer, options),
      cancel: (timer) => {
        this.#timers.delete(checkName(timer, "timer"));
      },
      complete: () => {
        this.#completed = true;
      },
      setState: (state) => {
        if (state === undefined) throw new InvalidArgumentError("state", "is missing");
        this.state = freezeDeeply(state);
      },
    };
  }

  #schedule(timer: string, options: unknown): void {
    this.#ask();
    checkName(timer, "timer");
    if (!Object.hasOwn(this.#manager.timers, timer))
      throw new InvalidArgumentError("timer", `has no function in timers: ${printable(timer)}`);
    const { afterMs, at, data } = checkOptions(options, ["afterMs", "at", "data"]);
    const after = checkInteger(afterMs, "afterMs", 0);
    const given = at instanceof Date ? at.getTime() : Number.NaN;
    const dueAtMs = after === undefined ? given : this.#nowMs + after;
    if ((after === undefined) === (at === undefined) || !Number.isSafeInteger(dueAtMs) || dueAtMs < 0)
      throw new InvalidArgumentError("options", "must say when, by afterMs or by a valid Date in at");
    this.#timersSet += 1;
    const set = { dueAtMs, number: this.#timersSet, data: data ?? null, cause: this.#cause };
    this.#timers.set(timer, set);
    if (this.#timers.size > stepOutputsMax)
      throw new InvalidArgumentError("timer", `is one of more than ${stepOutputsMax} of an instance`);
  }
}
