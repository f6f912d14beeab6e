/** Connections that break or fall silent, before the server acted and after it: the caller cannot see which. */

import { afterAll, beforeAll, describe, setDefaultTimeout, test } from "bun:test";
import { minioAvailable } from "../support/minio.ts";
import { type Ending, expectStruck, type FaultCase, runSeeds, type Servers, startServers } from "./fault-run.ts";

setDefaultTimeout(240_000);

const cases: Readonly<Record<string, FaultCase>> = {
  "are reset before the server acts": { fault: () => ({ kind: "reset-before" }) },
  "are reset after the server acted": { fault: () => ({ kind: "reset-after" }) },
  "end in the middle of a request": { fault: () => ({ kind: "half-request" }) },
  "end in the middle of an answer": { fault: () => ({ kind: "half-response" }) },
  "fall silent before the server acts": { fault: () => ({ kind: "silence-before" }) },
  "fall silent after the server acted": { fault: () => ({ kind: "silence-after" }) },
  "are so slow that some requests time out": {
    fault: () => ({ kind: "delay", latency: { fromMs: 1, toMs: 600 } }),
    probability: 1,
  },
  "are slow now and then": {
    fault: () => ({ kind: "delay", latency: { medianMs: 20, p99Ms: 2_000 } }),
    probability: 1,
  },
  "fall silent for longer than a write may take": {
    fault: () => ({ kind: "silence-before" }),
    probability: 1,
    lastsMs: [600, 1_200],
    tuning: { writeTimeoutMs: 400, closeTimeoutMs: 400, openTimeoutMs: 2_000 },
  },
  "do a bit of everything": {
    fault: (random) => {
      const kinds = ["reset-before", "reset-after", "half-request", "half-response", "silence-after"] as const;
      return { kind: kinds[Math.floor(random() * kinds.length)] ?? "reset-after" };
    },
    probability: 0.3,
  },
};

/** All others are over when they are over. */
const endings: Readonly<Record<string, Ending>> = {
  "fall silent for longer than a write may take": "must be opened again",
};

describe.skipIf(!minioAvailable)("A store on MinIO keeps its promises while connections", () => {
  let servers: Servers | undefined;

  beforeAll(async () => {
    servers = await startServers();
  });

  afterAll(() => servers?.[Symbol.asyncDispose]());

  for (const [name, one] of Object.entries(cases)) {
    test(name, async () => {
      if (servers === undefined) throw new Error("MinIO is not running");
      expectStruck(await runSeeds(servers, name, one), endings[name] ?? "goes on");
    });
  }
});
