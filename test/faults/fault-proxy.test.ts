/** The proxy that the fault tests stand on: what it passes on is what the server signed, and each fault is what its name says. */

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { openEventStore } from "../../src/index.ts";
import { type FaultProxy, startFaultProxy, sumOf } from "../support/fault-proxy.ts";
import { classify, type Fault, FaultRules } from "../support/fault-rules.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

describe("The rules of faults", () => {
  test("know by the path what a request is about", () => {
    const purpose = (method: string, target: string): string => classify(method, target).purpose;
    expect(purpose("PUT", "/b/p/db/wal/00000000000000000001.sst")).toBe("wal");
    expect(purpose("GET", "/b/p/db/compacted/01ABC.sst")).toBe("sst");
    expect(purpose("PUT", "/b/db/manifest/00000000000000000001.manifest")).toBe("manifest");
    expect(purpose("GET", "/b/db/compactions/00000000000000000001.compactions")).toBe("compactions");
    expect(classify("GET", "/b/?list-type=2&prefix=p%2Fdb%2Fwal%2F")).toEqual({
      method: "GET",
      bucket: "b",
      key: "p/db/wal/",
      purpose: "list",
    });
    expect(purpose("GET", "/b?list-type=2")).toBe("list");
    expect(purpose("PUT", "/b")).toBe("other");
  });

  test("strike by seed and probability, so many times, for so long, and only what they are for", () => {
    const put = classify("PUT", "/b/db/wal/1.sst");
    const fault: Fault = { kind: "reset-after" };
    const struck = (seed: number): readonly boolean[] => {
      const rules = new FaultRules();
      rules.set(1, { fault, probability: 0.4, seed }, 0);
      return Array.from({ length: 200 }, () => rules.decide(put, 0).fault !== undefined);
    };
    expect(struck(1)).toEqual(struck(1));
    expect(struck(1)).not.toEqual(struck(2));
    expect(struck(3).filter(Boolean).length).toBeGreaterThan(50);
    expect(struck(3).filter(Boolean).length).toBeLessThan(110);
    const rules = new FaultRules();
    rules.set(1, { fault, methods: ["PUT"], purposes: ["wal"], buckets: ["b"], count: 2, forMs: 100 }, 0);
    expect(rules.decide(classify("GET", "/b/db/wal/1.sst"), 0).fault).toBeUndefined();
    expect(rules.decide(classify("PUT", "/c/db/wal/1.sst"), 0).fault).toBeUndefined();
    expect(rules.decide(classify("PUT", "/b/db/manifest/1"), 0).fault).toBeUndefined();
    expect(rules.decide(put, 100).fault).toBeUndefined();
    expect([1, 2, 3].map(() => rules.decide(put, 99).fault?.kind)).toEqual(["reset-after", "reset-after", undefined]);
    expect(rules.clear(1)).toBe(2);
  });

  test("draw latencies around their median, with a bounded tail", () => {
    const rules = new FaultRules();
    rules.set(1, { fault: { kind: "delay", latency: { medianMs: 20, p99Ms: 200 } } }, 0);
    const drawn = Array.from({ length: 4_000 }, () => rules.decide(classify("GET", "/b/x"), 0).delayMs).sort(
      (left, right) => left - right,
    );
    expect(drawn[2_000]).toBeGreaterThan(18);
    expect(drawn[2_000]).toBeLessThan(22);
    expect(drawn[3_960]).toBeGreaterThan(140);
    expect(drawn[3_960]).toBeLessThan(280);
    expect(drawn.at(-1)).toBeLessThanOrEqual(800);
    rules.set(2, { fault: { kind: "delay", latency: { fixedMs: 1_000 } } }, 0);
    expect(rules.decide(classify("GET", "/b/x"), 0).delayMs).toBeGreaterThan(1_000);
  });
});

