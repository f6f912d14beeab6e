/**
 * Documents on a read replica: rows that a writer in another process keeps, read from the generation that serves as far as the
 * replica has come. Nothing is written, and no processor runs here. How fresh they are is asked of the checkpoint that is
 * committed with them, and of the log: events behind the checkpoint that a projection does not want change nothing. Documents
 * of an older version are read as they stand while the new ones are built, as the writer does; those of a newer one are refused.
 */

import { InvalidArgumentError, OverloadedError, printable } from "../errors.ts";
import { checkpointKey, settingsKey } from "../format/processor-keys.ts";
import { decodeRecord } from "../format/processor-records.ts";
import type { KvReader } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import { type AnyProjection, projectionOf } from "./define-projection.ts";
import { checkKnownEvents } from "./definition.ts";
import { type Freshness, type ServingGeneration, StoredDocuments } from "./documents.ts";
import type { DocumentReader, WaitForOptions } from "./face.ts";
import { type FoldedLog, LiveDocuments } from "./live-documents.ts";
import type { ProcessorSettings } from "./settings.ts";

/** How often a checkpoint is looked at while somebody waits for it: a part of the replica's own interval, within these. */
const lookMsMin = 10;
const lookMsMax = 250;
const looksAPoll = 8;
const timeoutMsDefault = 30_000;

/** What of a replica its documents need. */
export interface ReplicaParts extends FoldedLog, Pick<StoreCore, "registry"> {
  readonly rows: KvReader;
  readonly clock: Clock;
  readonly pollMs: number;
  reach(position: number, options: WaitForOptions): Promise<void>;
}

/**
 * The projections whose documents a replica is to read. Throws `invalid-argument` for what is no projection of documents, two
 * of a name, and events that the replica does not know.
 */
export function checkReplicaProjections(parts: Pick<StoreCore, "registry">, given: unknown): readonly AnyProjection[] {
  if (given === undefined) return [];
  if (!Array.isArray(given))
    throw new InvalidArgumentError("projections", `must be a list of defineProjection(...), not ${printable(given)}`);
  const names = new Set<string>();
  return given.map((one: unknown, index) => {
    const projection = projectionOf(one);
    if (projection === undefined) {
      const problem = "must be made by defineProjection(...); tables are for runSqlProjections(replica, [...])";
      throw new InvalidArgumentError(`projections[${index}]`, problem);
    }
    const { name, events } = projection;
    if (names.has(name)) throw new InvalidArgumentError("name", `is that of two projections: ${printable(name)}`);
    names.add(name);
    checkKnownEvents(parts, name, events);
    return projection;
  });
}

/** The documents of these projections, by what `defineProjection` made. */
export function replicaDocuments(
  parts: ReplicaParts,
  projections: readonly AnyProjection[],
): (projection: unknown) => DocumentReader<unknown, string> {
  const readers = new Map<AnyProjection, DocumentReader<unknown, string>>();
  for (const projection of projections) {
    const isLive = projection.mode === "live";
    readers.set(projection, isLive ? new LiveDocuments(parts, projection) : storedDocuments(parts, projection));
  }
  return (given) => {
    const projection = projectionOf(given);
    const documents = projection === undefined ? undefined : readers.get(projection);
    if (documents !== undefined) return documents;
    throw new InvalidArgumentError("projection", "must be one that the replica was opened with");
  };
}

function storedDocuments(parts: ReplicaParts, projection: AnyProjection): StoredDocuments {
  const { rows } = parts;
  const serving = async (): Promise<ServingGeneration> => {
    const settings = await settingsOf(rows, projection);
    // Nobody has run it yet: a generation that there never is.
    if (settings?.serving === undefined) return { generation: 0, isCurrent: false };
    const { generation, version } = settings.serving;
    return { generation, isCurrent: version === projection.version };
  };
  const fresh = async (freshness: Freshness): Promise<void> => {
    parts.assertOpen();
    freshness.signal?.throwIfAborted();
    if (freshness.atLeast !== undefined) await waitUntilFresh(parts, projection, freshness.atLeast, freshness);
  };
  return new StoredDocuments({ projection, rows, serving, fresh });
}

/** Throws `invalid-argument` where what serves is of a newer version: nobody here knows the shape of its documents. */
async function settingsOf(rows: KvReader, { name, version }: AnyProjection): Promise<ProcessorSettings | undefined> {
  const key = settingsKey(name);
  const value = await rows.get(key);
  const settings = value === undefined ? undefined : (decodeRecord("settings", { key, value }) as ProcessorSettings);
  if (settings !== undefined && settings.kind !== "projection")
    throw new InvalidArgumentError("projection", `${printable(name)} is the name of a ${settings.kind} in this store`);
  const served = settings?.serving?.version ?? version;
  if (served > version) {
    const was = `the store serves version ${served}, which a replica with version ${version} cannot read`;
    throw new InvalidArgumentError("version", `of ${printable(name)} goes back: ${was}`);
  }
  return settings;
}

/** Throws `overloaded` where they are not within the time, `storage-unavailable` where the log is not, or the signal's reason. */
async function waitUntilFresh(
  parts: ReplicaParts,
  projection: AnyProjection,
  atLeast: number,
  { timeoutMs = timeoutMsDefault, signal }: WaitForOptions,
): Promise<void> {
  const { clock, pollMs } = parts;
  const startedMs = clock.monotonic();
  const leftMs = (): number => timeoutMs - (clock.monotonic() - startedMs);
  await parts.reach(atLeast, { timeoutMs: Math.max(1, timeoutMs), ...(signal && { signal }) });
  for (;;) {
    const position = await checkpointOf(parts.rows, projection);
    if (position >= atLeast || (await concernsNothing(parts, projection, position, atLeast))) return;
    signal?.throwIfAborted();
    parts.assertOpen();
    if (leftMs() <= 0) {
      const where = `has not come to position ${atLeast} within ${timeoutMs} ms: it is at ${position}`;
      throw new OverloadedError(`Projection ${printable(projection.name)} ${where}, as far as this replica sees`);
    }
    const lookMs = Math.min(lookMsMax, Math.max(lookMsMin, pollMs / looksAPoll));
    await pause(Math.min(lookMs, leftMs()), signal);
  }
}

/** Up to where the generation that serves has handled everything, as it is stored. */
async function checkpointOf(rows: KvReader, projection: AnyProjection): Promise<number> {
  const settings = await settingsOf(rows, projection);
  if (settings?.serving === undefined) return -1;
  const key = checkpointKey(projection.name, settings.serving.generation);
  const value = await rows.get(key);
  return value === undefined ? 0 : (decodeRecord("checkpoint", { key, value }) as { position: number }).position;
}

/** Whether no event behind `position` and up to `to` is one that the projection wants. */
async function concernsNothing(
  parts: ReplicaParts,
  { filter }: AnyProjection,
  position: number,
  to: number,
): Promise<boolean> {
  if (position < 0) return false;
  const read = { fromPosition: position + 1, limit: 1, ...(filter === undefined ? {} : { filter }) };
  for await (const _ of parts.readerAt(to).readAll(read)) return false;
  return true;
}
