/** What requests cost: prices times counts, nothing for what is free, and a plan that agrees with what was measured. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  estimateCost,
  type ObjectStorePrices,
  type ObjectStoreStats,
  projectCost,
  s3StandardPrices,
  storageCost,
} from "../../src/index.ts";

setDefaultTimeout(60_000);

const none = { puts: 0, gets: 0, lists: 0, heads: 0, deletes: 0 };
const secondsPerMonth = 30 * 86_400;

function stats(uptimeMs: number, byPurpose: Partial<ObjectStoreStats["byPurpose"]>): ObjectStoreStats {
  const all = {
    opening: none,
    commitGroups: none,
    memtableFlushes: none,
    compaction: none,
    polling: none,
    garbageCollection: none,
    reads: none,
    lease: none,
    ...byPurpose,
  };
  return {
    uptimeMs,
    garbageIntervalMs: 300_000,
    requests: none,
    failed: 0,
    byPurpose: all,
    bytesWritten: { commitGroups: 0, memtableFlushes: 0, compaction: 0 },
  };
}

describe("What a running store costs", () => {
  test("is its requests of a month, each kind at its price, and deleting is free", () => {
    const hour = stats(3_600_000, {
      commitGroups: { ...none, puts: 36_000 },
      polling: { ...none, gets: 3_600, lists: 7_200 },
      garbageCollection: { ...none, deletes: 1_000_000 },
      reads: { ...none, gets: 1_000, heads: 2_600 },
    });
    const { byPurpose, monthlyCost, currency } = estimateCost(hour);
    expect(currency).toBe("USD");
    expect(byPurpose.commitGroups.requests.puts).toBeCloseTo(10 * secondsPerMonth, 0);
    expect(byPurpose.commitGroups.cost).toBeCloseTo(129.6, 6);
    expect(byPurpose.polling.cost).toBeCloseTo((2 * secondsPerMonth * 5 + secondsPerMonth * 0.4) / 1e6, 6);
    expect(byPurpose.reads.cost).toBeCloseTo((secondsPerMonth * 0.4) / 1e6, 6);
    expect(byPurpose.garbageCollection.cost).toBe(0);
    expect(monthlyCost).toBeCloseTo(129.6 + 25.92 + 2 * 1.0368, 6);
  });

  test("leaves opening out of the month, and tells it by itself", () => {
    const opened = stats(60_000, { opening: { ...none, puts: 10, gets: 5, lists: 10, heads: 5 } });
    expect(estimateCost(opened)).toMatchObject({ monthlyCost: 0, openingCost: (20 * 5 + 10 * 0.4) / 1e6 });
  });

  test("counts rounds of the garbage collector as often as they come, from the first minute on", () => {
    const rounds = (uptimeMs: number, seen: number): ObjectStoreStats =>
      stats(uptimeMs, { garbageCollection: { ...none, lists: 11 * seen, gets: 8 * seen } });
    const expected = (11 * secondsPerMonth) / 300;
    for (const [uptimeMs, seen] of [
      [1_000, 1],
      [299_000, 1],
      [601_000, 3],
    ] as const) {
      const { requests } = estimateCost(rounds(uptimeMs, seen)).byPurpose.garbageCollection;
      expect(requests.lists).toBeCloseTo(expected, 3);
    }
  });

  test("follows the prices given", () => {
    const free: ObjectStorePrices = { ...s3StandardPrices, perMillionPuts: 0, perMillionDeletes: 2 };
    const hour = stats(3_600_000, {
      commitGroups: { ...none, puts: 1e6 },
      reads: { ...none, deletes: 1e6 },
    });
    expect(estimateCost(hour, free).monthlyCost).toBeCloseTo(720 * 2, 6);
    expect(storageCost(1e12)).toBeCloseTo(23, 6);
    expect(storageCost(1e12, { ...s3StandardPrices, perGigabyteMonth: 1 })).toBeCloseTo(1_000, 6);
  });
});

describe("What a planned load costs", () => {
  test("has one group for each commit at a low rate, and one for each PUT's time at a high one", () => {
    expect(projectCost({ appendsPerSecond: 1, putMs: 10 }).groupsPerSecond).toBeCloseTo(1, 1);
    expect(projectCost({ appendsPerSecond: 5_000, putMs: 10 }).groupsPerSecond).toBeCloseTo(100, 1);
    expect(projectCost({ appendsPerSecond: 0 }).groupsPerSecond).toBe(0);
  });

  test("has as many groups as the bench measured on a storage that takes 10 ms, within a fifth", () => {
    // `bun run bench linger`: PUTs for 1,000 commits, taken to a second.
    const measured = [
      { rate: 500, lingerMs: 0, groups: 83.3 },
      { rate: 2_000, lingerMs: 0, groups: 81.3 },
      { rate: 500, lingerMs: 5, groups: 54.3 },
      { rate: 2_000, lingerMs: 5, groups: 58.0 },
      { rate: 500, lingerMs: "adaptive", groups: 46.0 },
    ] as const;
    for (const { rate, lingerMs, groups } of measured) {
      const planned = projectCost({ appendsPerSecond: rate, lingerMs, putMs: 11 }).groupsPerSecond;
      expect(Math.abs(planned - groups) / groups).toBeLessThan(0.2);
    }
  });

  test("goes down with the linger, and the adaptive one halves it under load and changes nothing without", () => {
    const cost = (appendsPerSecond: number, lingerMs: number | "adaptive"): number =>
      projectCost({ appendsPerSecond, lingerMs }).byPurpose.commitGroups.cost;
    expect(cost(500, 100)).toBeLessThan(cost(500, 20));
    expect(cost(500, "adaptive")).toBeCloseTo(cost(500, 0) / 2, 1);
    expect(cost(5, "adaptive")).toBe(cost(5, 0));
  });

  test("charges idle stores what an idle store costs, and replicas their polls", () => {
    const alone = projectCost({});
    expect(projectCost({ idleStores: 3 }).byPurpose.idleStores.cost).toBeCloseTo(3 * alone.monthlyCost, 6);
    const idleReplica = projectCost({ replicas: 1, replicaPollMs: 1_000 }).byPurpose.replicas.requests;
    expect(idleReplica.lists).toBe(2 * secondsPerMonth);
    expect(idleReplica.gets).toBe(secondsPerMonth);
    expect(projectCost({ replicas: 2, replicaPollMs: 5_000 }).byPurpose.replicas.requests.lists).toBeCloseTo(
      0.8 * secondsPerMonth,
      6,
    );
  });
});
