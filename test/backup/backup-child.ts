/** A process that makes a backup and kills itself on the way, for `backup.test.ts`. */

import { backupStore, restoreStore, type S3Options } from "../../src/index.ts";

export interface BackupTask {
  readonly what: "backup" | "restore";
  readonly from: string;
  readonly to: string;
  readonly s3: Omit<S3Options, "createBucket">;
  /** When so many rows have been looked at; or in that phase. */
  readonly killAt: number | "objects" | "verify";
}

const task: BackupTask = JSON.parse(process.argv[2] ?? "{}");
const copy = task.what === "backup" ? backupStore : restoreStore;
await copy({
  from: task.from,
  to: task.to,
  fromS3: task.s3,
  toS3: task.s3,
  onProgress: ({ phase, done }) => {
    const now = typeof task.killAt === "number" ? phase === "rows" && done >= task.killAt : phase === task.killAt;
    if (now) process.kill(process.pid, "SIGKILL");
  },
});
process.stdout.write("done\n");
