/** What `stats()` says of requests is what the server saw: exactly where it is counted, within a stated tolerance where derived. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import type { ObjectStoreStats, RequestCounts } from "../../src/kv/object-store-stats.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStore } from "../../src/store/open-event-store.ts";
import { type S3StandIn, startS3StandIn } from "../kv/s3-stand-in.ts";
import { bytes, drain, noise, openOnStandIn, put, standInCredentials, until } from "../kv/stores.ts";
import { startFaultProxy, sumOf } from "../support/fault-proxy.ts";
import { minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

/** Polls so often that a few seconds hold many of them. */
const busy: Partial<SlateTuning> = {
  manifestPollMs: 100,
  compactorPollMs: 250,
  garbageIntervalMs: 1_000,
  memtableFlushGroups: 10,
  memtableFlushSpacingMs: 0,
};

/** The requests of the engine; those of the S3 client that looks at the bucket before it opens have another agent. */
function seenBy(standIn: S3StandIn, from = 0): RequestCounts {
  const counts = { puts: 0, gets: 0, lists: 0, heads: 0, deletes: 0 };
  for (const { method, key, headers } of standIn.requests.slice(from)) {
    if (headers.get("user-agent")?.includes("aws-sdk") === true) continue;
    if (method === "GET" && key === "") counts.lists += 1;
    else if (method === "GET") counts.gets += 1;
    else if (method === "PUT") counts.puts += 1;
    else if (method === "HEAD") counts.heads += 1;
    else if (method === "DELETE") counts.deletes += 1;
  }
  return counts;
}

function statsOf(kv: KeyValueStore): ObjectStoreStats {
  const stats = kv.objectStoreStats?.();
  if (stats === undefined) throw new Error("The store does not tell its requests");
  return stats;
}

/** Listings are derived: within a tenth, and six. */
function expectClose(said: number, seen: number): void {
  expect(Math.abs(said - seen)).toBeLessThanOrEqual(6 + seen / 10);
}

function expectSame(stats: ObjectStoreStats, seen: RequestCounts): void {
  const { puts, gets, heads, deletes, lists } = stats.requests;
  expect({ puts, reads: gets + heads, deletes }).toEqual({
    puts: seen.puts,
    reads: seen.gets + seen.heads,
    deletes: seen.deletes,
  });
  expectClose(lists, seen.lists);
  const sums = { puts: 0, gets: 0, lists: 0, heads: 0, deletes: 0 };
  for (const counts of Object.values(stats.byPurpose)) {
    for (const kind of ["puts", "gets", "lists", "heads", "deletes"] as const) sums[kind] += counts[kind];
  }
  for (const kind of ["puts", "gets", "lists", "heads", "deletes"] as const) {
    expect(Math.abs(sums[kind] - stats.requests[kind])).toBeLessThanOrEqual(3);
  }
}

async function writeGroups(kv: KeyValueStore, groups: number, rowBytes = 200): Promise<void> {
  for (let group = 0; group < groups; group += 1)
    await kv.write([put(`k${String(group).padStart(6, "0")}`, noise(rowBytes))]);
}

