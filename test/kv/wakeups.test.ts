/**
 * The engine's threads wake calls of ours while this thread is at something else, and must not touch it: by the binding's own callback
 * they take away what is being thrown. Of twelve such processes with that callback nine died or told of wrong ends within eight seconds.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

setDefaultTimeout(60_000);

const workMs = 10_000;

test("Exceptions are neither lost nor thrown twice while the engine's threads wake calls", async () => {
  const script = join(import.meta.dir, "../support/throwing-child.ts");
  const run = async (): Promise<void> => {
    const child = Bun.spawn([process.execPath, script, String(workMs)], { stdout: "pipe", stderr: "inherit" });
    const told = await child.stdout.text();
    expect(await child.exited).toBe(0);
    const { calls, wrong } = JSON.parse(told);
    expect(calls).toBeGreaterThan(1_000);
    expect(wrong).toBe(0);
  };
  await Promise.all([run(), run(), run()]);
});
