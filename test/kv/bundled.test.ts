/** A service that was bundled finds the engine in `node_modules`, and wraps it before anything of it runs. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./stores.ts";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "../..");

for (const external of [[], ["@slatedb/uniffi"]]) {
  test(`A bundle works, ${external.length === 0 ? "with all that can be in it" : "without the engine's binding in it"}`, async () => {
    await using folder = await temporaryFolder();
    const at = (name: string): string => join(folder.directory, name);
    await symlink(join(root, "node_modules"), at("node_modules"));
    await Bun.write(
      at("service.ts"),
      `import { openEventStore } from "${root}/src/index.ts";
      await using store = await openEventStore({ url: "file:${at("store")}" });
      console.log((await store.append("order-1", [{ type: "Placed", data: 1 }], { expectedVersion: "no-stream" })).position);`,
    );
    const built = await Bun.build({
      entrypoints: [at("service.ts")],
      target: "bun",
      outdir: at("built"),
      external: [...external],
    });
    expect(built.success).toBe(true);
    const child = Bun.spawn([process.execPath, at("built/service.js")], { stdout: "pipe", stderr: "inherit" });
    expect(await child.stdout.text()).toBe("1\n");
    expect(await child.exited).toBe(0);
  });
}
