/**
 * Objects in a folder, for one machine. A write goes to one file of ours and is moved into place, so that a reader sees all of it or
 * nothing; writers take turns by a lock of the system on `.strata.lock`, which ends with its holder, also when that is killed.
 * Conditions hold between all processes of the machine, not between machines that share the folder over a network.
 * A write is flushed to the disk before it is moved; the move itself survives a kill, and may not survive a power cut.
 */

import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EventStoreError, StorageUnavailableError, StoreClosedError, type WriteOutcome } from "../errors.ts";
import { folderLockName, withFileLock } from "./file-lock.ts";
import type { ObjectAccess, ObjectEntry, StoredObject } from "./objects.ts";

/** Where a write is made before it is moved into place; one is enough, since writers take turns. */
const draftName = ".strata.draft";

function isMissing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}

function tagOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

async function readObject(path: string): Promise<StoredObject | undefined> {
  try {
    const bytes = new Uint8Array(await readFile(path));
    return { bytes, tag: tagOf(bytes) };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function writeDraft(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Files below `directory` whose names begin with `prefix`, in the order that their names have as text. */
async function* walk(directory: string, parent: string, prefix: string): AsyncGenerator<ObjectEntry> {
  const entries = await readdir(join(directory, parent), { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  const names = entries
    .filter((entry) => !entry.name.startsWith(".") && (entry.isFile() || entry.isDirectory()))
    // A folder sorts as its objects do: with the slash behind its name.
    .map((entry) => `${parent}${entry.name}${entry.isDirectory() ? "/" : ""}`)
    .sort();
  for (const name of names) {
    if (name.endsWith("/")) {
      if (name.startsWith(prefix) || prefix.startsWith(name)) yield* walk(directory, name, prefix);
    } else if (name.startsWith(prefix)) {
      const found = await stat(join(directory, name)).catch(() => undefined);
      // Removed since the folder was read.
      if (found !== undefined) yield { name, size: found.size, modifiedMs: Math.floor(found.mtimeMs) };
    }
  }
}

export function openFolderObjects(directory: string): ObjectAccess {
  let closed = false;
  const ask = async <T>(work: () => Promise<T>, outcome?: WriteOutcome): Promise<T> => {
    if (closed) throw new StoreClosedError("The objects are closed");
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof EventStoreError) throw cause;
      const told = outcome === undefined ? { cause } : { cause, outcome };
      throw new StorageUnavailableError(`The folder cannot be used: ${directory}`, told);
    }
  };
  // Our own writers take turns here: those who want the lock while it is taken ask for it again and again.
  let last: Promise<unknown> = Promise.resolve();
  const exclusively = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(async () => {
      await mkdir(directory, { recursive: true });
      return await withFileLock(join(directory, folderLockName), work);
    });
    last = turn.catch(() => {});
    return turn;
  };
  const close = async (): Promise<void> => {
    closed = true;
  };
  return {
    get: (name) => ask(() => readObject(join(directory, name))),
    put: (name, bytes, { ifAbsent, ifTag } = {}) => {
      const path = join(directory, name);
      const write = async (): Promise<{ readonly tag: string } | "conflict"> => {
        if (ifAbsent === true || ifTag !== undefined) {
          const found = await readObject(path);
          if (found?.tag !== ifTag) return "conflict";
        }
        await mkdir(dirname(path), { recursive: true });
        const draft = join(directory, draftName);
        await writeDraft(draft, bytes);
        await rename(draft, path);
        return { tag: tagOf(bytes) };
      };
      return ask(() => exclusively(write), "unknown");
    },
    delete: (name) => ask(() => exclusively(() => rm(join(directory, name), { force: true })), "unknown"),
    async *list(prefix): AsyncGenerator<ObjectEntry> {
      const walking = walk(directory, "", prefix);
      while (true) {
        const step = await ask(() => walking.next());
        if (step.done === true) return;
        yield step.value;
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
