/** A real process is killed while it drops and archives events, again and again, on one folder: what it said holds, and no more is gone. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type EventStore, isLogGap, openEventStore } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import { seededRandom } from "../support/random.ts";

setDefaultTimeout(60_000);

const rounds = 6;
const child = join(import.meta.dir, "../support/retaining-child.ts");

/** What was acknowledged, over all rounds. */
class Promises {
  readonly versions: Map<string, number> = new Map();
  readonly truncatedBefore: Map<string, number> = new Map();
  readonly deleted: Set<string> = new Set();
  dropped = 0;

  take(line: string): void {
    const said = JSON.parse(line);
    if ("version" in said) this.versions.set(said.streamName, said.version);
    else if ("truncatedBefore" in said) this.truncatedBefore.set(said.streamName, said.truncatedBefore);
    else if ("deleted" in said) this.deleted.add(said.deleted);
    else this.dropped += said.dropped;
  }
}

/** Runs the child until it has said so many lines and dropped something, and kills it. */
async function runAndKill(url: string, round: number, linesMin: number, promises: Promises): Promise<void> {
  const running = Bun.spawn([process.execPath, child, url, String(round)], { stdout: "pipe", stderr: "inherit" });
  const droppedBefore = promises.dropped;
  let said = 0;
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "open") promises.take(line);
    said += lines.length;
    if (said >= linesMin && promises.dropped > droppedBefore && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
}

async function compare(store: EventStore, promises: Promises): Promise<void> {
  for (const [streamName, version] of promises.versions) {
    const info = await store.streamInfo(streamName);
    expect(info?.version).toBeGreaterThanOrEqual(version);
    expect(info?.truncatedBefore).toBeGreaterThanOrEqual(promises.truncatedBefore.get(streamName) ?? 1);
    // All that is not truncated is there, in the archive or out of it; a rule keeps the newest seven.
    const versions = (await collect(store.readStream(streamName))).map((event) => event.version);
    const from = info?.truncatedBefore ?? 1;
    expect(versions).toEqual(Array.from({ length: (info?.version ?? 0) - from + 1 }, (_, index) => from + index));
    if (streamName.startsWith("short-")) expect(versions.length).toBe(Math.min(7, info?.version ?? 0));
  }
  for (const streamName of promises.deleted) {
    const append = store.append(streamName, [{ type: "T", data: 1 }], { expectedVersion: "no-stream" });
    expect((await errorOf(append)).code).toBe("stream-deleted");
  }
  let next = 1;
  for await (const item of store.readAll({ gaps: "report" })) {
    expect(isLogGap(item) ? item.fromPosition : item.position).toBe(next);
    next = (isLogGap(item) ? item.toPosition : item.position) + 1;
  }
  expect(next - 1).toBe(await store.lastPosition());
  expect((await store.verify()).breaks).toEqual([]);
}

test(`After ${rounds} kills in the middle of dropping all that was said holds, and nothing else is gone`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  const promises = new Promises();
  try {
    for (let round = 1; round <= rounds; round += 1) {
      await runAndKill(url, round, 20 + Math.ceil(random() * 150), promises);
      // Every other time it is looked at; else the next child meets what the killed one has left.
      if (round % 2 !== 0) continue;
      await using store = await openEventStore({ url, compaction: false });
      await compare(store, promises);
      await store.compact();
      await compare(store, promises);
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  expect(promises.dropped).toBeGreaterThan(rounds);
  expect(promises.deleted.size).toBeGreaterThanOrEqual(rounds);
}, 240_000);
