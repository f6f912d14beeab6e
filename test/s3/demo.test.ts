/** `bun run start --url s3://...`: the demo tells its whole story on a real server, and once more on what it left there. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "../..");

describe.skipIf(!minioAvailable)("The demo on MinIO", () => {
  test("runs to its end, twice on one bucket, and makes the bucket", async () => {
    await using minio = await startMinio();
    const { endpoint, region, accessKeyId, secretAccessKey } = minio.s3;
    const words = ["--url", "s3://shop-of-the-demo/demo", "--endpoint", endpoint, "--create-bucket"];
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: process.env.HOME ?? "",
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    };
    for (const _ of ["new", "again"]) {
      const child = Bun.spawn([process.execPath, "run", "start", ...words], {
        cwd: root,
        env,
        stdout: "pipe",
        stderr: "pipe",
      });
      const [told, complaints] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      expect({ code: await child.exited, complaints }).toMatchObject({ code: 0 });
      expect(told).toContain("fenced");
      expect(told.split("\n").length).toBeGreaterThan(20);
    }
    expect((await minio.list("shop-of-the-demo", "demo/db/manifest/")).length).toBeGreaterThan(0);
  });
});
