/**
 * A real MinIO server for tests: finds the binary, starts it on loopback with a folder of its own, stops it by its id.
 * The binary is named by STRATA_MINIO, or `minio` on the PATH. In CI (CI=true) a missing one fails the tests.
 */

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "minio";
import type { S3Options } from "../../src/kv/object-store.ts";
import { freePort } from "./free-port.ts";

function findBinary(): string | undefined {
  const named = process.env.STRATA_MINIO;
  if (named !== undefined && named !== "" && existsSync(named)) return named;
  return Bun.which("minio") ?? undefined;
}

const binary: string | undefined = findBinary();

/** Whether tests on MinIO can run; for `describe.skipIf`. Always true in CI, where they then fail if there is none. */
export const minioAvailable: boolean = binary !== undefined || process.env.CI === "true";

const accessKeyId = "strata-test-user";
const secretAccessKey = "strata-test-secret-key";
const healthTimeoutMs = 30_000;

export interface Minio extends AsyncDisposable {
  readonly endpoint: string;
  /** What a store needs to reach it, with the rights of its owner. */
  readonly s3: Required<Pick<S3Options, "endpoint" | "region" | "accessKeyId" | "secretAccessKey">>;
  readonly client: Client;
  /** Makes a bucket of a name that was not there before. */
  createBucket(): Promise<string>;
  /** The names of all objects in a bucket below a prefix. */
  list(bucket: string, prefix?: string): Promise<readonly string[]>;
}

async function waitUntilHealthy(endpoint: string, exited: Promise<number>): Promise<void> {
  const ended = exited.then((code) => {
    throw new Error(`MinIO ended with code ${code} before it was healthy`);
  });
  ended.catch(() => {});
  const deadline = performance.now() + healthTimeoutMs;
  while (performance.now() < deadline) {
    const asking = fetch(`${endpoint}/minio/health/cluster`).then(
      (response) => response.ok,
      () => false,
    );
    if (await Promise.race([asking, ended])) return;
    await Bun.sleep(50);
  }
  throw new Error(`MinIO was not healthy within ${healthTimeoutMs} ms`);
}

async function listObjects(client: Client, bucket: string, prefix: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const item of client.listObjectsV2(bucket, prefix, true)) {
    if (typeof item.name === "string") names.push(item.name);
  }
  return names;
}

/** Starts a server; `await using` stops it and removes its folder. */
export async function startMinio(): Promise<Minio> {
  if (binary === undefined) throw new Error("There is no MinIO: name its binary in STRATA_MINIO");
  const folder = await mkdtemp(join(tmpdir(), "strata-minio-"));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const server = Bun.spawn([binary, "server", "--quiet", "--address", `127.0.0.1:${port}`, folder], {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: folder,
      MINIO_ROOT_USER: accessKeyId,
      MINIO_ROOT_PASSWORD: secretAccessKey,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
    },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  // Ends the server when this process is gone, however it went: then there is nothing left to read.
  const watch = 'read -r _; kill -9 "$0"; rm -rf "$1"';
  const watchdog = Bun.spawn(["sh", "-c", watch, String(server.pid), folder], { stdin: "pipe", stdout: "ignore" });
  const stop = async (): Promise<void> => {
    watchdog.kill("SIGKILL");
    server.kill("SIGKILL");
    await Promise.all([watchdog.exited, server.exited]);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await waitUntilHealthy(endpoint, server.exited);
  } catch (error) {
    await stop();
    throw error;
  }
  const client = new Client({
    endPoint: "127.0.0.1",
    port,
    useSSL: false,
    accessKey: accessKeyId,
    secretKey: secretAccessKey,
  });
  let buckets = 0;
  return {
    endpoint,
    s3: { endpoint, region: "us-east-1", accessKeyId, secretAccessKey },
    client,
    createBucket: async () => {
      buckets += 1;
      const bucket = `bucket-${process.pid}-${buckets}`;
      await client.makeBucket(bucket, "us-east-1");
      return bucket;
    },
    list: (bucket, prefix = "") => listObjects(client, bucket, prefix),
    [Symbol.asyncDispose]: stop,
  };
}
