/**
 * The engine waits for a storage that does not answer for ever. Each call of ours ends within its deadline, and says what
 * is known: reads may be tried again, a write whose fate is unknown ends the writer.
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import type { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { bytes, failureOf, noise, openOnStandIn, put, TurnedClock, text, until } from "./stores.ts";

setDefaultTimeout(60_000);

const deadlineMs = 250;
/** How much later than its deadline a call may end on a busy machine. */
const slackMs = 3_000;

let standIn: S3StandIn;

beforeEach(() => {
  standIn = startS3StandIn();
});

afterEach(async () => {
  standIn.thaw();
  await standIn[Symbol.asyncDispose]();
});

/** How `work` failed, which it must in time. */
async function lateFailureOf(work: Promise<unknown>, within: number = deadlineMs): Promise<EventStoreError> {
  const startedMs = performance.now();
  const failure = await failureOf(work);
  expect(performance.now() - startedMs).toBeLessThan(within + slackMs);
  return failure;
}

/** A store whose rows are on storage only: not in a memtable, not in a cache. */
async function openOnColdRows(): Promise<KeyValueStore> {
  const writer = await openOnStandIn(standIn);
  for (let group = 0; group < 4; group += 1) {
    await writer.write(
      Array.from({ length: 64 }, (_, row) => put(`k${group}${String(row).padStart(3, "0")}`, noise(4_096))),
    );
  }
  await writer.close();
  return await openOnStandIn(standIn, { readTimeoutMs: deadlineMs });
}

test("A read of a storage that does not answer ends with storage-unavailable, and works again when it answers", async () => {
  const kv = await openOnColdRows();
  standIn.freeze();
  const reads = [
    () => kv.get(bytes("k0000")),
    () => kv.getMany([bytes("k1000"), bytes("k2000")]),
    () => kv.scan({ start: bytes("k3") }, "lookup").then((cursor) => cursor.next(1)),
    () => kv.scan({ start: bytes("k3") }, "replay").then((cursor) => cursor.next(1)),
  ];
  const failures = await Promise.all(reads.map((read) => lateFailureOf(read())));
  expect(failures.map(({ code, outcome }) => [code, outcome])).toEqual(
    reads.map(() => ["storage-unavailable", undefined]),
  );
  expect(kv.status()).toEqual({ state: "open" });
  standIn.thaw();
  expect((await kv.get(bytes("k0000")))?.length).toBe(4_096);
  await kv.close();
});

test("A cursor whose call came too late fails for good, instead of leaving out what was read meanwhile", async () => {
  const kv = await openOnColdRows();
  const cursor = await kv.scan({ start: bytes("k") }, "lookup");
  expect((await cursor.next(3)).length).toBe(3);
  standIn.freeze();
  expect((await lateFailureOf(cursor.next(256))).code).toBe("storage-unavailable");
  standIn.thaw();
  expect((await failureOf(cursor.next(1))).code).toBe("storage-unavailable");
  expect((await failureOf(cursor.seek(bytes("k3")))).code).toBe("storage-unavailable");
  cursor.close();
  expect(await cursor.next(1).catch((error: EventStoreError) => error.code)).toBe("storage-unavailable");
  await kv.close();
});

test("A write that the storage does not answer is unknown, and the store takes no further one", async () => {
  const kv = await openOnStandIn(standIn, { writeTimeoutMs: deadlineMs });
  await kv.write([put("a", "1")]);
  standIn.freeze();
  const failure = await lateFailureOf(kv.write([put("a", "2")]));
  expect([failure.code, failure.outcome]).toEqual(["storage-unavailable", "unknown"]);
  expect(kv.status().state).toBe("failed");
  const next = await failureOf(kv.write([put("a", "3")]));
  expect([next.code, next.outcome]).toEqual(["storage-unavailable", "not-applied"]);
  standIn.thaw();
  await kv.close();
  expect(kv.status().state).toBe("closed");
  const reopened = await openOnStandIn(standIn);
  expect(["1", "2"].includes(text(await reopened.get(bytes("a"))) ?? "absent")).toBe(true);
  await reopened.close();
});

test("A write may take no longer than a writer may stand still, whatever its own deadline is", async () => {
  const kv = await openOnStandIn(standIn, { garbageMinAgeMs: deadlineMs * 4 });
  standIn.freeze();
  expect((await lateFailureOf(kv.write([put("a", "1")]))).outcome).toBe("unknown");
  standIn.thaw();
  await kv.close();
});

test("A write whose answer came too late to be sure of is not acknowledged, though it is stored", async () => {
  const clock = new TurnedClock();
  const kv = await openOnStandIn(standIn, { garbageMinAgeMs: 4 * 60_000 }, clock);
  await kv.write([put("a", "1")]);
  const gate = Promise.withResolvers<void>();
  standIn.intercept(async (request) => {
    if (request.method === "PUT" && request.key.includes("/wal/")) await gate.promise;
    return undefined;
  });
  const writing = failureOf(kv.write([put("a", "2")]));
  clock.advance(60_001);
  gate.resolve();
  const failure = await writing;
  expect([failure.code, failure.outcome]).toEqual(["storage-unavailable", "unknown"]);
  expect(kv.status().state).toBe("failed");
  standIn.intercept(undefined);
  await kv.close();
});

