/** Appends, truncates, archives and deletes streams at the given URL, and drops what is to go, for as long as it lives; says what was acknowledged. */

import { openEventStore } from "../../src/index.ts";

const [url = "", round = ""] = process.argv.slice(2);
const store = await openEventStore({ url, deletionGraceMs: 0, compaction: false });
await store.setRetention("short", { maxCount: 7 });

function say(what: object): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

async function appendForEver(worker: number): Promise<void> {
  for (let serial = 1; ; serial += 1) {
    const streamName = `${serial % 2 === 0 ? "short" : "long"}-${worker}`;
    const events = Array.from({ length: 1 + (serial % 5) }, () => ({
      type: "T",
      data: "x".repeat((serial * 37) % 500),
    }));
    const { streamVersion } = await store.append(streamName, events, { expectedVersion: "any" });
    say({ streamName, version: streamVersion });
  }
}

async function changeForEver(): Promise<void> {
  for (let serial = 1; ; serial += 1) {
    const doomed = `doomed-${round}.${serial}`;
    await store.append(doomed, [{ type: "T", data: serial }], { expectedVersion: "no-stream" });
    await store.deleteStream(doomed, { expectedVersion: 1 });
    say({ deleted: doomed });
    for (const streamName of ["long-0", "long-1"]) {
      const { version = 0, truncatedBefore = 1 } = (await store.streamInfo(streamName)) ?? {};
      if (version < truncatedBefore + 20) continue;
      const beforeVersion = truncatedBefore + 5;
      await store.truncateStream(streamName, { beforeVersion });
      say({ streamName, truncatedBefore: beforeVersion });
      await store.archiveStream(streamName, { beforeVersion: beforeVersion + 5 });
    }
    const { eventsDropped } = await store.compact();
    say({ dropped: eventsDropped });
  }
}

process.stdout.write("open\n");
await Promise.all([changeForEver(), appendForEver(0), appendForEver(1)]);
