/** Appends to the store at the given URL for as long as it lives, and says on standard output what was acknowledged. */

import { openEventStore } from "../../src/index.ts";

const [url = "", round = ""] = process.argv.slice(2);
const store = await openEventStore({ url });
let serial = 0;

async function appendForEver(worker: number): Promise<void> {
  for (;;) {
    const streamName = `w${worker}-${serial % 5}`;
    const ids = Array.from({ length: 1 + (serial % 3) }, () => `${round}.${++serial}`);
    const events = ids.map((id) => ({
      id,
      type: "T",
      data: { worker, pad: "x".repeat(serial % 400) },
      tags: [`w:${worker}`],
    }));
    const { position, streamVersion } = await store.append(streamName, events, { expectedVersion: "any" });
    process.stdout.write(`${JSON.stringify({ streamName, ids, position, streamVersion })}\n`);
  }
}

process.stdout.write("open\n");
await Promise.all(Array.from({ length: 6 }, (_, worker) => appendForEver(worker)));
