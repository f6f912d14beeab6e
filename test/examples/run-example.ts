/** Runs an example as a process of its own, as people do, and answers with what it told. */

import { expect } from "bun:test";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** Fails the test where the example fails, or complains. */
export async function runExample(name: string, ...words: readonly string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, join(root, "examples", name), ...words], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [told, complaints] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ complaints, exitCode: await child.exited, told }).toMatchObject({ complaints: "", exitCode: 0 });
  return told;
}

/** The numbers that stand before `words` in what was told. */
export function numbersBefore(told: string, words: string): readonly number[] {
  return [...told.matchAll(new RegExp(`(\\d+) ${words}`, "g"))].map(([, number]) => Number(number));
}
