/**
 * Who set which part of a state: a tree beside the state that says of each part by whom it was set last, carried from state to
 * state. A part that stays the same keeps whoever set it, also where it moves within its list.
 */

import { agreement, type Members, membersOf, pairOf, same, step } from "./containers.ts";

/** Who has set a value: as a whole, or part by part, where `by` stands for the parts that are not named. */
export type BlameTree<By> =
  | { readonly kind: "whole"; readonly by: By }
  | { readonly kind: "members"; readonly by: By; readonly members: ReadonlyMap<string, BlameTree<By>> }
  | { readonly kind: "list"; readonly by: By; readonly items: readonly BlameTree<By>[] };

/** A part of a state that has no parts of its own, and who set it. */
export interface BlamedPart<By> {
  readonly path: string;
  readonly value: unknown;
  readonly by: By;
}

/** Values deeper than this are taken as a whole. */
const depthMax = 64;

/** All of a state set by one. */
export function blameAll<By>(by: By): BlameTree<By> {
  return { kind: "whole", by };
}

/** The tree of `after`, given that of `before`: what is different was set by `by`. */
export function blameChange<By>(
  tree: BlameTree<By>,
  before: unknown,
  after: unknown,
  by: By,
  depth = 0,
): BlameTree<By> {
  if (Object.is(before, after)) return tree;
  const pair = depth < depthMax ? pairOf(before, after) : undefined;
  if (pair === undefined) return same(before, after) ? tree : blameAll(by);
  if (pair.kind === "list") return blameList(tree, pair.before, pair.after, by, depth);
  return blameMembers(tree, pair.before, pair.after, by, depth);
}

function blameMembers<By>(tree: BlameTree<By>, before: Members, after: Members, by: By, depth: number): BlameTree<By> {
  const members = new Map(tree.kind === "members" ? tree.members : []);
  for (const [name] of before) if (!after.has(name)) members.delete(name);
  for (const [name, value] of after) {
    if (!before.has(name)) members.set(name, blameAll(by));
    else if (!Object.is(before.get(name), value))
      members.set(name, blameChange(memberOf(tree, name), before.get(name), value, by, depth + 1));
  }
  // An empty container has nothing else to say who made it so.
  const emptied = after.size === 0 && before.size > 0;
  return { kind: "members", by: emptied ? by : tree.by, members };
}

function blameList<By>(
  tree: BlameTree<By>,
  before: readonly unknown[],
  after: readonly unknown[],
  by: By,
  depth: number,
): BlameTree<By> {
  const { start, end } = agreement(before, after);
  const [beforeEnd, afterEnd] = [before.length - end, after.length - end];
  const items = after.map((value, at) => {
    if (at < start) return itemOf(tree, at);
    if (at >= afterEnd) return itemOf(tree, beforeEnd + at - afterEnd);
    return at < beforeEnd ? blameChange(itemOf(tree, at), before[at], value, by, depth + 1) : blameAll(by);
  });
  const emptied = items.length === 0 && before.length > 0;
  return { kind: "list", by: emptied ? by : tree.by, items };
}

function memberOf<By>(tree: BlameTree<By>, name: string): BlameTree<By> {
  return (tree.kind === "members" ? tree.members.get(name) : undefined) ?? blameAll(tree.by);
}

function itemOf<By>(tree: BlameTree<By>, at: number): BlameTree<By> {
  return (tree.kind === "list" ? tree.items[at] : undefined) ?? blameAll(tree.by);
}

/** The parts of a state in order, with who set them; an empty container is a part itself. */
export function* blamedParts<By>(
  state: unknown,
  tree: BlameTree<By>,
  path = "",
  depth = 0,
): Generator<BlamedPart<By>, void> {
  if (depth < depthMax) {
    if (Array.isArray(state) && state.length > 0) {
      for (const [at, value] of state.entries()) yield* blamedParts(value, itemOf(tree, at), step(path, at), depth + 1);
      return;
    }
    const members = Array.isArray(state) ? undefined : membersOf(state);
    if (members !== undefined && members.size > 0) {
      for (const [name, value] of members) yield* blamedParts(value, memberOf(tree, name), step(path, name), depth + 1);
      return;
    }
  }
  yield { path, value: state, by: tree.by };
}
