/** `strata log`, `diff`, `blame` and `trace`: what they print, for people and for programs, and what they say of mistakes. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { EventMetadata } from "../../src/index.ts";
import { type Finished, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const source = join(import.meta.dir, "../../src/index.ts");

/** A user's module, with one decider. */
const moduleText = `
import * as v from ${JSON.stringify(Bun.resolveSync("valibot", import.meta.dir))};
import { defineDecider, defineEvents, event } from ${JSON.stringify(source)};
const orderEvents = defineEvents("order", {
  Placed: event({ schema: v.object({ customer: v.string() }) }),
  Added: event({ version: 2, schema: v.object({ sku: v.string() }), upcast: { 1: (old) => ({ sku: old.product }) } }),
  Removed: event({ schema: v.object({ sku: v.string() }) }),
});
const parts = {
  events: orderEvents,
  commands: {},
  initialState: () => ({ skus: [], open: true }),
  evolve: {
    Placed: (state, { data }) => ({ ...state, customer: data.customer }),
    Added: (state, { data }) => ({ ...state, skus: [...state.skus, data.sku] }),
    Removed: (state, { data }) => ({ ...state, skus: state.skus.filter((sku) => sku !== data.sku) }),
  },
  decide: {},
};
export const orders = defineDecider("order", parts);
`;

const time = "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z";

async function withOrder(place: Workplace): Promise<string> {
  await using store = await place.open();
  const one = (id: string, type: string, data: object, metadata: EventMetadata = {}) => ({ id, type, data, metadata });
  const placed = one("p", "Placed", { customer: "kim\u001b[2J" }, { actor: "kim" });
  await store.append("order-1", [placed], { expectedVersion: 0 });
  const because = { causationId: "p", correlationId: "p" };
  await store.append("order-1", [one("a", "Added", { product: "cup" }, because)], { expectedVersion: 1 });
  await store.append("stock-1", [one("s", "Taken", { sku: "cup" }, { ...because, causationId: "a" })], {
    expectedVersion: "any",
  });
  await store.append("stock-1", [one("n", "Noted", {}, { ...because, actor: "lee" })], { expectedVersion: "any" });
  await store.append(
    "order-1",
    [
      one("b", "Added", { product: "pot" }, because),
      { ...one("r", "Removed", { sku: "cup" }), occurredAt: new Date("2026-01-02T00:00:00Z") },
    ],
    { expectedVersion: 2 },
  );
  return await place.file("orders.ts", moduleText);
}

const jsonLines = (text: string): readonly Record<string, unknown>[] =>
  text.split("\n").flatMap((part) => (part === "" ? [] : [JSON.parse(part)]));

