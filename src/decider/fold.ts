/**
 * Folds events into states. States are immutable: those that a fold begins and ends with are frozen, so that an `evolve` that
 * changes one in place fails at once instead of spoiling what others share. What a user's function does wrong becomes a typed
 * error that names it.
 */

import { InvalidArgumentError, UnreadableEventError } from "../errors.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { freezeDeeply } from "./freeze.ts";

/** What folding needs of a decider or of a decision. */
export interface Folding {
  /** How errors call it. */
  readonly name: string;
  readonly initialState: () => unknown;
  readonly evolve: Readonly<Record<string, ((state: unknown, event: unknown) => unknown) | undefined>>;
  /** Whether each type of event must have a function: if not, events without one leave the state as it is. */
  readonly exhaustive: boolean;
}

/** What a user's function threw, in a sentence. */
export function thrownBy(name: string, cause: unknown): InvalidArgumentError {
  const what = cause instanceof Error ? cause.message : String(cause);
  return new InvalidArgumentError(name, `threw: ${what}`, { cause, outcome: "not-applied" });
}

function checkState(state: unknown, name: string): unknown {
  if (state instanceof Promise) state.catch(() => {});
  if (state === undefined || state instanceof Promise) {
    const what = state === undefined ? "nothing" : "a promise";
    throw new InvalidArgumentError(name, `must return a state, not ${what}`, { outcome: "not-applied" });
  }
  return state;
}

/** The state of nothing. Throws `invalid-argument`. */
export function initialStateOf({ name, initialState }: Folding): unknown {
  let state: unknown;
  try {
    state = initialState();
  } catch (cause) {
    throw thrownBy(`${name}.initialState`, cause);
  }
  return freezeDeeply(checkState(state, `${name}.initialState`));
}

/** The state after some more events, frozen. Throws as `evolveState`. */
export function foldOnto(folding: Folding, state: unknown, events: Iterable<RecordedEvent>): unknown {
  let next = state;
  for (const event of events) next = evolveState(folding, next, event);
  return freezeDeeply(next);
}

/** The state after one more event; who ends a fold freezes it. Throws `invalid-argument`, `unreadable-event` for a type that `evolve` does not have. */
export function evolveState(folding: Folding, state: unknown, event: RecordedEvent): unknown {
  const { name, evolve, exhaustive } = folding;
  const step = Object.hasOwn(evolve, event.type) ? evolve[event.type] : undefined;
  if (step === undefined) {
    if (!exhaustive) return state;
    throw new UnreadableEventError(event, `evolve of the decider "${name}" has no function for it`);
  }
  let next: unknown;
  try {
    next = step(state, event);
  } catch (cause) {
    throw thrownBy(`${name}.evolve.${event.type}`, cause);
  }
  return checkState(next, `${name}.evolve.${event.type}`);
}
