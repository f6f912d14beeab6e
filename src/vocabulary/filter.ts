/**
 * Which events a reader wants: one clause, or several of which any may match. Within a clause `types` and `categories`
 * match any of theirs, `tags` must all be there, and all parts given must hold.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { checkName } from "./names.ts";

/** Parts that must all hold: any of the types, any of the categories, every one of the tags. A part left out always holds. */
export interface FilterClause<Type extends string = string> {
  readonly types?: readonly Type[];
  readonly categories?: readonly string[];
  readonly tags?: readonly string[];
}

/** One clause, or a list of which any may match. An empty clause `{}` matches everything; an empty list nothing. */
export type EventFilter<Type extends string = string> = FilterClause<Type> | readonly FilterClause<Type>[];

/** A checked filter: `undefined` matches every event. */
export type CheckedFilter = readonly FilterClause[] | undefined;

/** The parts of an event that a filter looks at. */
export interface Filterable {
  readonly type: string;
  readonly category: string;
  readonly tags: readonly string[];
}

/** The most clauses of a filter, and the most names in all of them together. */
export const filterClausesMax = 64;
export const filterNamesMax = 512;

function checkPart(value: unknown, argument: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw new InvalidArgumentError(argument, `must be a list, not ${printable(value)}`);
  return [...new Set(value.map((name, index) => checkName(name, `${argument}[${index}]`)))];
}

function checkClause(value: unknown, argument: string): FilterClause {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError(argument, `must be { types, categories, tags }, not ${printable(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (key !== "types" && key !== "categories" && key !== "tags") {
      throw new InvalidArgumentError(`${argument}.${key}`, "is not a part of a filter (types, categories, tags)");
    }
  }
  const clause = value as Record<string, unknown>;
  const types = checkPart(clause.types, `${argument}.types`);
  const categories = checkPart(clause.categories, `${argument}.categories`);
  const tags = checkPart(clause.tags, `${argument}.tags`);
  return {
    ...(types === undefined ? {} : { types }),
    ...(categories === undefined ? {} : { categories }),
    ...(tags === undefined || tags.length === 0 ? {} : { tags }),
  };
}

/** All names in a filter. */
export function namesOf(filter: CheckedFilter): readonly string[] {
  return (filter ?? []).flatMap(({ types, categories, tags }) => [
    ...(types ?? []),
    ...(categories ?? []),
    ...(tags ?? []),
  ]);
}

function checkedFilter(filter: unknown, argument: string): CheckedFilter {
  if (filter === undefined) return undefined;
  const list: readonly unknown[] = Array.isArray(filter) ? filter : [filter];
  if (list.length > filterClausesMax) {
    throw new InvalidArgumentError(argument, `must have at most ${filterClausesMax} clauses, not ${list.length}`);
  }
  const clauses = list.map((clause, index) =>
    checkClause(clause, Array.isArray(filter) ? `${argument}[${index}]` : argument),
  );
  const names = namesOf(clauses).length;
  if (names > filterNamesMax)
    throw new InvalidArgumentError(argument, `must have at most ${filterNamesMax} names, not ${names}`);
  return clauses.some((clause) => Object.keys(clause).length === 0) ? undefined : clauses;
}

/** Checks a filter; `outcome` is told where it is part of a write. */
export function checkFilter(filter: unknown, argument = "filter", outcome?: "not-applied"): CheckedFilter {
  try {
    return checkedFilter(filter, argument);
  } catch (error) {
    if (outcome === undefined || !(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(error.argument, error.message.slice(error.argument.length + 1), { outcome });
  }
}

function clauseMatches(clause: FilterClause, event: Filterable): boolean {
  return (
    (clause.types === undefined || clause.types.includes(event.type)) &&
    (clause.categories === undefined || clause.categories.includes(event.category)) &&
    (clause.tags === undefined || clause.tags.every((tag) => event.tags.includes(tag)))
  );
}

export function matches(filter: CheckedFilter, event: Filterable): boolean {
  return filter === undefined || filter.some((clause) => clauseMatches(clause, event));
}
