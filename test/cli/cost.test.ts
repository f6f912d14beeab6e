/** `strata cost`: sizes by family, prices from a file, a planned load, counted requests; and it fences nobody. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { openEventStore, projectCost, s3StandardPrices } from "../../src/index.ts";
import { minioAvailable, startMinio } from "../support/minio.ts";
import { manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

/** As much of what it writes as JSON as is looked at. */
interface Found {
  readonly storage: {
    readonly families: Record<string, { objects: number; bytes: number }>;
    readonly monthlyCost: number;
  };
  readonly requests: {
    readonly monthlyCost: number;
    readonly byPurpose: Record<string, { requests: { puts: number } }>;
  };
  readonly monthlyCost: number;
}

async function json(...words: readonly string[]): Promise<Found> {
  const { stdout, stderr, exitCode } = await strata(["cost", "--json", ...words]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  return JSON.parse(stdout);
}

async function bytesBelow(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) total += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return total;
}

describe("strata cost", () => {
  test("without a store tells what a planned load costs", async () => {
    const found = await json(
      "--appends-per-second",
      "50",
      "--commit-linger-ms",
      "20",
      "--put-ms",
      "10",
      "--replicas",
      "2",
      "--idle",
      "3",
    );
    const planned = projectCost({ appendsPerSecond: 50, lingerMs: 20, putMs: 10, replicas: 2, idleStores: 3 });
    expect(found).toEqual(
      JSON.parse(JSON.stringify({ prices: s3StandardPrices, requests: planned, monthlyCost: planned.monthlyCost })),
    );
    const cheap = await json("--storage", "low-cost", "--commit-linger-ms", "adaptive");
    expect(cheap.monthlyCost).toBeLessThan((await json()).monthlyCost);
  });

  test("lists a store's objects by family, prices their bytes, and opens nothing", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("events.jsonl", manyLines(500, 10)));
    await using store = await openEventStore({ url: place.url });
    const { storage, monthlyCost, requests } = await json("--url", place.url);
    // The writer that is open goes on.
    await store.append("order-new", [{ type: "Added", data: {} }], { expectedVersion: "no-stream" });
    const { wal, compacted, manifest, other } = storage.families;
    for (const family of [wal, compacted, manifest]) expect(family?.bytes).toBeGreaterThan(0);
    const bytes = [wal, compacted, manifest, other].reduce((sum, family) => sum + (family?.bytes ?? Number.NaN), 0);
    expect(bytes).toBeLessThanOrEqual(await bytesBelow(join(place.folder, "store")));
    expect(bytes).toBeGreaterThan(10_000);
    expect(storage.monthlyCost).toBeCloseTo((bytes / 1e9) * 0.023, 9);
    expect(monthlyCost).toBeCloseTo(storage.monthlyCost + requests.monthlyCost, 9);
  });

  test("takes prices from a file, which it prints to be edited", async () => {
    await using place = await Workplace.make();
    const { stdout } = await strata(["cost", "--print-prices"]);
    expect(JSON.parse(stdout)).toEqual(s3StandardPrices);
    const prices = { ...s3StandardPrices, name: "Ours", currency: "EUR", perMillionLists: 500 };
    const file = await place.file("prices.json", JSON.stringify(prices));
    const text = (await strata(["cost", "--prices", file])).stdout;
    expect(text).toContain("at the prices of Ours");
    expect(text).toMatch(/in a month +\d+\.\d\d EUR/);
    expect((await json("--prices", file)).monthlyCost).toBeGreaterThan(500);
  });

  test("takes what a service has counted to a month", async () => {
    await using place = await Workplace.make();
    await using store = await openEventStore({ url: place.url });
    for (let n = 0; n < 20; n += 1) await store.append("a", [{ type: "A", data: {} }], { expectedVersion: n });
    const { objectStore } = store.stats();
    for (const content of [objectStore, { objectStore, other: 1 }]) {
      const file = await place.file("stats.json", JSON.stringify(content));
      const { requests } = await json("--stats", file);
      const groups = objectStore?.byPurpose.commitGroups.puts ?? Number.NaN;
      expect(groups).toBeGreaterThanOrEqual(20);
      const perMonth = (groups * 30 * 86_400_000) / (objectStore?.uptimeMs ?? Number.NaN);
      expect(requests.byPurpose.commitGroups?.requests.puts).toBeCloseTo(perMonth, 0);
    }
  });

  test("refuses what makes no sense, with a sentence and an exit code", async () => {
    await using place = await Workplace.make();
    const empty = await place.file("empty.json", "{}");
    const list = await place.file("list.json", "[]");
    const text = await place.file("text.json", "nothing");
    const odd = await place.file("odd.json", JSON.stringify({ ...s3StandardPrices, perMillionPosts: 1 }));
    const negative = await place.file("negative.json", JSON.stringify({ ...s3StandardPrices, perMillionGets: -1 }));
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [["--url", place.url], 4, "There is no store at"],
      [["--appends-per-second", "x"], 2, "--appends-per-second must be an integer"],
      [["--commit-linger-ms", "soon"], 2, "--commit-linger-ms must be an integer from 0 or"],
      [["--storage", "fast"], 2, "--storage must be low-latency or low-cost"],
      [["--prices", place.path("none.json")], 4, "There is no such file"],
      [["--prices", empty], 3, "must have a text as name"],
      [["--prices", list], 3, "holds no JSON object"],
      [["--prices", text], 3, "is no JSON"],
      [["--prices", odd], 3, "have a field that is not known"],
      [["--prices", negative], 3, "must have a number from 0 as perMillionGets"],
      [["--stats", empty], 3, "holds no store.stats().objectStore"],
      [["--stats", empty, "--replicas", "1"], 2, "goes with no option of a planned load"],
    ];
    for (const [words, exitCode, sentence] of cases) {
      const finished = await strata(["cost", ...words]);
      expect(finished).toMatchObject({ exitCode, stdout: "", stderr: expect.stringContaining(sentence) });
    }
  });
});

describe.skipIf(!minioAvailable)("strata cost on a bucket (needs MinIO)", () => {
  test("lists what is below the store's prefix", async () => {
    await using minio = await startMinio();
    const { accessKeyId, secretAccessKey, endpoint, region } = minio.s3;
    const url = `s3://${await minio.createBucket()}/shop`;
    await using store = await openEventStore({ url, s3: minio.s3 });
    await store.append("a", [{ type: "A", data: {} }], { expectedVersion: "no-stream" });
    const environment = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    const words = ["cost", "--url", url, "--endpoint", endpoint, "--region", region, "--json"];
    const { stdout } = await strata(words, { environment });
    expect(JSON.parse(stdout).storage.families).toMatchObject({
      wal: { objects: expect.any(Number), bytes: expect.any(Number) },
      // The lease.
      other: { objects: 1 },
    });
    expect(JSON.parse(stdout).storage.families.wal.objects).toBeGreaterThanOrEqual(2);
    await store.append("a", [{ type: "A", data: {} }], { expectedVersion: 1 });
  });
});
