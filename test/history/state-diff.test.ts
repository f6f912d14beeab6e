/** Differences between states, and who set what: by properties, against plain computations. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { blameAll, blameChange, blamedParts } from "../../src/history/blame-tree.ts";
import { diffStates } from "../../src/history/state-diff.ts";
import { applyChanges, stateValue } from "../support/state-values.ts";

setDefaultTimeout(60_000);

const runs = { numRuns: 2_000 };
const unbounded = Number.MAX_SAFE_INTEGER;

describe("The difference between two states", () => {
  test("applied to the one gives the other", () => {
    fc.assert(
      fc.property(stateValue, stateValue, (before, after) => {
        const { changes, changesOmitted } = diffStates(before, after, unbounded);
        expect(changesOmitted).toBe(0);
        expect(isDeepStrictEqual(applyChanges(before, changes), after)).toBe(true);
      }),
      runs,
    );
  });

  test("is nothing where they are equal, and something where they are not", () => {
    fc.assert(
      fc.property(stateValue, stateValue, (before, after) => {
        expect(diffStates(before, structuredClone(before)).changes).toEqual([]);
        expect(diffStates(before, after).changes.length === 0).toBe(isDeepStrictEqual(before, after));
      }),
      runs,
    );
  });

  test("tells as many changes as were asked for, and how many more there are", () => {
    fc.assert(
      fc.property(stateValue, stateValue, fc.nat(4), (before, after, most) => {
        const all = diffStates(before, after, unbounded).changes;
        const some = diffStates(before, after, most);
        expect(some.changes).toEqual(all.slice(0, most));
        expect(some.changesOmitted).toBe(Math.max(0, all.length - most));
      }),
      runs,
    );
  });

  test("says where, what it was and what it is", () => {
    const before = { status: "open", items: ["a", "b", "c"], "a/b~c": 1, tags: new Set(["x"]), at: new Date(0), n: 1n };
    const after = { status: "paid", items: ["a", "c"], tags: new Set(["x", "y"]), at: new Date(1), n: 2n, by: "kim" };
    expect(diffStates(before, after).changes).toEqual([
      { kind: "changed", path: "/status", before: "open", after: "paid" },
      { kind: "removed", path: "/items/1", before: "b" },
      { kind: "removed", path: "/a~1b~0c", before: 1 },
      { kind: "added", path: "/tags/y", after: "y" },
      { kind: "changed", path: "/at", before: new Date(0), after: new Date(1) },
      { kind: "changed", path: "/n", before: 1n, after: 2n },
      { kind: "added", path: "/by", after: "kim" },
    ]);
  });

  test("is found in values that are deeper than anybody looks, as a whole", () => {
    const deep = (inside: unknown): unknown => {
      let value = inside;
      for (let depth = 0; depth < 500; depth += 1) value = { value };
      return value;
    };
    expect(diffStates(deep(1), deep(1)).changes).toEqual([]);
    const { changes } = diffStates(deep(1), deep(2));
    expect(changes.map(({ kind }) => kind)).toEqual(["changed"]);
    expect(changes[0]?.path.length).toBe("/value".length * 64);
  });
});

/** The paths of all parts without parts, worked out for plain data only. */
function partsOf(state: unknown, path = ""): [string, unknown][] {
  const members = typeof state === "object" && state !== null ? Object.entries(state) : [];
  if (members.length === 0) return [[path, state]];
  return members.flatMap(([key, value]) => partsOf(value, `${path}/${key}`));
}

describe("Who set which part of a state", () => {
  const field = fc.constantFrom("a", "b", "c");
  const value = fc.oneof(fc.nat(2), fc.dictionary(field, fc.nat(2), { maxKeys: 3, noNullPrototype: true }));
  const state = fc.dictionary(field, value, { maxKeys: 3, noNullPrototype: true });

  test("is the last one before whom it was not there, or was something else", () => {
    fc.assert(
      fc.property(fc.array(state, { minLength: 1, maxLength: 8 }), (states) => {
        let tree = blameAll(0);
        for (const [at, after] of states.entries()) if (at > 0) tree = blameChange(tree, states[at - 1], after, at);
        const blamed = [...blamedParts(states.at(-1), tree)].filter(({ value }) => typeof value === "number");
        const expected = partsOf(states.at(-1)).filter(([, value]) => typeof value === "number");
        expect(blamed.map(({ path, value }) => [path, value])).toEqual(expected);
        for (const { path, value, by } of blamed) {
          let setBy = states.length - 1;
          const had = (at: number): boolean => partsOf(states[at]).some(([its, was]) => its === path && was === value);
          while (setBy > 0 && had(setBy - 1)) setBy -= 1;
          expect({ path, by }).toEqual({ path, by: setBy });
        }
      }),
      runs,
    );
  });

  test("follows the elements of a list where others come and go", () => {
    const edit = fc.record({ at: fc.nat(8), removes: fc.boolean() });
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 20 }), (edits) => {
        let list: readonly string[] = [];
        let tree = blameAll(-1);
        for (const [by, { at, removes }] of edits.entries()) {
          const place = Math.min(at, Math.max(0, list.length - (removes ? 1 : 0)));
          const after = removes ? list.toSpliced(place, 1) : list.toSpliced(place, 0, `by ${by}`);
          tree = blameChange(tree, list, after, by);
          list = after;
        }
        const blamed = [...blamedParts(list, tree)].filter(({ path }) => path !== "");
        expect(blamed.map(({ value }) => value)).toEqual([...list]);
        for (const { value, by } of blamed) expect(value).toBe(`by ${by}`);
      }),
      runs,
    );
  });

  test("is told of members of maps and sets, and of what became empty", () => {
    const before = { map: new Map([["k", 1]]), set: new Set(["x"]), list: [1], kept: {} };
    const after = {
      map: new Map([
        ["k", 1],
        ["l", 2],
      ]),
      set: new Set(["x", "y"]),
      list: [],
      kept: {},
    };
    const tree = blameChange(blameAll("first"), before, after, "second");
    expect([...blamedParts(after, tree)].map(({ path, by }) => [path, by])).toEqual([
      ["/map/k", "first"],
      ["/map/l", "second"],
      ["/set/x", "first"],
      ["/set/y", "second"],
      ["/list", "second"],
      ["/kept", "first"],
    ]);
  });
});
