/** An import that is killed in the middle, and run again: every event once, in order, with no gap. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { environment, line, mainScript, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const eventCount = 30_000;
const streamCount = 700;

/** So many of the events an import that will be killed is given. */
const givenCount = 25_000;

function inputLines(): readonly string[] {
  const lines: string[] = [];
  for (let index = 0; index < eventCount; index += 1) {
    // Some streams are long and some short, and they are interleaved.
    const subject = `order-${(index * index) % streamCount}`;
    lines.push(line({ id: `e-${index}`, subject, data: { index, text: "x".repeat(index % 90) } }));
  }
  return lines;
}

/** Runs an import until it says that something is imported, and kills it. Its input has no end, so it is in the middle. */
async function importAndKill(place: Workplace, lines: readonly string[]): Promise<void> {
  const child = Bun.spawn([process.execPath, mainScript, "import", "-", "--url", place.url, "--batch", "250"], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "pipe",
    env: environment(),
  });
  child.stdin.write(lines.slice(0, givenCount).join(""));
  Promise.resolve(child.stdin.flush()).catch(() => {});
  for await (const _ of child.stderr) {
    child.kill("SIGKILL");
    break;
  }
  expect(await child.exited).not.toBe(0);
}

describe("An import that is killed", () => {
  test("goes on when it is run again, however often", async () => {
    await using place = await Workplace.make();
    const lines = inputLines();
    const file = await place.file("in.jsonl", lines.join(""));
    await importAndKill(place, lines);
    await importAndKill(place, lines);
    const counts = await place.importCounts(file);
    expect(counts.alreadyThere).toBeGreaterThan(0);
    expect(counts.imported).toBeGreaterThan(0);
    expect(Number(counts.imported) + Number(counts.alreadyThere)).toBe(eventCount);
    const events = await place.events();
    expect(events.map((event) => event.position)).toEqual(Array.from({ length: eventCount }, (_, index) => index + 1));
    expect(new Set(events.map((event) => event.id)).size).toBe(eventCount);
    const last = new Map<string, { readonly version: number; readonly index: number }>();
    for (const { streamName, version, data } of events) {
      const before = last.get(streamName) ?? { version: 0, index: -1 };
      const { index } = data as { index: number };
      expect(version).toBe(before.version + 1);
      expect(index).toBeGreaterThan(before.index);
      last.set(streamName, { version, index });
    }
    expect(await place.importCounts(file)).toMatchObject({ imported: 0, alreadyThere: eventCount });
  }, 120_000);
});
