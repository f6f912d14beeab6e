/**
 * Opens the store that its argument describes and commits to it for as long as it lives: each commit one event to each of
 * three streams. Says on standard output which position is acknowledged. `writer.ts` is the parent's side.
 */

import { WriterFencedError } from "../../src/errors.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import type { WriterTask } from "./writer.ts";

const task: WriterTask = JSON.parse(process.argv[2] ?? "{}");
const kv = await openSlateKv({ location: task.location, s3: task.s3, clock: systemClock, tuning: task.tuning });
const store = await openEventStoreOn(kv, {});
let serial = 0;

async function commitForEver(worker: number): Promise<void> {
  while (serial < task.commitsMax) {
    serial += 1;
    const commit = `${process.pid}.${serial}`;
    const pair = serial % 7;
    const { position } = await store.commit({
      appends: ["left", "middle", "right"].map((side) => ({
        streamName: `${side}-${pair}`,
        events: [{ type: `At${side}`, data: { commit, pad: "x".repeat(serial % 300) }, tags: [`pair:${pair}`] }],
        expectedVersion: "any",
      })),
    });
    process.stdout.write(`${position}\n`);
    if (worker === 0 && task.pauseMs > 0) await Bun.sleep(task.pauseMs);
  }
}

process.stdout.write("0\n");
try {
  await Promise.all(Array.from({ length: task.workers }, (_, worker) => commitForEver(worker)));
} catch (error) {
  // Another one took over, as the test wants it.
  if (error instanceof WriterFencedError) process.exit(0);
  throw error;
}
// Open, and idle, until it is killed.
await new Promise(() => setInterval(() => {}, 60_000));
