/** The command line on a bucket of a real MinIO, which it makes itself. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minioAvailable, startMinio } from "../support/minio.ts";
import { manyLines, strata } from "./support.ts";

setDefaultTimeout(60_000);

describe.skipIf(!minioAvailable)("A store in a bucket (needs MinIO)", () => {
  test("is made by an import with --create-bucket, and read by the other commands", async () => {
    await using minio = await startMinio();
    const { endpoint, region, accessKeyId, secretAccessKey } = minio.s3;
    const store = ["--url", "s3://strata-cli/shop", "--endpoint", endpoint, "--region", region];
    const environment = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    const input = manyLines(2_000, 30);
    const refused = await strata(["import", "-", ...store], { stdin: input, environment });
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("no such bucket") });
    const words = ["import", "-", ...store, "--create-bucket", "--json"];
    expect(JSON.parse((await strata(words, { stdin: input, environment })).stdout)).toMatchObject({ imported: 2_000 });
    expect(JSON.parse((await strata(words, { stdin: input, environment })).stdout)).toMatchObject({ imported: 0 });
    const stats = await strata(["stats", ...store, "--json"], { environment });
    expect(JSON.parse(stats.stdout)).toMatchObject({ lastPosition: 2_000, streams: 30 });
    expect(await strata(["read", "order-1", ...store, "--limit", "1"], { environment })).toMatchObject({ exitCode: 0 });
    expect(await strata(["read", "order-99", ...store], { environment })).toMatchObject({ exitCode: 4 });
  }, 120_000);
});
