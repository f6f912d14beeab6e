/** What the engine says reaches nobody raw: closed, fenced, stopped and damaged are told in errors of ours. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { callError, closeReasonOf, failureFrom, openError } from "../../src/kv/slatedb-errors.ts";
import { type Interceptor, s3Error, startS3StandIn } from "./s3-stand-in.ts";
import {
  allRows,
  bytes,
  type Folder,
  failureOf,
  noise,
  openOnFolder,
  openOnStandIn,
  put,
  temporaryFolder,
  text,
  until,
} from "./stores.ts";

setDefaultTimeout(60_000);

function refuseWal(status: number, code: string): Interceptor {
  return ({ method, key }) => (method === "PUT" && key.includes("/wal/") ? s3Error(status, code) : undefined);
}

/** Everything that can be asked of a store, each with what it failed with. */
async function failuresOf(kv: KeyValueStore): Promise<readonly EventStoreError[]> {
  const calls = [
    () => kv.get(bytes("a")),
    () => kv.getMany([bytes("a")]),
    () => kv.scan({ start: bytes("a") }, "lookup"),
    () => kv.snapshot(),
  ];
  return await Promise.all(calls.map((call) => failureOf(call())));
}

test("A fence that is found at a write is told as one, each time, and by every call after it", async () => {
  for (let round = 0; round < 30; round += 1) {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn);
    await kv.write([put("a", "1")]);
    standIn.intercept(refuseWal(412, "PreconditionFailed"));
    const failure = await failureOf(kv.write([put("a", "2")]));
    expect([failure.code, failure.outcome]).toEqual(["writer-fenced", "unknown"]);
    expect(kv.status().state).toBe("fenced");
    for (const { code, outcome } of await failuresOf(kv)) expect([code, outcome]).toEqual(["writer-fenced", undefined]);
    await kv.close();
  }
});

test("An error says itself why the engine closed: the engine's own status may be a moment behind", () => {
  const closed = (reason: string): Error => Object.assign(new Error("closed"), { tag: "Closed", reason });
  expect(closeReasonOf(closed("Fenced"))).toBe("Fenced");
  expect(failureFrom(closeReasonOf(closed("Fenced")), undefined).error.code).toBe("writer-fenced");
  expect(failureFrom(closeReasonOf(closed("Panic")), undefined).error.code).toBe("storage-unavailable");
  expect(closeReasonOf(Object.assign(new Error("no"), { tag: "Data", reason: "Fenced" }))).toBeUndefined();
  expect(closeReasonOf("Fenced")).toBeUndefined();
});

test("Each kind of error of the engine has one of ours, and what is no error of the engine is internal", () => {
  const codes = ["Data", "Unavailable", "Invalid", "Internal", "Transaction"].map(
    (tag) => callError(Object.assign(new Error("native"), { tag })).code,
  );
  expect(codes).toEqual(["storage-corrupt", "storage-unavailable", "internal", "internal", "internal"]);
  expect(callError(undefined).code).toBe("internal");
});

test("A fence is noticed without any call, by looking at the engine", async () => {
  await using standIn = startS3StandIn();
  const first = await openOnStandIn(standIn, { manifestPollMs: 20 });
  const second = await openOnStandIn(standIn);
  await until("the first writer knows that it is fenced", () => first.status().state === "fenced");
  expect((await failureOf(first.write([put("a", "1")]))).outcome).toBe("not-applied");
  await first.close();
  await second.close();
});

test("A write that the storage refuses for good ends the writer, and its fate is unknown", async () => {
  await using standIn = startS3StandIn();
  const kv = await openOnStandIn(standIn);
  standIn.intercept(refuseWal(404, "NoSuchBucket"));
  const failure = await failureOf(kv.write([put("a", "1")]));
  expect([failure.code, failure.outcome]).toEqual(["storage-unavailable", "unknown"]);
  expect(kv.status().state).toBe("failed");
  for (const { code } of await failuresOf(kv)) expect(code).toBe("storage-unavailable");
  standIn.intercept(undefined);
  await kv.close();
});

test("A storage that fails for a moment is waited for: the write is applied once", async () => {
  await using standIn = startS3StandIn();
  const kv = await openOnStandIn(standIn);
  let refusals = 2;
  standIn.intercept((request) => {
    if (refusals === 0 || request.method !== "PUT" || !request.key.includes("/wal/")) return undefined;
    refusals -= 1;
    return s3Error(500, "InternalError");
  });
  await kv.write([put("a", "1")]);
  expect(refusals).toBe(0);
  expect((await allRows(kv)).length).toBe(1);
  await kv.close();
});

