/** Opening while the bucket fails: it succeeds or ends in time with a typed error, and what was promised before is there. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { errorOf } from "../support/collect.ts";
import type { Fault } from "../support/fault-rules.ts";
import { minioAvailable } from "../support/minio.ts";
import { seededRandom } from "../support/random.ts";
import { Cast, probe } from "./actors.ts";
import { checkLog, openAt, type Servers, startServers } from "./fault-run.ts";

setDefaultTimeout(240_000);

const faults: readonly Fault[] = [
  { kind: "answer", status: 500, code: "InternalError" },
  { kind: "answer", status: 403, code: "AccessDenied" },
  { kind: "answer-after", status: 500, code: "InternalError" },
  { kind: "reset-before" },
  { kind: "reset-after" },
  { kind: "half-request" },
  { kind: "half-response" },
  { kind: "silence-before" },
  { kind: "silence-after" },
  { kind: "clock-skew", skewMs: 3_600_000 },
];
const rounds = 3;

async function openAgainAndAgain(servers: Servers, fault: Fault, seed: number): Promise<number> {
  const bucket = await servers.minio.createBucket();
  const open = (): ReturnType<typeof openAt> =>
    openAt(servers, bucket, servers.proxy.endpoint, { openTimeoutMs: 1_500 });
  const cast = new Cast({ random: seededRandom(seed), open, callMsMax: 30_000, now: () => performance.now() });
  try {
    let struck = 0;
    for (let round = 0; round < rounds; round += 1) {
      const set = await servers.proxy.setFault({
        fault,
        buckets: [bucket],
        probability: 0.25,
        seed: seed + round,
        count: 8,
      });
      await cast.store();
      struck += await set.clear();
      while ((await probe(cast)) !== "went on") await cast.store();
      await cast.current?.close();
    }
    await checkLog(servers, bucket, cast);
    return struck;
  } finally {
    cast.end();
  }
}

describe.skipIf(!minioAvailable)("Opening on MinIO ends in time, with everything there, in spite of", () => {
  let servers: Servers | undefined;

  beforeAll(async () => {
    servers = await startServers();
  });

  afterAll(() => servers?.[Symbol.asyncDispose]());

  test("a single request that is never answered, whichever it is", async () => {
    if (servers === undefined) throw new Error("MinIO is not running");
    const { minio, proxy } = servers;
    for (let lost = 0; lost < 12; lost += 1) {
      const bucket = await minio.createBucket();
      const fault = { kind: "silence-before" } as const;
      const set = await proxy.setFault({ fault, buckets: [bucket], after: lost, count: 1 });
      const store = await openAt(servers, bucket, proxy.endpoint);
      expect([lost, await set.clear()]).toEqual([lost, 1]);
      await store.close();
    }
  });

  test("an earlier open that was given up on: it does not fence the later one when it comes true", async () => {
    if (servers === undefined) throw new Error("MinIO is not running");
    const { minio, proxy } = servers;
    const bucket = await minio.createBucket();
    await (await openAt(servers, bucket, proxy.endpoint)).close();
    // Its claim to be the writer is under way for longer than it is waited for.
    const delay = { kind: "delay", latency: { fixedMs: 1_200 } } as const;
    const rule = { buckets: [bucket], methods: ["PUT"], purposes: ["manifest"], count: 1 } as const;
    const set = await proxy.setFault({ fault: delay, ...rule });
    const slow = { requestTimeoutMs: 10_000 };
    const failure = await errorOf(openAt(servers, bucket, proxy.endpoint, { ...slow, openTimeoutMs: 400 }));
    expect([failure.code, failure.outcome]).toEqual(["storage-unavailable", "not-applied"]);
    expect(await set.clear()).toBe(1);
    const store = await openAt(servers, bucket, proxy.endpoint, slow);
    for (const endMs = performance.now() + 2_000; performance.now() < endMs; ) {
      await store.append("s-1", [{ type: "T", data: 1 }], { expectedVersion: "any" });
    }
    expect(store.health().state).toBe("open");
    await store.close();
  });

  for (const fault of faults) {
    const name = fault.kind === "answer" ? `${fault.kind} ${fault.status}` : fault.kind;
    test(name, async () => {
      const on = servers;
      if (on === undefined) throw new Error("MinIO is not running");
      const struck = await Promise.all([1, 2, 3, 4].map((seed) => openAgainAndAgain(on, fault, seed)));
      expect(struck.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(rounds);
    });
  }
});
