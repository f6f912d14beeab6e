/**
 * Looks at the engine's objects before the engine does, and says which of them is damaged or gone. The engine itself asks for ever for
 * bytes that a table has lost, opens a reader before a hole in the WAL without a word, and has written before it meets either. It reads
 * the manifest, and of tables and the WAL that they are there; in a folder the WAL that is to be replayed as well, which elsewhere
 * would be a request each. A store that is whole must never be refused: nothing is concluded here that the engine could do otherwise.
 * It writes nothing. Whatever it cannot look at in time it leaves to the engine.
 */

import { StorageCorruptError } from "../errors.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { type EngineObjects, engineObjects } from "./engine-objects.ts";
import { assertWholeWal, decodeManifest, type EngineManifest } from "./engine-records.ts";
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

async function findDamage(objects: EngineObjects): Promise<string | undefined> {
  const newest = (await objects.names("manifest")).at(-1);
  if (newest === undefined) return await findLeftovers(objects);
  const manifest = await readManifest(objects, newest);
  if (manifest === undefined || typeof manifest === "string") return manifest;
  const found = await Promise.all([findDamagedTable(objects, manifest), findDamagedWal(objects, manifest)]);
  return found.find((problem) => problem !== undefined);
}

function pathOf(folder: string, name: string): string {
  return `${databaseFolder}/${folder}/${name}`;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
  // What is replayed begins behind this one.
  const first = walName(replayAfterWal);
  const toReplay = names.filter((name) => name > first && name.endsWith(".sst"));
  const there = new Set(toReplay);
  for (let id = replayAfterWal + 1; id <= replayAfterWal + toReplay.length; id += 1) {
    if (!there.has(walName(id))) return `${pathOf("wal", walName(id))} is gone`;
  }
  if (!objects.areNear) return undefined;
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
