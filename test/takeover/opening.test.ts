/** Opening with a lease: options that cannot be, places that are none, opens that fail, and what a store says of its own lease. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type OpenOptions, openEventStore, readWriterLease, StorageCorruptError } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

const heldByOther = JSON.stringify({
  format: 1,
  state: "held",
  writerName: "other",
  host: "elsewhere",
  pid: 7,
  startedAt: "2026-01-01T00:00:00.000Z",
  renewedAt: "2026-01-01T00:00:00.000Z",
  expiresAfterMs: 600_000,
  instanceId: "other",
});

describe("Opening", () => {
  const bad: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    "another way to take over": { takeover: "never" },
    "a takeover that is no text": { takeover: true },
    "a time limit below 0": { takeover: "when-idle", takeoverTimeoutMs: -1 },
    "a time limit that no timer holds": { takeover: "when-idle", takeoverTimeoutMs: 2 ** 31 },
    "a time limit for what waits for nobody": { takeoverTimeoutMs: 1_000 },
    "a signal that is none": { takeover: "when-idle", signal: {} },
    "a handler that is none": { onFenced: "exit" },
    "a name that is empty": { writerName: "" },
    "a name that is too long": { writerName: "x".repeat(129) },
    "a name that is no text": { writerName: 7 },
    "too short an interval": { leaseIntervalMs: 99 },
    "too long an interval": { leaseIntervalMs: 200_001 },
    "an interval that is no integer": { leaseIntervalMs: 1_000.5 },
  };
  for (const [name, options] of Object.entries(bad)) {
    test(`is refused, and nothing is written: ${name}`, async () => {
      await using folder = await temporaryFolder();
      for (const url of ["memory:", `file:${folder.path}`]) {
        const error = await errorOf(openEventStore({ url, ...options } as OpenOptions));
        expect(error).toMatchObject({ code: "invalid-argument", argument: Object.keys(options).at(-1) });
      }
      expect(await readdir(folder.path)).toEqual([]);
    });
  }

  test("writes no lease into a folder that holds something else", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "notes.txt"), "mine");
    for (const takeover of ["always", "when-idle"] as const) {
      const error = await errorOf(openEventStore({ url: `file:${folder.path}`, takeover }));
      expect(error.code).toBe("invalid-argument");
    }
    expect(await readdir(folder.path)).toEqual(["notes.txt"]);
  });

  test("with a signal that is aborted rejects with its reason and writes nothing", async () => {
    await using folder = await temporaryFolder();
    const signal = AbortSignal.abort("no more");
    const opening = openEventStore({ url: `file:${folder.path}`, signal });
    expect(await opening.catch((thrown: unknown) => thrown)).toBe("no more");
    expect(await readdir(folder.path)).toEqual([]);
  });

  test("that fails puts back the lease of whoever writes", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "db", "manifest"), { recursive: true });
    await writeFile(join(folder.path, "db", "manifest", "00000000000000000001.manifest"), "damaged");
    await writeFile(join(folder.path, "lease.json"), heldByOther);
    expect((await errorOf(openEventStore({ url: `file:${folder.path}` }))).code).toMatch(/^storage-/);
    expect(await readFile(join(folder.path, "lease.json"), "utf8")).toBe(heldByOther);
  });

  test("in memory has no lease, and a standby there has nobody to wait for", async () => {
    await using store = await openEventStore({ url: "memory:", takeover: "when-idle", takeoverTimeoutMs: 0 });
    expect(store.health()).toEqual({ state: "open", lastPosition: 0, queued: 0 });
  });

  test("shows the lease in health, and in who writes", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}`;
    expect(await readWriterLease({ url })).toBeUndefined();
    const store = await openEventStore({ url, writerName: "orders 1" });
    const lease = await readWriterLease({ url });
    expect(lease).toMatchObject({ state: "held", writerName: "orders 1", pid: process.pid, expiresAfterMs: 6_000 });
    expect(store.health()).toMatchObject({
      state: "open",
      lease: { state: "held", instanceId: lease?.instanceId, renewedAt: lease?.renewedAt },
    });
    await store.close();
    expect(store.health()).toMatchObject({ state: "closed", lease: { state: "released" } });
    expect(await readWriterLease({ url })).toMatchObject({ state: "released", instanceId: lease?.instanceId });
  });
});

describe("Reading who writes", () => {
  test("says of a record that is damaged or newer why it cannot be read", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}`;
    for (const [text, why] of [
      ["{", "it is no JSON"],
      ['{"format":2}', "its format 2 is of a newer version"],
      ['{"format":1}', "a field is missing or wrong"],
    ] as const) {
      await writeFile(join(folder.path, "lease.json"), text);
      const error = await errorOf(readWriterLease({ url }));
      expect(error).toBeInstanceOf(StorageCorruptError);
      expect(error.message).toContain(why);
    }
  });

  test("makes no folder, and refuses what it does not know", async () => {
    await using folder = await temporaryFolder();
    expect(await readWriterLease({ url: `file:${folder.path}/none` })).toBeUndefined();
    expect(await readdir(folder.path)).toEqual([]);
    expect(await readWriterLease({ url: "memory:" })).toBeUndefined();
    for (const options of [undefined, {}, { url: "memory:", takeover: "always" }, { url: "memory:", s3: { key: 1 } }]) {
      const error = await errorOf(readWriterLease(options as { url: string }));
      expect(error.code).toBe("invalid-argument");
    }
  });
});
