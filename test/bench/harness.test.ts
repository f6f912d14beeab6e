/** The parts of the harness that a wrong figure would come from. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { dollarsOf, requestsOf, timesRequests } from "../../bench/harness/bucket.ts";
import { closedLoop } from "../../bench/harness/closed-loop.ts";
import { openEventSource } from "../../bench/harness/event-source.ts";
import { urlBelow } from "../../bench/harness/locations.ts";
import { sampleEvent } from "../../bench/harness/sample-events.ts";
import { DurationRecorder, median, medianBy, percentile, summarize } from "../../bench/harness/statistics.ts";
import type { CountRow } from "../support/fault-proxy.ts";
import type { RequestPurpose } from "../support/fault-rules.ts";

setDefaultTimeout(60_000);

describe("statistics", () => {
  test("take a percentile as the smallest value that so many do not exceed", () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([0.5, 0.95, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 95, 99, 100]);
    expect(percentile([7], 0.99)).toBe(7);
  });

  test("summarize in any order, and take the lower of two middles as the median", () => {
    expect(summarize([3, 1, 2])).toEqual({ p50: 2, p95: 3, p99: 3, max: 3 });
    expect(median([4, 1, 3, 2])).toBe(2);
    expect(medianBy([{ rate: 9 }, { rate: 1 }, { rate: 5 }], ({ rate }) => rate)).toEqual({ rate: 5 });
  });

  test("record more durations than there was room for at first", () => {
    const recorder = new DurationRecorder();
    for (let value = 1; value <= 5_000; value += 1) recorder.record(value);
    expect(recorder.count).toBe(5_000);
    expect(recorder.summary()).toEqual({ p50: 2_500, p95: 4_750, p99: 4_950, max: 5_000 });
  });
});

test("a closed loop has each worker do one operation at a time, and tells all that were done", async () => {
  const busy = new Set<number>();
  const done: string[] = [];
  const report = await closedLoop(3, { warmUpMs: 1, durationMs: 2, runs: 2 }, async (worker, sequence) => {
    expect(busy.has(worker)).toBe(false);
    busy.add(worker);
    await Promise.resolve();
    busy.delete(worker);
    done.push(`${worker}-${sequence}`);
  });
  expect(report.total).toBe(done.length);
  expect(new Set(done).size).toBe(done.length);
  expect(report.count).toBeLessThan(report.total);
});

test("every scenario gets a place of its own below the URL", () => {
  expect(urlBelow("memory:", "run-1-append")).toBe("memory:");
  expect(urlBelow("file:.data/bench/", "run-1-append")).toBe("file:.data/bench/run-1-append");
  expect(urlBelow("s3://bucket", "run-1-append")).toBe("s3://bucket/run-1-append");
  expect(urlBelow("s3://bucket/a/b", "run-1-append")).toBe("s3://bucket/a/b/run-1-append");
});

test("requests that a proxy counted are billed by kind, leases and checks apart", () => {
  const row = (method: string, purpose: RequestPurpose, requests: number): CountRow => ({
    ...{ bucket: "b", faults: 0, refusals: 0, requestBytes: 0, answerBytes: 0 },
    ...{ method, purpose, requests },
  });
  const counted = [
    row("PUT", "wal", 100),
    row("GET", "list", 20),
    row("GET", "sst", 7),
    row("HEAD", "wal", 3),
    row("DELETE", "wal", 9),
    row("PUT", "other", 5),
  ];
  expect(requestsOf(counted)).toEqual({ puts: 105, gets: 7, lists: 20, heads: 3, deletes: 9 });
  expect(requestsOf(counted, "database").puts).toBe(100);
  expect(requestsOf(counted, "beside")).toEqual({ puts: 5, gets: 0, lists: 0, heads: 0, deletes: 0 });
  const million = timesRequests(requestsOf(counted, "database"), 10_000);
  // $5 a million for PUT and LIST, $0.40 for GET and HEAD.
  expect(dollarsOf(million)).toBeCloseTo(5 * 1.2 + 0.4 * 0.1, 6);
});

describe("events", () => {
  test("of the append scenario have 229 bytes of data and two ids", () => {
    for (const number of [0, 1_000_000]) {
      const { data, metadata } = sampleEvent(number);
      expect(Buffer.byteLength(JSON.stringify(data))).toBe(229);
      expect(Object.keys(metadata)).toEqual(["correlationId", "causationId"]);
    }
  });

  test("that are made up are the same each time, and in order within their streams", async () => {
    const read = async (): Promise<string[]> => {
      const ids: string[] = [];
      for await (const batch of openEventSource("generated").batches(5_000)) ids.push(...batch.map(({ id }) => id));
      return ids;
    };
    const ids = await read();
    expect(ids).toHaveLength(5_000);
    expect(await read()).toEqual(ids);
    const versions = new Map<string, number>();
    for (const id of ids) {
      const stream = id.slice(0, id.lastIndexOf("-"));
      const version = (versions.get(stream) ?? 0) + 1;
      expect(id).toBe(`${stream}-${version}`);
      versions.set(stream, version);
    }
  });
});