test("A snapshot that waits for a write which is not answered ends in time", async () => {
  const kv = await openOnStandIn(standIn, { readTimeoutMs: deadlineMs });
  await kv.write([put("a", "1")]);
  standIn.freeze();
  const writing = kv.write([put("a", "2")]);
  expect((await lateFailureOf(kv.snapshot())).code).toBe("storage-unavailable");
  standIn.thaw();
  await writing;
  const snapshot = await kv.snapshot();
  expect(text(await snapshot.get(bytes("a")))).toBe("2");
  snapshot.close();
  await kv.close();
});

test("Closing ends in time on a storage that does not answer, and says that what was acknowledged is durable", async () => {
  const kv = await openOnStandIn(standIn, { closeTimeoutMs: deadlineMs });
  await kv.write([put("a", "1")]);
  standIn.freeze();
  const failure = await lateFailureOf(kv.close());
  expect(failure.code).toBe("storage-unavailable");
  expect(failure.message).toContain("what was acknowledged is durable");
  expect(kv.status()).toEqual({ state: "closed" });
  expect((await failureOf(kv.close())).code).toBe("storage-unavailable");
  standIn.thaw();
  const reopened = await openOnStandIn(standIn);
  expect(text(await reopened.get(bytes("a")))).toBe("1");
  await reopened.close();
});

test("Closing during a write that is not answered ends both", async () => {
  const kv = await openOnStandIn(standIn, { closeTimeoutMs: deadlineMs });
  standIn.freeze();
  const writing = failureOf(kv.write([put("a", "1")]));
  expect((await lateFailureOf(kv.close())).code).toBe("storage-unavailable");
  const failure = await writing;
  expect([failure.code, failure.outcome]).toEqual(["store-closed", "unknown"]);
});

test("Closing a store that has failed ends in time and in peace", async () => {
  const kv = await openOnStandIn(standIn, { writeTimeoutMs: deadlineMs, closeTimeoutMs: deadlineMs });
  standIn.freeze();
  await failureOf(kv.write([put("a", "1")]));
  const startedMs = performance.now();
  await kv.close();
  expect(performance.now() - startedMs).toBeLessThan(deadlineMs + slackMs);
});

test("Opening ends in time on a storage that never answers", async () => {
  standIn.freeze();
  const failure = await lateFailureOf(openOnStandIn(standIn, { openTimeoutMs: deadlineMs }));
  expect(failure.code).toBe("storage-unavailable");
});

test("Opening ends in time on a storage that answers the first word, and then no more", async () => {
  standIn.intercept((request) =>
    request.headers.get("user-agent")?.startsWith("aws-sdk-js") === true ? undefined : new Promise(() => {}),
  );
  const failure = await lateFailureOf(openOnStandIn(standIn, { openTimeoutMs: deadlineMs }));
  expect(failure.code).toBe("storage-unavailable");
});

test("Opening ends in time where recovery's flush is not answered", async () => {
  const crashed = await openOnStandIn(standIn);
  await crashed.write([put("a", "1")]);
  standIn.intercept((request) =>
    request.method === "PUT" && request.key.includes("/compacted/") ? new Promise(() => {}) : undefined,
  );
  const failure = await lateFailureOf(openOnStandIn(standIn, { openTimeoutMs: 1_000 }), 1_000);
  expect(failure.code).toBe("storage-unavailable");
  standIn.intercept(undefined);
  const reopened = await openOnStandIn(standIn);
  expect(text(await reopened.get(bytes("a")))).toBe("1");
  await reopened.close();
  await crashed.close();
});

test("Opening ends in time on an endpoint that accepts connections and never says a word", async () => {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const s3 = { endpoint: `http://127.0.0.1:${listener.port}`, accessKeyId: "a", secretAccessKey: "b" };
  const { location } = standIn;
  const opening = openSlateKv({ location, s3, clock: systemClock, tuning: { openTimeoutMs: deadlineMs } });
  expect((await lateFailureOf(opening)).code).toBe("storage-unavailable");
  listener.stop(true);
});

test("A store whose memtable flush hangs refuses writes as overloaded, and takes them again after it", async () => {
  const kv = await openOnStandIn(standIn, {
    memtableFlushGroups: 1,
    memtableFlushSpacingMs: 0,
    memtableBytesMax: 50_000,
  });
  const gate = Promise.withResolvers<void>();
  standIn.intercept(async (request) => {
    if (request.method === "PUT" && request.key.includes("/compacted/")) await gate.promise;
    return undefined;
  });
  const writeOn = async (): Promise<EventStoreError> => {
    for (let group = 0; group < 100; group += 1) {
      try {
        await kv.write([put(`k${group}`, noise(1_000))]);
      } catch (error) {
        return await failureOf(Promise.reject(error));
      }
    }
    throw new Error("The store took every write");
  };
  const failure = await writeOn();
  expect([failure.code, failure.outcome]).toEqual(["overloaded", "not-applied"]);
  expect(kv.status()).toEqual({ state: "open" });
  expect((await kv.get(bytes("k0")))?.length).toBe(1_000);
  gate.resolve();
  const accepted = (): Promise<boolean> =>
    kv.write([put("later", "1")]).then(
      () => true,
      () => false,
    );
  await until("the store takes writes again", accepted);
  await kv.close();
});
