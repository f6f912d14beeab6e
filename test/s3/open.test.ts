/** Stores on a real S3 server: how they are opened, by whom, what is told when they cannot be, and that nothing leaks. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { inspect } from "node:util";
import { AssumeRoleProvider } from "minio/dist/esm/AssumeRoleProvider.mjs";
import type { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { allRows, bytes, failureOf, put, temporaryFolder, text, until } from "../kv/stores.ts";
import { StoreChild } from "../support/child.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

function open(url: string, s3: S3Options): Promise<KeyValueStore> {
  return openSlateKv({ location: parseStoreUrl(url), s3, clock: systemClock });
}

/** Everything of the error that a log might show, for a look at what must not be there. */
function everythingOf(error: EventStoreError): string {
  const causes: unknown[] = [];
  for (let at: unknown = error; at instanceof Error; at = at.cause) causes.push(at, at.message, at.stack);
  return inspect(causes, { depth: 20, showHidden: true, maxStringLength: null });
}

function expectNoSecrets(error: EventStoreError, s3: S3Options): void {
  const shown = everythingOf(error);
  for (const secret of [s3.accessKeyId, s3.secretAccessKey, s3.sessionToken]) {
    if (secret !== undefined) expect(shown).not.toContain(secret);
  }
}

async function writeOne(kv: KeyValueStore, value: string): Promise<void> {
  await kv.write([put("key", value)]);
  await kv.close();
}

