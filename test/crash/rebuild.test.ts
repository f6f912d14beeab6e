/**
 * A process is killed again and again while it builds read models anew, under load: the old documents serve until then, whole;
 * what was built goes on where it was; and once it has switched over, the documents are a fold over the log.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore, openEventStoreReader } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";
import { numbers, numbersOf } from "../support/numbers.ts";

setDefaultTimeout(60_000);

const rounds = 20;
const firstEvents = 8_000;
const child = join(import.meta.dir, "../support/rebuilding-child.ts");
const modes = { behind: "async", inline: "inline" } as const;
const names = ["behind", "inline"] as const;

/** How far a rebuild was when the child was killed; 0 before it began to say so, `"serves"` where it had switched over. */
type Progress = Record<(typeof names)[number], number | "serves">;

/** Runs the child until one of its rebuilds has come so much further, or all have switched over, and kills it. */
async function runAndKill(url: string, version: number, further: number, before: Progress): Promise<Progress> {
  const running = Bun.spawn([process.execPath, child, url, String(version)], { stdout: "pipe", stderr: "inherit" });
  const reached: Progress = { behind: 0, inline: 0 };
  const first = new Map<string, number>();
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [name = "", where = ""] = line.split(" ");
      const known = names.find((one) => one === name);
      if (known === undefined) continue;
      const position = where === "serves" ? where : Number(where);
      reached[known] = position;
      // A worker says 0 until it has read where it was.
      if (position === "serves" || position === 0) continue;
      if (!first.has(name)) {
        first.set(name, position);
        // What one process has built, the next one has.
        expect(position).toBeGreaterThanOrEqual(Number(before[known]) || 0);
      }
      if (position >= (first.get(name) ?? 0) + further && !running.killed) running.kill("SIGKILL");
    }
    if (names.every((name) => reached[name] === "serves") && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return reached;
}

/** What serves beside nobody: the documents as the killed process has left them, each made whole by one version. */
async function checkServing(url: string, version: number): Promise<void> {
  const projections = names.map((name) => numbers(name, modes[name], version));
  await using replica = await openEventStoreReader({ url, projections, pollIntervalMs: 20 });
  for (const projection of projections) {
    const documents = new Map(await collect(replica.documents(projection).list({ prefix: "group-" })));
    const events = [...documents.values()].reduce((sum, group) => sum + group.events, 0);
    expect(documents.size).toBe(10);
    expect(events).toBeGreaterThanOrEqual(firstEvents);
    const log = await collect(replica.readAll({ limit: events }));
    const made = [version - 1, version].map((one) => numbersOf(log, one));
    const expected = made.map((all) => new Map([...all].filter(([key]) => key.startsWith("group-"))));
    expect(expected.some((groups) => Bun.deepEquals(groups, documents))).toBe(true);
  }
}

async function checkSwitched(url: string, version: number): Promise<void> {
  const projections = names.map((name) => numbers(name, modes[name], version));
  await using store = await openEventStore({ url, projections, onError: () => {} });
  const last = await store.lastPosition();
  for (const name of names) await store.waitFor(name, last, { timeoutMs: 60_000 });
  expect(
    store
      .processors()
      .filter(({ kind }) => kind !== "compactor")
      .map(({ rebuild, state }) => [rebuild, state]),
  ).toEqual([
    [undefined, "running"],
    [undefined, "running"],
  ]);
  const log = await collect(store.readAll());
  const expected = numbersOf(log, version);
  for (const projection of projections) {
    const documents = store.documents(projection);
    expect(new Map(await collect(documents.list()))).toEqual(new Map(expected));
    const group = expected.get("group-3");
    expect((await collect(documents.find("byEvents", `n${group?.events}`))).map(([key]) => key)).toContain("group-3");
  }
}

test(`After ${rounds} kills in the middle of rebuilds each goes on, switches over, and is a fold over the log`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  const kills = { inTheMiddle: 0, resumed: 0, versions: 0 };
  try {
    {
      await using store = await openEventStore({
        url,
        projections: names.map((name) => numbers(name, modes[name], 1)),
      });
      for (let n = 0; n < firstEvents; n += 2_000) {
        const events = Array.from({ length: 2_000 }, (_, index) => ({ type: "Counted", data: { n: n + index } }));
        await store.append("counter-1", events, { expectedVersion: n });
      }
      await store.waitFor("behind", firstEvents);
    }
    let version = 2;
    let before: Progress = { behind: 0, inline: 0 };
    for (let round = 1; round <= rounds; round += 1) {
      const reached = await runAndKill(url, version, 1 + Math.floor(random() * firstEvents), before);
      const positions = names.map((name) => reached[name]);
      if (positions.some((position) => position !== "serves")) kills.inTheMiddle += 1;
      if (names.some((name) => Number(before[name]) > 0)) kills.resumed += 1;
      before = reached;
      await checkServing(url, version);
      const isOver = positions.every((position) => position === "serves");
      // Mostly the next child meets what the killed one has left.
      if (round % 5 === 0) await checkSwitched(url, version);
      else if (!isOver) continue;
      kills.versions += 1;
      version += 1;
      before = { behind: 0, inline: 0 };
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  // Else nothing was shown.
  expect(kills.inTheMiddle).toBeGreaterThanOrEqual(rounds / 4);
  expect(kills.resumed).toBeGreaterThan(0);
  expect(kills.versions).toBeGreaterThan(1);
}, 600_000);
