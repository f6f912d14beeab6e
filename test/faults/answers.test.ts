/** A server that answers with refusals for a while: it is overloaded, forbids, has another time, or knows no such bucket. */

import { afterAll, beforeAll, describe, setDefaultTimeout, test } from "bun:test";
import { minioAvailable } from "../support/minio.ts";
import { type Ending, expectStruck, type FaultCase, runSeeds, type Servers, startServers } from "./fault-run.ts";

setDefaultTimeout(240_000);

const cases: Readonly<Record<string, FaultCase>> = {
  "500 InternalError": { fault: () => ({ kind: "answer", status: 500, code: "InternalError" }) },
  "503 SlowDown": { fault: () => ({ kind: "answer", status: 503, code: "SlowDown" }) },
  "500 though it was applied": { fault: () => ({ kind: "answer-after", status: 500, code: "InternalError" }) },
  "403 AccessDenied": { fault: () => ({ kind: "answer", status: 403, code: "AccessDenied" }) },
  "403 RequestTimeTooSkewed": {
    fault: (random) => ({ kind: "clock-skew", skewMs: (random() < 0.5 ? -1 : 1) * 3_600_000 }),
  },
  // Gone for every request, as a bucket is.
  "404 NoSuchBucket": { fault: () => ({ kind: "answer", status: 404, code: "NoSuchBucket" }), probability: 1 },
};

/** All others are over when they are over. */
const endings: Readonly<Record<string, Ending>> = { "404 NoSuchBucket": "must be opened again" };

describe.skipIf(!minioAvailable)("A store on MinIO keeps its promises while requests are answered with", () => {
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
