/** The benches at smoke size: every scenario runs, checks itself and reports. Nothing here looks at a time. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runBench } from "../../bench/harness/bench.ts";
import type { Report } from "../../bench/harness/report.ts";
import { runHere } from "../../bench/harness/run-scenario.ts";
import { check, type Scenario } from "../../bench/harness/scenario.ts";
import { scenarios } from "../../bench/scenarios/all.ts";
import { minioAvailable } from "../support/minio.ts";

setDefaultTimeout(300_000);

const mainFile = join(import.meta.dir, "..", "..", "bench", "main.ts");
const ofBuckets: readonly Scenario[] = scenarios.filter(({ name }) => name.startsWith("bucket-"));
const folder = mkdtempSync(join(tmpdir(), "strata-bench-test-"));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

async function runAsCommand(...argv: readonly string[]): Promise<Ended> {
  return await runUnder({}, ...argv);
}

/** As a command, with its environment changed; `undefined` takes a variable away. */
async function runUnder(
  environment: Readonly<Record<string, string | undefined>>,
  ...argv: readonly string[]
): Promise<Ended> {
  const env = { ...process.env, ...environment };
  const child = Bun.spawn([process.execPath, mainFile, ...argv], { env, stdout: "pipe", stderr: "pipe" });
  const [out, error] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { exitCode: await child.exited, out, error };
}

async function runInTest(list: readonly Scenario[], ...argv: readonly string[]): Promise<Ended> {
  let out = "";
  let error = "";
  const exitCode = await runBench({
    argv,
    scenarios: list,
    runner: runHere,
    writeOut: (text) => {
      out += text;
    },
    writeError: (text) => {
      error += text;
    },
  });
  return { exitCode, out, error };
}

function expectRowsOfAll(report: Report, list: readonly Scenario[] = scenarios): void {
  expect(report.scenarios.map(({ scenario }) => scenario)).toEqual(list.map(({ name }) => name));
  for (const { scenario, rows, failure, rssMaxMb } of report.scenarios) {
    expect([scenario, failure]).toEqual([scenario, undefined]);
    expect(rows.length).toBeGreaterThan(0);
    expect(rssMaxMb).toBeGreaterThan(0);
    for (const { n, latencyMs } of rows) {
      expect(n).toBeGreaterThanOrEqual(0);
      if (latencyMs === undefined) continue;
      const { p50, p95, p99, max } = latencyMs;
      expect([p50, p95, p99, max]).toEqual([p50, p95, p99, max].toSorted((left, right) => left - right));
    }
  }
}

const passing: Scenario = {
  name: "passing",
  question: "Does a scenario that works leave its rows?",
  sizes: { smoke: { events: 3 }, quick: {}, full: {} },
  run: async () => [{ parameters: { kind: "works" }, n: 3, perSecond: 12_345 }],
};

const failing: Scenario = {
  name: "failing",
  question: "Does a scenario whose check fails fail the bench?",
  sizes: { smoke: {}, quick: {}, full: {} },
  run: async () => {
    check(false, "two events are missing");
    return [];
  },
};

// What the helpers of a PostgreSQL server call; that finds its own programs by their folder.
for (const tool of ["sh", "sleep", "rm"]) symlinkSync(Bun.which(tool) ?? `/bin/${tool}`, join(folder, tool));

/** Where no MinIO is found. */
const withoutMinio = { STRATA_MINIO: undefined, CI: undefined, PATH: folder } as const;

