/** A process of `partitions`: writes its share of a partitioned store with appenders that wait for their answers, and counts. */

import { openPartitionedEventStore, type S3Options } from "../../src/index.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { DurationRecorder, type LatencySummary } from "../harness/statistics.ts";

export interface PartitionsJob {
  readonly url: string;
  /** How to reach a bucket; credentials only where they are those of a server of the bench's own. */
  readonly s3?: S3Options;
  readonly partitions: number;
  readonly write: readonly number[];
  readonly appenders: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
}

/** The one line of standard output at the end; `ready` is said before, and waited for. */
export interface PartitionsResult {
  readonly appends: number;
  readonly elapsedMs: number;
  readonly latencyMs: LatencySummary;
}

async function work(job: PartitionsJob): Promise<PartitionsResult> {
  const { url, s3 = {}, partitions, write, appenders, warmUpMs, durationMs } = job;
  // The name says the partition, so that each process appends where it writes.
  const partitionOf = (name: string): number => Number(name.split("-")[1]);
  await using store = await openPartitionedEventStore({ url, s3, partitions, write, partitionOf });
  process.stdout.write("ready\n");
  await process.stdin[Symbol.asyncIterator]().next();
  let appends = 0;
  const counted = new DurationRecorder();
  const startMs = performance.now();
  const fromMs = startMs + warmUpMs;
  const untilMs = fromMs + durationMs;
  await Promise.all(
    Array.from({ length: appenders }, async (_, appender) => {
      const partition = write[appender % write.length] ?? 0;
      for (let nowMs = startMs; nowMs < untilMs; nowMs = performance.now()) {
        appends += 1;
        const name = `order-${partition}-${process.pid}-${appends}`;
        await store.append(name, [sampleEvent(appends)], { expectedVersion: "no-stream" });
        const endMs = performance.now();
        if (endMs >= fromMs) counted.record(endMs - nowMs);
      }
    }),
  );
  return { appends: counted.count, elapsedMs: performance.now() - fromMs, latencyMs: counted.summary() };
}

if (import.meta.main) {
  const result = await work(JSON.parse(process.argv[2] ?? "null") as PartitionsJob);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}
