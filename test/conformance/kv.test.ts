/** The conformance suite of byte stores on each of them: memory, and SlateDB in memory, on a folder, and on MinIO. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { testKeyValueStore } from "../../src/testing/kv-conformance.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

const runner = { describe, test, expect };
const clock = systemClock;

testKeyValueStore(
  "memory",
  async () => {
    const storage = createMemoryStorage();
    return { open: async () => openMemoryKv(storage), remove: async () => {} };
  },
  { persists: true, fences: true },
  runner,
);

testKeyValueStore(
  "SlateDB in memory",
  async () => ({
    open: () => openSlateKv({ location: { kind: "memory", url: "memory:" }, s3: {}, clock }),
    remove: async () => {},
  }),
  // Each open of `memory:` is a store of its own.
  { persists: false, fences: false },
  runner,
);

testKeyValueStore(
  "SlateDB on a folder",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "strata-kv-"));
    return {
      open: () => openSlateKv({ location: { kind: "folder", url: `file:${directory}`, directory }, s3: {}, clock }),
      remove: () => rm(directory, { recursive: true }),
    };
  },
  { persists: true, fences: true },
  runner,
);

describe.skipIf(!minioAvailable)("On MinIO", () => {
  let minio: Minio | undefined;
  beforeAll(async () => {
    minio = await startMinio();
  });
  afterAll(() => minio?.[Symbol.asyncDispose]());

  testKeyValueStore(
    "SlateDB on MinIO",
    async () => {
      if (minio === undefined) throw new Error("MinIO is not running");
      const { s3 } = minio;
      const bucket = await minio.createBucket();
      return {
        open: () => openSlateKv({ location: { kind: "s3", url: `s3://${bucket}/a`, bucket, prefix: "a" }, s3, clock }),
        remove: async () => {},
      };
    },
    { persists: true, fences: true },
    runner,
  );
});
