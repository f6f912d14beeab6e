/**
 * The engine's threads wake calls of ours while this thread is at something else, and must not touch it: by the binding's own callback
 * they take away what is being thrown. Of twelve processes with that callback nine died or told of wrong ends within eight seconds on a
 * machine with nothing else to do, of sixteen beside other work none: so it is also looked at who calls.
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

test("The engine calls no callback of the binding's for a call that it wakes", async () => {
  await using folder = await temporaryFolder();
  const script = `
    const { createRequire } = await import("node:module");
    const koffi = createRequire(import.meta.resolve("@slatedb/uniffi"))("koffi");
    const register = koffi.register;
    let registered = 0;
    let called = 0;
    koffi.register = (callback, ...type) => {
      if (callback.name !== "rustFutureContinuationCallback") return register(callback, ...type);
      registered += 1;
      return register((...given) => {
        called += 1;
        return callback(...given);
      }, ...type);
    };
    const { openEventStore } = await import("./src/index.ts");
    await using store = await openEventStore({ url: "file:${folder.directory}/store" });
    for (let n = 0; n < 20; n += 1) await store.append("order-1", [{ type: "Placed", data: n }], { expectedVersion: "any" });
    console.log(registered, called);`;
  expect(await tellingOf(script)).toEqual({ told: "1 0", exitCode: 0 });
});

test("A Worker is refused the engine, and what it does leaves the main thread's alone", async () => {
  await using folder = await temporaryFolder();
  const worker = join(folder.directory, "worker.ts");
  await Bun.write(
    worker,
    `import { openEventStore } from "${root}/src/index.ts";
    const refused = await openEventStore({ url: "file:${folder.directory}/other" }).catch((error) => error.code);
    const own = await openEventStore({ url: "memory:" });
    const { streamVersion } = await own.append("cart-1", [{ type: "Filled", data: 1 }], { expectedVersion: "no-stream" });
    self.postMessage([refused, streamVersion]);
    setTimeout(() => process.exit(), 10);`,
  );
  const script = `
    const { openEventStore } = await import("./src/index.ts");
    const store = await openEventStore({ url: "file:${folder.directory}/store" });
    const worker = new Worker("${worker}");
    const closed = new Promise((resolve) => worker.addEventListener("close", resolve));
    console.log(...(await new Promise((resolve) => worker.addEventListener("message", ({ data }) => resolve(data)))));
    await closed;
    for (let n = 0; n < 20; n += 1) await store.append("order-1", [{ type: "Placed", data: n }], { expectedVersion: "any" });
    await store.close();
    await using again = await openEventStore({ url: "file:${folder.directory}/store" });
    console.log((await again.streamInfo("order-1")).version);`;
  expect(await tellingOf(script)).toEqual({ told: "invalid-argument 1\n20", exitCode: 0 });
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
