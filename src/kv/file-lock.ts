/**
 * A lock of the operating system on a file (flock), held for the length of some work. It ends with its holder however that goes, so
 * no lock is ever left behind. Each call opens the file anew: calls of one process exclude each other as well.
 */

import { open } from "node:fs/promises";
import { StorageUnavailableError } from "../errors.ts";
import { pause } from "../runtime/deadline.ts";
import { nativeFunctions } from "./native-functions.ts";

/** The lock that writers of objects in a folder take; its presence marks a folder of ours. */
export const folderLockName = ".strata.lock";
/** Where those who have the database of a folder open for writing hold a lock each. */
export const folderOpenersName = ".strata.open";

/** How long to wait for the holder of a lock: a few writes of small files. */
const lockTimeoutMs = 30_000;
const lockRetryMs = 2;
const lockRetryMsMax = 50;

const lockExclusively = 2;
const doNotWait = 4;

/** Takes the lock of a file for as long as it stays open, or says that somebody else has it. */
export async function tryFileLock(path: string): Promise<{ release(): Promise<void> } | undefined> {
  const file = await open(path, "a", 0o600);
  if (nativeFunctions().flock(file.fd, lockExclusively | doNotWait) === 0) return { release: () => file.close() };
  await file.close();
  return undefined;
}

/** Runs `work` while no other holder of the lock does. Throws `storage-unavailable` where it is not to be had in time. */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const file = await open(path, "a", 0o600);
  try {
    // Asked for again and again: a call that waits would stop this whole process, the holder perhaps included.
    let waitedMs = 0;
    for (let waitMs = lockRetryMs; nativeFunctions().flock(file.fd, lockExclusively | doNotWait) !== 0; ) {
      if (waitedMs >= lockTimeoutMs) {
        const message = `Another process holds the lock for longer than ${lockTimeoutMs} ms: ${path}`;
        throw new StorageUnavailableError(message, { outcome: "not-applied" });
      }
      await pause(waitMs);
      waitedMs += waitMs;
      waitMs = Math.min(waitMs * 2, lockRetryMsMax);
    }
    return await work();
  } finally {
    // Closing the file ends the lock.
    await file.close();
  }
}
