/**
 * Given some events, when another comes or time passes, then a process manager asks for this: tests without a store and
 * without a test runner. Timers fire when their time has come, in order.
 */

import { type ProcessManager, processManagerOf } from "../processors/define-process-manager.ts";
import {
  correlated,
  type ProcessInput,
  type ProcessInstance,
  type ProcessOutput,
  takeStep,
} from "../processors/process-step.ts";
import { matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import { compareDeeply } from "./assertion.ts";
import { type Recorder, recorder, type SpecifiedEvent } from "./recorded-events.ts";

/** What happens: an event is recorded, or so many milliseconds pass. */
export type ProcessOccurrence = SpecifiedEvent | { readonly passMs: number };

/** A command that was asked for, by its decider's name, or events to append. */
export type AskedFor =
  | {
      readonly execute: string;
      readonly id: string;
      readonly command: { readonly type: string; readonly data: unknown };
    }
  | { readonly append: string; readonly events: readonly { readonly type: string; readonly data: unknown }[] };

/** What it should have come to; only the parts that are there are compared. */
export interface ProcessExpectation<State> {
  /** What was asked for since `when`, in order. */
  readonly asks?: readonly AskedFor[];
  /** The instances that there are, by name, with their states. */
  readonly instances?: Readonly<Record<string, State>>;
  /** The timers that are set, by instance and name: when they are due. */
  readonly timers?: Readonly<Record<string, Readonly<Record<string, Date>>>>;
}

/** What is compared in the end. */
export interface ProcessOutcome<State> {
  /** Throws an `AssertionError` where it came to something else. */
  then(expected: ProcessExpectation<State>): void;
}

/** A process manager to which something has happened. */
export interface GivenProcess<State> extends ProcessOutcome<State> {
  when(...occurrences: readonly ProcessOccurrence[]): ProcessOutcome<State>;
}

/** When it is at first, unless told otherwise. */
const nowDefault = "2026-01-01T00:00:00.000Z";

class SpecifiedProcess {
  readonly #manager: ReturnType<typeof processManagerOf>;
  readonly #recorder: Recorder;
  readonly instances = new Map<string, ProcessInstance>();
  asked: ProcessOutput[] = [];
  #nowMs: number;

  constructor(manager: unknown, now: Date) {
    this.#manager = processManagerOf(manager);
    this.#recorder = recorder(this.#manager.events);
    this.#nowMs = now.getTime();
  }

  happen(occurrence: ProcessOccurrence): void {
    if ("passMs" in occurrence) {
      this.#pass(this.#nowMs + occurrence.passMs);
      return;
    }
    for (const event of this.#recorder.record(occurrence, new Date(this.#nowMs))) {
      const shape = { type: event.type, tags: event.tags, category: categoryOf(event.streamName) };
      const instance = matches(this.#manager.filter, shape) ? correlated(this.#manager, event) : undefined;
      if (instance !== undefined) this.#take(instance, { kind: "event", event });
    }
  }

  #pass(untilMs: number): void {
    for (;;) {
      const set = [...this.instances].flatMap(([instance, { timers }]) =>
        Object.entries(timers).map(([name, timer]) => ({ instance, name, timer })),
      );
      const [next] = set.toSorted((one, other) => one.timer.dueAtMs - other.timer.dueAtMs);
      if (next === undefined || next.timer.dueAtMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.timer.dueAtMs);
      this.#take(next.instance, { kind: "timer", name: next.name, timer: next.timer });
    }
    this.#nowMs = untilMs;
  }

  #take(name: string, input: ProcessInput): void {
    const step = takeStep(this.#manager, name, this.instances.get(name), input);
    if (step === undefined) return;
    if (step.instance === undefined) this.instances.delete(name);
    else this.instances.set(name, step.instance);
    this.asked.push(...step.outputs);
  }
}

function askedFor(output: ProcessOutput): AskedFor {
  if (output.kind === "execute") return { execute: output.decider, id: output.id, command: output.command };
  return { append: output.streamName, events: output.events.map(({ type, data }) => ({ type, data })) };
}

function compare<State>(process: SpecifiedProcess, expected: ProcessExpectation<State>): void {
  if (expected.asks !== undefined)
    compareDeeply("Something else was asked for", process.asked.map(askedFor), expected.asks);
  const instances = [...process.instances];
  if (expected.instances !== undefined) {
    const states = Object.fromEntries(instances.map(([name, { state }]) => [name, state]));
    compareDeeply("The instances are others", states, expected.instances);
  }
  if (expected.timers === undefined) return;
  const timers = instances.flatMap(([name, instance]) => {
    const set = Object.entries(instance.timers).map(([timer, { dueAtMs }]) => [timer, new Date(dueAtMs)]);
    return set.length === 0 ? [] : [[name, Object.fromEntries(set)]];
  });
  compareDeeply("The timers are others", Object.fromEntries(timers), expected.timers);
}

/**
 * A process manager's `given`: `given(...before).when(...occurrences).then({ asks, instances, timers })`. Throws what the store
 * would tell: `invalid-event` for events, `invalid-argument` for what the manager's functions do wrong.
 */
export function specifyProcessManager<State>(
  manager: ProcessManager<State>,
  options: { readonly now?: Date } = {},
): (...before: readonly ProcessOccurrence[]) => GivenProcess<State> {
  return (...before) => {
    const process = new SpecifiedProcess(manager, options.now ?? new Date(nowDefault));
    for (const occurrence of before) process.happen(occurrence);
    return {
      // biome-ignore lint/suspicious/noThenProperty: given, when, then is how everybody writes it down.
      then: (expected) => compare(process, expected),
      when: (...occurrences) => {
        process.asked = [];
        for (const occurrence of occurrences) process.happen(occurrence);
        return {
          // biome-ignore lint/suspicious/noThenProperty: as above.
          then: (expected) => compare(process, expected),
        };
      },
    };
  };
}
