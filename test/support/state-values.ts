/** States of any shape, and changes applied to them by the rule that their documentation states. */

import fc from "fast-check";
import type { StateChange } from "../../src/index.ts";

const name = fc.constantFrom("a", "b", "c", "~/x", "", "0", "__proto__", "constructor", "ä");
const plain = fc.oneof(
  fc.integer({ min: -2, max: 2 }),
  fc.constantFrom("", "a", "1", null, true, Number.NaN, -0),
  fc.constantFrom(1n, -5n),
);
const leaf = fc.oneof(
  plain,
  fc.constantFrom(0, 1).map((ms) => new Date(ms)),
  fc.uint8Array({ maxLength: 2 }),
);

/** Whatever data may say, small, so that two of them have much in common. */
export const stateValue: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf,
    fc.array(tie("value"), { maxLength: 5 }),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map((members) => Object.fromEntries(members)),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 3 }).map((members) => new Map(members)),
    fc.array(fc.tuple(plain, tie("value")), { maxLength: 3 }).map((members) => new Map(members)),
    fc.array(plain, { maxLength: 4 }).map((values) => new Set(values)),
    fc.array(tie("value"), { maxLength: 2 }).map((values) => new Set(values)),
  ),
})).value;

function copied(value: unknown): unknown {
  if (Array.isArray(value)) return [...value];
  if (value instanceof Map) return new Map(value);
  if (value instanceof Set) return new Set(value);
  return { ...(value as object) };
}

function childOf(parent: unknown, key: string): unknown {
  return parent instanceof Map ? parent.get(key) : Reflect.get(parent as object, key);
}

function place(parent: unknown, key: string, value: unknown): void {
  if (parent instanceof Map) parent.set(key, value);
  else if (Array.isArray(parent)) parent[Number(key)] = value;
  else Object.defineProperty(parent, key, { value, enumerable: true, configurable: true, writable: true });
}

function applyAt(parent: unknown, keys: readonly string[], change: StateChange): unknown {
  const [key, ...rest] = keys;
  if (key === undefined) return change.kind === "removed" ? undefined : change.after;
  const copy = copied(parent);
  if (rest.length > 0) place(copy, key, applyAt(childOf(copy, key), rest, change));
  else if (copy instanceof Set) {
    if (change.kind === "removed") copy.delete(change.before);
    else if (change.kind === "added") copy.add(change.after);
    else throw new Error("A member of a set does not change");
  } else if (change.kind === "removed") {
    if (copy instanceof Map) copy.delete(key);
    else if (Array.isArray(copy)) copy.splice(Number(key), 1);
    else Reflect.deleteProperty(copy as object, key);
  } else if (change.kind === "added" && Array.isArray(copy)) copy.splice(Number(key), 0, change.after);
  else place(copy, key, change.after);
  return copy;
}

/** The state that the changes, applied one after another, make of another. */
export function applyChanges(before: unknown, changes: readonly StateChange[]): unknown {
  return changes.reduce((state, change) => {
    const keys = change.path.split("/").slice(1);
    return applyAt(
      state,
      keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")),
      change,
    );
  }, before);
}