describe.skipIf(!minioAvailable)("A store on MinIO", () => {
  let started: Minio | undefined;

  beforeAll(async () => {
    started = await startMinio();
  });

  afterAll(() => started?.[Symbol.asyncDispose]());

  function minio(): Minio {
    if (started === undefined) throw new Error("MinIO is not running");
    return started;
  }

  /** Credentials that end, with a token, and with the rights of `policy` at most. */
  async function temporaryCredentials(policy?: object): Promise<S3Options> {
    const { endpoint, s3 } = minio();
    const provider = new AssumeRoleProvider({
      stsEndpoint: endpoint,
      accessKey: s3.accessKeyId,
      secretKey: s3.secretAccessKey,
      region: s3.region,
      durationSeconds: 3_600,
      ...(policy === undefined ? {} : { policy: JSON.stringify(policy) }),
    });
    const given = await provider.getCredentials();
    const sessionToken = given.get().sessionToken ?? "";
    expect(sessionToken).not.toBe("");
    return {
      endpoint,
      region: s3.region,
      accessKeyId: given.getAccessKey(),
      secretAccessKey: given.getSecretKey(),
      sessionToken,
    };
  }

  test("is made in an empty bucket, below its prefix, and is there again with what was written to it", async () => {
    const bucket = await minio().createBucket();
    await writeOne(await open(`s3://${bucket}/deep/down`, minio().s3), "first");
    const objects = await minio().list(bucket);
    expect(objects.length).toBeGreaterThan(0);
    expect(objects.filter((name) => !name.startsWith("deep/down/db/"))).toEqual([]);
    const kv = await open(`s3://${bucket}/deep/down`, minio().s3);
    expect(text(await kv.get(bytes("key")))).toBe("first");
    await writeOne(kv, "second");
  });

  test("lies beside other stores of the bucket, also one at the bucket's root", async () => {
    const bucket = await minio().createBucket();
    const urls = [`s3://${bucket}`, `s3://${bucket}/a`, `s3://${bucket}/a/b`, `s3://${bucket}/!$&'()+,-.:;=@_ x`];
    for (const url of urls) await writeOne(await open(url, minio().s3), url);
    for (const url of urls) {
      const kv = await open(url, minio().s3);
      expect((await allRows(kv)).map((row) => text(row.value))).toEqual([url]);
      await kv.close();
    }
  });

  test("makes its bucket where it is told to, and only there", async () => {
    const url = `s3://made-by-the-store-${process.pid}/a`;
    const failure = await failureOf(open(url, minio().s3));
    expect(failure.code).toBe("storage-unavailable");
    expect(failure.message).toContain("no such bucket");
    expect(failure.message).toContain(url);
    expectNoSecrets(failure, minio().s3);
    await writeOne(await open(url, { ...minio().s3, createBucket: true }), "made");
    const kv = await open(url, { ...minio().s3, createBucket: true });
    expect(text(await kv.get(bytes("key")))).toBe("made");
    await kv.close();
  });

  test("cannot be opened with a key that the server does not know, or a wrong secret, and says so", async () => {
    const bucket = await minio().createBucket();
    const wrong: readonly (readonly [S3Options, string])[] = [
      [{ ...minio().s3, accessKeyId: "nobody-knows-this-key" }, "The server does not know this access key id"],
      [{ ...minio().s3, secretAccessKey: "this-secret-is-not-it" }, "The secret access key does not belong to"],
      [{ ...minio().s3, sessionToken: "this-token-is-made-up" }, "The server does not know this session token"],
    ];
    for (const [s3, sentence] of wrong) {
      const failure = await failureOf(open(`s3://${bucket}/a`, s3));
      expect(failure.code).toBe("storage-unavailable");
      expect(failure.message).toStartWith(sentence);
      expect(failure.message).toContain(minio().endpoint);
      expectNoSecrets(failure, s3);
    }
    expect(await minio().list(bucket)).toEqual([]);
  });

  test("cannot be opened by somebody who lacks a permission, and says which", async () => {
    const bucket = await minio().createBucket();
    const [inside, itself] = [[`arn:aws:s3:::${bucket}/*`], [`arn:aws:s3:::${bucket}`]];
    const list = { Effect: "Allow", Action: ["s3:ListBucket"], Resource: itself };
    const objects = (...actions: readonly string[]): object => ({
      Effect: "Allow",
      Action: actions.map((action) => `s3:${action}`),
      Resource: inside,
    });
    const lacking: readonly (readonly [string, readonly object[]])[] = [
      ["s3:ListBucket", [objects("GetObject", "PutObject", "DeleteObject")]],
      ["s3:PutObject", [list, objects("GetObject", "DeleteObject")]],
      ["s3:GetObject", [list, objects("PutObject", "DeleteObject")]],
      ["s3:DeleteObject", [list, objects("GetObject", "PutObject")]],
    ];
    for (const [permission, Statement] of lacking) {
      const s3 = await temporaryCredentials({ Version: "2012-10-17", Statement });
      const failure = await failureOf(open(`s3://${bucket}/a`, s3));
      expect(failure.code).toBe("storage-unavailable");
      expect(failure.message).toStartWith("These credentials may not ");
      expect(failure.message).toContain(permission);
      expectNoSecrets(failure, s3);
    }
  });

  test("needs no more than the four permissions that the README names", async () => {
    const bucket = await minio().createBucket();
    const Statement = [
      { Effect: "Allow", Action: ["s3:ListBucket"], Resource: [`arn:aws:s3:::${bucket}`] },
      {
        Effect: "Allow",
        Action: ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        Resource: [`arn:aws:s3:::${bucket}/a/*`],
      },
    ];
    const s3 = await temporaryCredentials({ Version: "2012-10-17", Statement });
    const url = `s3://${bucket}/a`;
    await writeOne(await open(url, s3), "least");
    const kv = await open(url, s3);
    expect(text(await kv.get(bytes("key")))).toBe("least");
    await kv.close();
    const failure = await failureOf(open(`s3://${bucket}/b`, s3));
    expect(failure.message).toContain("s3:PutObject");
  });

  test("shows no credential to whoever looks at it", async () => {
    const bucket = await minio().createBucket();
    const s3 = await temporaryCredentials();
    const kv = await open(`s3://${bucket}/a`, s3);
    const shown = inspect(kv, { depth: 20, showHidden: true, maxStringLength: null }) + Bun.inspect(kv, { depth: 20 });
    for (const secret of [s3.accessKeyId, s3.secretAccessKey, s3.sessionToken])
      expect(shown).not.toContain(secret ?? "");
    await kv.close();
  });

  test("cannot be opened where no server listens, and says where", async () => {
    const endpoint = "http://127.0.0.1:1";
    const failure = await failureOf(open("s3://bucket/a", { ...minio().s3, endpoint }));
    expect(failure.code).toBe("storage-unavailable");
    expect(failure.message).toContain(endpoint);
    expect(failure.message).toContain("ECONNREFUSED");
    expectNoSecrets(failure, minio().s3);
  });

  test("needs both halves of a credential", async () => {
    const { endpoint, accessKeyId, secretAccessKey } = minio().s3;
    for (const half of [{ accessKeyId }, { secretAccessKey }]) {
      const failure = await failureOf(open("s3://bucket/a", { endpoint, ...half }));
      expect(failure.code).toBe("invalid-argument");
      expectNoSecrets(failure, half);
    }
  });

  test("takes credentials with a session token", async () => {
    const bucket = await minio().createBucket();
    const s3 = await temporaryCredentials();
    await writeOne(await open(`s3://${bucket}/a`, s3), "by role");
    const kv = await open(`s3://${bucket}/a`, s3);
    expect(text(await kv.get(bytes("key")))).toBe("by role");
    await kv.close();
  });

  test("keeps to its own credentials while another store of the process has others", async () => {
    const [first, second] = [await minio().createBucket(), await minio().createBucket()];
    const allow = (bucket: string): object => ({
      Version: "2012-10-17",
      Statement: [
        { Effect: "Allow", Action: ["s3:*"], Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`] },
      ],
    });
    const urls = [`s3://${first}/a`, `s3://${second}/a`];
    const credentials = await Promise.all([first, second].map((bucket) => temporaryCredentials(allow(bucket))));
    const stores = await Promise.all(urls.map((url, index) => open(url, credentials[index] ?? {})));
    await Promise.all(stores.map((kv, index) => writeOne(kv, `store ${index}`)));
    for (const [index, url] of urls.entries()) {
      const kv = await open(url, credentials[index] ?? {});
      expect(text(await kv.get(bytes("key")))).toBe(`store ${index}`);
      await kv.close();
      const failure = await failureOf(open(url, credentials[1 - index] ?? {}));
      expect(failure.message).toContain("may not list");
    }
  });

  test("fences the writer in another process, which acknowledges nothing any more", async () => {
    const bucket = await minio().createBucket();
    const url = `s3://${bucket}/a`;
    await using child = new StoreChild();
    await child.open(parseStoreUrl(url), {}, minio().s3);
    await child.write([1]);
    const kv = await open(url, minio().s3);
    expect(await child.write([2]).catch((error: Error) => error.message)).toContain("writer-fenced");
    expect(await child.ask({ kind: "status" })).toBe("fenced");
    expect((await allRows(kv)).length).toBe(1);
    await writeOne(kv, "after the fence");
  });

  test("loses nothing that a killed process has acknowledged", async () => {
    const bucket = await minio().createBucket();
    const url = `s3://${bucket}/a`;
    await using child = new StoreChild();
    await child.open(parseStoreUrl(url), { memtableFlushGroups: 8 }, minio().s3);
    await child.writeOn({ from: 0, until: 60, groupKeys: 2, valueBytes: 500 });
    await child.kill();
    const kv = await open(url, minio().s3);
    const keys = (await allRows(kv)).map((row) => Number(text(row.key)?.slice(1)));
    expect(keys.length % 2).toBe(0);
    expect(keys).toEqual(Array.from({ length: keys.length }, (_, key) => key));
    expect(keys.length).toBeGreaterThanOrEqual(child.acknowledged);
    await kv.close();
  });

  describe("in a process of its own", () => {
    async function openInChild(
      environment: Readonly<Record<string, string | undefined>>,
      s3: S3Options,
      location: StoreLocation,
    ): Promise<void> {
      await using child = new StoreChild(environment);
      await child.open(location, {}, s3);
      await child.write([1, 2, 3]);
      expect(await child.keys()).toEqual([1, 2, 3]);
      await child.close();
    }

    test("takes AWS_* for what the options leave out", async () => {
      const { endpoint, region, accessKeyId, secretAccessKey } = minio().s3;
      const credentials = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
      const environments = [
        { ...credentials, AWS_ENDPOINT_URL: endpoint, AWS_REGION: region },
        { ...credentials, AWS_ENDPOINT_URL_S3: endpoint, AWS_ENDPOINT_URL: "http://127.0.0.1:1" },
        { ...credentials, AWS_ENDPOINT: endpoint, AWS_DEFAULT_REGION: region },
      ];
      for (const environment of environments) {
        const bucket = await minio().createBucket();
        await openInChild(environment, {}, parseStoreUrl(`s3://${bucket}/a`));
      }
    });

    test("goes on with renewed credentials, with a session and without", async () => {
      const bucket = await minio().createBucket();
      await using folder = await temporaryFolder();
      const { accessKeyId, secretAccessKey } = minio().s3;
      const sessions = await Promise.all([temporaryCredentials(), temporaryCredentials()]);
      const given = sessions.map((s3) => ({
        AccessKeyId: s3.accessKeyId,
        SecretAccessKey: s3.secretAccessKey,
        SessionToken: s3.sessionToken,
      }));
      const file = join(folder.directory, "given");
      await Bun.write(file, JSON.stringify([{ AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey }, ...given]));
      const script = join(import.meta.dir, "../support/credential-process.ts");
      const config = join(folder.directory, "config");
      await Bun.write(
        config,
        `[profile used]\ncredential_process = "${process.execPath}" "${script}" 3000 "${file}"\n`,
      );
      await using child = new StoreChild({
        AWS_ACCESS_KEY_ID: undefined,
        AWS_SECRET_ACCESS_KEY: undefined,
        AWS_SESSION_TOKEN: undefined,
        AWS_CONFIG_FILE: config,
        AWS_PROFILE: "used",
      });
      await child.open(parseStoreUrl(`s3://${bucket}/a`), {}, { endpoint: minio().endpoint });
      const written: number[] = [];
      await until("credentials have been asked for some times", async () => {
        written.push(written.length);
        await child.write([written.length - 1]);
        return (await Bun.file(`${file}.asked`).text()).split("\n").length > 12;
      });
      expect(await child.keys()).toEqual(written);
      await child.close();
    });

    test("takes its options before AWS_*, and what the environment holds for others not at all", async () => {
      const bucket = await minio().createBucket();
      const environment = {
        AWS_ACCESS_KEY_ID: "nobody-knows-this-key",
        AWS_SECRET_ACCESS_KEY: "this-secret-is-not-it",
        AWS_SESSION_TOKEN: "this-token-is-made-up",
        AWS_ENDPOINT_URL: "http://127.0.0.1:1",
        AWS_REGION: "eu-elsewhere-1",
        TOKEN: "stray-token",
        REGION: "stray-region",
      };
      await openInChild(environment, minio().s3, parseStoreUrl(`s3://${bucket}/a`));
    });
  });
});
