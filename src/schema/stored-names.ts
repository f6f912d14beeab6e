/**
 * Under which names events lie in the store that are read as a type: its former ones, and those of types that split into it. So a
 * filter for a type finds what was stored before that was its name.
 */

import type { CheckedFilter, FilterClause } from "../vocabulary/filter.ts";
import type { EventDefinitions } from "./define-events.ts";

export class StoredNames {
  /** By category, then by type. Only where there are others than the type's own. */
  readonly #names = new Map<string, Map<string, Set<string>>>();

  constructor(definitions: readonly EventDefinitions[]) {
    for (const { category, types } of definitions) {
      for (const [type, { formerNames, splitsInto }] of Object.entries(types)) {
        for (const name of [type, ...formerNames]) {
          if (name !== type) this.#note(category, type, name);
          for (const part of splitsInto) this.#note(category, part, name);
        }
      }
    }
  }

  /** Whether all events are stored as what they are read as. */
  get isEmpty(): boolean {
    return this.#names.size === 0;
  }

  /** The same filter over the names that events were stored with. It may match more than the filter itself. */
  widen(filter: CheckedFilter): CheckedFilter {
    if (this.isEmpty) return filter;
    return filter?.flatMap((clause) => [clause, ...this.#underOtherNames(clause)]);
  }

  /** For each category in which the types of a clause have other names: the clause for those. */
  #underOtherNames({ types, categories, tags }: FilterClause): readonly FilterClause[] {
    if (types === undefined) return [];
    return [...this.#names].flatMap(([category, byType]) => {
      const names = [...new Set(types.flatMap((type) => [...(byType.get(type) ?? [])]))];
      if (names.length === 0 || categories?.includes(category) === false) return [];
      return [{ types: names, categories: [category], ...(tags === undefined ? {} : { tags }) }];
    });
  }

  #note(category: string, type: string, storedName: string): void {
    const byType = this.#names.get(category) ?? new Map<string, Set<string>>();
    this.#names.set(category, byType.set(type, (byType.get(type) ?? new Set()).add(storedName)));
  }
}
