/** Objects of the engine that were cut, emptied, changed or removed: opening names them, writes nothing, and lets the process end. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEventStore, openEventStoreReader, verifyStore } from "../../src/index.ts";
import { assertUndamagedFolder } from "../../src/kv/damage-check.ts";
import { assertWholeWal } from "../../src/kv/engine-records.ts";
import type { StoreLocation } from "../../src/kv/object-store.ts";
import { strata } from "../cli/support.ts";
import { collect, errorOf } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { minioAvailable, startMinio } from "../support/minio.ts";
import { flipped } from "../support/tampering.ts";
import { noise, openOnFolder, put, temporaryFolder } from "./stores.ts";

// Each damage starts two processes, on machines that may be busy.
setDefaultTimeout(120_000);

const events = 300;
const openingScript = join(import.meta.dir, "../support/opening-child.ts");

let root = "";
/** Closed, with everything in tables; and as a writer that was killed left it, with everything in the WAL. */
let closed = "";
let killed = "";

async function appendTo(directory: string, count: number, whileOpen: () => Promise<void>): Promise<void> {
  await using store = await openEventStore({ url: `file:${directory}` });
  for (const n of range(1, count)) {
    await store.append(`order-${n % 10}`, [{ type: "Noted", data: { n, text: crypto.randomUUID() } }], {
      expectedVersion: "any",
    });
  }
  await whileOpen();
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "strata-damage-"));
  closed = join(root, "closed");
  killed = join(root, "killed");
  await appendTo(closed, events, async () => {});
  await appendTo(join(root, "open"), 60, () => cp(join(root, "open"), killed, { recursive: true }));
});

afterAll(() => rm(root, { recursive: true, force: true }));

/** The paths of what is in a folder of the database, in their order. */
async function objectsIn(store: string, folder: string): Promise<readonly string[]> {
  return (await readdir(join(store, "db", folder))).sort().map((name) => join(store, "db", folder, name));
}

async function change(path: string, edit: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  await writeFile(path, edit(await readFile(path)));
}

const cut = async (path: string): Promise<void> => truncate(path, Math.floor((await stat(path)).size / 2));
const empty = (path: string): Promise<void> => truncate(path, 0);
const zero = (path: string): Promise<void> => change(path, (bytes) => new Uint8Array(bytes.length));
const remove = (path: string): Promise<void> => rm(path);
const flipMiddle = (path: string): Promise<void> => change(path, (bytes) => flipped(bytes, bytes.length >> 1));
/** Where an object of the WAL says where its description begins. */
const flipEnd = (path: string): Promise<void> => change(path, (bytes) => flipped(bytes, bytes.length - 4));
interface Damage {
  readonly from: () => string;
  readonly folder: string;
  /** Which object of the folder, in the order of names; from the end where it is less than 0. */
  readonly which: number;
  readonly how: (path: string) => Promise<void>;
  /** What the error says of it; default: the object's name. */
  readonly told?: string;
}

const fromClosed = (): string => closed;
const fromKilled = (): string => killed;

const damages: Readonly<Record<string, Damage>> = {
  "a table that was cut": { from: fromClosed, folder: "compacted", which: 0, how: cut },
  "a table that was emptied": { from: fromClosed, folder: "compacted", which: -1, how: empty },
  "a table that is gone": { from: fromClosed, folder: "compacted", which: 0, how: remove },
  "a manifest that was cut": { from: fromClosed, folder: "manifest", which: -1, how: cut },
  "a manifest that was emptied": { from: fromKilled, folder: "manifest", which: -1, how: empty },
  "a manifest full of zeros": { from: fromClosed, folder: "manifest", which: -1, how: zero },
  "all manifests, which are gone": {
    from: fromClosed,
    folder: "manifest",
    which: -1,
    how: (path) => rm(join(path, ".."), { recursive: true }),
    told: "no manifest",
  },
  "a part of the WAL that was cut": { from: fromKilled, folder: "wal", which: -1, how: cut },
  "a part of the WAL that was emptied": { from: fromKilled, folder: "wal", which: 20, how: empty },
  "a part of the WAL with another byte": { from: fromKilled, folder: "wal", which: 20, how: flipMiddle },
  "a part of the WAL with another end": { from: fromKilled, folder: "wal", which: 20, how: flipEnd },
  "a part from the middle of the WAL, which is gone": { from: fromKilled, folder: "wal", which: 20, how: remove },
};

