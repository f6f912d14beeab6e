/** The folder of a store: made where there is none, and told from a folder that holds something else. */

import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { InvalidArgumentError, StorageUnavailableError } from "../errors.ts";
import { folderLockName, folderOpenersName } from "./file-lock.ts";
import { databaseFolder } from "./object-store.ts";

/**
 * Makes the folder where there is none, and tells a new one from a store from something else.
 * Throws `invalid-argument` where the folder holds what is no store.
 */
export async function prepareFolder(directory: string): Promise<"new" | "existing"> {
  let entries: string[];
  try {
    await mkdir(directory, { recursive: true });
    entries = await readdir(directory);
  } catch (cause) {
    if (hasCode(cause, "EEXIST", "ENOTDIR")) {
      throw new InvalidArgumentError("url", `names a file, or a folder below one: ${directory}`, { cause });
    }
    throw new StorageUnavailableError(`The folder cannot be used: ${directory}`, { cause, outcome: "not-applied" });
  }
  return await folderState(directory, entries);
}

/**
 * The same for readers, which make nothing: `new` is also a folder that is not there.
 * Throws `invalid-argument` where the folder holds what is no store.
 */
export async function findFolder(directory: string): Promise<"new" | "existing"> {
  let entries: string[];
  try {
    entries = await readdir(directory);
  } catch (cause) {
    if (hasCode(cause, "ENOENT")) return "new";
    if (hasCode(cause, "ENOTDIR")) {
      throw new InvalidArgumentError("url", `names a file, or a folder below one: ${directory}`, { cause });
    }
    throw new StorageUnavailableError(`The folder cannot be used: ${directory}`, { cause });
  }
  return await folderState(directory, entries);
}

async function folderState(directory: string, entries: readonly string[]): Promise<"new" | "existing"> {
  // Objects beside the database may be there before it, and so is the lock of whoever opens it.
  const ours = entries.length === 0 || entries.includes(folderLockName) || entries.includes(folderOpenersName);
  if (ours && !entries.includes(databaseFolder)) return "new";
  if (!entries.includes(databaseFolder)) {
    throw new InvalidArgumentError("url", `names a folder that is not empty and holds no store: ${directory}`);
  }
  const inside: string[] = await readdir(join(directory, databaseFolder)).catch(() => []);
  if (inside.length === 0) return "new";
  // A store that has lost its manifests is one still: opening says so.
  if (!["manifest", "compacted", "wal"].some((name) => inside.includes(name))) {
    throw new InvalidArgumentError("url", `names a folder that is not empty and holds no store: ${directory}`);
  }
  return "existing";
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
