/** `strata compact`: what it does and tells, and that it does not take a store from its writer. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore } from "../../src/index.ts";
import { manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

describe("Compacting", () => {
  test("merges pages, tells of it for people and for programs, and changes no event", async () => {
    await using place = await Workplace.make();
    {
      await using store = await openEventStore({ url: place.url, compaction: false });
      for (let version = 0; version < 60; version += 1)
        await store.append("order-1", [{ type: "Happened", data: { version } }], { expectedVersion: version });
    }
    const before = await place.events();
    const first = await strata(["compact", "--url", place.url, "--json"]);
    expect({ exitCode: first.exitCode, stderr: first.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(JSON.parse(first.stdout)).toMatchObject({ url: place.url, logPagesMerged: 60, logPagesWritten: 1 });
    const second = await strata(["compact", "--url", place.url]);
    expect(second.stdout).toMatch(/^positions {5}none new$/m);
    expect(second.stdout).toMatch(/^log pages {5}0 merged into 0$/m);
    expect(await place.events()).toEqual(before);
  });

  test("works on what an import has left", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("events.jsonl", manyLines(3_000, 20)));
    const { stdout } = await strata(["compact", "--url", place.url, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ fromPosition: 1, toPosition: 3_000 });
    expect((await place.events()).length).toBe(3_000);
  }, 180_000);

  test("does not begin while somebody writes, nor where there is no store", async () => {
    await using place = await Workplace.make();
    const missing = await strata(["compact", "--url", place.url]);
    expect([missing.exitCode === 0, missing.stderr]).toEqual([false, expect.stringContaining("There is no store")]);
    await using store = await openEventStore({ url: place.url });
    const held = await strata(["compact", "--url", place.url]);
    expect(held.exitCode).not.toBe(0);
    await store.append("order-1", [{ type: "Happened", data: 1 }], { expectedVersion: 0 });
    expect(store.health().state).toBe("open");
    const nonsense = await strata(["compact", "--url", place.url, "--wait", "soon"]);
    expect(nonsense.stderr).toContain("--wait must be an integer");
  });
});
