/**
 * One copy of a store, from its mark to its end: rows, then the objects that they name, then the proof that the chain leads to the same head, and
 * only then is it a backup or a store. Whatever breaks it off leaves a copy that says it is unfinished, and that the next
 * attempt goes on with.
 */

import type { BackupRecord, CopyPurpose } from "../format/backup-record.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import type { ChainHead } from "../vocabulary/chain-head.ts";
import { copyContent } from "./copy-content.ts";
import { proveCopy } from "./copy-proof.ts";
import type { CopiedStore } from "./copy-rows.ts";
import type { CopySource, CopyView } from "./copy-source.ts";
import { type CopyTarget, finishTarget, markTarget } from "./copy-target.ts";

/** How far a copy is. */
export interface CopyProgress {
  /** It copies rows first, then objects, and verifies then. */
  readonly phase: "rows" | "objects" | "verify";
  /** Rows, or objects, or events of that phase so far. */
  readonly done: number;
  /** Their bytes; 0 while verifying. */
  readonly bytes: number;
}

/** What a copy came to. */
export interface CopyReport {
  /** The last position in it. */
  readonly position: number;
  /** The head of its chain, with which it was compared; `undefined` where the source has no chain yet. */
  readonly head: ChainHead | undefined;
  /** Rows of the source, and their bytes. */
  readonly rows: number;
  readonly bytes: number;
  /** Rows that were written: fewer, where it went on with an earlier attempt. */
  readonly rowsWritten: number;
  /** Objects beside the database, and their bytes. */
  readonly objects: number;
  readonly objectBytes: number;
  /** Whether it went on with an earlier attempt. */
  readonly resumed: boolean;
  /** The processors that stand still in it: they had effects outside of their store. */
  readonly pausedProcessors: readonly string[];
}

export interface CopyStoreOptions {
  readonly source: CopySource;
  /** Opens the target, once it is known of which store it will be a copy. */
  readonly openTarget: (sourceStoreId: string) => Promise<CopyTarget>;
  readonly targetObjects: ObjectAccess;
  readonly objectPrefixes: readonly string[];
  readonly purpose: CopyPurpose;
  readonly pausesProcessors: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (progress: CopyProgress) => void;
  /** Refuses a source, by throwing. */
  readonly checkSource: (view: CopyView) => void;
}

export async function copyStore(options: CopyStoreOptions): Promise<CopyReport> {
  options.signal?.throwIfAborted();
  const { first, target, record } = await begin(options);
  try {
    const { copied, objects, paused } = await copyContent(options, first, target);
    const head = await proveCopy(options, target, copied);
    await finish(options, target, copied, record, head);
    const { rows, bytes, written } = copied;
    return {
      position: copied.end.lastPosition,
      head,
      ...{ rows, bytes, rowsWritten: written, objects: objects.objects, objectBytes: objects.bytes },
      resumed: target.resumes,
      pausedProcessors: [...paused].sort(),
    };
  } finally {
    await target.kv.close();
  }
}

interface BegunCopy {
  readonly first: CopyView;
  readonly target: CopyTarget;
  readonly record: BackupRecord;
}

/** Opens both sides, and has the target say what it will be. Where that fails, both are closed again. */
async function begin({ source, openTarget, checkSource, purpose, clock }: CopyStoreOptions): Promise<BegunCopy> {
  const first = await source.open();
  let target: CopyTarget | undefined;
  try {
    checkSource(first);
    const sourceStoreId = first.header.storeId;
    target = await openTarget(sourceStoreId);
    const record: BackupRecord = { purpose, state: "copying", sourceStoreId, startedAtMs: clock.now() };
    if (!target.resumes) await markTarget(target.kv, first.header, record);
    return { first, target, record };
  } catch (error) {
    await first[Symbol.asyncDispose]();
    await target?.kv.close();
    throw error;
  }
}

async function finish(
  { purpose, clock }: CopyStoreOptions,
  { kv }: CopyTarget,
  { header, end }: CopiedStore,
  record: BackupRecord,
  head: ChainHead | undefined,
): Promise<void> {
  const position = end.lastPosition;
  if (purpose === "backup") {
    const completedAtMs = clock.now();
    const complete = { ...record, state: "complete" as const, completedAtMs, position };
    await finishTarget(kv, header, head === undefined ? complete : { ...complete, head: head.text });
    return;
  }
  // Its id stays: personal data is sealed under it.
  await finishTarget(kv, { ...header, copied: { copyId: systemIds.next(), purpose, position } }, undefined);
}
