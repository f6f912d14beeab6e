/**
 * Giving back the space of deleted rows. The engine keeps what a merge replaced for a quarter of an hour, which nobody waits for
 * here: what is shown is everything before that (the merge, the exchange of the engine under load, interruptions), and that
 * no table made since holds a deleted value. A run to the end is in bench/RESULTS.md.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReclaimPhase } from "../../src/kv/kv.ts";
import { openSlateWriter } from "../../src/kv/slatedb-kv.ts";
import { tuningFor } from "../../src/kv/slatedb-settings.ts";
import { SlateStore } from "../../src/kv/slatedb-store.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import {
  allRows,
  bytes,
  drain,
  type Folder,
  failureOf,
  noise,
  openOnFolder,
  put,
  temporaryFolder,
  text,
  until,
} from "./stores.ts";

setDefaultTimeout(120_000);

const soon = { waitMaxMs: 1 } as const;

function key(row: number): string {
  return `k${String(row).padStart(5, "0")}`;
}

async function tables(folder: Folder): Promise<readonly string[]> {
  const directory = join(folder.directory, "db", "compacted");
  return (await readdir(directory)).map((name) => join(directory, name));
}

async function holds(paths: readonly string[], value: Uint8Array): Promise<boolean> {
  for (const path of paths) if ((await readFile(path)).includes(value)) return true;
  return false;
}

test("No table made since holds a deleted value; the rows are as they were, also when it is opened again", async () => {
  await using folder = await temporaryFolder();
  const tuning = { memtableFlushGroups: 1, memtableFlushSpacingMs: 0 };
  const value = noise(512);
  {
    await using kv = await openOnFolder(folder, tuning);
    const flushed = kv.stats().memtableFlushes;
    await kv.write([put("a", "kept"), put("b", value)]);
    await until("it is in a table", () => kv.stats().memtableFlushes > flushed);
    await kv.write([{ kind: "delete", key: bytes("b") }]);
    const before = await tables(folder);
    expect(await holds(before, value)).toBe(true);
    const phases = new Set<ReclaimPhase>();
    const report = await kv.reclaim?.({ ...soon, onProgress: ({ phase }) => phases.add(phase) });
    expect([...phases]).toEqual(["merging", "waiting"]);
    // What was replaced is still there, and the report says so.
    expect(report?.objectsLeft).toBeGreaterThan(0);
    const since = (await tables(folder)).filter((path) => !before.includes(path));
    expect(since.length).toBeGreaterThan(0);
    expect(await holds(since, value)).toBe(false);
    expect(text(await kv.get(bytes("a")))).toBe("kept");
    expect(await kv.get(bytes("b"))).toBeUndefined();
    expect(kv.status()).toEqual({ state: "open" });
  }
  await using again = await openOnFolder(folder);
  expect(text(await again.get(bytes("a")))).toBe("kept");
  expect(await again.get(bytes("b"))).toBeUndefined();
});

test("Writes and reads go on meanwhile: nothing is lost, and an open scan goes on where it was", async () => {
  await using folder = await temporaryFolder();
  await using kv = await openOnFolder(folder);
  for (let row = 0; row < 200; row += 1) await kv.write([put(key(row), noise(100))]);
  const cursor = await kv.scan({ start: bytes("k") }, "replay");
  const begun = await cursor.next(50);
  let written = 200;
  let over = false;
  const writing = (async () => {
    for (; !over; written += 1) await kv.write([put(key(written), String(written))]);
  })();
  await until("something is written", () => written > 201);
  const reading = (async () => {
    while (!over) expect(text((await kv.getMany([bytes(key(199)), bytes(key(200))]))[1])).toBe("200");
  })();
  await kv.reclaim?.(soon);
  over = true;
  await Promise.all([writing, reading]);
  const all = (await drain(await kv.scan({ start: bytes("k"), end: bytes("l") }, "lookup"))).map((row) =>
    text(row.key),
  );
  expect(all).toEqual(Array.from({ length: written }, (_, row) => key(row)));
  const seen = [...begun, ...(await drain(cursor))].map((row) => text(row.key)).filter((name) => name?.startsWith("k"));
  // It may take in rows that came later, and passes over none that was there.
  expect(seen.slice(0, 200)).toEqual(all.slice(0, 200));
  expect(seen).toEqual([...new Set(seen)].sort());
  expect(kv.stats().writes).toBeGreaterThanOrEqual(written);
});

test("It can be interrupted, closed, and asked for again, but not twice at once", async () => {
  await using folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  await kv.write([put("a", "1")]);
  for (const wanted of ["merging", "waiting"] satisfies ReclaimPhase[]) {
    const interruption = new AbortController();
    const onProgress = ({ phase }: { phase: ReclaimPhase }): void => {
      if (phase === wanted) interruption.abort(new Error("enough"));
    };
    const running = kv.reclaim?.({ signal: interruption.signal, onProgress });
    const twice = await failureOf(Promise.resolve(kv.reclaim?.(soon)));
    expect(twice.code).toBe("storage-unavailable");
    expect(await Promise.resolve(running).catch((error: unknown) => String(error))).toContain("enough");
    await kv.write([put("b", wanted)]);
    expect(text(await kv.get(bytes("b")))).toBe(wanted);
  }
  const running = Promise.resolve(kv.reclaim?.({})).catch(() => "ended");
  await kv.close();
  expect(await running).toBe("ended");
  await using again = await openOnFolder(folder);
  expect((await allRows(again)).filter((row) => row.key[0] !== 0xff).map((row) => text(row.value))).toEqual([
    "1",
    "waiting",
  ]);
});

test("It is refused while a writer that was replaced is still there", async () => {
  await using folder = await temporaryFolder();
  const replaced = await openOnFolder(folder);
  await using kv = await openOnFolder(folder);
  await kv.write([put("a", "1")]);
  const refused = await failureOf(Promise.resolve(kv.reclaim?.(soon)));
  expect(refused).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  await replaced.close().catch(() => {});
  await kv.write([put("b", "2")]);
  expect((await kv.reclaim?.(soon))?.objectsBefore).toBeGreaterThan(0);
});

test("Who was replaced while the engine was exchanged stops, if the other one has written", async () => {
  for (const writes of [true, false]) {
    await using folder = await temporaryFolder();
    const options = { location: folder.location, s3: {}, clock: systemClock };
    const kv = new SlateStore({
      url: folder.location.url,
      tuning: tuningFor(folder.location),
      clock: systemClock,
      first: await openSlateWriter(options, tuningFor(folder.location)),
      open: async (tuning) => {
        await using other = await openOnFolder(folder);
        if (writes) await other.write([put("a", "the other's")]);
        await other.close();
        return await openSlateWriter(options, tuning);
      },
      place: { list: async function* () {} },
    });
    await kv.write([put("a", "1")]);
    if (!writes) {
      await kv.reclaim(soon);
      await kv.write([put("a", "2")]);
    } else {
      expect((await failureOf(kv.reclaim(soon))).code).toBe("writer-fenced");
      expect(kv.status().state).toBe("fenced");
      const refused = await failureOf(kv.write([put("a", "stale")]));
      expect(refused).toMatchObject({ code: "writer-fenced", outcome: "not-applied" });
      expect((await failureOf(kv.get(bytes("a")))).code).toBe("writer-fenced");
    }
    await kv.close();
    await using again = await openOnFolder(folder);
    expect(text(await again.get(bytes("a")))).toBe(writes ? "the other's" : "2");
  }
});

/** A store on a folder whose next writer waits for `mayOpen`. */
async function heldStore(
  folder: Folder,
): Promise<{ readonly kv: SlateStore; readonly opening: Promise<void>; open(): void }> {
  const options = { location: folder.location, s3: {}, clock: systemClock };
  const [reached, mayOpen] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const kv = new SlateStore({
    url: folder.location.url,
    tuning: tuningFor(folder.location),
    clock: systemClock,
    first: await openSlateWriter(options, tuningFor(folder.location)),
    open: async (tuning) => {
      reached.resolve();
      await mayOpen.promise;
      return await openSlateWriter(options, tuning);
    },
    place: { list: async function* () {} },
  });
  return { kv, opening: reached.promise, open: () => mayOpen.resolve() };
}

