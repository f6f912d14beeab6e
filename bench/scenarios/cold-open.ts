/** Opening an imported store in a new process: after a clean close, and after a kill in the middle of the import. */

import { fileURLToPath } from "node:url";
import { spawnBun } from "../harness/child-process.ts";
import { runJob } from "../harness/job-process.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { medianBy } from "../harness/statistics.ts";
import { importProgress, type OpenReport, type StoreJob } from "./cold-open-process.ts";

export interface ColdOpenSettings {
  readonly events: number;
  readonly runs: number;
}

const processFile = fileURLToPath(new URL("./cold-open-process.ts", import.meta.url));

/**
 * Imports in a process of its own, and kills it there once `killAfter` events were acknowledged; without it, the import
 * ends and the store is closed. Answers how many events were acknowledged. `command`: as the process knows it.
 */
export async function importInProcess(
  job: StoreJob,
  killAfter: number | undefined,
  command: "import" | "commit-singly" = "import",
): Promise<number> {
  const child = spawnBun(processFile, [command, JSON.stringify(job)]);
  let acknowledged = 0;
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    const lines = (text + decoder.decode(chunk, { stream: true })).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines)
      if (line.startsWith(importProgress)) acknowledged = Number(line.slice(importProgress.length));
    if (killAfter !== undefined && acknowledged >= killAfter) child.kill("SIGKILL");
  }
  const exitCode = await child.exited;
  if (killAfter === undefined) checkEqual(exitCode, 0, "exit code of the import");
  else check(child.signalCode === "SIGKILL", "the import ended before it could be killed");
  return acknowledged;
}

export function openInProcess(job: StoreJob): Promise<OpenReport> {
  return runJob<OpenReport>(processFile, job, "open");
}

function rowOf(after: string, reports: readonly OpenReport[]): Row {
  const middle = medianBy(reports, ({ openMs }) => openMs);
  return {
    parameters: { after },
    n: reports.length,
    rssMaxMb: Math.max(...reports.map(({ rssMaxMb }) => rssMaxMb)),
    extra: {
      events: middle.events,
      "open ms": middle.openMs,
      "slowest ms": Math.max(...reports.map(({ openMs }) => openMs)),
      "first read ms": middle.firstReadMs,
      "close ms": middle.closeMs,
    },
  };
}

async function afterClose(context: ScenarioContext<ColdOpenSettings>, job: StoreJob): Promise<Row> {
  const imported = await importInProcess(job, undefined);
  const reports: OpenReport[] = [];
  for (let index = 0; index < context.settings.runs; index += 1) {
    context.progress(`opening after a close, ${index + 1}`);
    const report = await openInProcess(job);
    checkEqual(report.events, imported, "events after a close");
    reports.push(report);
  }
  return rowOf("close", reports);
}

async function afterKill(context: ScenarioContext<ColdOpenSettings>, jobs: readonly StoreJob[]): Promise<Row> {
  const reports: OpenReport[] = [];
  for (const [index, job] of jobs.entries()) {
    context.progress(`opening after a kill, ${index + 1}`);
    const acknowledged = await importInProcess(job, Math.floor(context.settings.events / 2));
    const report = await openInProcess(job);
    check(report.events >= acknowledged, `${acknowledged} events were acknowledged, ${report.events} are there`);
    check(report.events <= context.settings.events, "there are events that nobody wrote");
    reports.push(report);
  }
  return rowOf("kill", reports);
}

async function run(context: ScenarioContext<ColdOpenSettings>): Promise<readonly Row[]> {
  const { settings, source } = context;
  const jobFor = (part: string): StoreJob => ({
    url: context.freshUrl(part),
    events: settings.events,
    data: source.data,
  });
  const job = jobFor("close");
  if (job.url === "memory:") {
    return [{ parameters: { after: "close" }, n: 0, extra: { remark: "what is in memory cannot be opened again" } }];
  }
  const closed = await afterClose(context, job);
  const jobs = Array.from({ length: settings.runs }, (_, index) => jobFor(`kill-${index + 1}`));
  return [closed, await afterKill(context, jobs)];
}

export const coldOpen: Scenario<ColdOpenSettings> = {
  name: "cold-open",
  question:
    "How long does a new process take to open an imported store, closed cleanly or killed, and to read from it?",
  sizes: {
    smoke: { events: 6_000, runs: 1 },
    quick: { events: 50_000, runs: 3 },
    full: { events: 262_200, runs: 3 },
  },
  run,
};
