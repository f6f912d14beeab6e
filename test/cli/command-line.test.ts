/** The command line itself: help, versions, exit codes, and what it says of mistakes. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { version } from "../../package.json";
import { Progress } from "../../src/cli/progress.ts";
import { environment, line, mainScript, manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const commands = [
  ...["import", "export", "read", "streams", "log", "diff", "blame", "trace", "stats", "verify", "backup", "restore"],
  ...["writer", "cost", "compact", "retention", "truncate", "delete", "undelete", "archive", "forget", "rotate-keys"],
];

const copying = ["backup", "restore"];

describe("Help", () => {
  test("of the whole lists the commands, the exit codes and an example", async () => {
    const { exitCode, stdout, stderr } = await strata(["--help"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, "m"));
    expect(stdout).toContain("Exit codes:");
    expect(stdout).toContain("Examples:");
    expect((await strata(["help"])).stdout).toBe(stdout);
    expect((await strata(["-h"])).stdout).toBe(stdout);
  });

  test.each(commands)("of %s has usage, options, exit codes and an example, and needs no store", async (command) => {
    const { exitCode, stdout, stderr } = await strata([command, "--help"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain(`Usage: strata ${command}`);
    expect(stdout).toMatch(/^Options:\n[\s\S]*--endpoint URL[\s\S]*--region NAME[\s\S]*--create-bucket[\s\S]*--json/m);
    // A copy has two places, which are arguments.
    expect(stdout).toContain(copying.includes(command) ? "_URL " : "--url URL");
    expect(stdout).toMatch(/^Exit codes:\n {2}0 [\s\S]* {2}1 [\s\S]* {2}2 [\s\S]* {2}3 [\s\S]* {2}4 /m);
    expect(stdout).toMatch(/^Examples?:\n {2}\S/m);
    if (command !== "restore")
      expect(stdout).toMatch(/is\s+(not\s+disturbed|fenced)|does\s+not\s+begin\s+while\s+a\s+service\s+writes/);
    for (const text of stdout.split("\n")) expect(text.length).toBeLessThanOrEqual(96);
    expect((await strata(["help", command])).stdout).toBe(stdout);
  });
});

describe("The version", () => {
  test("is that of the package", async () => {
    expect(await strata(["--version"])).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
  });
});

/** The words, and what the sentence on standard error must hold. */
const mistakes: readonly (readonly [readonly string[], string])[] = [
  [[], "A command is missing"],
  [["imprt"], 'There is no command "imprt": did you mean import?'],
  [["exp"], "did you mean export?"],
  [["something"], 'There is no command "something": see strata --help'],
  [["--json"], "There is no option --json before a command"],
  [["read", "a", "--limt", "3"], "There is no option --limt: did you mean --limit?"],
  [["read", "a", "-x"], "There is no option -x"],
  [["read", "a", "--limit", "x", "--url", "memory:"], '--limit must be an integer from 1, not "x"'],
  [["read", "a", "--limit", "1.5", "--url", "memory:"], "--limit must be an integer from 1"],
  [["read", "a", "--limit", "0", "--url", "memory:"], "--limit must be an integer from 1"],
  [["read", "a", "--limit", "-1", "--url", "memory:"], '--limit must be an integer from 1, not "-1"'],
  [["read", "a", "--limit", "99999999999999999999", "--url", "memory:"], "--limit must be an integer from 1"],
  [["read", "a", "--limit"], "--limit needs a value: --limit N"],
  [["read", "a", "--limit", "--json"], "--limit needs a value"],
  [["read", "a", "--limit=", "--json"], "--limit needs a value"],
  [["read", "a", "--limit", "1", "--limit", "2"], "--limit is given twice"],
  [["read", "a", "--json=yes"], "--json takes no value"],
  [["read", "a", "--as-of", "soon", "--url", "memory:"], "--as-of must be a position or a time"],
  [["read"], "STREAM is missing"],
  [["read", ""], "STREAM must not be empty"],
  [["read", "a", "b"], 'There is an argument too many: "b"'],
  [["import"], "FILE is missing"],
  [["import", "-", "--batch", "10001", "--url", "memory:"], "--batch must be an integer from 1 to 10000"],
  [["import", "-", "--category", "a-b", "--url", "memory:"], '--category must not hold a "-": "a-b"'],
  [["stats"], "--url is missing, and STRATA_URL is not set"],
  [["stats", "--url", "http://x"], 'url must be "memory:", "file:DIR" or "s3://bucket/prefix"'],
  [["stats", "--url", "s3://x/y"], "url must name a bucket"],
];

describe("A mistake", () => {
  test.each(mistakes)("in %p is told in one sentence, with exit code 2", async (words, sentence) => {
    const { exitCode, stdout, stderr } = await strata(words);
    expect(stderr).toContain(sentence);
    expect(stderr).toMatch(/^strata: .* \((usage|invalid-argument)\)\n$/);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  });
});

