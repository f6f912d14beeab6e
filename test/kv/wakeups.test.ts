/**
 * The engine's threads wake calls of ours while this thread is at something else, and must not touch it: by the binding's own callback
 * they take away what is being thrown. Of twelve such processes with that callback nine died or told of wrong ends within eight seconds.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { cp, symlink } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./stores.ts";

setDefaultTimeout(60_000);

const workMs = 10_000;
const root = join(import.meta.dir, "../..");

/** What a process that runs this tells, and how it ends. */
async function tellingOf(script: string): Promise<{ readonly told: string; readonly exitCode: number }> {
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: root, stdout: "pipe", stderr: "inherit" });
  return { told: (await child.stdout.text()).trim(), exitCode: await child.exited };
}

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

test("Two copies of Strata in one process share what one of them has wrapped", async () => {
  await using folder = await temporaryFolder();
  await cp(join(root, "src"), join(folder.directory, "src"), { recursive: true });
  await symlink(join(root, "node_modules"), join(folder.directory, "node_modules"));
  const script = `
    for (const copy of ["${root}", "${folder.directory}"]) {
      const { openEventStore } = await import(copy + "/src/index.ts");
      await using store = await openEventStore({ url: "file:${folder.directory}/store-" + copy.length });
      await store.append("order-1", [{ type: "Placed", data: 1 }], { expectedVersion: "no-stream" });
      for await (const event of store.readStream("order-1")) console.log(event.data);
    }`;
  expect(await tellingOf(script)).toEqual({ told: "1\n1", exitCode: 0 });
});

test("A process that has loaded the binding before Strata is told so, and makes no database", async () => {
  await using folder = await temporaryFolder();
  const script = `
    await import("@slatedb/uniffi");
    const { openEventStore } = await import("./src/index.ts");
    const refused = await openEventStore({ url: "file:${folder.directory}/store" }).catch((error) => error);
    console.log(refused.code, refused.message);`;
  const { told, exitCode } = await tellingOf(script);
  expect(told).toStartWith("internal The engine's binding was loaded before Strata");
  expect(exitCode).toBe(0);
  expect(existsSync(join(folder.directory, "store", "db"))).toBe(false);
});
