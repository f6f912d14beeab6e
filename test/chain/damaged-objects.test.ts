/** A byte that was flipped in an object: verifying names what it was part of, and everything else is read as before. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { cp, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { openEventStore, openEventStoreReader, type VerifyReport, verifyStore } from "../../src/index.ts";
import { strata } from "../cli/support.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { flipped } from "../support/tampering.ts";

setDefaultTimeout(120_000);

const commits = 3_000;
const events = commits * 5;
const streams = 250;

/** A store whose rows are in one table. */
async function makeStore(folder: string): Promise<void> {
  await using store = await openEventStore({ url: `file:${folder}` });
  await Promise.all(
    range(0, commits - 1).map((n) =>
      store.append(
        `order-${n % streams}`,
        range(1, 5).map((k) => ({ type: "Noted", data: { n, k, text: crypto.randomUUID() } })),
        { expectedVersion: "any" },
      ),
    ),
  );
}

async function largestTable(folder: string): Promise<string> {
  const tables = join(folder, "db", "compacted");
  const sizes = await Promise.all(
    (await readdir(tables)).map(async (name) => ({
      path: join(tables, name),
      size: (await stat(join(tables, name))).size,
    })),
  );
  return sizes.toSorted((left, right) => right.size - left.size)[0]?.path ?? "";
}

/** A copy of the store with one byte of its table flipped. */
async function damagedCopy(from: string, to: string, place: number): Promise<void> {
  await cp(from, to, { recursive: true });
  const table = await largestTable(to);
  const bytes = await Bun.file(table).bytes();
  await Bun.write(table, flipped(bytes, Math.floor(bytes.length * place)));
}

const lost = ({ breaks }: VerifyReport): number =>
  breaks
    .filter(({ kind, streamName }) => kind === "unreadable" && streamName === undefined)
    .reduce((sum, { fromPosition = 0, toPosition = -1 }) => sum + toPosition - fromPosition + 1, 0);

test("A flipped byte is named wherever it is, and what is elsewhere is read", async () => {
  await using folder = await temporaryFolder();
  const whole = join(folder.path, "whole");
  await makeStore(whole);
  expect(await verifyStore({ url: `file:${whole}` })).toMatchObject({ holds: true, events });
  const families = new Set<string>();
  for (const [index, place] of [0.06, 0.25, 0.4, 0.55, 0.7, 0.93].entries()) {
    const copy = join(folder.path, `copy-${index}`);
    const url = `file:${copy}`;
    await damagedCopy(whole, copy, place);
    const report = await verifyStore({ url });
    expect(report.holds).toBe(false);
    const named = report.breaks[0];
    expect(named).toBeDefined();
    // Either positions of the log, or a stream, or the key of a row.
    families.add(named?.streamName !== undefined ? "stream" : named?.row !== undefined ? "row" : "log");
    expect(report.events).toBe(events - lost(report));
    expect(lost(report)).toBeLessThan(events / 4);
    expect(new Set(report.breaks.map(({ streamName }) => streamName)).size).toBeLessThan(streams / 4);
    if (named?.streamName === undefined) continue;
    await using reader = await openEventStoreReader({ url });
    const bad = new Set(report.breaks.map(({ streamName }) => streamName));
    expect((await errorOf(collect(reader.readStream(named.streamName)))).code).toBe("storage-corrupt");
    for (const n of range(0, streams - 1)) {
      const streamName = `order-${n}`;
      if (!bad.has(streamName)) expect(await collect(reader.readStream(streamName))).toHaveLength(events / streams);
    }
    expect(await collect(reader.readAll())).toHaveLength(events);
  }
  expect([...families].sort()).toContain("stream");
  expect([...families].sort()).toContain("log");
});

test("The command line says where, and ends with a code that says so", async () => {
  await using folder = await temporaryFolder();
  const whole = join(folder.path, "whole");
  await makeStore(whole);
  const url = `file:${whole}`;
  const stats = JSON.parse((await strata(["stats", "--url", url, "--json"])).stdout) as { chain: { head: string } };
  const fine = await strata(["verify", "--url", url, "--against", stats.chain.head]);
  expect([fine.exitCode, fine.stdout.includes("it holds")]).toEqual([0, true]);
  expect(fine.stdout).toContain(stats.chain.head);
  const part = await strata(["verify", "--url", url, "--from", "2000", "--to", "2100", "--json"]);
  expect(JSON.parse(part.stdout)).toMatchObject({ holds: true, fromPosition: 1_025, toPosition: 3_072 });
  const wrong = await strata(["verify", "--url", url, "--against", `${events}:${"0".repeat(64)}`]);
  expect([wrong.exitCode, wrong.stdout.includes(`head at position ${events}`)]).toEqual([1, true]);
  expect((await strata(["verify", "--url", url, "--against", "nonsense"])).exitCode).toBe(2);
  expect((await strata(["verify", "--url", `file:${folder.path}/none`])).exitCode).toBe(4);
  const copy = join(folder.path, "copy");
  await damagedCopy(whole, copy, 0.55);
  const damaged = await strata(["verify", "--url", `file:${copy}`]);
  expect([damaged.exitCode, damaged.stdout.includes("unreadable at positions")]).toEqual([1, true]);
});

test("The command line backs up, verifies the backup, and restores it", async () => {
  await using folder = await temporaryFolder();
  const [from, to, again] = ["store", "backup", "again"].map((name) => `file:${folder.path}/${name}`);
  if (from === undefined || to === undefined || again === undefined) throw new Error("There are no places");
  await makeStore(join(folder.path, "store"));
  const backup = await strata(["backup", from, to, "--json"]);
  expect(backup.exitCode).toBe(0);
  const report = JSON.parse(backup.stdout) as { position: number; head: { text: string } };
  expect(report.position).toBe(events);
  const verified = await strata(["verify", "--url", to, "--against", report.head.text]);
  expect(verified.exitCode).toBe(0);
  expect((await strata(["backup", from, to])).exitCode).toBe(2);
  const restored = await strata(["restore", to, again]);
  expect([restored.exitCode, restored.stdout.includes("complete and verified")]).toEqual([0, true]);
  expect((await strata(["restore", to, again])).stderr).toContain("a store already");
  expect((await strata(["verify", "--url", again, "--against", report.head.text])).exitCode).toBe(0);
  expect((await strata(["backup", `file:${folder.path}/none`, to])).exitCode).toBe(4);
  expect((await strata(["import", "/dev/null", "--url", to])).stderr).toContain("a backup");
});