test("Nothing is counted twice while the next writer opens", async () => {
  await using folder = await temporaryFolder();
  const { kv, opening, open } = await heldStore(folder);
  await using _ = kv;
  for (let row = 0; row < 3; row += 1) await kv.write([put(key(row), "1")]);
  expect(kv.stats().writes).toBe(3);
  const running = kv.reclaim(soon);
  await opening;
  const meanwhile = kv.stats().writes;
  open();
  await running;
  expect(meanwhile).toBe(3);
  expect(kv.stats().writes).toBeGreaterThanOrEqual(3);
});

test("A snapshot that the exchange has closed says so, and another one can be taken", async () => {
  await using folder = await temporaryFolder();
  const { kv, opening, open } = await heldStore(folder);
  await using _ = kv;
  await kv.write([put("a", "1"), put("b", "1")]);
  const lost = await kv.snapshot();
  const cursor = await lost.scan({ start: bytes("a") }, "replay");
  expect((await cursor.next(1)).length).toBe(1);
  expect(lost.isLost?.()).toBe(false);
  const running = kv.reclaim(soon);
  await opening;
  for (const work of [cursor.next(1), lost.get(bytes("a")), lost.scan({ start: bytes("a") }, "lookup")]) {
    const failure = await failureOf(work);
    expect(failure.code).toBe("storage-unavailable");
    expect(failure.message).toContain("can be tried again");
  }
  expect(lost.isLost?.()).toBe(true);
  cursor.close();
  lost.close();
  open();
  await running;
  const snapshot = await kv.snapshot();
  expect(text(await snapshot.get(bytes("b")))).toBe("1");
  snapshot.close();
  await kv.close();
  expect((await failureOf(snapshot.get(bytes("b")))).code).toBe("store-closed");
});
