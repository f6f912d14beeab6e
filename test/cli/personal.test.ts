/** What the command line does about personal data: forgetting, rotating keys, and what it shows and exports. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore } from "../../src/index.ts";
import { encryption, masterKey, nameCards, otherMasterKey, people, registered } from "../support/people.ts";
import { strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const keyed = { environment: { STRATA_MASTER_KEY: masterKey } };

async function fill(url: string): Promise<void> {
  await using store = await openEventStore({ url, events: [people], encryption });
  await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
  await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
}

describe("strata forget", () => {
  test("forgets a subject, tells what it did, and tells it again when it is repeated", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    const words = ["forget", "person:1", "--actor", "kim", "--reason", "by letter", "--url", place.url];
    const first = await strata(words, keyed);
    expect({ exitCode: first.exitCode, stderr: first.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(first.stdout).toMatch(
      /^Forgotten: 1 event in 1 stream, 0 snapshots removed, receipt at position 3, \S+Z\.\n$/,
    );
    const again = await strata([...words, "--json"], keyed);
    expect(JSON.parse(again.stdout)).toMatchObject({ replayed: true, position: 3, events: 1 });
    const read = await strata(["read", "person-1", "--url", place.url], keyed);
    expect(read.stdout).toContain('forgotten=["name","address.street"]');
    expect(read.stdout).not.toContain("Kim");
    const receipt = await strata(["read", "$strata-lifecycle", "--url", place.url, "--json"], keyed);
    expect(JSON.parse(receipt.stdout)).toMatchObject({
      type: "$SubjectForgotten",
      metadata: { actor: "kim", reason: "by letter" },
    });
  });

  test("names the projections that it cannot look into", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    {
      await using store = await openEventStore({
        url: place.url,
        events: [people],
        encryption,
        projections: [nameCards],
      });
      await store.waitFor("name-cards", 2);
    }
    const { stdout } = await strata(["forget", "person:1", "--url", place.url], keyed);
    expect(stdout).toContain("Not looked into, because they do not run here: name-cards.\n");
  });

  test("fails with one sentence: without a key, with a wrong one, beside a writer, for nobody, where there is no store", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    const words = ["forget", "person:1", "--url", place.url];
    const without = await strata(words, { environment: { STRATA_MASTER_KEY: undefined } });
    expect(without).toMatchObject({ exitCode: 2, stdout: "" });
    expect(without.stderr).toContain("STRATA_MASTER_KEY is not set");
    const wrong = await strata(words, { environment: { STRATA_MASTER_KEY: otherMasterKey } });
    expect(wrong.exitCode).toBe(1);
    expect(wrong.stderr).toMatch(/^strata: None of the given master keys .* \(encryption-key\)\n$/);
    const nobody = await strata(["forget", "person:9", "--url", place.url], keyed);
    expect(nobody.exitCode).toBe(2);
    expect(nobody.stderr).toContain("is none whose personal data the store has");
    const missing = await strata(["forget", "person:1", "--url", `${place.url}-none`], keyed);
    expect(missing.exitCode).toBe(4);
    await using store = await openEventStore({ url: place.url, events: [people], encryption });
    const beside = await strata(words, keyed);
    expect(beside.exitCode).toBe(1);
    expect(beside.stderr).toContain("(writer-active)");
    expect(await store.forget("person:1")).toMatchObject({ replayed: false });
  });
});

describe("strata rotate-keys", () => {
  test("wraps all keys by the first of the given ones", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    const both = { environment: { STRATA_MASTER_KEY: `${otherMasterKey},${masterKey}` } };
    const { stdout, exitCode } = await strata(["rotate-keys", "--url", place.url], both);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^3 keys wrapped anew, 0 were so already; the master key is local:[0-9a-f]{16}\.\n$/);
    const json = await strata(["rotate-keys", "--url", place.url, "--json"], both);
    expect(JSON.parse(json.stdout)).toMatchObject({ rewrapped: 0, unchanged: 3, damaged: [] });
    const read = await strata(["read", "person-1", "--url", place.url], {
      environment: { STRATA_MASTER_KEY: otherMasterKey },
    });
    expect(read.stdout).toContain("Kim");
  });
});

describe("What is shown of personal fields", () => {
  test("is all with a master key, null with --hide-personal, and an error with neither", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    for (const words of [["read", "person-1"], ["export"]]) {
      const shown = await strata([...words, "--url", place.url], keyed);
      expect(shown.stdout).toContain("Kim");
      const hidden = await strata([...words, "--hide-personal", "--url", place.url]);
      expect({ exitCode: hidden.exitCode, stderr: hidden.stderr }).toEqual({ exitCode: 0, stderr: "" });
      expect(hidden.stdout).toContain("Berlin");
      expect(hidden.stdout).not.toContain("Kim");
      const neither = await strata([...words, "--url", place.url], { environment: { STRATA_MASTER_KEY: undefined } });
      expect(neither.exitCode).toBe(1);
      expect(neither.stderr).toContain("(unreadable-event)");
    }
  });

  test("is not imported as plain text; what is null goes through, and says so", async () => {
    await using place = await Workplace.make();
    await fill(place.url);
    const shown = await strata(["export", "--url", place.url], keyed);
    expect(JSON.parse(shown.stdout.split("\n")[0] ?? "")).toMatchObject({ stratapersonal: "name,address.street" });
    const refused = await strata(["import", "-", "--url", `${place.url}-copy`], { stdin: shown.stdout });
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("stratapersonal names personal fields");
    const hidden = await strata(["export", "--hide-personal", "--url", place.url]);
    const taken = await strata(["import", "-", "--url", `${place.url}-copy`], { stdin: hidden.stdout });
    expect(taken.exitCode).toBe(0);
    const copy = await strata(["read", "person-1", "--json", "--url", `${place.url}-copy`]);
    expect(JSON.parse(copy.stdout)).toMatchObject({
      data: { id: "1", name: null, address: { street: null, city: "Berlin" } },
      metadata: { strataerased: "name,address.street" },
    });
  });
});
