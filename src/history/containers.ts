/**
 * How two values are walked side by side: which are containers of named members, which are lists, and which are compared as a
 * whole. Plain objects and maps whose keys are text have members; a set of plain values has its values for members; a `Date`,
 * bytes, and all else count as one value each.
 */

import { isDeepStrictEqual } from "node:util";

/** The members of a container, by what they are called in a pointer. */
export interface Members extends Iterable<readonly [name: string, value: unknown]> {
  readonly size: number;
  has(name: string): boolean;
  get(name: string): unknown;
}

/** Whether a value is an object with members and nothing else. */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** An object as it stands: a `Map` of it would cost more than most comparisons. */
function membersOfObject(object: object): Members {
  return {
    get size() {
      return Object.keys(object).length;
    },
    has: (name) => Object.hasOwn(object, name),
    get: (name) => Reflect.get(object, name),
    [Symbol.iterator]: () => Object.entries(object).values(),
  };
}

function membersOfSet(set: ReadonlySet<unknown>): Members | undefined {
  const members = new Map<string, unknown>();
  for (const value of set) {
    if (typeof value === "object" || typeof value === "function" || typeof value === "symbol") return undefined;
    members.set(String(value), value);
  }
  // `1` and `"1"` would be called the same.
  return members.size === set.size ? members : undefined;
}

/** The members of a value; `undefined` where it has none that can be named. */
export function membersOf(value: unknown): Members | undefined {
  if (isPlainObject(value)) return membersOfObject(value);
  if (value instanceof Map) return value.keys().every((key) => typeof key === "string") ? value : undefined;
  return value instanceof Set ? membersOfSet(value) : undefined;
}

/** Two values that are containers of one kind. */
export type Pair =
  | { readonly kind: "members"; readonly before: Members; readonly after: Members }
  | { readonly kind: "list"; readonly before: readonly unknown[]; readonly after: readonly unknown[] };

/** How to walk two values that are not the same; `undefined` where they are to be compared as a whole. */
export function pairOf(before: unknown, after: unknown): Pair | undefined {
  if (Array.isArray(before) || Array.isArray(after))
    return Array.isArray(before) && Array.isArray(after) ? { kind: "list", before, after } : undefined;
  if (before instanceof Map !== after instanceof Map || before instanceof Set !== after instanceof Set)
    return undefined;
  const [one, other] = [membersOf(before), membersOf(after)];
  if (one === undefined || other === undefined) return undefined;
  // `1n` in the one set and `"1"` in the other would be called the same, too.
  const confuses =
    before instanceof Set && [...one].some(([name, value]) => other.has(name) && other.get(name) !== value);
  return confuses ? undefined : { kind: "members", before: one, after: other };
}

/** Whether two values say the same. What is the very same object is not entered, so that states that share parts are cheap. */
export function same(before: unknown, after: unknown): boolean {
  return Object.is(before, after) || isDeepStrictEqual(before, after);
}

/** Where two lists agree: so many elements at their beginnings, and so many at their ends. */
export function agreement(
  before: readonly unknown[],
  after: readonly unknown[],
): { readonly start: number; readonly end: number } {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && same(before[start], after[start])) start += 1;
  let end = 0;
  while (end < shorter - start && same(before[before.length - 1 - end], after[after.length - 1 - end])) end += 1;
  return { start, end };
}

/** A place within a value, as a JSON pointer (RFC 6901). */
export function step(pointer: string, key: string | number): string {
  return `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