describe.skipIf(!minioAvailable)("The fault proxy before MinIO", () => {
  let started: { minio: Minio; proxy: FaultProxy; client: S3Client; bucket: string } | undefined;

  beforeAll(async () => {
    const minio = await startMinio();
    const proxy = await startFaultProxy(minio.endpoint);
    const { region, accessKeyId, secretAccessKey } = minio.s3;
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({
      endpoint: proxy.endpoint,
      region,
      credentials,
      forcePathStyle: true,
      maxAttempts: 1,
    });
    started = { minio, proxy, client, bucket: await minio.createBucket() };
  });

  afterEach(() => started?.proxy.clearFaults());

  afterAll(async () => {
    started?.client.destroy();
    await started?.proxy.stop();
    await started?.minio[Symbol.asyncDispose]();
  });

  function parts(): NonNullable<typeof started> {
    if (started === undefined) throw new Error("MinIO is not running");
    return started;
  }

  function put(key: string, body: string, ifNoneMatch = false): Promise<unknown> {
    const { client, bucket } = parts();
    return client.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: key,
        Body: Buffer.from(body),
        ...(ifNoneMatch ? { IfNoneMatch: "*" } : {}),
      }),
    );
  }

  async function get(key: string): Promise<string | undefined> {
    const { client, bucket } = parts();
    return await (await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))).Body?.transformToString();
  }

  /** S3's name for the failure, or the connection's. */
  async function nameOf(work: Promise<unknown>): Promise<string> {
    return await work.then(
      () => "done",
      (error: Error) => error.name,
    );
  }

  async function stored(): Promise<readonly string[]> {
    return await parts().minio.list(parts().bucket);
  }

  test("passes everything on as it came: objects of all sizes, ranges, conditions, heads, listings, refusals", async () => {
    const { client, bucket } = parts();
    const large = "0123456789abcdef".repeat(300_000);
    await Promise.all([put("empty", ""), put("small", "abc"), put("a b/ü+&=%", "odd"), put("large", large)]);
    expect(await Promise.all(["empty", "small", "a b/ü+&=%", "large"].map(get))).toEqual(["", "abc", "odd", large]);
    const ranged = await client.send(new GetObjectCommand({ Bucket: bucket, Key: "large", Range: "bytes=16-19" }));
    expect(await ranged.Body?.transformToString()).toBe("0123");
    const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: "large" }));
    expect(head.ContentLength).toBe(large.length);
    expect(await nameOf(get("absent"))).toBe("NoSuchKey");
    expect(await nameOf(put("small", "again", true))).toBe("PreconditionFailed");
    const listed = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    expect(listed.Contents?.map((object) => object.Key)).toEqual(["a b/ü+&=%", "empty", "large", "small"]);
  });

  const before: readonly Fault[] = [
    { kind: "answer", status: 503, code: "SlowDown" },
    { kind: "reset-before" },
    { kind: "half-request" },
  ];
  for (const fault of before) {
    test(`${fault.kind}: the caller fails, and the server has stored nothing`, async () => {
      const set = await parts().proxy.setFault({ fault, methods: ["PUT"] });
      expect(await nameOf(put(`before/${fault.kind}`, "x".repeat(10_000)))).not.toBe("done");
      expect(await set.clear()).toBe(1);
      expect(await stored()).not.toContain(`before/${fault.kind}`);
      expect(await nameOf(put(`before/${fault.kind}`, "x"))).toBe("done");
    });
  }

  const after: readonly Fault[] = [
    { kind: "answer-after", status: 500, code: "InternalError" },
    { kind: "reset-after" },
    { kind: "half-response" },
  ];
  for (const fault of after) {
    test(`${fault.kind}: the caller fails, though the server has stored it`, async () => {
      const set = await parts().proxy.setFault({ fault, methods: ["PUT"] });
      expect(await nameOf(put(`after/${fault.kind}`, "x".repeat(10_000)))).not.toBe("done");
      expect(await set.clear()).toBe(1);
      expect(await stored()).toContain(`after/${fault.kind}`);
    });
  }

  test("half-response: a body that ends in the middle is not taken for a whole one", async () => {
    await put("whole", "x".repeat(100_000));
    await parts().proxy.setFault({ fault: { kind: "half-response" }, methods: ["GET"] });
    expect(await nameOf(get("whole"))).not.toBe("done");
  });

  test("silence: no answer for as long as the caller waits, applied or not", async () => {
    for (const [kind, applied] of [
      ["silence-before", false],
      ["silence-after", true],
    ] as const) {
      const { client, bucket, proxy } = parts();
      const set = await proxy.setFault({ fault: { kind }, methods: ["PUT"] });
      const command = new PutObjectCommand({ Bucket: bucket, Key: kind, Body: "x" });
      expect(await nameOf(client.send(command, { abortSignal: AbortSignal.timeout(300) }))).toBe("AbortError");
      await set.clear();
      expect((await stored()).includes(kind)).toBe(applied);
    }
  });

  test("clock-skew: the server itself refuses the request for its date", async () => {
    const { proxy } = parts();
    for (const skewMs of [-3_600_000, 3_600_000]) {
      const set = await proxy.setFault({ fault: { kind: "clock-skew", skewMs }, methods: ["PUT"] });
      expect(await nameOf(put("skewed", "x"))).toBe("RequestTimeTooSkewed");
      await set.clear();
    }
    expect(await stored()).not.toContain("skewed");
  });

  test("delay: an answer takes at least that long, and is the right one", async () => {
    await put("slow", "x");
    await parts().proxy.setFault({ fault: { kind: "delay", latency: { fixedMs: 60 } } });
    const startedMs = performance.now();
    expect(await get("slow")).toBe("x");
    expect(performance.now() - startedMs).toBeGreaterThan(55);
  });

  test("a store works through it, and each append costs one PUT of the log", async () => {
    const { minio, proxy } = parts();
    const bucket = await minio.createBucket();
    await using store = await openEventStore({
      url: `s3://${bucket}/shop`,
      s3: { ...minio.s3, endpoint: proxy.endpoint },
    });
    await proxy.resetCounts();
    for (let n = 1; n <= 20; n += 1) {
      await store.append("cart-1", [{ type: "Added", data: { n } }], {
        expectedVersion: n === 1 ? "no-stream" : n - 1,
      });
    }
    const rows = await proxy.counts();
    expect(sumOf(rows, { bucket, purpose: "wal", method: "PUT" })).toMatchObject({
      requests: 20,
      faults: 0,
      refusals: 0,
    });
    expect(sumOf(rows, { bucket, purpose: "wal", method: "PUT" }).requestBytes).toBeGreaterThan(20 * 200);
  });
});
