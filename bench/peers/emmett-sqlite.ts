/**
 * Emmett on SQLite, where it is installed (see emmett.ts). It runs in Node, because under Bun its driver (`sqlite3`) fails to
 * commit; the same loop is built for Node and run there, so that nothing but the peer and its runtime differs.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { LoopReport, LoopSettings } from "../harness/closed-loop.ts";
import { check } from "../harness/scenario.ts";
import type { PeerWork } from "./measure.ts";

const packages = join(import.meta.dir, "node_modules");
const built = join(packages, ".strata-bench/emmett-sqlite-process.mjs");
const node: string | null = Bun.which("node");

/** Whether it can be measured here. */
export const emmettSqliteInstalled: boolean =
  node !== null &&
  [join("@event-driven-io", "emmett-sqlite"), "sqlite3"].every((one) => existsSync(join(packages, one)));

/** With more at once it answers with errors (`SQLITE_BUSY`), or not at all. */
export const emmettSqliteAtOnceMax = 1;

/** `file`: one that is not there yet. */
export async function measureEmmettSqlite(
  file: string,
  work: PeerWork,
  atOnce: number,
  settings: LoopSettings,
): Promise<LoopReport> {
  const entry = join(import.meta.dir, "emmett-sqlite-process.ts");
  const build = await Bun.build({ entrypoints: [entry], target: "node", packages: "external" });
  const [output] = build.outputs;
  check(output !== undefined, "nothing was built for Node");
  await Bun.write(built, output ?? "");
  const words = [file, work, String(atOnce), JSON.stringify(settings)];
  const running = Bun.spawn([node ?? "node", built, ...words], { stdout: "pipe", stderr: "inherit" });
  const [text, code] = await Promise.all([new Response(running.stdout).text(), running.exited]);
  check(code === 0, `Emmett on SQLite ended with ${code}`);
  return JSON.parse(text.trim().split("\n").at(-1) ?? "") as LoopReport;
}
