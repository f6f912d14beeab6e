/**
 * Which positions carry which type, category and tag, for a run of consecutive events; and how a filter is answered from
 * such lists. The same evaluation serves the events in memory and the segments of the stored index.
 */

import type { IndexKind } from "../format/key-families.ts";
import type { Filterable, FilterClause } from "../vocabulary/filter.ts";

/** Ascending positions. */
export type Postings = readonly number[];

/** The postings of one name, or `undefined` where it does not occur. */
export type PostingsOf = (kind: IndexKind, value: string) => Postings | undefined;

export interface IndexTerm {
  readonly kind: IndexKind;
  readonly value: string;
}

/** The groups of names of which an event must have at least one each. An empty list: any event. */
export function groupsOf(clause: FilterClause): readonly (readonly IndexTerm[])[] {
  const groups: (readonly IndexTerm[])[] = (clause.tags ?? []).map((value) => [{ kind: "tag", value }]);
  if (clause.types !== undefined) groups.push(clause.types.map((value) => ({ kind: "type", value })));
  if (clause.categories !== undefined) groups.push(clause.categories.map((value) => ({ kind: "category", value })));
  return groups;
}

function union(lists: readonly Postings[]): Postings {
  const [first, second] = lists;
  if (first === undefined) return [];
  if (second === undefined) return first;
  return [...new Set(lists.flat())].sort((left, right) => left - right);
}

function intersect(left: Postings, right: Postings): Postings {
  const [few, many] = left.length <= right.length ? [left, right] : [right, left];
  const members = new Set(many);
  return few.filter((position) => members.has(position));
}

function evaluateClause(clause: FilterClause, postingsOf: PostingsOf): Postings {
  let found: Postings | undefined;
  for (const group of groupsOf(clause)) {
    const positions = union(group.flatMap(({ kind, value }) => [postingsOf(kind, value) ?? []]));
    found = found === undefined ? positions : intersect(found, positions);
    if (found.length === 0) return found;
  }
  return found ?? [];
}

/** The positions that match any of the clauses, ascending. Every clause has at least one part. */
export function evaluate(clauses: readonly FilterClause[], postingsOf: PostingsOf): Postings {
  return union(clauses.map((clause) => evaluateClause(clause, postingsOf)).filter((positions) => positions.length > 0));
}

export class TermIndex {
  readonly #postings: Readonly<Record<IndexKind, Map<string, number[]>>> = {
    type: new Map(),
    category: new Map(),
    tag: new Map(),
  };

  /** Positions must ascend from call to call. */
  add(position: number, event: Filterable): void {
    this.#put("type", event.type, position);
    this.#put("category", event.category, position);
    for (const tag of event.tags) this.#put("tag", tag, position);
  }

  evaluate(clauses: readonly FilterClause[]): Postings {
    return evaluate(clauses, (kind, value) => this.#postings[kind].get(value));
  }

  *entries(): Generator<{ readonly term: IndexTerm; readonly positions: Postings }> {
    for (const kind of ["type", "category", "tag"] as const) {
      for (const [value, positions] of this.#postings[kind]) yield { term: { kind, value }, positions };
    }
  }

  #put(kind: IndexKind, value: string, position: number): void {
    const positions = this.#postings[kind].get(value);
    if (positions === undefined) this.#postings[kind].set(value, [position]);
    else positions.push(position);
  }
}
