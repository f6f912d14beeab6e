/**
 * The rules of retention: set, removed, listed. A rule is a row and an event of the store's own in one commit, and holds in the
 * judge and for readers from the moment it is durable. What it makes of the streams that are there already is found by the
 * compactor, which is told by the rule's progress how far it has got.
 */

import { checkMetadataOption, withOutcomeOf } from "../decider/common.ts";
import { InvalidArgumentError, printable } from "../errors.ts";
import { type RetentionScope, retentionProgressKey, retentionRuleKey } from "../format/lifecycle-keys.ts";
import { encodeRetentionProgress, encodeRetentionRule, type RetentionRule } from "../format/lifecycle-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { retentionRulesMax, scopeOf } from "../log/retention-rules.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { systemAppend } from "../log/system-events.ts";
import type { EventMetadata } from "../vocabulary/event.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { RetentionInfo } from "../vocabulary/retention.ts";
import { checkUserStream, dueStreamRow } from "./stream-lifecycle.ts";

const told = { outcome: "not-applied" } as const;

/** Throws `invalid-argument` for a rule that keeps nothing, or says nothing. */
function checkRetention(value: unknown, setAtMs: number): RetentionRule | undefined {
  if (value === null) return undefined;
  if (value === undefined) throw new InvalidArgumentError("retention", "must be an object, or null for none", told);
  const given = checkOptions(value, ["maxAgeMs", "maxCount"], "retention", told);
  const maxAgeMs = checkInteger(given.maxAgeMs, "retention.maxAgeMs", 1);
  const maxCount = checkInteger(given.maxCount, "retention.maxCount", 1);
  if (maxAgeMs === undefined && maxCount === undefined)
    throw new InvalidArgumentError("retention", "must have maxAgeMs, maxCount or both", told);
  return {
    ...(maxAgeMs === undefined ? {} : { maxAgeMs }),
    ...(maxCount === undefined ? {} : { maxCount }),
    setAtMs,
  };
}

export class Retentions {
  readonly #core: StoreCore;
  readonly #onDue: (dueAtMs: number) => void;
  /** One after another, so that the rules in memory are those of the last commit. */
  #last: Promise<void> = Promise.resolve();

  constructor(core: StoreCore, onDue: (dueAtMs: number) => void) {
    this.#core = core;
    this.#onDue = onDue;
  }

  async list(): Promise<readonly RetentionInfo[]> {
    this.#core.assertOpen();
    return this.#core.rules.infos();
  }

  async set(categoryOrStream: unknown, retention: unknown, options: unknown): Promise<void> {
    await withOutcomeOf(undefined, () => this.#set(categoryOrStream, retention, options));
  }

  async #set(categoryOrStream: unknown, retention: unknown, options: unknown): Promise<void> {
    const name = checkUserStream(categoryOrStream, "categoryOrStream");
    const nowMs = this.#core.clock.now();
    const rule = checkRetention(retention, nowMs);
    const metadata = checkMetadataOption(checkOptions(options, ["metadata"], "options", told).metadata);
    const setting = this.#last.then(() => this.#store(name, rule, metadata, nowMs));
    this.#last = setting.catch(() => {});
    await setting;
  }

  async #store(name: string, rule: RetentionRule | undefined, metadata: EventMetadata, nowMs: number): Promise<void> {
    const { rules } = this.#core;
    this.#core.assertOpen();
    const scope = scopeOf(name);
    const before = rules.get(scope, name);
    if (before?.maxAgeMs === rule?.maxAgeMs && before?.maxCount === rule?.maxCount) return;
    if (rule !== undefined && before === undefined && rules.size >= retentionRulesMax) {
      const problem = `would be one rule more than ${retentionRulesMax}: ${printable(name)}`;
      throw new InvalidArgumentError("categoryOrStream", problem, told);
    }
    const limits = { maxAgeMs: rule?.maxAgeMs ?? null, maxCount: rule?.maxCount ?? null };
    const data = { scope, name, ...(rule === undefined ? {} : limits) };
    const type = rule === undefined ? "$retention-removed" : "$retention-set";
    await this.#core.useFamilies(["retention"]);
    await this.#core.submit({
      system: true,
      appends: [systemAppend({ type, data, metadata, tags: [name] })],
      rows: [ruleRow(scope, name, rule), ...this.#consequences(scope, name, rule, nowMs)],
    });
    rules.set(scope, name, rule);
    this.#onDue(nowMs);
  }

  /** What the compactor has to look at because of it: all streams of a category, or one. */
  #consequences(
    scope: RetentionScope,
    name: string,
    rule: RetentionRule | undefined,
    nowMs: number,
  ): readonly KvOperation[] {
    if (scope === "category") return [progressRow(name, rule)];
    const category = categoryOf(name);
    const general = this.#core.rules.get("category", category);
    // A stream that loses its own rule falls under its category's, which has passed it by.
    const again = general === undefined ? [] : [progressRow(category, general)];
    return rule === undefined ? again : [dueStreamRow(nowMs, name), ...again];
  }
}

function ruleRow(scope: RetentionScope, name: string, rule: RetentionRule | undefined): KvOperation {
  const key = retentionRuleKey(scope, name);
  return rule === undefined ? { kind: "delete", key } : { kind: "put", key, value: encodeRetentionRule(key, rule) };
}

/** A rule that begins from the beginning; no rule has no progress. */
function progressRow(category: string, rule: RetentionRule | undefined): KvOperation {
  const key = retentionProgressKey(category);
  if (rule === undefined) return { kind: "delete", key };
  const swept = rule.maxCount === undefined;
  return { kind: "put", key, value: encodeRetentionProgress(key, { examinedTo: 0, swept, sweptAfter: "" }) };
}
