/**
 * The rules of retention in the writer's memory: small in number, asked at every append and every read of a stream. A stream's
 * own rule holds instead of its category's, as a whole.
 */

import { type RetentionScope, retentionRuleKey, retentionRuleSpan, ruleOfKey } from "../format/lifecycle-keys.ts";
import { decodeRetentionRule, type RetentionRule } from "../format/lifecycle-records.ts";
import type { StoreHeader } from "../format/records.ts";
import type { KvReader } from "../kv/kv.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { RetentionInfo } from "../vocabulary/retention.ts";

/** The most rules: all of them are in memory. */
export const retentionRulesMax = 10_000;
const rowsAtOnce = 256;

export interface NamedRule extends RetentionRule {
  readonly scope: RetentionScope;
  readonly name: string;
}

export class RetentionRules {
  readonly #rules: Readonly<Record<RetentionScope, Map<string, RetentionRule>>> = {
    category: new Map(),
    stream: new Map(),
  };

  /** Reads them while the store opens; where its header says that there are none, without asking the storage. */
  static async load(kv: KvReader, header: StoreHeader): Promise<RetentionRules> {
    const rules = new RetentionRules();
    if (!header.families.includes("retention")) return rules;
    const cursor = await kv.scan(retentionRuleSpan, "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const row of rows) {
          const { scope, name } = ruleOfKey(row.key);
          rules.set(scope, name, decodeRetentionRule(row));
        }
      }
    } finally {
      cursor.close();
    }
    return rules;
  }

  get size(): number {
    return this.#rules.category.size + this.#rules.stream.size;
  }

  /** Takes over a rule that has become durable, or that there is none any more. */
  set(scope: RetentionScope, name: string, rule: RetentionRule | undefined): void {
    if (rule === undefined) this.#rules[scope].delete(name);
    else this.#rules[scope].set(name, rule);
  }

  get(scope: RetentionScope, name: string): RetentionRule | undefined {
    return this.#rules[scope].get(name);
  }

  /** Categories first, each sorted by name. */
  list(): readonly NamedRule[] {
    return (["category", "stream"] as const).flatMap((scope) =>
      [...this.#rules[scope]]
        .map(([name, rule]) => ({ scope, name, ...rule }))
        .sort((one, other) => Buffer.compare(retentionRuleKey(scope, one.name), retentionRuleKey(scope, other.name))),
    );
  }

  /** The same for people. */
  infos(): readonly RetentionInfo[] {
    return this.list().map(({ setAtMs, ...rule }) => ({ ...rule, setAt: new Date(setAtMs) }));
  }

  /** The rule that holds for a stream. */
  ruleFor(streamName: string): RetentionRule | undefined {
    if (this.size === 0) return undefined;
    return this.#rules.stream.get(streamName) ?? this.#rules.category.get(categoryOf(streamName));
  }

  /** The first version that is kept, by count, of a stream with so many events; 1 where all are. */
  firstKept(streamName: string, version: number): number {
    const maxCount = this.ruleFor(streamName)?.maxCount;
    return maxCount === undefined ? 1 : Math.max(1, version - maxCount + 1);
  }
}

/** What a name is the name of: a stream has an id behind its category. */
export function scopeOf(name: string): RetentionScope {
  return categoryOf(name) === name ? "category" : "stream";
}
