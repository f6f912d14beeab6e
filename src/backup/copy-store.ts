/**
 * One copy of a store, from its mark to its end: rows, then the objects that they name, then the proof that the chain leads to the same head, and
 * only then is it a backup or a store. Whatever breaks it off leaves a copy that says it is unfinished, and that the next
 * attempt goes on with.
 */

import { StorageCorruptError, StorageUnavailableError } from "../errors.ts";
import { archiveObjectName } from "../format/archive-object.ts";
import type { BackupRecord, CopyPurpose } from "../format/backup-record.ts";
import { readChainEnd } from "../format/chain.ts";
import type { KeySpan } from "../format/key-families.ts";
import { everyArchivePart, placeOfArchivePartKey } from "../format/lifecycle-keys.ts";
import { decodeArchivePart } from "../format/lifecycle-records.ts";
import { nameOfSettingsKey, settingsSpan } from "../format/processor-keys.ts";
import { decodeRecord, recordRow } from "../format/processor-records.ts";
import { isWantedOfArchive } from "../history/archive-check.ts";
import { provenLog } from "../history/verify.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import { type ChainHead, chainHeadOf } from "../vocabulary/chain-head.ts";
import { type CopiedObjects, copyObjects } from "./copy-objects.ts";
import { type CopiedStore, copyRows } from "./copy-rows.ts";
import type { CopySource, CopyView } from "./copy-source.ts";
import { type CopyTarget, finishTarget, markTarget } from "./copy-target.ts";

/** How often all rows are read, where the view of the source was lost on the way, or objects that they name were. */
const passesMax = 5;
/** Rows of the archive that are compared with its objects at once. */
const rowsAtOnce = 64;

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
    const begun = first;
    first = undefined;
    const { copied, objects } = await copyAll(options, begun, target, paused);
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

interface Copied {
  readonly copied: CopiedStore;
  readonly objects: CopiedObjects;
}

/**
 * Rows of one moment, then objects; and both again where an object that a row names was gone by then, because its stream was
 * truncated or deleted meanwhile. One that newer rows name as well is lost: that throws `storage-corrupt`.
 */
async function copyAll(
  options: CopyStoreOptions,
  first: CopyView,
  target: CopyTarget,
  paused: Set<string>,
): Promise<Copied> {
  let lost: string | undefined;
  for (let pass = 0; pass < passesMax; pass += 1) {
    const copied = await copyOnce(options, pass === 0 ? first : await options.source.open(), target, pass, paused);
    if (copied === undefined) continue;
    const objects = await copyBeside(options);
    const missing = await missingOfArchive(target.kv, objects.archives);
    if (missing === undefined) return { copied, objects };
    if (missing === lost) {
      throw new StorageCorruptError(`An object of the source's archive is missing, or is another one: ${missing}`);
    }
    lost = missing;
  }
  throw new StorageUnavailableError("The source could not be read in one piece");
}

async function copyOnce(
  options: CopyStoreOptions,
  opened: CopyView,
  target: CopyTarget,
  pass: number,
  paused: Set<string>,
): Promise<CopiedStore | undefined> {
  await using view = opened;
  return await onePass(options, view, { ...target, resumes: target.resumes || pass > 0 }, paused);
}

/** The first object that a row of the copy names, and that is not among those which were copied as it says. */
async function missingOfArchive(kv: KvReader, copied: ReadonlyMap<string, Uint8Array>): Promise<string | undefined> {
  const cursor = await kv.scan(everyArchivePart, "replay");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      for (const row of rows) {
        const { streamName, lastVersion } = placeOfArchivePartKey(row.key);
        const { from, digest } = decodeArchivePart(row);
        const name = archiveObjectName(streamName, from, lastVersion);
        const found = copied.get(name);
        if (found !== undefined && Buffer.compare(found, digest) === 0) continue;
        if (await isWantedOfArchive(kv, streamName, lastVersion)) return name;
      }
    }
    return undefined;
  } finally {
    cursor.close();
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
  { targetObjects, signal, onProgress }: CopyStoreOptions,
  { kv }: CopyTarget,
  { end }: CopiedStore,
): Promise<ChainHead | undefined> {
  const chain = readChainEnd(end.extension);
  const head = chain === undefined ? undefined : chainHeadOf(chain);
  const log = provenLog({ kv, objects: async () => targetObjects, end: () => end, assertReadable: () => {} });
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
