/** The real 262,200 events of 13,087 loan applications: their published facts come out of a replay after an import. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { environment, mainScript, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const file: string = process.env.STRATA_TEST_DATA ?? "";

interface Facts {
  readonly events: number;
  readonly ids: number;
  readonly streams: number;
  readonly longest: number;
  readonly submitted: number;
  readonly approved: number;
  readonly declined: number;
  readonly cancelled: number;
}

const published: Facts = {
  events: 262_200,
  ids: 262_200,
  streams: 13_087,
  longest: 175,
  submitted: 13_087,
  approved: 2_246,
  declined: 7_635,
  cancelled: 2_807,
};

/** Replays the store, and checks on the way that nothing is missing. */
async function factsOf(place: Workplace): Promise<Facts> {
  await using store = await place.open();
  const types = new Map<string, number>();
  const versions = new Map<string, number>();
  const ids = new Set<string>();
  let position = 0;
  for await (const event of store.readAll()) {
    position += 1;
    if (event.position !== position) throw new Error(`Position ${event.position} stands where ${position} should`);
    const version = (versions.get(event.streamName) ?? 0) + 1;
    // The ids of an application's events are numbered in order.
    if (event.version !== version || event.id !== `${event.streamName}-${version}`) {
      throw new Error(`${event.id} is version ${event.version} of ${event.streamName}, not ${version}`);
    }
    versions.set(event.streamName, version);
    types.set(event.type, (types.get(event.type) ?? 0) + 1);
    ids.add(event.id);
  }
  const count = (type: string): number => types.get(type) ?? 0;
  return {
    events: position,
    ids: ids.size,
    streams: versions.size,
    longest: Math.max(...versions.values()),
    submitted: count("A_SUBMITTED"),
    approved: count("A_APPROVED"),
    declined: count("A_DECLINED"),
    cancelled: count("A_CANCELLED"),
  };
}

async function importAndKill(place: Workplace): Promise<void> {
  const child = Bun.spawn([process.execPath, mainScript, "import", file, "--url", place.url], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    env: environment(),
  });
  for await (const _ of child.stderr) {
    child.kill("SIGKILL");
    break;
  }
  expect(await child.exited).not.toBe(0);
}

describe.skipIf(!existsSync(file))("The real loan applications (needs the file of real events)", () => {
  test("come out of a replay as they were published", async () => {
    await using place = await Workplace.make();
    const child = Bun.spawn([process.execPath, mainScript, "import", file, "--url", place.url, "--json"], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
      env: environment(),
    });
    const counts: unknown = JSON.parse(await new Response(child.stdout).text());
    expect(await child.exited).toBe(0);
    expect(counts).toMatchObject({ imported: 262_200, alreadyThere: 0, bad: 0 });
    expect(await factsOf(place)).toEqual(published);
  }, 240_000);

  test("do so after the import was killed in the middle and run again", async () => {
    await using place = await Workplace.make();
    await importAndKill(place);
    const counts = await place.importCounts(file);
    expect(counts.alreadyThere).toBeGreaterThan(0);
    expect(counts.imported).toBeGreaterThan(0);
    expect(await factsOf(place)).toEqual(published);
  }, 240_000);
});
