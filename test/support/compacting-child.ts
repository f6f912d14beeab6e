/** Appends to the store at the given URL and compacts it for as long as it lives; says what was acknowledged, and each pass. */

import { openEventStore } from "../../src/index.ts";

const [url = "", round = ""] = process.argv.slice(2);
const store = await openEventStore({ url, compaction: { everyEvents: 50, share: 1 } });
let serial = 0;

async function appendForEver(worker: number): Promise<void> {
  for (;;) {
    const streamName = `w${worker}-${serial % 4}`;
    const ids = Array.from({ length: 1 + (serial % 3) }, () => `${round}.${++serial}`);
    const data = { worker, pad: "x".repeat(serial % 400) };
    const events = ids.map((id) => ({ id, type: "T", data, tags: [`w:${worker}`] }));
    const { position, streamVersion } = await store.append(streamName, events, { expectedVersion: "any" });
    process.stdout.write(`${JSON.stringify({ streamName, ids, position, streamVersion })}\n`);
  }
}

async function compactForEver(): Promise<void> {
  for (;;) {
    const { logPagesMerged, streamPagesMerged } = await store.compact();
    process.stdout.write(`${JSON.stringify({ merged: logPagesMerged + streamPagesMerged })}\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

process.stdout.write("open\n");
await Promise.all([compactForEver(), ...Array.from({ length: 3 }, (_, worker) => appendForEver(worker))]);
