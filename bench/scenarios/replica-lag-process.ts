/** The process of `replica-lag`: a replica that says on standard output when it sees each event. */

import { openEventStoreReader } from "../../src/index.ts";

export interface ReplicaJob {
  readonly url: string;
  readonly pollIntervalMs: number;
  /** It ends when it has seen so many. */
  readonly events: number;
}

/** The wall clock, finer than a millisecond: what two processes of one machine have in common. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

export const replicaIsOpen = "open";

async function follow({ url, pollIntervalMs, events }: ReplicaJob): Promise<void> {
  await using reader = await openEventStoreReader({ url, pollIntervalMs });
  const subscription = reader.subscribe({ from: "start" });
  process.stdout.write(`${replicaIsOpen}\n`);
  for await (const { position } of subscription) {
    process.stdout.write(`${position} ${wallMs()}\n`);
    if (position === events) return;
  }
}

if (import.meta.main) {
  await follow(JSON.parse(process.argv[2] ?? "null") as ReplicaJob);
  process.exit(0);
}