describe("The requests of a store on a bucket", () => {
  test("are counted while it opens, writes and flushes: one PUT a group, two a memtable", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, { ...busy, memtableFlushGroups: 1_000 });
    await writeGroups(kv, 50);
    const before = statsOf(kv).byPurpose;
    expect(before.commitGroups.puts).toBe(50);
    expect(before.memtableFlushes.puts).toBe(0);
    await kv.close();
    const { byPurpose, requests, bytesWritten } = statsOf(kv);
    expect(byPurpose.commitGroups.puts).toBe(50);
    expect(byPurpose.memtableFlushes.puts).toBe(2);
    expectSame(statsOf(kv), seenBy(standIn));
    expect(requests.puts).toBeGreaterThan(52);
    expect(bytesWritten.commitGroups).toBeGreaterThan(50 * 200);
    expect(bytesWritten.memtableFlushes).toBeGreaterThan(50 * 200);
  });

  test("are told while it idles: each look at the manifest and at the compactor's state is a LIST and a GET", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, busy);
    await until("it has polled often", () => seenBy(standIn).lists > 200, 30_000);
    const { byPurpose } = statsOf(kv);
    await kv.close();
    expectSame(statsOf(kv), seenBy(standIn));
    expect(byPurpose.polling.lists).toBeGreaterThan(80);
    expect(byPurpose.garbageCollection.lists).toBeGreaterThan(30);
    expect(byPurpose.commitGroups.puts).toBe(0);
    expect(byPurpose.reads.gets).toBe(0);
  });

  test("include each page of a listing: the garbage collector lists the whole WAL", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, { ...busy, garbageIntervalMs: 200, memtableFlushGroups: 10_000 });
    await writeGroups(kv, 3_500, 10);
    const said = statsOf(kv).requests.lists;
    const from = standIn.requests.length;
    await until("it has gone through the WAL some times more", () => seenBy(standIn, from).lists > 300, 30_000);
    expectClose(statsOf(kv).requests.lists - said, seenBy(standIn, from).lists);
    await kv.close();
  });

  test("are told while tables are merged, which costs PUTs and GETs of its own", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, busy);
    await writeGroups(kv, 200, 2_000);
    await until("tables are merged", () => statsOf(kv).byPurpose.compaction.puts > 10, 30_000);
    await kv.close();
    const stats = statsOf(kv);
    expectSame(stats, seenBy(standIn));
    expect(stats.bytesWritten.compaction).toBeGreaterThan(10_000);
    const merged = standIn.requests.filter(({ method, key }) => method === "GET" && key.includes("/compacted/")).length;
    expect(stats.byPurpose.compaction.gets).toBeGreaterThan(merged / 3);
    expect(stats.byPurpose.reads.gets).toBeLessThan(merged);
  });

  test("are told of reads: cold ones ask for parts of tables, warm ones for nothing", async () => {
    await using standIn = startS3StandIn();
    // One table: nothing is merged, so that every part asked for is a read's.
    const writer = await openOnStandIn(standIn, { ...busy, memtableFlushGroups: 1_000 });
    await writeGroups(writer, 60, 4_000);
    await writer.close();
    const from = standIn.requests.length;
    const kv = await openOnStandIn(standIn, busy);
    const parts = (): number =>
      standIn.requests.slice(from).filter(({ method, key }) => method === "GET" && key.includes("/compacted/")).length;
    expect(statsOf(kv).byPurpose.reads.gets).toBe(0);
    await kv.get(bytes("k000007"));
    await drain(await kv.scan({ start: bytes("k") }, "lookup"));
    const cold = statsOf(kv).byPurpose.reads.gets;
    expect(cold).toBe(parts());
    expect(cold).toBeGreaterThan(0);
    await kv.get(bytes("k000007"));
    await drain(await kv.scan({ start: bytes("k") }, "lookup"));
    expect(statsOf(kv).byPurpose.reads.gets).toBe(cold);
    await kv.close();
    expectSame(statsOf(kv), seenBy(standIn, from));
  });

  test("count each attempt of the engine where the server fails, and say how many failed", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, busy);
    let refusals = 0;
    standIn.intercept(({ method, key }) => {
      if (method !== "PUT" || !key.includes("/wal/") || refusals >= 1) return undefined;
      refusals += 1;
      return new Response(null, { status: 400 });
    });
    await writeGroups(kv, 3);
    expect(refusals).toBe(1);
    await kv.close();
    const stats = statsOf(kv);
    expect(stats.failed).toBeGreaterThanOrEqual(1);
    expect(stats.requests.puts).toBe(seenBy(standIn).puts);
  });
});

test("The requests of a lease are those that the server saw: those of opening by themselves", async () => {
  await using standIn = startS3StandIn();
  const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
  const store = await openEventStore({ url: standIn.location.url, s3, leaseIntervalMs: 100 });
  const seen = (method: string): number =>
    standIn.requests.filter((one) => one.method === method && one.key.endsWith("lease.json")).length;
  const before = store.stats().objectStore?.byPurpose.lease.puts ?? Number.NaN;
  await until("the lease was renewed some times", () => seen("PUT") > 4);
  await store.close();
  const said = store.stats().objectStore;
  expect(said?.byPurpose.lease.puts).toBeGreaterThan(before);
  // Taking it is a part of opening.
  expect(said?.byPurpose.lease.puts).toBeLessThan(seen("PUT"));
  expect(said?.byPurpose.lease.gets).toBe(0);
  const database = standIn.requests.filter(({ method, key }) => method === "PUT" && key.includes("/db/")).length;
  expect(said?.requests.puts).toBe(database + seen("PUT"));
});

describe.skipIf(!minioAvailable)("The requests of a store on MinIO", () => {
  test("are those that a proxy before it counts, through a load of appends, reads and idling", async () => {
    await using minio = await startMinio();
    await using proxy = await startFaultProxy(minio.endpoint);
    const bucket = await minio.createBucket();
    const s3 = { ...minio.s3, endpoint: proxy.endpoint };
    const location = { kind: "s3", url: `s3://${bucket}/store`, bucket, prefix: "store" } as const;
    const preflight = 1;
    const kv = await openSlateKv({ location, s3, clock: systemClock, tuning: busy });
    await writeGroups(kv, 100, 1_000);
    await drain(await kv.scan({ start: bytes("k") }, "replay"));
    await until("it has idled for 30 looks", () => statsOf(kv).byPurpose.polling.lists > 30);
    await kv.close();
    const { requests } = statsOf(kv);
    // What is asked before the engine is there, to check the bucket, is not the engine's.
    const rows = (await proxy.counts()).filter(({ bucket: of, purpose }) => of === bucket && purpose !== "other");
    const seen = (method: string): number => sumOf(rows, { method }).requests;
    expect(requests.puts).toBe(seen("PUT"));
    expect(requests.deletes).toBe(seen("DELETE"));
    const lists = sumOf(rows, { method: "GET", purpose: "list" }).requests;
    expect(lists).toBeGreaterThan(30);
    expect(requests.gets + requests.heads).toBe(seen("GET") - lists + seen("HEAD"));
    expectClose(requests.lists, lists - preflight);
  });
});
