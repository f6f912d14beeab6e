/**
 * Finds the streams that rules of retention have something to take from, and says so in their heads, with a note that they
 * have events to drop. It looks at everything once: by age it goes along the index of a category from the oldest position
 * that it has not looked at yet to the newest that is old enough; by count it goes once over the streams that were there before
 * the rule, because every later append is judged by it. How far it has got is stored with what it found.
 */

import { StorageCorruptError } from "../errors.ts";
import { recordedAtMsOf } from "../format/envelope.ts";
import { decodeHeadExtension, type TruncationReason } from "../format/head-extension.ts";
import { streamHeadKey, streamHeadSpan, streamNameOfHeadKey } from "../format/key-families.ts";
import { retentionProgressKey } from "../format/lifecycle-keys.ts";
import {
  decodeRetentionProgress,
  encodeRetentionProgress,
  type RetentionProgress,
} from "../format/lifecycle-records.ts";
import { decodeStreamHead } from "../format/stream-head.ts";
import type { KvOperation, KvRow } from "../kv/kv.ts";
import type { HeadChange } from "../log/commit-extras.ts";
import type { NamedRule } from "../log/retention-rules.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { keptFrom } from "../log/stream-reader.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { LifecyclePass } from "./lifecycle-step.ts";
import { dueStreamRow } from "./stream-lifecycle.ts";

/** The most streams that are marked in one commit. */
const marksAtOnce = 256;
const rowsAtOnce = 64;

const noProgress: RetentionProgress = { examinedTo: 0, swept: false, sweptAfter: "" };

/** Versions of a stream before this one are to go. */
interface Mark {
  readonly streamName: string;
  readonly before: number;
  readonly reason: TruncationReason;
}

/** Carries out all rules, as far as there is anything new for them; `streams`: those of single streams, too. */
export async function markByRules(pass: LifecyclePass, streams: boolean): Promise<void> {
  for (const rule of pass.core.rules.list()) {
    if (rule.scope === "stream") {
      if (streams && rule.maxAgeMs !== undefined) await markStream(pass, rule.name);
    } else {
      if (rule.maxCount !== undefined) await sweepCategory(pass, rule);
      if (rule.maxAgeMs !== undefined) await examineCategory(pass, rule, rule.maxAgeMs);
    }
  }
}

/** Marks what the rule for one stream takes from it now. A stream that is damaged is told of, and left alone. */
export async function markStream(pass: LifecyclePass, streamName: string): Promise<void> {
  const mark = await readable(pass, () => markOf(pass.core, streamName));
  if (mark !== undefined) await commitMarks(pass, [mark], []);
}

async function markOf(core: StoreCore, streamName: string): Promise<Mark | undefined> {
  const value = await core.rows.get(streamHeadKey(streamName));
  const rule = core.rules.ruleFor(streamName);
  if (value === undefined || rule === undefined) return undefined;
  const head = decodeStreamHead(streamName, value);
  if (decodeHeadExtension(head.extension).tombstone?.purged === true) return undefined;
  const marks: Mark[] = [{ streamName, before: core.rules.firstKept(streamName, head.version), reason: "excess" }];
  if (rule.maxAgeMs !== undefined) {
    const cutoff = await core.positionAt(core.clock.now() - rule.maxAgeMs);
    const version = cutoff === 0 ? 0 : await core.streamVersionAt(streamName, cutoff);
    marks.push({ streamName, before: version + 1, reason: "expired" });
  }
  const [furthest] = marks.sort((one, other) => other.before - one.before);
  return furthest !== undefined && furthest.before > keptFrom(head) ? furthest : undefined;
}

async function progressOf(pass: LifecyclePass, category: string): Promise<RetentionProgress> {
  const key = retentionProgressKey(category);
  const value = await pass.core.rows.get(key);
  return value === undefined ? noProgress : decodeRetentionProgress({ key, value });
}

function progressRow(category: string, progress: RetentionProgress): KvOperation {
  const key = retentionProgressKey(category);
  return { kind: "put", key, value: encodeRetentionProgress(key, progress) };
}

