/** Calls a user's `decide`, and takes from it events or a refusal; anything else becomes a typed error that names it. */

import { EventStoreError, InvalidArgumentError, printable } from "../errors.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { thrownBy } from "./fold.ts";
import { orAborted } from "./lanes.ts";
import { DomainRefusal } from "./refusal.ts";

export interface Deciding {
  /** How errors call it, as in `order.decide.PlaceOrder`. */
  readonly name: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  decide(): unknown;
}

/** What was decided: a list of objects. Throws `DomainRefusal` as it is, else `invalid-argument`, or the signal's reason. */
export async function decided({ name, timeoutMs, signal, decide }: Deciding): Promise<readonly object[]> {
  let result: unknown;
  try {
    result = decide();
    if (isThenable(result)) result = await orAborted(withDeadline(Promise.resolve(result), timeoutMs, name), signal);
  } catch (error) {
    throw whatReaches(error, name, timeoutMs, signal);
  }
  if (!Array.isArray(result)) {
    throw new InvalidArgumentError(name, `must return a list of events, not ${printable(result)}`, {
      outcome: "not-applied",
    });
  }
  const odd = result.findIndex((item) => typeof item !== "object" || item === null);
  if (odd >= 0) {
    throw new InvalidArgumentError(name, `must return objects, not ${printable(result[odd])} at index ${odd}`, {
      outcome: "not-applied",
    });
  }
  return result;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function whatReaches(error: unknown, name: string, timeoutMs: number, signal: AbortSignal | undefined): unknown {
  if (error instanceof DomainRefusal || error instanceof EventStoreError) return error;
  if (signal?.aborted === true && error === signal.reason) return error;
  if (error instanceof DeadlineExpired) {
    return new InvalidArgumentError(name, `did not settle within ${timeoutMs} ms`, { outcome: "not-applied" });
  }
  return thrownBy(name, error);
}
