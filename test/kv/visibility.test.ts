/** Nobody reads what is not durable: while a write is under way its rows are in memory, and hidden from every reader. */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { allRows, bytes, openOnStandIn, put, text, until } from "./stores.ts";

setDefaultTimeout(60_000);

let standIn: S3StandIn;
let kv: KeyValueStore;

beforeEach(async () => {
  standIn = startS3StandIn();
  kv = await openOnStandIn(standIn);
});

afterEach(async () => {
  standIn.intercept(undefined);
  await kv.close();
  await standIn[Symbol.asyncDispose]();
});

interface Held {
  readonly writing: Promise<void>;
  readonly release: () => Promise<void>;
}

/** Starts a write, and holds back the storage's answer to its WAL object. Resolves when the object is on its way. */
async function startHeldWrite(operations: Parameters<KeyValueStore["write"]>[0]): Promise<Held> {
  const gate = Promise.withResolvers<void>();
  let waiting = false;
  standIn.intercept(async (request) => {
    if (request.method !== "PUT" || !request.key.includes("/wal/")) return undefined;
    waiting = true;
    await gate.promise;
    return undefined;
  });
  const writing = kv.write(operations);
  await until("the WAL object is on its way", () => waiting);
  return {
    writing,
    release: async () => {
      gate.resolve();
      await writing;
    },
  };
}

async function seen(): Promise<readonly (readonly (string | undefined)[])[]> {
  const keys = ["kept", "changed", "removed", "new"];
  const one = await Promise.all(keys.map((key) => kv.get(bytes(key))));
  const many = await kv.getMany(keys.map(bytes));
  const scanned = await allRows(kv);
  return [one.map(text), many.map(text), scanned.map((row) => `${text(row.key)}=${text(row.value)}`)];
}

const before = ["1", "1", "1", undefined];
const beforeRows = ["changed=1", "kept=1", "removed=1"];
const after = ["1", "2", undefined, "2"];
const afterRows = ["changed=2", "kept=1", "new=2"];

async function writeHeldChange(): Promise<Held> {
  await kv.write([put("kept", "1"), put("changed", "1"), put("removed", "1")]);
  return await startHeldWrite([put("changed", "2"), { kind: "delete", key: bytes("removed") }, put("new", "2")]);
}

test("A read during a write sees the rows as they were, and after it as they are", async () => {
  const held = await writeHeldChange();
  expect(await seen()).toEqual([before, before, beforeRows]);
  await held.release();
  expect(await seen()).toEqual([after, after, afterRows]);
});

test("A cursor that was opened during a write does not come to see it", async () => {
  const held = await writeHeldChange();
  const cursor = await kv.scan({ start: bytes("a") }, "lookup");
  await held.release();
  const rows = await cursor.next(10);
  expect(rows.map((row) => `${text(row.key)}=${text(row.value)}`)).toEqual(beforeRows);
  cursor.close();
});

test("A snapshot that is asked for during a write is handed out when the write is durable, and includes it", async () => {
  const held = await writeHeldChange();
  let handedOut = false;
  const asking = kv.snapshot().then((snapshot) => {
    handedOut = true;
    return snapshot;
  });
  expect(await seen()).toEqual([before, before, beforeRows]);
  expect(handedOut).toBe(false);
  await held.release();
  const snapshot = await asking;
  expect(text(await snapshot.get(bytes("changed")))).toBe("2");
  await kv.write([put("changed", "3")]);
  expect(text(await snapshot.get(bytes("changed")))).toBe("2");
  expect(await snapshot.get(bytes("removed"))).toBeUndefined();
  snapshot.close();
});

test("What was hidden is there after a memtable flush and a reopening as well", async () => {
  const held = await writeHeldChange();
  await held.release();
  await kv.close();
  kv = await openOnStandIn(standIn);
  expect(await seen()).toEqual([after, after, afterRows]);
});
