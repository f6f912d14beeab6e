/**
 * Given some events, when a command comes, then these events (or this state, or this refusal): tests of a decider without a
 * store and without a test runner. Events pass through the same schemas and the same encoding as in a store.
 */

import type { CommandOf, CommandSchemas, DecidedEvents, Decider } from "../decider/define-decider.ts";
import type { EventDefinitions, NewEventOf } from "../schema/define-events.ts";
import { compareDeeply, fail } from "./assertion.ts";
import { type Decided, type SpecifiedDecider, specified } from "./specified-decider.ts";

/** What a command should have come to: a list of events, a state, or a refusal by its reason (and data, where given). */
export type Expectation<State, Definitions extends EventDefinitions> =
  | DecidedEvents<Definitions>
  | { readonly state: State }
  | { readonly refusal: string; readonly data?: unknown };

/** What is compared once a command has come. */
export interface Outcome<State, Definitions extends EventDefinitions> {
  /**
   * Throws an `AssertionError` (of `node:assert`, with `expected` and `actual`) where it came to something else; at once, or
   * for an asynchronous `decide` by the promise, which is to be awaited. Of events type and data are compared, and whatever
   * else the expected ones say; of a state all of it.
   */
  then(expected: Expectation<State, Definitions>): Promise<void>;
}

/** A stream with events, to which a command comes. */
export interface GivenEvents<State, Definitions extends EventDefinitions, Commands extends CommandSchemas> {
  /** The command is validated by its schema, as the store does. */
  when(command: CommandOf<Commands>): Outcome<State, Definitions>;
}

/** What a stream has had so far; nothing for a new one. */
export type Given<State, Definitions extends EventDefinitions, Commands extends CommandSchemas> = (
  events?: readonly NewEventOf<Definitions>[],
) => GivenEvents<State, Definitions, Commands>;

/** When it is, for `context.now` of `decide`, unless told otherwise. */
const nowDefault = "2026-01-01T00:00:00.000Z";

/**
 * A decider's `given`: `given(events).when(command).then(expected)`. `now`: what `decide` is told of the time.
 * Throws `invalid-event` for given events that are not valid.
 */
export function specify<State, Definitions extends EventDefinitions, Commands extends CommandSchemas>(
  decider: Decider<State, Definitions, Commands>,
  options: { readonly now?: Date } = {},
): Given<State, Definitions, Commands> {
  const now = options.now ?? new Date(nowDefault);
  return (events = []) => {
    const given = specified(decider, events, now);
    return {
      when: (command) => ({
        // biome-ignore lint/suspicious/noThenProperty: given, when, then is how everybody writes it down.
        then: (expected) => settle(given, command, expected),
      }),
    };
  };
}

function settle(given: SpecifiedDecider, command: unknown, expected: unknown): Promise<void> {
  if (typeof expected === "function") {
    throw new TypeError(
      "Nothing was expected: await given(...).when(...).then(expected), and not given(...).when(...)",
    );
  }
  const outcome = given.execute(command);
  if (outcome instanceof Promise) return outcome.then((decided) => check(given, decided, expected));
  check(given, outcome, expected);
  return Promise.resolve();
}

function check(given: SpecifiedDecider, outcome: Decided, expected: unknown): void {
  if (Array.isArray(expected)) {
    if (outcome.kind === "refused") fail("It was refused", { refusal: outcome.reason, data: outcome.data }, expected);
    compareDeeply(
      "Other events were decided",
      given.comparable(outcome.events, expected),
      given.expectedEvents(expected),
    );
    return;
  }
  const wanted = expected as { readonly state?: unknown; readonly refusal?: unknown; readonly data?: unknown };
  if ("refusal" in wanted) {
    if (outcome.kind !== "refused") fail("It was not refused", given.comparable(outcome.events, []), wanted);
    const actual = "data" in wanted ? { refusal: outcome.reason, data: outcome.data } : { refusal: outcome.reason };
    compareDeeply("It was refused otherwise", actual, wanted);
    return;
  }
  if (!("state" in wanted)) throw new TypeError("What is expected must be a list of events, { state } or { refusal }");
  if (outcome.kind === "refused") fail("It was refused", { refusal: outcome.reason, data: outcome.data }, wanted);
  compareDeeply("It came to another state", outcome.state, wanted.state);
}
