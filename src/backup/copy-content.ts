/**
 * What is in a copy: rows of one moment, then the objects beside them, so that whatever the rows name is there. The source is in use
 * meanwhile: where its rows turn out not to be of one moment, or an object is gone that they name, all is gone through again, and
 * only what differs is written.
 */

import { StorageCorruptError, StorageUnavailableError } from "../errors.ts";
import { type CopiedObjects, copyObjects } from "./copy-objects.ts";
import { missingOfArchive } from "./copy-proof.ts";
import { type CopiedStore, copyRows } from "./copy-rows.ts";
import type { CopyView } from "./copy-source.ts";
import type { CopyStoreOptions } from "./copy-store.ts";
import type { CopyTarget } from "./copy-target.ts";
import { withPause } from "./paused-processors.ts";

/** How often all rows are read, where the view of the source was lost on the way, or objects that they name were. */
const passesMax = 5;

export interface CopiedContent {
  readonly copied: CopiedStore;
  readonly objects: CopiedObjects;
  /** The processors that stand still in it. */
  readonly paused: ReadonlySet<string>;
}

/**
 * Copies both, and both again where an object that a row names was gone by then, because its stream was truncated or deleted
 * meanwhile. One that newer rows name as well is lost: that throws `storage-corrupt`. Takes `first` over, the source as it is now.
 */
export async function copyContent(
  options: CopyStoreOptions,
  first: CopyView,
  target: CopyTarget,
): Promise<CopiedContent> {
  const paused = new Set<string>();
  let lost: string | undefined;
  for (let pass = 0; pass < passesMax; pass += 1) {
    const view = pass === 0 ? first : await options.source.open();
    const copied = await copyView(options, view, { ...target, resumes: target.resumes || pass > 0 }, paused);
    if (copied === undefined) continue;
    const objects = await copyBeside(options);
    const missing = await missingOfArchive(target.kv, objects.archives);
    if (missing === undefined) return { copied, objects, paused };
    if (missing === lost) {
      throw new StorageCorruptError(`An object of the source's archive is missing, or is another one: ${missing}`);
    }
    lost = missing;
  }
  throw new StorageUnavailableError("The source could not be read in one piece");
}

/** Copies all rows once and closes the view; nothing where they turned out not to be of one moment. */
async function copyView(
  options: CopyStoreOptions,
  opened: CopyView,
  target: CopyTarget,
  paused: Set<string>,
): Promise<CopiedStore | undefined> {
  await using view = opened;
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
