/** What the scenario `peers` has a peer do, here or in a process of its own; it knows no peer. */

import { closedLoop, type LoopReport, type LoopSettings } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual } from "../harness/scenario.ts";
import type { Target } from "../harness/target.ts";

export interface PeerTarget extends Pick<Target, "appendNew" | "appendAt" | "readStream">, AsyncDisposable {
  /** How many events there are in all. */
  count(): Promise<number>;
}

export type PeerWork = "append" | "read 20, append 1";

const streamEvents = 20;
const streamsAWorker = 10;

/** Runs the work with so many at once on a store that is empty, and checks by a count that all of it is there. */
export async function measurePeer(
  target: PeerTarget,
  work: PeerWork,
  atOnce: number,
  settings: LoopSettings,
): Promise<LoopReport> {
  return await (work === "append" ? append(target, atOnce, settings) : loop(target, atOnce, settings));
}

async function append(target: PeerTarget, atOnce: number, settings: LoopSettings): Promise<LoopReport> {
  const report = await closedLoop(atOnce, settings, (worker, sequence) =>
    target.appendNew(`order-${worker}-${sequence}`, sampleEvent(sequence)),
  );
  checkEqual(await target.count(), report.total, `events after ${atOnce} appenders`);
  return report;
}

/** Reads a stream of some 20 events and appends one at the version read; no two workers share a stream. */
async function loop(target: PeerTarget, atOnce: number, settings: LoopSettings): Promise<LoopReport> {
  const names = Array.from({ length: atOnce * streamsAWorker }, (_, number) => `order-${number}`);
  for (const [number, name] of names.entries()) {
    await target.appendNew(name, sampleEvent(number));
    for (let version = 1; version < streamEvents; version += 1)
      await target.appendAt(name, sampleEvent(number), version);
  }
  const report = await closedLoop(atOnce, settings, async (worker, sequence) => {
    const name = names[worker * streamsAWorker + (sequence % streamsAWorker)] ?? "";
    await target.appendAt(name, sampleEvent(sequence), await target.readStream(name));
  });
  checkEqual(await target.count(), names.length * streamEvents + report.total, `events after ${atOnce} workers`);
  return report;
}
