/**
 * A writer that is stopped, replaced, and resumed after the fence was collected can store a WAL object nobody will read.
 * It must not acknowledge that. Real processes, really stopped.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { ChildError, StoreChild } from "../support/child.ts";
import { type Folder, temporaryFolder, until } from "./stores.ts";

setDefaultTimeout(60_000);

const garbage: Partial<SlateTuning> = { garbageMinAgeMs: 1_200, garbageIntervalMs: 100 };
/** Each group is flushed to a table, so that the WAL objects before it become garbage. Not what is tested: its own beat. */
const replacing: Partial<SlateTuning> = {
  ...garbage,
  memtableFlushGroups: 1,
  memtableFlushSpacingMs: 0,
  heartbeat: false,
};
const hourMs = 3_600_000;

async function walObjects(folder: Folder): Promise<readonly string[]> {
  return (await readdir(join(folder.directory, "db", "wal"))).filter((name) => name.endsWith(".sst")).sort();
}

/** Opens a second writer, which works until the fence it has set is collected. */
async function replaceWriter(folder: Folder, writer: StoreChild): Promise<void> {
  const before = await walObjects(folder);
  await writer.open(folder.location, replacing);
  const [fence] = (await walObjects(folder)).filter((name) => !before.includes(name));
  if (fence === undefined) throw new Error("The second writer has set no fence");
  for (let key = 1_000; key < 1_010; key += 1) await writer.write([key]);
  await until("the fence is collected", async () => !(await walObjects(folder)).includes(fence));
}

interface Outcome {
  /** How the resumed writer's write ended. */
  readonly write: "acknowledged" | { readonly code: string; readonly outcome: string | undefined };
  readonly statusAfter: unknown;
  /** Whether the row of that write is there for the next writer. */
  readonly found: boolean;
}

const zombieKey = 2;

async function resumeAfterReplacement(heartbeat: boolean): Promise<Outcome> {
  await using folder = await temporaryFolder();
  await using first = new StoreChild();
  await using second = new StoreChild();
  await first.open(folder.location, { ...garbage, manifestPollMs: hourMs, heartbeat });
  await first.write([1]);
  first.stop();
  await replaceWriter(folder, second);
  const writing = first.write([zombieKey]).then(
    () => "acknowledged" as const,
    (error: unknown) => {
      if (error instanceof ChildError) return { code: error.failure.code, outcome: error.failure.outcome };
      throw error;
    },
  );
  first.resume();
  const write = await writing;
  const statusAfter = await first.ask({ kind: "status" });
  await first.kill();
  await second.close();
  await using third = new StoreChild();
  await third.open(folder.location);
  const keys = await third.keys();
  expect(keys.slice(0, 1)).toEqual([1]);
  return { write, statusAfter, found: keys.includes(zombieKey) };
}

test("Without its heartbeat, a writer that was stopped and replaced acknowledges a row that nobody will read", async () => {
  const lost: Outcome = { write: "acknowledged", statusAfter: "open", found: false };
  let outcome = await resumeAfterReplacement(false);
  // On a busy machine the engine's compactor, which looks every five seconds, may have noticed the fence before.
  for (let attempt = 0; attempt < 2 && outcome.write !== "acknowledged"; attempt += 1) {
    outcome = await resumeAfterReplacement(false);
  }
  expect(outcome).toEqual(lost);
});

test("With it, the same writer acknowledges nothing, and takes no further writes", async () => {
  const { write, statusAfter, found } = await resumeAfterReplacement(true);
  expect(write).not.toBe("acknowledged");
  expect(write).toMatchObject({ outcome: "unknown" });
  expect(["failed", "fenced"]).toContain(String(statusAfter));
  expect(found).toBe(false);
});

test("A writer that was stopped for less than its limit goes on", async () => {
  await using folder = await temporaryFolder();
  await using writer = new StoreChild();
  await writer.open(folder.location);
  await writer.write([1]);
  writer.stop();
  const writing = writer.write([2]);
  await Bun.sleep(300);
  writer.resume();
  await writing;
  expect(await writer.keys()).toEqual([1, 2]);
});
