/** A real process is killed at random moments, again and again, on one folder: nothing acknowledged is lost. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";

setDefaultTimeout(60_000);

const rounds = 20;
const child = join(import.meta.dir, "../support/crash-child.ts");

interface Acknowledged {
  readonly streamName: string;
  readonly ids: readonly string[];
  readonly position: number;
  readonly streamVersion: number;
}

/** Runs the child until it has acknowledged some appends, kills it, and answers all that it had said. */
async function runAndKill(url: string, round: number, appends: number): Promise<Acknowledged[]> {
  const running = Bun.spawn([process.execPath, child, url, String(round)], { stdout: "pipe", stderr: "inherit" });
  const said: Acknowledged[] = [];
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "open") said.push(JSON.parse(line));
    if (said.length >= appends && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return said;
}

test(`After ${rounds} kills nothing acknowledged is lost and the positions have no hole`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  const acknowledged: Acknowledged[] = [];
  try {
    for (let round = 1; round <= rounds; round += 1) {
      acknowledged.push(...(await runAndKill(url, round, Math.ceil(random() * 400))));
      // Every other time the next child meets what the killed one has left.
      if (round % 2 === 1 && round < rounds) continue;
      await using store = await openEventStore({ url });
      const log = await collect(store.readAll());
      expect(log.map((event) => event.position)).toEqual(log.map((_, index) => index + 1));
      expect(await store.verify()).toMatchObject({ breaks: [], events: log.length });
      const byPosition = new Map(log.map((event) => [event.position, event]));
      for (const { streamName, ids, position, streamVersion } of acknowledged) {
        const own = ids.map((_, index) => byPosition.get(position - ids.length + 1 + index));
        expect(own.map((event) => event?.id)).toEqual([...ids]);
        expect(own.at(-1)).toMatchObject({ streamName, version: streamVersion });
      }
      expect(new Set(log.map((event) => event.id)).size).toBe(log.length);
      const tagged = await collect(store.readAll({ filter: { tags: ["w:3"] } }));
      expect(tagged.map((event) => event.position)).toEqual(
        log.filter((e) => e.tags.includes("w:3")).map((e) => e.position),
      );
      for await (const info of store.listStreams()) {
        const stream = await collect(store.readStream(info.streamName));
        expect(stream).toEqual(log.filter((event) => event.streamName === info.streamName));
      }
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  expect(acknowledged.length).toBeGreaterThan(rounds);
}, 180_000);
