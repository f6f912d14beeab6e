/** `strata writer`: what it tells of a lease, and that it opens nothing. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openEventStore } from "../../src/index.ts";
import { strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

describe("The writer", () => {
  test("is told while the store is open, and that nobody writes once it is closed; it is not fenced", async () => {
    await using place = await Workplace.make();
    const store = await openEventStore({ url: place.url, writerName: "orders \u001b[2J\u202e1" });
    const held = await strata(["writer", "--url", place.url]);
    expect({ exitCode: held.exitCode, stderr: held.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(held.stdout).toMatch(/^lease {4}held, lasts 6\.0 s from each renewal$/m);
    expect(held.stdout).toContain("orders \\u001b[2J\\u202e1\n");
    expect(held.stdout).toMatch(new RegExp(`^process {2}${process.pid} on \\S`, "m"));
    expect(held.stdout).toMatch(/^since {4}\d{4}-\d\d-\d\dT\S+Z$/m);
    expect(held.stdout).toMatch(/^renewed {2}\S+Z, \d+(\.\d)? s ago$/m);
    await store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "no-stream" });
    await store.close();
    const released = await strata(["writer", "--url", place.url]);
    expect(released.stdout).toMatch(/^lease {4}released: nobody writes$/m);
    expect(released.stdout).toMatch(/^closed {3}\S+Z/m);
    const json = JSON.parse((await strata(["writer", "--url", place.url, "--json"])).stdout);
    expect(json).toMatchObject({ url: place.url, lease: "released", writer: { state: "released", pid: process.pid } });
  });

  test("is overdue when its lease is older than it lasts", async () => {
    await using place = await Workplace.make();
    await (await place.open()).close();
    const path = join(place.folder, "store", "lease.json");
    const record = { ...(await Bun.file(path).json()), state: "held", renewedAt: "2026-01-01T00:00:00.000Z" };
    await writeFile(path, JSON.stringify(record));
    const { stdout } = await strata(["writer", "--url", place.url]);
    expect(stdout).toMatch(/^lease {4}overdue, lasts 6\.0 s/m);
    expect(JSON.parse((await strata(["writer", "--url", place.url, "--json"])).stdout).lease).toBe("overdue");
  });

  test("is not known where there is no lease, or one that cannot be read, and there is none where there is no store", async () => {
    await using place = await Workplace.make();
    const missing = await strata(["writer", "--url", place.url]);
    expect(missing).toMatchObject({ exitCode: 4, stdout: "" });
    expect(await readdir(place.folder)).toEqual([]);
    await (await place.open()).close();
    const path = join(place.folder, "store", "lease.json");
    await writeFile(path, "damaged");
    const damaged = await strata(["writer", "--url", place.url]);
    expect(damaged).toMatchObject({ exitCode: 1, stdout: "" });
    expect(damaged.stderr).toMatch(/^strata: The lease cannot be read, .* \(storage-corrupt\)\n$/);
    await Bun.file(path).delete();
    const none = await strata(["writer", "--url", place.url]);
    expect(none).toMatchObject({ exitCode: 0, stderr: "" });
    expect(none.stdout).toContain("none: nobody is known to write");
    expect(JSON.parse((await strata(["writer", "--url", place.url, "--json"])).stdout)).toEqual({
      url: place.url,
      lease: "none",
      writer: null,
    });
  });
});