describe("strata log", () => {
  test("shows who, when, why and what, the newest first, and with -p what it changed", async () => {
    await using place = await Workplace.make();
    const file = await withOrder(place);
    const { exitCode, stdout, stderr } = await strata([
      "log",
      "order-1",
      "-p",
      "--decider",
      `${file}#orders`,
      "--url",
      place.url,
    ]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).not.toContain("\u001b");
    const shown = stdout.replaceAll(new RegExp(time, "g"), "TIME");
    expect(shown).toBe(`version 4 of order-1, position 6
When:  TIME, happened TIME

    Removed  {"sku":"cup"}

    - /skus/0  "cup"

version 3 of order-1, position 5
When:  TIME
Why:   Placed (order-1 1); correlation p

    Added  {"sku":"pot"}

    + /skus/1  "pot"

version 2 of order-1, position 2
When:  TIME
Why:   Placed (order-1 1); correlation p

    Added  {"sku":"cup"}

    + /skus/0  "cup"

version 1 of order-1, position 1
Who:   kim
When:  TIME

    Placed  {"customer":"kim\\u001b[2J"}

    + /customer  "kim\\u001b[2J"
`);
  });

  test("begins, turns and ends where it is told to, looks back, and gives JSON", async () => {
    await using place = await Workplace.make();
    await withOrder(place);
    const versions = async (...words: readonly string[]): Promise<readonly unknown[]> => {
      const { stdout } = await strata(["log", "order-1", "--url", place.url, "--json", ...words]);
      return jsonLines(stdout).map(({ event }) => (event as { version: number }).version);
    };
    expect(await versions()).toEqual([4, 3, 2, 1]);
    expect(await versions("-n", "2")).toEqual([4, 3]);
    expect(await versions("--from-version", "3", "--limit", "1")).toEqual([3]);
    expect(await versions("--reverse", "--from-version", "3")).toEqual([3, 4]);
    expect(await versions("--as-of", "4")).toEqual([2, 1]);
    expect(await versions("--occurred-by", "2026-01-03")).toEqual([4]);
    const { stdout } = await strata(["log", "order-1", "--url", place.url, "--json", "-p", "-n", "2"]);
    expect(jsonLines(stdout)[1]).toMatchObject({
      event: { id: "b", type: "Added", data: { product: "pot" } },
      actor: null,
      correlationId: "p",
      causes: [{ id: "p", event: { type: "Placed" } }],
      changes: [{ kind: "changed", path: "/product", before: "cup", after: "pot" }],
      changesOmitted: 0,
    });
  });

  test("colours where it is asked to", async () => {
    await using place = await Workplace.make();
    await withOrder(place);
    const { stdout } = await strata(["log", "order-1", "--url", place.url, "-p", "-n", "3", "--color"]);
    expect(stdout).toContain("\u001b[33mversion 4 of order-1, position 6\u001b[0m");
    expect(stdout).toContain('\u001b[32m+ /product  "pot"\u001b[0m');
    expect(stdout).toContain('\u001b[31m- /product  "cup"\u001b[0m');
  });
});

describe("strata diff", () => {
  test("shows what was with - and what is with +", async () => {
    await using place = await Workplace.make();
    const file = await withOrder(place);
    const diff = async (...words: readonly string[]) => await strata(["diff", "order-1", ...words, "--url", place.url]);
    expect(await diff("2..", "--decider", file)).toEqual({
      exitCode: 0,
      stdout: '--- order-1 version 2\n+++ order-1 version 4\n- /skus/0  "cup"\n+ /skus/0  "pot"\n',
      stderr: "",
    });
    expect((await diff("..1", "--decider", file)).stdout).toContain("+ /customer");
    expect((await diff("2..2", "--decider", file)).stdout).toBe("");
    const { stdout } = await diff("1..4", "--json", "-n", "1");
    expect(jsonLines(stdout)).toEqual([
      {
        ...{ streamName: "order-1", fromVersion: 1, toVersion: 4, changesOmitted: 1 },
        changes: [{ kind: "added", path: "/product", after: "pot" }],
      },
    ]);
  });
});

describe("strata blame", () => {
  test("shows who set each part of the state", async () => {
    await using place = await Workplace.make();
    const file = await withOrder(place);
    const { stdout } = await strata(["blame", "order-1", "--url", place.url, "--decider", file]);
    expect(stdout.replaceAll(new RegExp(time, "g"), "TIME").replaceAll(/ {2,}/g, "  ")).toBe(
      '3  TIME  Added  /skus/0  "pot"\n-  /open  true\n1  TIME  Placed  kim  /customer  "kim\\u001b[2J"\n',
    );
    const earlier = ["blame", "order-1", "--url", place.url, "--decider", file, "--version", "2", "--json"];
    expect(jsonLines((await strata(earlier)).stdout)).toMatchObject([
      { path: "/skus/0", value: "cup", event: { version: 2, type: "Added" } },
      { path: "/open", value: true, event: null },
      { path: "/customer", event: { version: 1 } },
    ]);
  });
});

