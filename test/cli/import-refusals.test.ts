/** Lines and inputs that an import refuses: by number and reason, with what stands before them imported. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { environment, line, mainScript, manyLines, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

/** A bad line, and what the reason must say. */
const refusals: readonly (readonly [string, string, RegExp])[] = [
  ["is not JSON", "{oops\n", /not JSON/],
  ["is JSON and no object", "[1]\n", /must be a JSON object/],
  ["has another specversion", line({ specversion: "0.3" }), /specversion must be "1\.0"/],
  ["has no specversion", line({ specversion: undefined }), /specversion is missing/],
  ["has no id", line({ id: undefined }), /id is missing/],
  ["has an empty id", line({ id: "" }), /id must not be empty/],
  ["has an id that is too long", line({ id: "x".repeat(513) }), /id must have at most 512 UTF-8 bytes, not 513/],
  ["has a number for an id", line({ id: 7 }), /id must be a string/],
  ["has no type", line({ type: undefined }), /type is missing/],
  ["has no source", line({ source: undefined }), /source is missing/],
  ["has an empty source", line({ source: "" }), /source must not be empty/],
  ["has no subject", line({ subject: undefined }), /subject is missing/],
  ["has null for a subject", line({ subject: null }), /subject is missing/],
  ["has a time that is none", line({ time: "yesterday" }), /time must be as RFC 3339 has it, not "yesterday"/],
  ["has a time without a zone", line({ time: "2026-01-01T00:00:00" }), /time must be as RFC 3339/],
  ["has a day that is not in the calendar", line({ time: "2026-02-29T00:00:00Z" }), /time must be as RFC 3339/],
  ["has data twice", line({ data_base64: "AQ==" }), /data and data_base64 must not both be there/],
  ["has data_base64 that is none", line({ data: undefined, data_base64: "?" }), /data_base64 must be base64/],
  ["has an empty actor", line({ actor: "" }), /actor must not be empty/],
  ["has a correlationId that is no text", line({ correlationId: 1 }), /correlationId must be a string, not 1/],
  ["has an empty tag", line({ tags: [""] }), /a tag must not be empty/],
  ["has too many tags", line({ tags: Array.from({ length: 33 }, (_, index) => `t${index}`) }), /at most 32, not 33/],
  ["has a number out of range", line().replace('"data":{}', '"data":{"n":1e999}'), /data\.n must be a finite number/],
  ["has data nested too deep", line({ data: JSON.parse("[".repeat(70) + "]".repeat(70)) }), /nested deeper than 64/],
  ["has a member named __proto__", line().replace('"data":{}', '"data":{"__proto__":1}'), /named __proto__/],
  ["has too much data", line({ data: "x".repeat(1_100_000) }), /data must have at most 1048576 bytes/],
  ["has types that do not fit", line({ stratatypes: '{"data":{"/no":"date"}}' }), /a place that is not there: "\/no"/],
];

describe("An import refuses a line that", () => {
  test.each(refusals)("%s", async (_, bad, reason) => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", line({ id: "first" }) + bad + line({ id: "last" }));
    const { exitCode, stderr } = await place.import(file);
    expect(stderr).toMatch(/^strata: Line 2 is refused: /m);
    expect(stderr).toMatch(reason);
    expect(stderr).toMatch(/ \(bad-input\)\n$/);
    expect(exitCode).toBe(3);
  });

  test("is not UTF-8", async () => {
    await using place = await Workplace.make();
    const bad = Buffer.concat([Buffer.from(line({ id: "1" })), Buffer.of(0x22, 0xff, 0x22, 0x0a)]);
    expect((await place.import(await place.file("in.jsonl", bad))).stderr).toContain("Line 2 is refused: not UTF-8");
  });

  test("is longer than 16 MiB", async () => {
    await using place = await Workplace.make();
    const bad = line({ data: "x".repeat(17 * 1024 * 1024) });
    const file = await place.file("in.jsonl", bad + line({ id: "last" }));
    expect((await place.import(file)).stderr).toContain("Line 1 is refused: longer than 16777216 bytes");
    expect(await place.importCounts(file, "--skip-bad")).toMatchObject({ imported: 1, bad: 1 });
  });
});

