/**
 * Looks at the engine's objects before the engine does, and says which of them is damaged or gone. The engine itself asks for ever for
 * bytes that a table has lost, takes a manifest as it is, opens a reader before a hole in the WAL without a word, and has written before it
 * meets any of these. It reads the manifest and what of the WAL is to be replayed, and knows of tables that they are there, and how
 * long; it writes nothing. Whatever it cannot look at in time it leaves to the engine.
 */

import { StorageCorruptError } from "../errors.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { type EngineObjects, engineObjects } from "./engine-objects.ts";
import { assertWholeWal, compactorEpochIn, decodeManifest, type EngineManifest } from "./engine-records.ts";
import { databaseFolder, type StoreLocation } from "./object-store.ts";
import { type ObjectAccess, openObjects } from "./objects.ts";

/** How long looking may take: then the engine is let at it, as if nothing had been found. */
const lookTimeoutMs = 15_000;
/** What is found must be found twice, since a writer may be at work meanwhile; where that is busy, so often at most. */
const looksMax = 4;
/** Objects of the WAL that are read at once. */
const readsMax = 16;

/** Throws `storage-corrupt`, with the name of an object that is damaged or gone, where it finds one. */
export async function assertUndamaged(objects: ObjectAccess, location: StoreLocation): Promise<void> {
  let problem: string | undefined;
  try {
    problem = await withDeadline(findTwice(engineObjects(objects, location)), lookTimeoutMs, "Looking for damage");
  } catch {
    // A storage that does not answer, or does not allow it: the engine tries for as long as opening may take.
  }
  if (problem !== undefined) throw new StorageCorruptError(`The storage is damaged: ${problem}: ${location.url}`);
}

/** The same in a folder. */
export async function assertUndamagedFolder(location: StoreLocation & { kind: "folder" }): Promise<void> {
  await using objects = await openObjects(location, {});
  await assertUndamaged(objects, location);
}

async function findTwice(objects: EngineObjects): Promise<string | undefined> {
  let before: string | undefined;
  for (let look = 0; look < looksMax; look += 1) {
    const found = await findDamage(objects);
    if (found === undefined || found === before) return found;
    before = found;
  }
  return undefined;
}

/** In this order, because the engine writes the manifest before the compactor's state, and removes what no manifest names. */
async function findDamage(objects: EngineObjects): Promise<string | undefined> {
  const compactor = await findCompactor(objects);
  const ids = await objects.names("manifest");
  const newest = ids.at(-1);
  if (newest === undefined) return await findLeftovers(objects);
  const manifest = await readManifest(objects, newest);
  if (manifest === undefined || typeof manifest === "string") return manifest;
  const before = ids.at(-2);
  if (typeof compactor === "string") return compactor;
  const found = await Promise.all([
    findMissingManifest(newest, manifest, compactor),
    before === undefined ? undefined : findContradiction(objects, before, newest, manifest),
    findDamagedTable(objects, manifest),
    findDamagedWal(objects, manifest),
  ]);
  return found.find((problem) => problem !== undefined);
}

