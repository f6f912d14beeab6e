/** Reads what a group of commits is judged by, all of it before the first one is judged: heads, idempotency keys, older matches. */

import type { PreparedCommit } from "./commit.ts";
import type { GroupDecoration } from "./commit-extras.ts";
import type { IdempotencyKeys } from "./idempotency-keys.ts";
import type { IndexReader } from "./index-reader.ts";
import { GroupJudge } from "./judge.ts";
import type { RecentLog } from "./recent-log.ts";
import type { RetentionRules } from "./retention-rules.ts";
import type { StreamHeads } from "./stream-heads.ts";

/** Where it is read from. */
export interface JudgeSources {
  readonly heads: StreamHeads;
  readonly recent: RecentLog;
  readonly index: IndexReader;
  readonly keys: IdempotencyKeys;
  readonly rules: RetentionRules;
}

/** The judge of a group. To be called between commit groups only. */
export async function prepareJudge(
  sources: JudgeSources,
  group: readonly PreparedCommit[],
  recordedAtMs: number,
  decorations: readonly GroupDecoration[],
): Promise<GroupJudge> {
  const { heads, keys, recent, rules } = sources;
  const names = new Set<string>();
  const keysUsed: string[] = [];
  for (const commit of group) {
    for (const { streamName } of commit.appends) names.add(streamName);
    for (const { streamName } of commit.checks) names.add(streamName);
    for (const { streamName } of commit.extras?.heads ?? []) names.add(streamName);
    if (commit.idempotencyKey !== undefined) keysUsed.push(commit.idempotencyKey);
  }
  const olderMatches = await olderMatchesOf(sources, group);
  return new GroupJudge({
    recent,
    ...(await heads.getMany(names)),
    keys: await keys.find(keysUsed),
    olderMatches,
    recordedAtMs,
    firstKept: (streamName, version) => rules.firstKept(streamName, version),
    decorations,
  });
}

/** Conditions by query that reach behind what is in memory ask the stored index. */
async function olderMatchesOf(
  { recent, index }: JudgeSources,
  group: readonly PreparedCommit[],
): Promise<Map<PreparedCommit, number>> {
  const found = new Map<PreparedCommit, number>();
  const toPosition = recent.firstPosition - 1;
  for (const commit of group) {
    const condition = commit.failIfMatch;
    if (condition?.storedFilter === undefined || condition.afterPosition >= toPosition) continue;
    const position = await index.first(condition.storedFilter, condition.afterPosition + 1, toPosition);
    if (position !== undefined) found.set(commit, position);
  }
  return found;
}
