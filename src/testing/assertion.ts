/** Comparisons that fail with the error that test runners know, its message a diff. */

import { AssertionError } from "node:assert";

/** Throws with `actual` and `expected` side by side. */
export function fail(message: string, actual: unknown, expected: unknown): never {
  // Made once without a message, for the diff that it writes then.
  const { message: diff } = new AssertionError({ actual, expected, operator: "deepStrictEqual" });
  throw new AssertionError({ message: `${message}.\n${diff}`, actual, expected, operator: "deepStrictEqual" });
}

/** Throws unless both are the same through and through; a property that is `undefined` counts as one that is not there. */
export function compareDeeply(message: string, actual: unknown, expected: unknown): void {
  if (!Bun.deepEquals(actual, expected)) fail(message, actual, expected);
}
