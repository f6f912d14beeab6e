/** A replica in a process of its own, beside a writer at a modest rate: how stale it is. */

import { fileURLToPath } from "node:url";
import { openEventStore } from "../../src/index.ts";
import { spawnBun } from "../harness/child-process.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { summarize } from "../harness/statistics.ts";
import { type ReplicaJob, replicaIsOpen, wallMs } from "./replica-lag-process.ts";

export interface ReplicaLagSettings {
  readonly pollIntervalsMs: readonly number[];
  readonly appendsPerSecond: number;
  readonly appends: number;
}

const processFile = fileURLToPath(new URL("./replica-lag-process.ts", import.meta.url));

/** Calls `onOpen` once the replica is open, and answers when it saw each event, by position - 1. */
async function seenByReplica(job: ReplicaJob, onOpen: () => void): Promise<Float64Array> {
  const child = spawnBun(processFile, [JSON.stringify(job)]);
  const seenMs = new Float64Array(job.events);
  const decoder = new TextDecoder();
  let text = "";
  let expected = 1;
  for await (const chunk of child.stdout) {
    const lines = (text + decoder.decode(chunk, { stream: true })).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (line === replicaIsOpen) {
        onOpen();
        continue;
      }
      const [position = 0, atMs = 0] = line.split(" ").map(Number);
      checkEqual(position, expected, "the next position that the replica saw");
      seenMs[position - 1] = atMs;
      expected += 1;
    }
  }
  checkEqual(await child.exited, 0, "exit code of the replica");
  checkEqual(expected - 1, job.events, "events that the replica saw");
  return seenMs;
}

async function measure(context: ScenarioContext<ReplicaLagSettings>, pollIntervalMs: number): Promise<Row> {
  const { appends, appendsPerSecond } = context.settings;
  const url = context.freshUrl(`poll-${pollIntervalMs}`);
  await using store = await openEventStore({ url });
  const opened = Promise.withResolvers<void>();
  const seeing = seenByReplica({ url, pollIntervalMs, events: appends }, opened.resolve);
  await Promise.race([opened.promise, seeing]);
  const acknowledgedMs = new Float64Array(appends);
  const beganMs = performance.now();
  for (let number = 0; number < appends; number += 1) {
    const { position } = await store.append(`order-${number}`, [sampleEvent(number)], { expectedVersion: "no-stream" });
    acknowledgedMs[position - 1] = wallMs();
    // Not in step with the polls: the pauses are of different lengths.
    const dueMs = beganMs + ((number + 1 + ((number * 0.618) % 1)) * 1_000) / appendsPerSecond;
    await Bun.sleep(Math.max(0, dueMs - performance.now()));
  }
  const seenMs = await seeing;
  const lags = Float64Array.from(seenMs, (at, index) => at - (acknowledgedMs[index] ?? 0));
  const parameters = { "poll ms": pollIntervalMs, rate: appendsPerSecond };
  return { parameters, n: appends, latencyMs: summarize(lags) };
}

async function run(context: ScenarioContext<ReplicaLagSettings>): Promise<readonly Row[]> {
  if (context.freshUrl("any") === "memory:") {
    return [{ parameters: { "poll ms": 0 }, n: 0, extra: { remark: "what is in memory has no replicas" } }];
  }
  const rows: Row[] = [];
  for (const pollIntervalMs of context.settings.pollIntervalsMs) {
    context.progress(`a replica that polls every ${pollIntervalMs} ms`);
    rows.push(await measure(context, pollIntervalMs));
  }
  return rows;
}

export const replicaLag: Scenario<ReplicaLagSettings> = {
  name: "replica-lag",
  question: "How long after an append was acknowledged does a replica in another process see the event?",
  sizes: {
    smoke: { pollIntervalsMs: [20], appendsPerSecond: 100, appends: 30 },
    quick: { pollIntervalsMs: [1_000], appendsPerSecond: 50, appends: 500 },
    full: { pollIntervalsMs: [100, 1_000], appendsPerSecond: 50, appends: 2_000 },
  },
  run,
};
