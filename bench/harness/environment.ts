/** What a report must say of where its figures come from. */

import { cpus, platform, release } from "node:os";
import { join } from "node:path";

export interface Environment {
  /** `undefined` outside a git repository; ends in `+changes` where the working tree differs from it. */
  readonly commit: string | undefined;
  readonly bun: string;
  readonly cpu: string;
  readonly cpuCount: number;
  readonly platform: string;
  /** ISO 8601. */
  readonly date: string;
}

function git(...words: readonly string[]): string | undefined {
  try {
    const { exitCode, stdout } = Bun.spawnSync(["git", ...words], { cwd: join(import.meta.dir, "..", "..") });
    return exitCode === 0 ? stdout.toString().trim() : undefined;
  } catch {
    return undefined;
  }
}

export function readEnvironment(): Environment {
  const commit = git("rev-parse", "HEAD");
  const changes = git("status", "--porcelain", "--", "src", "bench", "package.json") ?? "";
  const [cpu] = cpus();
  return {
    commit: commit === undefined || changes === "" ? commit : `${commit}+changes`,
    bun: Bun.version,
    cpu: cpu?.model.trim() ?? "unknown",
    cpuCount: cpus().length,
    platform: `${platform()} ${release()} ${process.arch}`,
    date: new Date().toISOString(),
  };
}