describe("A failure", () => {
  test("of the storage has exit code 1, and no stack trace", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", line());
    const { exitCode, stderr } = await strata(["import", file, "--url", place.urlOf("x".repeat(300))]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^strata: The folder cannot be used: .* \(storage-unavailable\)\n$/m);
  });

  test("of an import whose store was taken over has exit code 1", async () => {
    await using place = await Workplace.make();
    const child = Bun.spawn([process.execPath, mainScript, "import", "-", "--url", place.url, "--batch", "100"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: environment(),
    });
    const lines = manyLines(1_000, 3).split(/(?<=\n)/);
    child.stdin.write(lines.slice(0, 500).join(""));
    await child.stdin.flush();
    const told = child.stderr[Symbol.asyncIterator]();
    await told.next();
    await using taken = await place.open();
    child.stdin.write(lines.slice(500).join(""));
    await child.stdin.end();
    expect(await child.exited).toBe(1);
    let rest = "";
    for (let next = await told.next(); next.done !== true; next = await told.next()) rest += Buffer.from(next.value);
    expect(rest).toMatch(/^strata: [^\n]+ \(writer-fenced\)\n$/m);
    expect(await new Response(child.stdout).text()).toMatch(/^Imported [1-5]00 events/);
    expect(await taken.lastPosition()).toBeLessThanOrEqual(500);
  });

  test("of a bucket that does not answer has exit code 1", async () => {
    const words = ["stats", "--url", "s3://bucket/store", "--endpoint", "http://127.0.0.1:9", "--region", "eu-1"];
    const { exitCode, stderr } = await strata(words, {
      environment: { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "secret" },
    });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^strata: No server listens there .*http:\/\/127\.0\.0\.1:9 \(storage-unavailable\)\n$/);
  });

  test("to find a store in a bucket has exit code 4, and makes none", async () => {
    const methods: string[] = [];
    const empty = `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>`;
    await using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        methods.push(request.method);
        return new Response(empty, { headers: { "content-type": "application/xml" } });
      },
    });
    const words = [
      "stats",
      "--url",
      "s3://bucket/store",
      "--endpoint",
      `http://127.0.0.1:${server.port}`,
      "--create-bucket",
    ];
    const { exitCode, stderr } = await strata(words, {
      environment: { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "secret" },
    });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 4,
      stderr: "strata: There is no store at s3://bucket/store (not-found)\n",
    });
    // Two look for a store, three whether one is left in pieces.
    expect(methods).toEqual(["GET", "GET", "GET", "GET", "GET"]);
  });

  test("of a store whose data is damaged has exit code 1", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("in.jsonl", line()));
    await rm(place.path("store/db/compacted"), { recursive: true, force: true });
    await rm(place.path("store/db/wal"), { recursive: true, force: true });
    const { exitCode, stderr } = await strata(["export", "--url", place.url]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^strata: [^\n]+ \([a-z-]+\)\n$/);
  });

  test("shows its stack trace where STRATA_DEBUG is 1", async () => {
    const { exitCode, stderr } = await strata(["read"], { environment: { STRATA_DEBUG: "1" } });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("STREAM is missing");
    expect(stderr).toMatch(/\bat .*arguments\.ts/);
  });
});

describe("Progress", () => {
  function recorder(isTTY: boolean): {
    readonly written: string[];
    readonly progress: Progress;
    pass(ms: number): void;
  } {
    const written: string[] = [];
    let nowMs = 0;
    const clock = { now: () => nowMs, monotonic: () => nowMs };
    const target = { isTTY, write: (text: string) => written.push(text) };
    return {
      written,
      progress: new Progress(clock, target),
      pass: (ms) => {
        nowMs += ms;
      },
    };
  }

  test("is one line on a terminal, drawn over and taken away", () => {
    const { written, progress, pass } = recorder(true);
    pass(2_000);
    progress.show({ events: 50_000, fraction: 0.25 });
    progress.show({ events: 50_001, fraction: 0.25 });
    progress.end();
    expect(written).toEqual([
      "\r\u001b[2K[######------------------] 25 %  50,000 events  25,000/s  6.0 s left",
      "\r\u001b[2K",
    ]);
  });

  test("is a plain line every few seconds elsewhere", () => {
    const { written, progress, pass } = recorder(false);
    for (let second = 1; second <= 7; second += 1) {
      pass(1_000);
      progress.show({ events: second * 1_000, fraction: undefined });
    }
    progress.end();
    expect(written).toEqual(["1,000 events, 1,000/s\n", "4,000 events, 1,000/s\n", "7,000 events, 1,000/s\n"]);
  });
});
