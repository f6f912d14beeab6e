/** Workers in a closed loop: each starts its next operation when its last one is done. Warm-up first, then the runs. */

import { DurationRecorder, type LatencySummary, medianBy } from "./statistics.ts";

export interface LoopSettings {
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** The median run, by throughput, is the one reported. */
  readonly runs: number;
}

export interface LoopResult {
  readonly count: number;
  readonly perSecond: number;
  readonly latencyMs: LatencySummary;
}

/** `sequence` counts a worker's operations, through warm-up and all runs. */
export type LoopOperation = (worker: number, sequence: number) => Promise<void>;

/** One run; each worker does at least one operation. */
async function runOnce(sequences: Uint32Array, durationMs: number, operation: LoopOperation): Promise<LoopResult> {
  const recorder = new DurationRecorder();
  const startedMs = performance.now();
  const deadlineMs = startedMs + durationMs;
  const work = async (worker: number): Promise<void> => {
    for (let nowMs = performance.now(); ; ) {
      const sequence = sequences[worker] ?? 0;
      sequences[worker] = sequence + 1;
      await operation(worker, sequence);
      const doneMs = performance.now();
      recorder.record(doneMs - nowMs);
      nowMs = doneMs;
      if (nowMs >= deadlineMs) return;
    }
  };
  await Promise.all(Array.from(sequences.keys(), work));
  const elapsedMs = performance.now() - startedMs;
  return { count: recorder.count, perSecond: (recorder.count * 1_000) / elapsedMs, latencyMs: recorder.summary() };
}

export interface LoopReport extends LoopResult {
  /** How many operations there were in all, warm-up and other runs included. */
  readonly total: number;
}

export async function closedLoop(
  workers: number,
  settings: LoopSettings,
  operation: LoopOperation,
): Promise<LoopReport> {
  const sequences = new Uint32Array(workers);
  await runOnce(sequences, settings.warmUpMs, operation);
  const runs: LoopResult[] = [];
  for (let run = 0; run < settings.runs; run += 1) runs.push(await runOnce(sequences, settings.durationMs, operation));
  const total = sequences.reduce((sum, sequence) => sum + sequence, 0);
  return { ...medianBy(runs, (run) => run.perSecond), total };
}

/** Times an operation over and over, one at a time; the first `warmUps` do not count, but the very first is told. */
export async function timeRepeatedly(
  times: number,
  warmUps: number,
  operation: () => Promise<unknown>,
): Promise<{ readonly firstMs: number; readonly totalMs: number; readonly latencyMs: LatencySummary }> {
  const recorder = new DurationRecorder();
  let firstMs = 0;
  let totalMs = 0;
  for (let index = 0; index < times + warmUps; index += 1) {
    const startedMs = performance.now();
    await operation();
    const tookMs = performance.now() - startedMs;
    if (index === 0) firstMs = tookMs;
    if (index < warmUps) continue;
    totalMs += tookMs;
    recorder.record(tookMs);
  }
  return { firstMs, totalMs, latencyMs: recorder.summary() };
}