async function damagedCopy(copy: string, { from, folder, which, how, told }: Damage): Promise<string> {
  await cp(from(), copy, { recursive: true });
  const path = (await objectsIn(copy, folder)).at(which) ?? "";
  await how(path);
  return told ?? path.slice(copy.length + 1);
}

/** All objects of the database and their bytes. */
async function stored(store: string): Promise<Readonly<Record<string, string>>> {
  const names = await readdir(join(store, "db"), { recursive: true });
  const files = names.sort().map(async (name): Promise<readonly [string, string]> => {
    const path = join(store, "db", name);
    return [name, (await stat(path)).isFile() ? (await readFile(path)).toString("base64") : ""];
  });
  return Object.fromEntries(await Promise.all(files));
}

interface Opened {
  readonly code?: string;
  readonly message?: string;
  readonly events?: number;
}

/** What came of opening for reading and for writing in a process that nothing ends but that nothing keeps it any more. */
async function openInChild(url: string): Promise<readonly Opened[]> {
  const child = Bun.spawn([process.execPath, openingScript, url], { stdout: "pipe", stderr: "inherit" });
  const told = await child.stdout.text();
  expect(await child.exited).toBe(0);
  return told
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("What is damaged is named, and left as it is", () => {
  for (const [name, damage] of Object.entries(damages)) {
    test(name, async () => {
      const copy = await mkdtemp(join(root, "copy-"));
      const url = `file:${copy}`;
      const told = await damagedCopy(copy, damage);
      const before = await stored(copy);
      for (const open of [() => openEventStore({ url }), () => openEventStoreReader({ url })]) {
        const failure = await errorOf(open());
        expect(failure.code).toBe("storage-corrupt");
        expect(failure.message).toStartWith("The storage is damaged: ");
        expect(failure.message).toContain(told);
      }
      const [opened, command] = await Promise.all([openInChild(url), strata(["stats", "--url", url])]);
      expect(opened.map(({ code, message }) => [code, message?.includes(told)])).toEqual([
        ["storage-corrupt", true],
        ["storage-corrupt", true],
      ]);
      expect([command.exitCode, command.stdout]).toEqual([1, ""]);
      expect(command.stderr).toMatch(/^strata: The storage is damaged: [^\n]* \(storage-corrupt\)\n$/);
      expect(command.stderr).toContain(told);
      expect(await stored(copy)).toEqual(before);
    });
  }
});

test("What is whole opens, for the same child", async () => {
  for (const [from, count] of [
    [closed, events],
    [killed, 60],
  ] as const) {
    const copy = await mkdtemp(join(root, "copy-"));
    await cp(from, copy, { recursive: true });
    expect(await openInChild(`file:${copy}`)).toEqual([{ events: count }, { events: count }]);
  }
});

test("Every bit of an object of the WAL is under a checksum", async () => {
  const path = (await objectsIn(killed, "wal")).at(20) ?? "";
  const bytes = await readFile(path);
  expect(() => assertWholeWal(bytes)).not.toThrow();
  for (let at = 0; at < bytes.length; at += 1) {
    for (let bit = 1; bit < 256; bit *= 2) expect(() => assertWholeWal(flipped(bytes, at, bit))).toThrow();
    expect(() => assertWholeWal(bytes.subarray(0, at))).toThrow();
  }
});

test("A newest manifest that is gone loses nothing where the WAL still has what it knew", async () => {
  const copy = await mkdtemp(join(root, "copy-"));
  await cp(closed, copy, { recursive: true });
  for (const path of (await objectsIn(copy, "manifest")).slice(-2)) await rm(path);
  await using store = await openEventStore({ url: `file:${copy}` });
  expect(await collect(store.readAll())).toHaveLength(events);
});

test("The end of the WAL, gone before it was in a table, is missed by nobody but a head that was kept elsewhere", async () => {
  const copy = await mkdtemp(join(root, "copy-"));
  const url = `file:${copy}`;
  await cp(killed, copy, { recursive: true });
  const kept = (await verifyStore({ url })).head?.text ?? "";
  expect(kept).toStartWith("60:");
  await rm((await objectsIn(copy, "wal")).at(-1) ?? "");
  await using reader = await openEventStoreReader({ url });
  expect(await collect(reader.readAll())).toHaveLength(59);
  expect((await verifyStore({ url })).holds).toBe(true);
  expect((await verifyStore({ url, against: kept })).holds).toBe(false);
});

test("A store at work, whose tables are merged meanwhile, is never called damaged", async () => {
  await using folder = await temporaryFolder();
  const location: StoreLocation & { kind: "folder" } = folder.location;
  const kv = await openOnFolder(folder, {
    memtableFlushGroups: 2,
    memtableFlushSpacingMs: 0,
    manifestPollMs: 50,
    compactorPollMs: 50,
    garbageMinAgeMs: 40_000,
    garbageIntervalMs: 100,
  });
  let writing = true;
  const writes = (async () => {
    for (let n = 0; n < 300; n += 1) await kv.write([put(`k${n}`, noise(200))]);
    writing = false;
  })();
  let looks = 0;
  while (writing) {
    await assertUndamagedFolder(location);
    looks += 1;
  }
  await writes;
  expect(looks).toBeGreaterThan(5);
  await kv.close();
});

describe.skipIf(!minioAvailable)("On MinIO", () => {
  test("a table, a manifest and a part of the WAL that are damaged are named, and nothing is written", async () => {
    await using minio = await startMinio();
    const bucket = await minio.createBucket();
    const { s3 } = minio;
    const urlOf = (prefix: string): string => `s3://${bucket}/${prefix}`;
    const made = await Promise.all(
      ["table", "manifest", "wal"].map(async (prefix) => {
        const store = await openEventStore({ url: urlOf(prefix), s3 });
        for (const n of range(1, 20))
          await store.append("order-1", [{ type: "Noted", data: { n } }], { expectedVersion: "any" });
        return { prefix, store };
      }),
    );
    for (const { prefix, store } of made) if (prefix !== "wal") await store.close();
    const one = async (below: string, which: number): Promise<string> =>
      (await minio.list(bucket, below)).toSorted().at(which) ?? "";
    const put = (name: string, bytes: string): Promise<unknown> => minio.client.putObject(bucket, name, bytes);
    const table = await one("table/db/compacted/", 0);
    await put(table, "cut");
    const manifest = await one("manifest/db/manifest/", -1);
    await put(manifest, "");
    const wal = await one("wal/db/wal/", 5);
    await minio.client.removeObject(bucket, wal);
    for (const [prefix, name] of [
      ["table", table],
      ["manifest", manifest],
      ["wal", wal],
    ] as const) {
      const before = await minio.list(bucket, `${prefix}/db/`);
      const told = name.slice(prefix.length + 1);
      // The writer of the third is still there: only reading does not fence it.
      const opens = [
        () => openEventStoreReader({ url: urlOf(prefix), s3 }),
        ...(prefix === "wal" ? [] : [() => openEventStore({ url: urlOf(prefix), s3 })]),
      ];
      for (const open of opens) {
        const failure = await errorOf(open());
        expect([failure.code, failure.message.includes(told)]).toEqual(["storage-corrupt", true]);
      }
      expect(await minio.list(bucket, `${prefix}/db/`)).toEqual(before);
    }
    await Promise.all(made.map(({ store }) => store.close()));
  });
});
