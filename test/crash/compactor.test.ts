/** A real process is killed while it compacts, again and again, on one folder: the log stays what it was, event for event. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore, type RecordedEvent } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";

setDefaultTimeout(60_000);

const rounds = 20;
const child = join(import.meta.dir, "../support/compacting-child.ts");

interface Acknowledged {
  readonly streamName: string;
  readonly ids: readonly string[];
  readonly position: number;
  readonly streamVersion: number;
}

interface Said {
  readonly acknowledged: Acknowledged[];
  readonly merged: number;
}

/** Runs the child until it has acknowledged some appends and merged some pages, kills it, and answers what it had said. */
async function runAndKill(url: string, round: number, appends: number): Promise<Said> {
  const running = Bun.spawn([process.execPath, child, url, String(round)], { stdout: "pipe", stderr: "inherit" });
  const acknowledged: Acknowledged[] = [];
  let merged = 0;
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "open") continue;
      const said = JSON.parse(line);
      if ("merged" in said) merged += said.merged;
      else acknowledged.push(said);
    }
    if (acknowledged.length >= appends && merged > 0 && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return { acknowledged, merged };
}

function byStream(log: readonly RecordedEvent[], streamName: string): readonly RecordedEvent[] {
  return log.filter((event) => event.streamName === streamName);
}

test(`After ${rounds} kills in the middle of compaction everything acknowledged is there once, in every way of reading`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  const acknowledged: Acknowledged[] = [];
  let merged = 0;
  try {
    for (let round = 1; round <= rounds; round += 1) {
      const said = await runAndKill(url, round, 20 + Math.ceil(random() * 200));
      acknowledged.push(...said.acknowledged);
      merged += said.merged;
      // Every fourth time it is looked at; else the next child meets what the killed one has left.
      if (round % 4 !== 0) continue;
      await using store = await openEventStore({ url, compaction: false });
      const log = await collect(store.readAll());
      expect(log.map(({ position }) => position)).toEqual(log.map((_, index) => index + 1));
      expect(new Set(log.map(({ id }) => id)).size).toBe(log.length);
      for (const { streamName, ids, position, streamVersion } of acknowledged) {
        const own = log.slice(position - ids.length, position);
        expect(own.map(({ id }) => id)).toEqual([...ids]);
        expect(own.at(-1)).toMatchObject({ streamName, version: streamVersion });
      }
      for await (const { streamName } of store.listStreams())
        expect(await collect(store.readStream(streamName))).toEqual([...byStream(log, streamName)]);
      const head = store.chainHead()?.text ?? "";
      await store.compact();
      expect(await store.verify({ against: head })).toMatchObject({ breaks: [], events: log.length });
      expect(await collect(store.readAll())).toEqual(log);
      const tagged = await collect(store.readAll({ filter: { tags: ["w:1"] } }));
      expect(tagged).toEqual(log.filter(({ tags }) => tags.includes("w:1")));
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  expect(acknowledged.length).toBeGreaterThan(rounds * 20);
  expect(merged).toBeGreaterThan(rounds * 20);
}, 240_000);
