/**
 * One copy of a store, from its mark to its end: rows, then objects, then the proof that the chain leads to the same head, and
 * only then is it a backup or a store. Whatever breaks it off leaves a copy that says it is unfinished, and that the next
 * attempt goes on with.
 */

import { StorageCorruptError, StorageUnavailableError } from "../errors.ts";
import type { BackupRecord, CopyPurpose } from "../format/backup-record.ts";
import { readChainEnd } from "../format/chain.ts";
import type { KeySpan } from "../format/key-families.ts";
import { nameOfSettingsKey, settingsSpan } from "../format/processor-keys.ts";
import { decodeRecord, recordRow } from "../format/processor-records.ts";
import { provenLog } from "../history/verify.ts";
import type { KvRow } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import { type ChainHead, chainHeadOf } from "../vocabulary/chain-head.ts";
import { type CopiedObjects, copyObjects } from "./copy-objects.ts";
import { type CopiedStore, copyRows } from "./copy-rows.ts";
import type { CopySource, CopyView } from "./copy-source.ts";
import { type CopyTarget, finishTarget, markTarget } from "./copy-target.ts";

/** How often all rows are read, where the view of the source was lost on the way. */
const passesMax = 5;

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
  const { source, signal } = options;
  signal?.throwIfAborted();
  let first: CopyView | undefined = await source.open();
  let target: CopyTarget;
  let record: BackupRecord;
  try {
    options.checkSource(first);
    target = await options.openTarget(first.header.storeId);
    const startedAtMs = options.clock.now();
    record = { purpose: options.purpose, state: "copying", sourceStoreId: first.header.storeId, startedAtMs };
    if (!target.resumes) await markTarget(target.kv, first.header, record);
  } catch (error) {
    await first[Symbol.asyncDispose]();
    throw error;
  }
  try {
    const paused = new Set<string>();
    let copied: CopiedStore | undefined;
    for (let pass = 0; copied === undefined; pass += 1) {
      if (pass >= passesMax) throw new StorageUnavailableError("The source could not be read in one piece");
      await using view: CopyView = first ?? (await source.open());
      first = undefined;
      copied = await onePass(options, view, { ...target, resumes: target.resumes || pass > 0 }, paused);
    }
    const objects = await copyBeside(options);
    const head = await proof(options, target, copied);
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
    await first?.[Symbol.asyncDispose]();
    await target.kv.close();
  }
}

/** Reads all rows once; nothing where they turned out not to be of one moment. */
async function onePass(
  options: CopyStoreOptions,
  view: CopyView,
  target: CopyTarget,
  paused: Set<string>,
): Promise<CopiedStore | undefined> {
  const { signal, onProgress, pausesProcessors } = options;
  try {
    const copied = await copyRows({
      source: view.rows,
      target: target.kv,
      resumes: target.resumes,
      transform: (row) => (pausesProcessors ? withPause(row, paused) : row),
      onBatch: ({ rows, bytes }) => {
        signal?.throwIfAborted();
        onProgress({ phase: "rows", done: rows, bytes });
      },
    });
    return view.hasMoved() ? undefined : copied;
  } catch (error) {
    // Objects that were collected under a view that had to be replaced: the next one does not name them. Or it is gone itself.
    const isOfView = error instanceof StorageCorruptError || error instanceof StorageUnavailableError;
    if (isOfView && view.hasMoved()) return undefined;
    throw error;
  }
}

/** What `settings` say that this file reads; the rest is kept. */
interface KeptSettings {
  readonly kind: string;
  readonly paused: boolean;
}

/** Read models are the copy's own; whatever acts on the world outside stands still until somebody resumes it. */
function withPause(row: KvRow, paused: Set<string>): KvRow {
  if (!isIn(row.key, settingsSpan)) return row;
  const settings = decodeRecord("settings", row) as KeptSettings;
  if (settings.kind === "projection") return row;
  paused.add(nameOfSettingsKey(row.key));
  return settings.paused ? row : recordRow("settings", row.key, { ...settings, paused: true });
}

function isIn(key: Uint8Array, { start, end }: KeySpan): boolean {
  return Buffer.compare(key, start) >= 0 && Buffer.compare(key, end) < 0;
}

async function copyBeside({
  source,
  targetObjects,
  objectPrefixes,
  signal,
  onProgress,
}: CopyStoreOptions): Promise<CopiedObjects> {
  return await copyObjects({
    source: source.objects,
    target: targetObjects,
    prefixes: objectPrefixes,
    onObject: (objects, bytes) => {
      signal?.throwIfAborted();
      onProgress({ phase: "objects", done: objects, bytes });
    },
  });
}

/** Verifies the copy by itself and against the head that its source had; throws `storage-corrupt` where that fails. */
async function proof(
  { signal, onProgress }: CopyStoreOptions,
  { kv }: CopyTarget,
  { end }: CopiedStore,
): Promise<ChainHead | undefined> {
  const chain = readChainEnd(end.extension);
  const head = chain === undefined ? undefined : chainHeadOf(chain);
  const log = provenLog({ kv, end: () => end, assertReadable: () => {} });
  const report = await log.verify({
    ...(head === undefined ? {} : { against: head }),
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ events }) => onProgress({ phase: "verify", done: events, bytes: 0 }),
  });
  const [broken] = report.breaks;
  if (broken === undefined) return head;
  throw new StorageCorruptError(`The copy does not verify, which its source may not either: ${broken.reason}`);
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
