/**
 * Who has the database of a folder open for writing, as the operating system knows it: each holds the lock of a file of its own,
 * which ends with its process and not a moment earlier, so also one that was replaced and stands still is known to be there.
 * It decides nothing about who may write.
 */

import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { StorageUnavailableError } from "../errors.ts";
import { unguessableText } from "../runtime/secrets.ts";
import { folderOpenersName, tryFileLock } from "./file-lock.ts";

const attemptsMax = 10;

export interface FolderOpener {
  /** Whether nobody else has it open. */
  alone(): Promise<boolean>;
  /** Idempotent. */
  release(): Promise<void>;
}

/** Removes what those left behind who ended without closing; whether there is anybody else. */
async function othersAreThere(folder: string, own: string): Promise<boolean> {
  let found = false;
  for (const name of await readdir(folder)) {
    if (name === own) continue;
    const path = join(folder, name);
    const lock = await tryFileLock(path);
    if (lock === undefined) {
      found = true;
      continue;
    }
    await rm(path, { force: true });
    await lock.release();
  }
  return found;
}

export async function holdOpen(directory: string): Promise<FolderOpener> {
  const folder = join(directory, folderOpenersName);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const own = unguessableText();
    const path = join(folder, own);
    await mkdir(folder, { recursive: true });
    // The last one to leave takes the folder along, perhaps this moment.
    const lock = await tryFileLock(path).catch(() => undefined);
    // Somebody may have taken the file for one left behind, before it was locked.
    if (lock === undefined || !(await Bun.file(path).exists())) {
      await lock?.release();
      continue;
    }
    await othersAreThere(folder, own);
    return {
      alone: async () => !(await othersAreThere(folder, own)),
      release: async () => {
        await rm(path, { force: true });
        await lock.release();
        await rmdir(folder).catch(() => {});
      },
    };
  }
  throw new StorageUnavailableError(`No lock could be had in ${folder}`, { outcome: "not-applied" });
}
