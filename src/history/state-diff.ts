/**
 * What is different between two states: a list of changes by JSON pointer. Applied to the one state they give the other: members
 * of objects, maps and sets in any order; of a list what is changed, then what is removed from the last, then what is added from
 * the first.
 */

import { agreement, type Members, pairOf, same, step } from "./containers.ts";

/** One difference. `path` is a JSON pointer (RFC 6901): into the earlier state where something is removed, else into the later. */
export type StateChange =
  | { readonly kind: "added"; readonly path: string; readonly after: unknown }
  | { readonly kind: "removed"; readonly path: string; readonly before: unknown }
  | { readonly kind: "changed"; readonly path: string; readonly before: unknown; readonly after: unknown };

/** What is different between two states. */
export interface StateDiff {
  readonly changes: readonly StateChange[];
  /** How many more changes there are than were asked for. */
  readonly changesOmitted: number;
}

/** How many changes are told of one pair of states, unless it is said otherwise. */
export const changesMaxDefault = 100;
/** Values deeper than this are compared as a whole. */
const depthMax = 64;

/** The changes that lead from one state to another, at most `changesMax` of them. */
export function diffStates(before: unknown, after: unknown, changesMax: number = changesMaxDefault): StateDiff {
  const changes: StateChange[] = [];
  let found = 0;
  const tell = (change: StateChange): void => {
    found += 1;
    if (changes.length < changesMax) changes.push(change);
  };
  compare(before, after, "", 0, tell);
  return { changes, changesOmitted: found - changes.length };
}

type Tell = (change: StateChange) => void;

function compare(before: unknown, after: unknown, path: string, depth: number, tell: Tell): void {
  if (Object.is(before, after)) return;
  const pair = depth < depthMax ? pairOf(before, after) : undefined;
  if (pair?.kind === "members") compareMembers(pair.before, pair.after, path, depth, tell);
  else if (pair?.kind === "list") compareLists(pair.before, pair.after, path, depth, tell);
  else if (!same(before, after)) tell({ kind: "changed", path, before, after });
}

function compareMembers(before: Members, after: Members, path: string, depth: number, tell: Tell): void {
  for (const [name, value] of before) {
    const own = step(path, name);
    if (after.has(name)) compare(value, after.get(name), own, depth + 1, tell);
    else tell({ kind: "removed", path: own, before: value });
  }
  for (const [name, value] of after)
    if (!before.has(name)) tell({ kind: "added", path: step(path, name), after: value });
}

/** What is between the beginnings and the ends that agree is compared element by element. */
function compareLists(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
  depth: number,
  tell: Tell,
): void {
  const { start, end } = agreement(before, after);
  const [beforeEnd, afterEnd] = [before.length - end, after.length - end];
  const both = Math.min(beforeEnd, afterEnd);
  for (let at = start; at < both; at += 1) compare(before[at], after[at], step(path, at), depth + 1, tell);
  for (let at = beforeEnd - 1; at >= both; at -= 1) tell({ kind: "removed", path: step(path, at), before: before[at] });
  for (let at = both; at < afterEnd; at += 1) tell({ kind: "added", path: step(path, at), after: after[at] });
}