describe("strata trace", () => {
  test("shows the tree of causes over streams", async () => {
    await using place = await Workplace.make();
    await withOrder(place);
    const { exitCode, stdout } = await strata(["trace", "p", "--url", place.url]);
    expect(exitCode).toBe(0);
    expect(stdout.replaceAll(new RegExp(time, "g"), "TIME")).toBe(`Placed  order-1 1  @1  TIME  kim
├─ Added  order-1 2  @2  TIME
│  └─ Taken  stock-1 1  @3  TIME
├─ Noted  stock-1 2  @4  TIME  lee
└─ Added  order-1 3  @5  TIME
5 events; positions 1 to 6
`);
    const { stdout: json } = await strata(["trace", "p", "--url", place.url, "--json", "--limit", "3"]);
    expect(jsonLines(json).map(({ depth, event }) => [depth, (event as { id: string }).id])).toEqual([
      [0, "p"],
      [1, "a"],
      [2, "s"],
    ]);
    const some = await strata(["trace", "p", "--url", place.url, "-n", "1"]);
    expect(some.stdout).toContain("1 event; positions 1 to 1, and there is more to search\n");
    const later = await strata(["trace", "p", "--url", place.url, "--from-position", "4", "--to-position", "4"]);
    expect(later.stdout.split("\n")).toHaveLength(3);
  });
});

describe("These commands", () => {
  test("tell what is not there, and what is wrong, by their exit codes", async () => {
    await using place = await Workplace.make();
    const file = await withOrder(place);
    const broken = await place.file("broken.ts", "export const a = 1;\nthrow new Error('it is broken');\n");
    const plain = await place.file("plain.ts", "export const a = { name: 1 };\n");
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [["log", "order-9"], 4, 'There is no stream "order-9" (not-found)'],
      [["log", "order-1", "--as-of", "2001-01-01"], 4, 'There is no stream "order-1" as of then (not-found)'],
      [["diff", "order-9", "1..2"], 4, 'There is no stream "order-9" (not-found)'],
      [["blame", "order-9"], 4, 'There is no stream "order-9" (not-found)'],
      [["trace", "nobody"], 4, 'There is no event of the correlation id "nobody" (positions 1 to 6) (not-found)'],
      [["diff", "order-1", "3..1"], 2, 'A..B must have the earlier version first, not "3..1" (usage)'],
      [["diff", "order-1", "3"], 2, 'A..B must be two versions such as 3..7, not "3" (usage)'],
      [["diff", "order-1", "1..9"], 2, "toVersion is behind the newest version of the stream, which is 4: 9"],
      [["blame", "order-1", "--version", "9"], 2, "toVersion is behind the newest version"],
      [["log", "order-1", "--occurred-by", "7"], 2, "--occurred-by must be a time such as"],
      [["log", "order-1", "--decider", "none.ts"], 4, 'There is no module "none.ts" (not-found)'],
      [["log", "order-1", "--decider", broken], 3, "cannot be imported: it is broken (bad-input)"],
      [["log", "order-1", "--decider", `${file}#nope`], 2, "its deciders are orders (usage)"],
      [["log", "order-1", "--decider", plain], 2, "it exports no decider (usage)"],
      [["log", "stock-1", "--decider", file], 2, 'decider is for streams of "order", not for "stock-1"'],
    ];
    const told: Finished[] = [];
    // A few at once: each is a process.
    for (let next = 0; next < cases.length; next += 4) {
      const some = cases.slice(next, next + 4);
      told.push(...(await Promise.all(some.map(([words]) => strata([...words, "--url", place.url])))));
    }
    for (const [index, [words, exitCode, sentence]] of cases.entries()) {
      expect({ words, exitCode: told[index]?.exitCode }).toEqual({ words, exitCode });
      expect(told[index]?.stderr).toContain(sentence);
      expect(told[index]?.stdout).toBe("");
    }
  });

  test("disturb no writer", async () => {
    await using place = await Workplace.make();
    await withOrder(place);
    await using writer = await place.open();
    for (const words of [
      ["log", "order-1"],
      ["diff", "order-1", "0..1"],
      ["blame", "order-1"],
      ["trace", "p"],
    ]) {
      const { exitCode, stderr } = await strata([...words, "--url", place.url]);
      expect({ words, exitCode, stderr }).toEqual({ words, exitCode: 0, stderr: "" });
      await writer.append("order-2", [{ type: "Placed", data: {} }], { expectedVersion: "any" });
    }
    expect(writer.health().state).toBe("open");
  });
});