describe("A refused line", () => {
  test("ends the import; what stands before it is imported, and nothing behind it", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", `${manyLines(700, 3)}{oops\n${line({ id: "behind" })}`);
    const { exitCode, stdout, stderr } = await place.import(file, "--batch", "500");
    expect(exitCode).toBe(3);
    expect(stdout).toMatch(/^Imported 700 events in .* bad lines: 1\.\n$/);
    expect(stderr).toContain("Line 701 is refused: not JSON");
    expect(await place.events()).toHaveLength(700);
  });

  test("is counted and skipped with --skip-bad, and the first ten are listed", async () => {
    await using place = await Workplace.make();
    const bad = Array.from({ length: 12 }, () => "{oops\n").join("");
    const file = await place.file("in.jsonl", line({ id: "1" }) + bad + line({ id: "2" }));
    const { exitCode, stdout, stderr } = await place.import(file, "--skip-bad");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("Imported 2 events");
    expect(stdout).toContain("bad lines: 12");
    const listed = [...stderr.matchAll(/^strata: line (\d+) is skipped: not JSON/gm)].map((match) => Number(match[1]));
    expect(listed).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(stderr).toContain("and 2 more lines");
    expect((await place.events()).map((event) => event.id)).toEqual(["1", "2"]);
  });

  test("is in the summary as JSON", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", `${line({ id: "1" })}{}\n`);
    const { exitCode, stdout } = await place.import(file, "--json");
    expect(exitCode).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({
      imported: 1,
      alreadyThere: 0,
      bad: 1,
      refused: [{ line: 2, reason: "specversion is missing" }],
    });
  });

  test("cannot move the cursor of a terminal with what it holds", async () => {
    await using place = await Workplace.make();
    const { stderr } = await place.import(await place.file("in.jsonl", `${line({ time: "\u001b[2J\u202e" })}`));
    expect(stderr).toContain("\\u001b[2J");
    expect(stderr).not.toContain("\u001b");
    expect(stderr).not.toContain("\u202e");
  });

  test("has its exit code even where nobody reads the summary", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", "{oops\n");
    const words = [process.execPath, mainScript, "import", file, "--url", place.url];
    const child = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "ignore", env: environment() });
    await child.stdout.cancel();
    expect(await child.exited).toBe(3);
  });

  test("ends the import even while standard input stays open", async () => {
    await using place = await Workplace.make();
    const child = Bun.spawn([process.execPath, mainScript, "import", "-", "--url", place.url], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
      env: environment(),
    });
    child.stdin.write(`${line({ id: "1" })}{oops\n`);
    await child.stdin.flush();
    expect(await child.exited).toBe(3);
    expect(await new Response(child.stderr).text()).toContain("Line 2 is refused");
    expect(await place.events()).toHaveLength(1);
  });
});

describe("An input", () => {
  test("that is compressed and cut off is bad input; its whole lines are imported", async () => {
    await using place = await Workplace.make();
    const whole = gzipSync(manyLines(5_000, 10));
    const { exitCode, stdout, stderr } = await place.import(
      await place.file("in.jsonl.gz", whole.subarray(0, whole.length - 1_000)),
    );
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/compression is damaged or cut off .*\(bad-input\)\n$/);
    expect(stdout).toMatch(/^Imported [\d,]{3,} events/);
    expect((await place.events()).length).toBeGreaterThan(1_000);
  });

  test("that is not there is not found, and makes no store", async () => {
    await using place = await Workplace.make();
    const { exitCode, stderr } = await place.import(place.path("none.jsonl"));
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/^strata: There is no such input file: .*none\.jsonl \(not-found\)\n$/);
    expect(await Bun.file(place.path("store")).exists()).toBe(false);
    expect(await Array.fromAsync(new Bun.Glob("**").scan({ cwd: place.folder, onlyFiles: false }))).toEqual([]);
  });

  test("that is a folder cannot be read", async () => {
    await using place = await Workplace.make();
    expect(await place.import(place.folder)).toMatchObject({ exitCode: 1 });
  });
});