describe("the benches at smoke size", () => {
  test("run every scenario on a folder, each in a process of its own, and report as JSON", async () => {
    const words = ["--size", "smoke", "--url", `file:${folder}/given`, "--json", "-"];
    const { exitCode, out, error } = await runUnder(withoutMinio, ...words);
    expect(exitCode, error).toBe(0);
    const report = JSON.parse(out) as Report;
    expectRowsOfAll(report);
    expect(report).toMatchObject({ size: "smoke", urlKind: "folder", ownProcesses: true });
    expect(report.environment).toMatchObject({
      bun: Bun.version,
      cpuCount: expect.any(Number),
      cpu: expect.any(String),
    });
    expect(Number.isNaN(Date.parse(report.environment.date))).toBe(false);
    // The tables go to where they do not disturb the JSON; the stores that were asked for stay.
    for (const { name, question } of scenarios) expect(error).toContain(`${name}: ${question}`);
    expect(readdirSync(join(folder, "given")).some((name) => /^run-.+-append-1$/.test(name))).toBe(true);
    const skipped = report.scenarios.filter(({ rows }) => rows[0]?.extra?.remark === "skipped: no MinIO");
    expect(skipped.map(({ scenario }) => scenario)).toEqual(ofBuckets.map(({ name }) => name));
  });

  const onMinio = scenarios.filter((scenario) => ofBuckets.includes(scenario) || scenario.name === "replica-lag");
  const middle = Math.ceil(onMinio.length / 2);
  const halves = { first: onMinio.slice(0, middle), second: onMinio.slice(middle) } as const;

  test.skipIf(!minioAvailable).each(["first", "second"] as const)(
    "run those of buckets, and one more, on a MinIO that is started for them: the %s half",
    async (half) => {
      const names = halves[half].map(({ name }) => name);
      const { exitCode, out, error } = await runAsCommand(
        ...["--size", "smoke", "--url", "minio:", "--json", "-", ...names],
      );
      expect(exitCode, error).toBe(0);
      const report = JSON.parse(out) as Report;
      expectRowsOfAll(report, halves[half]);
      expect(report.urlKind).toBe("s3");
      for (const { rows } of report.scenarios) expect(rows[0]?.extra?.remark).toBeUndefined();
    },
  );

  test("run every scenario in memory, with made-up events, and write the JSON to a file", async () => {
    const file = join(folder, "report.json");
    const words = ["--size", "smoke", "--url", "memory:", "--data", "generated", "--json", file];
    const { exitCode, out, error } = await runAsCommand(...words);
    expect(exitCode, error).toBe(0);
    const report = JSON.parse(readFileSync(file, "utf8")) as Report;
    expectRowsOfAll(report);
    expect(report).toMatchObject({ urlKind: "memory", source: { kind: "generated" } });
    for (const { name, question } of scenarios) expect(out).toContain(`${name}: ${question}`);
  }, 180_000);

  test("run only the scenarios that are named, and remove the temporary folder", async () => {
    let url = "";
    const looking: Scenario = {
      ...passing,
      name: "looking",
      run: async (context) => {
        url = context.freshUrl("part");
        return await passing.run(context);
      },
    };
    const { exitCode, out } = await runInTest([passing, looking, failing], "looking", "--size", "smoke");
    expect(exitCode).toBe(0);
    expect(out).toContain("12,345");
    expect(out).not.toContain("passing:");
    expect(url).toMatch(/^file:.+\/strata-bench-[^/]+\/run-[^/]+-looking-part$/);
    expect(() => readdirSync(url.slice("file:".length, url.lastIndexOf("/")))).toThrow();
  });
});

describe("the benches say by their exit code", () => {
  test("1 that a scenario failed its own check, and still run and report the others", async () => {
    const list = [failing, passing];
    const { exitCode, out, error } = await runInTest(list, "--size", "smoke", "--url", "memory:", "--json", "-");
    expect(exitCode).toBe(1);
    expect(error).toContain("two events are missing");
    const report = JSON.parse(out) as Report;
    expect(report.scenarios).toMatchObject([
      { scenario: "failing", rows: [], failure: expect.stringContaining("two events are missing") },
      { scenario: "passing", rows: [{ n: 3 }], settings: { events: 3 } },
    ]);
  });

  test.each([
    [["no-such-scenario"], "no-such-scenario"],
    [["--no-such-option"], "--no-such-option"],
    [["--size", "huge"], "--size"],
    [["--size"], "--size"],
    [["--url", "ftp://example"], "--url"],
    [["--data", "/no/such/file.jsonl"], "/no/such/file.jsonl"],
  ])("2 that the command line is wrong: %p", async (argv, named) => {
    const { exitCode, out, error } = await runInTest([passing], ...argv);
    expect(exitCode).toBe(2);
    expect(out).toBe("");
    expect(error).toContain(named);
  });

  test("2 that there is no MinIO to start", async () => {
    const { exitCode, error } = await runUnder(withoutMinio, "append", "--size", "smoke", "--url", "minio:");
    expect(exitCode).toBe(2);
    expect(error).toContain("STRATA_MINIO");
  });

  test("0 that --help was all that was wanted", async () => {
    const { exitCode, out } = await runInTest(scenarios, "--help");
    expect(exitCode).toBe(0);
    for (const { name, question } of scenarios) expect(out).toMatch(new RegExp(`${name} +${RegExp.escape(question)}`));
  });
});