/** Streams that had too many events before the rule was made. */
async function sweepCategory(pass: LifecyclePass, { name: category }: NamedRule): Promise<void> {
  const { rules } = pass.core;
  let progress = await progressOf(pass, category);
  if (progress.swept) return;
  let marks: Mark[] = [];
  const save = async (next: RetentionProgress): Promise<void> => {
    await commitMarks(pass, marks, [progressRow(category, next)]);
    marks = [];
    progress = next;
  };
  let looked = 0;
  for await (const { key, value } of headsOf(pass, category, progress.sweptAfter)) {
    const streamName = streamNameOfHeadKey(key);
    const head = await readable(pass, () => decodeStreamHead(streamName, value));
    const before = head === undefined ? 1 : rules.firstKept(streamName, head.version);
    if (head !== undefined && before > keptFrom(head)) marks.push({ streamName, before, reason: "excess" });
    looked += 1;
    if (marks.length >= marksAtOnce) await save({ ...progress, sweptAfter: streamName });
    if (looked % rowsAtOnce === 0) await pass.breathe();
  }
  await save({ ...progress, swept: true, sweptAfter: "" });
}

/** The heads of a category behind a name: the stream that is called as it, then those with an id. */
async function* headsOf(pass: LifecyclePass, category: string, after: string): AsyncGenerator<KvRow> {
  if (after === "") {
    const key = streamHeadKey(category);
    const value = await pass.core.rows.get(key);
    if (value !== undefined) yield { key, value };
  }
  const span = streamHeadSpan(`${category}-`);
  const start = after === "" || after === category ? span.start : streamHeadKey(after);
  const cursor = await pass.core.rows.scan({ start, end: span.end }, "lookup");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      for (const row of rows) if (streamNameOfHeadKey(row.key) !== after) yield row;
    }
  } finally {
    cursor.close();
  }
}

/** Events of a category that have become too old since it was looked last. */
async function examineCategory(pass: LifecyclePass, { name: category }: NamedRule, maxAgeMs: number): Promise<void> {
  const { core } = pass;
  const cutoffMs = core.clock.now() - maxAgeMs;
  const cutoff = await core.positionAt(cutoffMs);
  const progress = await progressOf(pass, category);
  if (cutoff <= progress.examinedTo) return;
  let before = new Map<string, number>();
  const save = async (examinedTo: number): Promise<void> => {
    const marks = [...before].map(
      ([streamName, version]): Mark => ({ streamName, before: version, reason: "expired" }),
    );
    await commitMarks(pass, marks, [progressRow(category, { ...progress, examinedTo })]);
    before = new Map();
  };
  const filter = [{ categories: [category] }];
  for await (const events of core.stored(progress.examinedTo + 1, cutoff, filter)) {
    for (const { streamName, version, position, bytes } of events) {
      // A dropped event at the cutoff has no time, so that the position may lie behind events that are younger.
      if (recordedAtMsOf(bytes) > cutoffMs || categoryOf(streamName) !== category) continue;
      if (core.rules.get("stream", streamName) !== undefined) continue;
      before.set(streamName, version + 1);
      if (before.size >= marksAtOnce) await save(position);
    }
    await pass.breathe();
  }
  await save(cutoff);
}

/**
 * Marks streams, with the rows that say so; a stream that has gone further by then is left alone. A deleted one that may come
 * back is not: what it is to be without then, it loses now.
 */
async function commitMarks(pass: LifecyclePass, marks: readonly Mark[], rows: readonly KvOperation[]): Promise<void> {
  const nowMs = pass.core.clock.now();
  const heads = marks.map(
    ({ streamName, before, reason }): HeadChange => ({
      streamName,
      change: ({ version, truncatedBefore, extension }) => {
        if (version === 0 || extension.tombstone?.purged === true || truncatedBefore >= before) return undefined;
        return { truncatedBefore: before, extension: { ...extension, reason } };
      },
    }),
  );
  const due = marks.map(({ streamName }) => dueStreamRow(nowMs, streamName));
  if (heads.length + rows.length > 0) await pass.commit({ heads, rows: [...rows, ...due] });
}

/** Nothing where it is damaged, which is told of. */
async function readable<T>(pass: LifecyclePass, work: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    pass.core.warn(error);
    return undefined;
  }
}