function pathOf(folder: string, name: string): string {
  return `${databaseFolder}/${folder}/${name}`;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The epoch of whoever wrote the compactor's state last; a sentence where that is damaged. */
async function findCompactor(objects: EngineObjects): Promise<number | string> {
  const newest = (await objects.names("compactions")).at(-1);
  const bytes = newest === undefined ? undefined : await objects.get("compactions", newest);
  if (newest === undefined || bytes === undefined) return 0;
  try {
    return compactorEpochIn(bytes);
  } catch (error) {
    return `${pathOf("compactions", newest)} cannot be read (${reason(error)})`;
  }
}

async function findLeftovers(objects: EngineObjects): Promise<string | undefined> {
  const folders = ["compacted", "wal"] as const;
  const found = await Promise.all(folders.map(async (folder) => ({ folder, name: (await objects.names(folder))[0] })));
  for (const { folder, name } of found) {
    if (name !== undefined) return `there is ${pathOf(folder, name)}, but no manifest in ${databaseFolder}/manifest`;
  }
  return undefined;
}

/** `undefined` where it is gone since it was listed, or not ours to judge; a sentence where it is damaged. */
async function readManifest(objects: EngineObjects, name: string): Promise<EngineManifest | string | undefined> {
  const bytes = await objects.get("manifest", name);
  try {
    return bytes === undefined ? undefined : decodeManifest(bytes);
  } catch (error) {
    return `${pathOf("manifest", name)} cannot be read (${reason(error)})`;
  }
}

function findMissingManifest(
  newest: string,
  { compactorEpoch }: EngineManifest,
  compactor: number,
): string | undefined {
  if (compactor <= compactorEpoch) return undefined;
  return `a manifest newer than ${pathOf("manifest", newest)} is gone, or that one is damaged`;
}

/**
 * A manifest has no checksum, so it is held against the one before: numbers never go back, one update raises an epoch by one at most,
 * tables stay what they are, and what is in tables changes only with a new one.
 */
async function findContradiction(
  objects: EngineObjects,
  beforeName: string,
  name: string,
  now: EngineManifest,
): Promise<string | undefined> {
  const before = await readManifest(objects, beforeName);
  if (before === undefined) return undefined;
  if (typeof before === "string") return before;
  const known = new Map(before.tables.map(({ id, text }) => [id, text]));
  const step = (from: number, to: number): boolean => to === from || to === from + 1;
  const agrees =
    step(before.writerEpoch, now.writerEpoch) &&
    step(before.compactorEpoch, now.compactorEpoch) &&
    now.replayAfterWal >= before.replayAfterWal &&
    now.lastTableSeq >= before.lastTableSeq &&
    now.tables.every(({ id, text }) => (known.get(id) ?? text) === text) &&
    (now.settled === before.settled || now.tables.some(({ id }) => !known.has(id)));
  if (agrees) return undefined;
  return `${pathOf("manifest", name)} contradicts ${pathOf("manifest", beforeName)}`;
}

async function findDamagedTable(objects: EngineObjects, { tables }: EngineManifest): Promise<string | undefined> {
  if (tables.length === 0) return undefined;
  const sizes = await objects.sizes("compacted");
  for (const { id, reachesBytes } of tables) {
    const name = `${id}.sst`;
    const size = sizes.get(name);
    if (size === undefined) return `${pathOf("compacted", name)} is gone`;
    if (size <= reachesBytes)
      return `${pathOf("compacted", name)} has ${size} bytes, and more than ${reachesBytes} were written`;
  }
  return undefined;
}

function walName(id: number): string {
  return `${String(id).padStart(20, "0")}.sst`;
}

/** Objects of the WAL have the numbers from 1 on, each; up to the one that the manifest names they may have been collected. */
async function findDamagedWal(objects: EngineObjects, { replayAfterWal }: EngineManifest): Promise<string | undefined> {
  const names = await objects.names("wal");
  // What is replayed begins behind this one, which is kept for as long as the manifest names it.
  const first = walName(replayAfterWal);
  const toReplay = names.filter((name) => name > first && name.endsWith(".sst"));
  if (toReplay.length === 0 && replayAfterWal > 0 && !names.includes(first)) return `${pathOf("wal", first)} is gone`;
  const there = new Set(toReplay);
  for (let id = replayAfterWal + 1; id <= replayAfterWal + toReplay.length; id += 1) {
    if (!there.has(walName(id))) return `${pathOf("wal", walName(id))} is gone`;
  }
  for (let from = 0; from < toReplay.length; from += readsMax) {
    const some = toReplay.slice(from, from + readsMax);
    const problem = (await Promise.all(some.map((name) => findWalProblem(objects, name)))).find(Boolean);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

async function findWalProblem(objects: EngineObjects, name: string): Promise<string | undefined> {
  const bytes = await objects.get("wal", name);
  // Collected since it was listed.
  if (bytes === undefined) return undefined;
  try {
    assertWholeWal(bytes);
    return undefined;
  } catch (error) {
    return `${pathOf("wal", name)} cannot be read (${reason(error)})`;
  }
}