/** A folder whose rows have left the WAL, closed. */
async function folderWithTables(): Promise<Folder> {
  const folder = await temporaryFolder();
  const kv = await openOnFolder(folder);
  await kv.write(Array.from({ length: 500 }, (_, row) => put(`k${row}`, noise(100))));
  await kv.close();
  return folder;
}

async function changeFiles(directory: string, change: (path: string) => Promise<void>): Promise<void> {
  for (const name of await readdir(directory)) await change(join(directory, name));
}

async function flipBits(path: string): Promise<void> {
  const content = await readFile(path);
  await writeFile(
    path,
    content.map((byte) => byte ^ 0x55),
  );
}

test("A table with flipped bits, or one that is gone, is told as storage-corrupt when it is read", async () => {
  for (const change of [flipBits, (path: string) => rm(path)]) {
    await using folder = await folderWithTables();
    const kv = await openOnFolder(folder);
    // Behind it: opening would find one that is gone.
    await changeFiles(join(folder.directory, "db", "compacted"), change);
    expect((await failureOf(kv.get(bytes("k1")))).code).toBe("storage-corrupt");
    expect((await failureOf(allRows(kv))).code).toBe("storage-corrupt");
    await kv.close();
  }
});

test("A bucket that vanishes is told as unavailable, not as damage: to a write, and to an open that had just begun", async () => {
  await using standIn = startS3StandIn();
  const kv = await openOnStandIn(standIn);
  await kv.write([put("a", "1")]);
  // The client that looks first whether the bucket is there finds it.
  standIn.intercept(({ method, headers }) =>
    method === "HEAD" || headers.get("user-agent")?.startsWith("aws-sdk-js") === true
      ? undefined
      : s3Error(404, "NoSuchBucket"),
  );
  const failure = await failureOf(kv.write([put("a", "2")]));
  expect([failure.code, failure.outcome]).toEqual(["storage-unavailable", "unknown"]);
  expect(kv.status().state).toBe("failed");
  await kv.close();
  const opening = await failureOf(openOnStandIn(standIn, { openTimeoutMs: 1_000 }));
  expect([opening.code, opening.outcome]).toEqual(["storage-unavailable", "not-applied"]);
  standIn.intercept(undefined);
  const reopened = await openOnStandIn(standIn);
  expect((await allRows(reopened)).length).toBe(1);
  await reopened.close();
});

test("A HEAD that finds nothing while a store is opened is asked again, and told as damage where it still finds nothing", async () => {
  await using standIn = startS3StandIn();
  const crashed = await openOnStandIn(standIn);
  await crashed.write([put("a", "1")]);
  let missing = 1;
  standIn.intercept(({ method }) => {
    if (method !== "HEAD" || missing === 0) return undefined;
    missing -= 1;
    return new Response(null, { status: 404 });
  });
  const kv = await openOnStandIn(standIn);
  expect([missing, text(await kv.get(bytes("a")))]).toEqual([0, "1"]);
  await kv.write([put("a", "2")]);
  missing = Number.POSITIVE_INFINITY;
  expect((await failureOf(openOnStandIn(standIn))).code).toBe("storage-corrupt");
  standIn.intercept(undefined);
  await kv.close();
  await crashed.close();
});

test("An open that meets another one is told so, and a read of a bucket that is gone as well", () => {
  const data = (message: string): Error => Object.assign(new Error(message), { tag: "Data" });
  const met = openError(data("Data error: transactional object (e.g. manifest) version already exists"), "s3://b/p");
  expect([met.code, met.outcome]).toEqual(["writer-fenced", "not-applied"]);
  expect(callError(data("not found: <Error><Code>NoSuchBucket</Code></Error>")).code).toBe("storage-unavailable");
  expect(callError(data("not found: <Error><Code>NoSuchKey</Code></Error>")).code).toBe("storage-corrupt");
});

test("A damaged manifest is told as storage-corrupt when the store is opened", async () => {
  for (const change of [flipBits, (path: string) => writeFile(path, "")]) {
    await using folder = await folderWithTables();
    await changeFiles(join(folder.directory, "db", "manifest"), change);
    const failure = await failureOf(openOnFolder(folder));
    expect(failure.code).toBe("storage-corrupt");
    expect(failure.message).toContain(folder.directory);
  }
});
