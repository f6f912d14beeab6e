/** The benches from command line to exit code: runs scenarios one after another, writes the report. */

import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startMinio } from "../../test/support/minio.ts";
import { readEnvironment } from "./environment.ts";
import { type EventSource, openEventSource } from "./event-source.ts";
import { urlKindOf } from "./locations.ts";
import { type BenchOptions, ownMinioUrl, parseOptions, usage } from "./options.ts";
import { type Report, type ScenarioReport, toJson, toTables } from "./report.ts";
import { runInOwnProcess, type ScenarioRunner } from "./run-scenario.ts";
import type { Scenario } from "./scenario.ts";
import { UsageError } from "./usage-error.ts";

export interface BenchRun {
  readonly argv: readonly string[];
  readonly scenarios: readonly Scenario[];
  readonly runner: ScenarioRunner;
  readonly writeOut: (text: string) => unknown;
  readonly writeError: (text: string) => unknown;
}

export const exitCodes = { fine: 0, failed: 1, usage: 2 } as const;

/** Runs the benches; answers with the exit code. */
export async function runBench(run: BenchRun): Promise<number> {
  let options: BenchOptions;
  let source: EventSource;
  try {
    options = parseOptions(run.argv, run.scenarios);
    source = openEventSource(options.data);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    run.writeError(`${error.message}\nTry --help.\n`);
    return exitCodes.usage;
  }
  if (options.help) {
    run.writeOut(usage(run.scenarios));
    return exitCodes.fine;
  }
  await using location = await openLocation(options.url);
  const scenarios = await runAll(run, options, location.url, source);
  const report: Report = {
    environment: readEnvironment(),
    size: options.size,
    urlKind: urlKindOf(location.url),
    source: { kind: source.kind, data: source.data },
    ownProcesses: run.runner === runInOwnProcess,
    scenarios,
  };
  await write(report, options, run);
  return scenarios.some(({ failure }) => failure !== undefined) ? exitCodes.failed : exitCodes.fine;
}

async function runAll(
  run: BenchRun,
  options: BenchOptions,
  url: string,
  source: EventSource,
): Promise<readonly ScenarioReport[]> {
  const runId = `${Date.now().toString(36)}-${process.pid}`;
  const reports: ScenarioReport[] = [];
  for (const scenario of options.scenarios) {
    run.writeError(`${scenario.name} (${options.size})\n`);
    const job = { scenario: scenario.name, size: options.size, url, runId, data: source.data };
    const report = await run.runner(scenario, job);
    if (report.failure !== undefined) run.writeError(`${scenario.name} FAILED: ${report.failure}\n`);
    reports.push(report);
  }
  return reports;
}

async function write(report: Report, options: BenchOptions, run: BenchRun): Promise<void> {
  const tables = `${toTables(report)}\n`;
  if (options.json === "-") {
    run.writeError(tables);
    run.writeOut(toJson(report));
    return;
  }
  run.writeOut(tables);
  if (options.json !== undefined) await writeFile(options.json, toJson(report));
}

/** The URL that was given, or a temporary folder, or a MinIO, that goes away. */
async function openLocation(url: string | undefined): Promise<AsyncDisposable & { readonly url: string }> {
  if (url === ownMinioUrl) return await openMinio();
  if (url !== undefined) return { url, [Symbol.asyncDispose]: async () => {} };
  const folder = await mkdtemp(join(tmpdir(), "strata-bench-"));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  // Interrupted, the process ends without disposing of anything.
  process.once("exit", remove);
  return {
    url: `file:${folder}`,
    [Symbol.asyncDispose]: async () => {
      process.removeListener("exit", remove);
      remove();
    },
  };
}

/** A bucket that this process and its children reach by the environment, as they would any other. */
async function openMinio(): Promise<AsyncDisposable & { readonly url: string }> {
  const minio = await startMinio();
  const { endpoint, region, accessKeyId, secretAccessKey } = minio.s3;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  });
  return { url: `s3://${await minio.createBucket()}`, [Symbol.asyncDispose]: () => minio[Symbol.asyncDispose]() };
}
