/** What a bucket that is slow, or silent, costs a store: time as it must, and memory only up to its bounds. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type EventStore, EventStoreError, openEventStore } from "../../src/index.ts";
import { queueBytesMax, queueCommitsMax } from "../../src/log/commit-queue.ts";
import { collect, until } from "../support/collect.ts";
import { sumOf } from "../support/fault-proxy.ts";
import type { Latency } from "../support/fault-rules.ts";
import { expectOneHistory } from "../support/ledger.ts";
import { minioAvailable } from "../support/minio.ts";
import { openAt, type Servers, startServers } from "./fault-run.ts";

setDefaultTimeout(240_000);

const latencies: readonly Latency[] = [
  { fixedMs: 1 },
  { fixedMs: 30 },
  { fixedMs: 400 },
  { fixedMs: 2_000 },
  { fromMs: 1, toMs: 400 },
  { medianMs: 20, p99Ms: 1_000 },
];
const appenders = 8;
const appendsEach = 3;
const mebibyte = 1024 * 1024;

describe.skipIf(!minioAvailable)("A store on MinIO", () => {
  let servers: Servers | undefined;

  beforeAll(async () => {
    servers = await startServers();
  });

  afterAll(() => servers?.[Symbol.asyncDispose]());

  function on(): Servers {
    if (servers === undefined) throw new Error("MinIO is not running");
    return servers;
  }

  for (const latency of latencies) {
    test(`takes every append, and shares requests, where an answer takes ${JSON.stringify(latency)}`, async () => {
      const { minio, proxy } = on();
      const bucket = await minio.createBucket();
      const store = await openEventStore({
        url: `s3://${bucket}/store`,
        s3: { ...minio.s3, endpoint: proxy.endpoint },
      });
      await proxy.resetCounts();
      const delay = await proxy.setFault({ fault: { kind: "delay", latency }, buckets: [bucket] });
      const append = async (streamName: string): Promise<void> => {
        for (let n = 0; n < appendsEach; n += 1) {
          await store.append(streamName, [{ type: "T", data: n }], { expectedVersion: n === 0 ? "no-stream" : n });
        }
      };
      await Promise.all(Array.from({ length: appenders }, (_, index) => append(`s-${index}`)));
      const puts = sumOf(await proxy.counts(), { bucket, purpose: "wal", method: "PUT" }).requests;
      expect(puts).toBe(store.stats().commits.groups);
      expect(puts).toBeLessThan(appenders * appendsEach);
      await delay.clear();
      const log = await collect(store.readAll());
      expectOneHistory(log);
      expect(log.length).toBe(appenders * appendsEach);
      await store.close();
    });
  }

  /** Offers many appends at once and counts what became of them. */
  async function flood(store: EventStore, count: number, data: string): Promise<Map<string, number>> {
    const ends = new Map<string, number>();
    const offered = Array.from({ length: count }, (_, index) =>
      store.append(`flood-${index % 50}`, [{ type: "T", data }], { expectedVersion: "any" }).then(
        () => "acknowledged",
        (error: unknown) => {
          if (!(error instanceof EventStoreError)) throw error;
          return `${error.code} ${error.outcome}`;
        },
      ),
    );
    expect(store.health().queued).toBeLessThanOrEqual(queueCommitsMax);
    for (const end of await Promise.all(offered)) ends.set(end, (ends.get(end) ?? 0) + 1);
    return ends;
  }

  test("holds no more than its queue does while the bucket is silent, refuses the rest, and goes on afterwards", async () => {
    const { minio, proxy } = on();
    const bucket = await minio.createBucket();
    // Long enough for the flood to be offered before the first of it is given up on.
    const store = await openAt(on(), bucket, proxy.endpoint, {}, 4_000);
    const data = "x".repeat(10_000);
    await flood(store, 200, data);
    Bun.gc(true);
    const beforeBytes = process.memoryUsage.rss();
    const silence = await proxy.setFault({ fault: { kind: "silence-before" }, buckets: [bucket] });
    const ends = await flood(store, 20_000, data);
    expect(ends.get("overloaded not-applied")).toBeGreaterThan(20_000 - (2 * queueBytesMax) / data.length);
    // From the first commit that was given up on, the store is known to stall, and nothing even waits.
    expect(store.health().state).toBe("stalled");
    for (let round = 0; round < 8; round += 1) {
      expect([...(await flood(store, 20_000, data))]).toEqual([["storage-unavailable not-applied", 20_000]]);
    }
    Bun.gc(true);
    const grownMiB = Math.round((process.memoryUsage.rss() - beforeBytes) / mebibyte);
    if (process.env.STRATA_FAULT_REPORT !== undefined) console.log(`grew by ${grownMiB} MiB`);
    // 1,800 MB were offered.
    expect(grownMiB).toBeLessThan(600);
    expect(await silence.clear()).toBeGreaterThan(0);
    await until(() => store.health().state === "open", 30_000);
    expect((await flood(store, 1, data)).get("acknowledged")).toBe(1);
    expectOneHistory(await collect(store.readAll()));
    await store.close();
  });
});
