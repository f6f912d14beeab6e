/** The two ways to tune a bucket keep the engine's safety rules, their budgets while idle, and up with the flushes they allow. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { projectCost } from "../../src/index.ts";
import { nativeSettings } from "../../src/kv/slatedb-binding.ts";
import {
  engineSettings,
  l0TablesMax,
  type StorageProfile,
  storageProfiles,
  tuningFor,
} from "../../src/kv/slatedb-settings.ts";
import { startS3StandIn } from "../kv/s3-stand-in.ts";
import { noise, openOnStandIn, put, until } from "../kv/stores.ts";

setDefaultTimeout(60_000);

const bucket = { kind: "s3", url: "s3://bucket", bucket: "bucket", prefix: "" } as const;

/** What a store that does nothing may cost a month, in dollars at the prices of S3 Standard. */
const idleBudgets: Readonly<Record<StorageProfile, number>> = { "low-latency": 6.5, "low-cost": 2 };

describe.each([...storageProfiles])("A bucket tuned for %s", (profile) => {
  const tuning = tuningFor(bucket, profile);

  test("looks for a newer writer a hundred times while a fence cannot be collected", () => {
    expect(tuning.garbageMinAgeMs).toBeGreaterThanOrEqual(10 * 60_000);
    expect(tuning.manifestPollMs).toBeLessThanOrEqual(tuning.garbageMinAgeMs / 100);
    expect(tuning.writeTimeoutMs).toBeLessThanOrEqual(tuning.garbageMinAgeMs / 4);
    expect(tuning.heartbeat).toBe(true);
    expect(tuning.flushAfterOpen).toBe(true);
  });

  test("has settings that the engine takes", () => {
    const settings = JSON.parse(nativeSettings(engineSettings(tuning, "engine")).to_json_string());
    expect(settings.compactor_options.poll_interval).toBe(`${tuning.compactorPollMs / 1_000}s`);
  });

  test("costs no more than its budget while it is idle", () => {
    expect(projectCost({ storage: profile }).monthlyCost).toBeLessThanOrEqual(idleBudgets[profile]);
  });

  test("flushes so seldom that two rounds of polls fit into the tables that may wait", () => {
    const flushes = (tuning.manifestPollMs + tuning.compactorPollMs) / tuning.memtableFlushSpacingMs;
    expect(flushes).toBeLessThanOrEqual(l0TablesMax);
  });

  test("asks while idle for no more than the plan says: measured with all intervals a hundredth as long", async () => {
    await using standIn = startS3StandIn();
    const kv = await openOnStandIn(standIn, {
      manifestPollMs: tuning.manifestPollMs / 100,
      compactorPollMs: tuning.compactorPollMs / 100,
      garbageIntervalMs: tuning.garbageIntervalMs / 100,
    });
    const opened = standIn.requests.length;
    const startedMs = performance.now();
    const lists = (): number => standIn.requests.slice(opened).filter(({ key }) => key === "").length;
    await until("it has polled for a while", () => lists() >= 60, 30_000);
    const perMonth = ((lists() / (performance.now() - startedMs)) * 30 * 86_400_000) / 100;
    await kv.close();
    const planned = projectCost({ storage: profile }).byPurpose.polling.requests.lists;
    // A machine that is busy polls less often, never more.
    expect(perMonth / planned).toBeGreaterThan(0.2);
    expect(perMonth / planned).toBeLessThan(1.5);
  });
});

test("Memtables are flushed 150 times in a row, though no more than 64 tables may wait to be merged", async () => {
  await using standIn = startS3StandIn();
  const kv = await openOnStandIn(standIn, {
    manifestPollMs: 100,
    compactorPollMs: 200,
    memtableFlushGroups: 1,
    memtableFlushSpacingMs: 5,
  });
  let row = 0;
  await until(
    "150 memtables are flushed",
    async () => {
      row += 1;
      await kv.write([put(`k${row}`, noise(500))]);
      return kv.stats().memtableFlushes >= 150;
    },
    50_000,
  );
  expect(kv.status().state).toBe("open");
  await kv.close();
});
