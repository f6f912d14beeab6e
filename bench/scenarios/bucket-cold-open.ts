/**
 * Opening a big store in a bucket in a new process, near and far: closed cleanly, and killed with as many small commit groups not
 * yet in tables as there can be before a flush of the memtable is due.
 */

import { type Bucket, latenciesTo, onBucket, openRoute, type Route } from "../harness/bucket.ts";
import { generatedData } from "../harness/event-source.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { medianBy } from "../harness/statistics.ts";
import { importInProcess, openInProcess } from "./cold-open.ts";
import type { OpenReport, StoreJob } from "./cold-open-process.ts";

export interface BucketColdOpenSettings {
  readonly events: number;
  /** Commit groups of one event before the kill. A flush of the memtable is due at 128. */
  readonly groupsBeforeKill: number;
  readonly latenciesMs: readonly number[];
  readonly runs: number;
}

/** The store of a run: how many events it must have grows with each kill. */
interface Subject {
  readonly bucket: Bucket;
  readonly job: StoreJob;
  events: number;
}

async function openOnce(subject: Subject, route: Route): Promise<OpenReport> {
  const report = await openInProcess({ ...subject.job, s3: route.s3 });
  checkEqual(report.events, subject.events, "events of the store");
  return report;
}

async function measure(
  { settings, progress }: ScenarioContext<BucketColdOpenSettings>,
  subject: Subject,
  route: Route,
  after: "close" | "kill",
): Promise<Row> {
  const reports: OpenReport[] = [];
  for (let run = 1; run <= settings.runs; run += 1) {
    progress(`${route.name}: opening after a ${after}, ${run}`);
    if (after === "kill") {
      const groups = settings.groupsBeforeKill;
      await importInProcess({ ...subject.job, events: groups, s3: subject.bucket.s3 }, groups, "commit-singly");
      subject.events += groups;
    }
    reports.push(await openOnce(subject, route));
  }
  const middle = medianBy(reports, ({ openMs }) => openMs);
  return {
    parameters: { after, latency: route.name },
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

function run(context: ScenarioContext<BucketColdOpenSettings>): Promise<readonly Row[]> {
  const { settings } = context;
  return onBucket(context, async (bucket) => {
    const job = { url: bucket.freshUrl("opened"), events: settings.events, data: generatedData };
    context.progress(`importing ${settings.events} events`);
    const events = await importInProcess({ ...job, s3: bucket.s3 }, undefined);
    const subject: Subject = { bucket, job, events };
    const rows: Row[] = [];
    for (const after of ["close", "kill"] as const) {
      for (const latencyMs of latenciesTo(bucket, settings.latenciesMs)) {
        await using route = await openRoute(bucket, latencyMs);
        rows.push(await measure(context, subject, route, after));
      }
    }
    return rows;
  });
}

export const bucketColdOpen: Scenario<BucketColdOpenSettings> = {
  name: "bucket-cold-open",
  question: "How long does a new process take to open a big store in a bucket, near and far, closed cleanly or killed?",
  sizes: {
    smoke: { events: 2_000, groupsBeforeKill: 5, latenciesMs: [2], runs: 1 },
    quick: { events: 100_000, groupsBeforeKill: 120, latenciesMs: [0, 30], runs: 1 },
    full: { events: 1_000_000, groupsBeforeKill: 120, latenciesMs: [0, 30], runs: 3 },
  },
  run,
};
