/** Checks of what callers give to reads and subscriptions. */

import { InvalidArgumentError, printable } from "../errors.ts";

/** An integer from `least`, or `undefined`. */
export function checkInteger(value: unknown, argument: string, least: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least) return value;
  throw new InvalidArgumentError(argument, `must be an integer from ${least}, not ${printable(value)}`);
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw new InvalidArgumentError("signal", `must be an AbortSignal, not ${printable(value)}`);
}

export function checkBackwards(value: unknown): boolean {
  if (value === undefined || value === "forwards") return false;
  if (value === "backwards") return true;
  throw new InvalidArgumentError("direction", `must be "forwards" or "backwards", not ${printable(value)}`);
}

/** Whether a reader is to be told of gaps. */
export function checkGaps(value: unknown): boolean {
  if (value === undefined || value === "pass-over") return false;
  if (value === "report") return true;
  throw new InvalidArgumentError("gaps", `must be "pass-over" or "report", not ${printable(value)}`);
}

/** An object whose keys are all known: a misspelt option is an error, not a default. */
export function checkOptions(
  value: unknown,
  known: readonly string[],
  argument = "options",
  told: { readonly outcome?: "not-applied" } = {},
): Record<string, unknown> {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null)
    throw new InvalidArgumentError(argument, `must be an object, not ${printable(value)}`, told);
  for (const key of Object.keys(value)) {
    if (!known.includes(key))
      throw new InvalidArgumentError(`${argument}.${key}`, `is not an option (${known.join(", ")})`, told);
  }
  return value as Record<string, unknown>;
}
