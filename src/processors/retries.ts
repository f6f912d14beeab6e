/** How often, and how soon, what failed is tried again. The wait doubles each time, and a random part of it is left out. */

import { EventStoreError, InvalidArgumentError } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import type { Random } from "../runtime/random.ts";

/** How failures are retried. */
export interface RetryPolicy {
  /** How often it is tried in all. Default: 5. */
  readonly attempts?: number;
  /** How long to wait before the second attempt. Default: 100 ms. */
  readonly delayMs?: number;
  /** The longest wait. Default: 10,000 ms. */
  readonly delayMsMax?: number;
}

export interface CheckedRetries {
  readonly attempts: number;
  readonly delayMs: number;
  readonly delayMsMax: number;
}

export const defaultRetries: CheckedRetries = { attempts: 5, delayMs: 100, delayMsMax: 10_000 };

/** Throws `invalid-argument`. */
export function checkRetries(value: unknown, argument = "retries"): CheckedRetries {
  const given = checkOptions(value, ["attempts", "delayMs", "delayMsMax"], argument);
  const attempts = checkInteger(given.attempts, `${argument}.attempts`, 1) ?? defaultRetries.attempts;
  const delayMs = checkInteger(given.delayMs, `${argument}.delayMs`, 0) ?? defaultRetries.delayMs;
  const delayMsMax = checkInteger(given.delayMsMax, `${argument}.delayMsMax`, 0) ?? Math.max(delayMs, 10_000);
  if (delayMsMax > millisecondsMax)
    throw new InvalidArgumentError(`${argument}.delayMsMax`, `must be at most ${millisecondsMax}, not ${delayMsMax}`);
  return { attempts, delayMs, delayMsMax };
}

/** How long to wait after the `attempt`th failure. */
export function delayAfter(attempt: number, { delayMs, delayMsMax }: CheckedRetries, random: Random): number {
  const whole = Math.min(delayMsMax, delayMs * 2 ** Math.min(attempt - 1, 30));
  return whole * (0.5 + random.next() / 2);
}

/** Whether it is the store that is in trouble, and not what was asked of it: then it is tried for as long as there is a store. */
export function isStoreTrouble(error: unknown): boolean {
  return error instanceof EventStoreError && (error.code === "storage-unavailable" || error.code === "overloaded");
}
