/** The engine's objects as they lie in the storage, for looking at them and never for writing: by name, and small ones whole. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { databaseFolder, type StoreLocation } from "./object-store.ts";
import type { ObjectAccess } from "./objects.ts";

export type EngineFolder = "manifest" | "compacted" | "wal";

/** What is asked throws as `ObjectAccess` does. */
export interface EngineObjects {
  /** Whether reading one is no request over a network. */
  readonly areNear: boolean;
  /** The names in a folder, in their order; none where there is no such folder. */
  names(folder: EngineFolder): Promise<readonly string[]>;
  /** How many bytes each object of a folder has. */
  sizes(folder: EngineFolder): Promise<ReadonlyMap<string, number>>;
  /** The object whole; `undefined` where there is none. */
  get(folder: EngineFolder, name: string): Promise<Uint8Array | undefined>;
}

export function engineObjects(objects: ObjectAccess, location: StoreLocation): EngineObjects {
  const sizes = (folder: EngineFolder): Promise<ReadonlyMap<string, number>> => sizesIn(objects, folder);
  return {
    areNear: location.kind === "folder",
    // Without asking for the size of each: a folder may keep the WAL of a day.
    names: async (folder) =>
      location.kind === "folder" ? await filesIn(location.directory, folder) : [...(await sizes(folder)).keys()],
    sizes,
    get: async (folder, name) => (await objects.get(`${databaseFolder}/${folder}/${name}`))?.bytes,
  };
}

async function sizesIn(objects: ObjectAccess, folder: EngineFolder): Promise<ReadonlyMap<string, number>> {
  const prefix = `${databaseFolder}/${folder}/`;
  const found = new Map<string, number>();
  for await (const { name, size } of objects.list(prefix)) found.set(name.slice(prefix.length), size);
  return found;
}

async function filesIn(directory: string, folder: EngineFolder): Promise<readonly string[]> {
  const names: string[] = await readdir(join(directory, databaseFolder, folder)).catch(() => []);
  return names.sort();
}
