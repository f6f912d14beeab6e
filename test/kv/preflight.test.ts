/** The first word with a bucket: each thing that can be wrong is told in one sentence, and nothing of the credentials with it. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { findStore, prepareBucket } from "../../src/kv/bucket-access.ts";
import { parseStoreUrl, type S3Options } from "../../src/kv/object-store.ts";
import { S3Bucket } from "../../src/kv/s3-client.ts";
import { StoreChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { type Interceptor, type S3StandIn, type StandInTls, s3Error, startS3StandIn } from "./s3-stand-in.ts";
import { failureOf, openOnStandIn, standInCredentials, temporaryFolder } from "./stores.ts";

setDefaultTimeout(60_000);

const token = "stand-in-token-of-a-session";

function optionsOf(standIn: S3StandIn, more: S3Options = {}): S3Options {
  return { endpoint: standIn.endpoint, ...standInCredentials, sessionToken: token, ...more };
}

/** What opening for writing says; it has no secret in it, nor has anything that it carries. */
async function refusal(standIn: S3StandIn, more: S3Options = {}, timeoutMs?: number): Promise<string> {
  const asked = timeoutMs === undefined ? {} : { timeoutMs };
  const failure = await failureOf(prepareBucket(standIn.location, optionsOf(standIn, more), asked));
  expect(failure.code).toBe("storage-unavailable");
  expect(failure.outcome).toBe("not-applied");
  const shown = inspect(failure, { depth: 20, showHidden: true, maxStringLength: null }) + failure.stack;
  for (const secret of [...Object.values(standInCredentials), token]) expect(shown).not.toContain(secret);
  expect(failure.message).not.toContain("\n");
  expect(failure.message).toEndWith(standIn.location.url + (more.endpoint ?? ` at ${standIn.endpoint}`));
  return failure.message;
}

const isListing: (request: { method: string; key: string }) => boolean = ({ method, key }) =>
  method === "GET" && key === "";

function tlsFixture(name: string): StandInTls {
  const text = (file: string): string => readFileSync(join(import.meta.dir, "../fixtures/tls", file), "utf8");
  return { cert: text(`${name}.pem`), key: text(`${name}.key`) };
}

const authority = join(import.meta.dir, "../fixtures/tls/authority.pem");

describe("Opening a bucket", () => {
  test("costs five requests for writing, two for reading, and leaves nothing behind", async () => {
    await using standIn = startS3StandIn();
    const access = await prepareBucket(standIn.location, optionsOf(standIn));
    expect(access.state).toBe("new");
    expect(standIn.requests.map(({ method }) => method)).toEqual(["GET", "PUT", "PUT", "GET", "DELETE"]);
    expect(standIn.keys()).toEqual([]);
    await access.release();
    standIn.requests.length = 0;
    expect(await findStore(standIn.location, optionsOf(standIn))).toBe("new");
    const reading = await prepareBucket(standIn.location, optionsOf(standIn), { mode: "read" });
    await reading.release();
    expect(reading.state).toBe("new");
    expect(standIn.requests.map(({ method }) => method)).toEqual(["GET", "GET", "GET", "GET"]);
    await using kv = await openOnStandIn(standIn);
    await kv.close();
    expect(await findStore(standIn.location, optionsOf(standIn))).toBe("existing");
  });

  const refusals: readonly (readonly [string, number, string])[] = [
    ["InvalidAccessKeyId", 403, "The server does not know this access key id"],
    ["SignatureDoesNotMatch", 403, "The secret access key does not belong to this access key id"],
    ["ExpiredToken", 400, "These credentials have ended"],
    ["InvalidToken", 400, "The server does not know this session token"],
    ["NoSuchBucket", 404, "There is no such bucket"],
    ["AccessDenied", 403, "These credentials may not list the bucket (s3:ListBucket)"],
    ["SlowDown", 503, "The server cannot do this now (SlowDown, HTTP 503)"],
    ["OutOfCheese", 400, "The bucket cannot be reached (OutOfCheese)"],
  ];
  for (const [code, status, sentence] of refusals) {
    test(`says of ${code}: ${sentence}`, async () => {
      await using standIn = startS3StandIn();
      standIn.intercept(() => s3Error(status, code));
      expect(await refusal(standIn)).toStartWith(sentence);
    });
  }

  const forbidden: readonly (readonly [string, (request: { method: string; key: string }) => boolean])[] = [
    ["list the bucket (s3:ListBucket)", isListing],
    ["write objects into the bucket (s3:PutObject)", ({ method }) => method === "PUT"],
    ["read objects of the bucket (s3:GetObject)", (seen) => seen.method === "GET" && !isListing(seen)],
    ["delete objects of the bucket (s3:DeleteObject)", ({ method }) => method === "DELETE"],
  ];
  for (const [what, isIt] of forbidden) {
    test(`says that the credentials may not ${what}`, async () => {
      await using standIn = startS3StandIn();
      standIn.intercept((request) => (isIt(request) ? s3Error(403, "AccessDenied") : undefined));
      expect(await refusal(standIn)).toStartWith(`These credentials may not ${what}`);
    });
  }

  test("makes the bucket only where it is told to", async () => {
    await using standIn = startS3StandIn();
    let made = false;
    standIn.intercept(({ method, key }) => {
      if (method === "PUT" && key === "") made = true;
      else if (!made) return s3Error(404, "NoSuchBucket");
      return made && key === "" && method === "PUT" ? new Response(null) : undefined;
    });
    expect(await refusal(standIn)).toStartWith("There is no such bucket");
    expect(made).toBe(false);
    expect((await prepareBucket(standIn.location, optionsOf(standIn, { createBucket: true }))).state).toBe("new");
    expect(made).toBe(true);
  });

  test("says which region the bucket is in, wherever the server says so", async () => {
    await using standIn = startS3StandIn();
    const answers: readonly (() => Response)[] = [
      () => {
        const answer = s3Error(301, "PermanentRedirect");
        answer.headers.set("x-amz-bucket-region", "eu-west-1");
        return answer;
      },
      () => s3Error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
      () => s3Error(400, "AuthorizationHeaderMalformed", "", "the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
    ];
    for (const answer of answers) {
      standIn.intercept(answer);
      expect(await refusal(standIn)).toStartWith("The bucket is in another region, eu-west-1");
    }
    standIn.intercept(() => s3Error(301, "PermanentRedirect"));
    expect(await refusal(standIn)).toStartWith("The bucket is in another region:");
  });

  test("says that the clock is wrong, and does not pass by correcting it, which the engine would not", async () => {
    await using standIn = startS3StandIn();
    const aheadMs = 20 * 60_000;
    standIn.intercept(({ headers }) => {
      const [, date = "", time = ""] = /^(\d{8})T(\d{6})Z$/.exec(headers.get("x-amz-date") ?? "") ?? [];
      const parts = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}T${time.replace(/(..)(..)(..)/, "$1:$2:$3")}Z`;
      const serverMs = Date.now() + aheadMs;
      if (Math.abs(Date.parse(parts) - serverMs) < aheadMs / 2) return undefined;
      const answer = s3Error(403, "RequestTimeTooSkewed");
      answer.headers.set("date", new Date(serverMs).toUTCString());
      return answer;
    });
    expect(await refusal(standIn)).toStartWith("The clock of this machine differs too much from the server's");
  });

  const careless: Readonly<Record<string, Interceptor>> = {
    "overwrites all the same": ({ method, headers }) =>
      method === "PUT" && headers.has("if-none-match") ? new Response(null, { headers: { etag: '"1"' } }) : undefined,
    "does not know the condition": ({ method, headers }) =>
      method === "PUT" && headers.has("if-none-match") ? s3Error(501, "NotImplemented") : undefined,
    "takes it for broken always": ({ method, headers }) =>
      method === "PUT" && headers.has("if-none-match") ? s3Error(412, "PreconditionFailed") : undefined,
  };
  for (const [how, interceptor] of Object.entries(careless)) {
    test(`for writing is refused on a server that ${how}, and allowed for reading`, async () => {
      await using standIn = startS3StandIn();
      standIn.intercept(interceptor);
      expect(await refusal(standIn)).toStartWith("The server does not honour If-None-Match");
      const failure = await failureOf(openOnStandIn(standIn));
      expect(failure.message).toContain("If-None-Match");
      expect(standIn.keys()).toEqual([]);
      expect(await findStore(standIn.location, optionsOf(standIn))).toBe("new");
    });
  }

  test("goes well although the answer to each write is lost once", async () => {
    await using standIn = startS3StandIn();
    const attempts = new Map<string, number>();
    standIn.intercept(async ({ method, key, headers }) => {
      if (method !== "PUT" || headers.has("x-replayed")) return undefined;
      const body = headers.get("x-amz-content-sha256") ?? "";
      attempts.set(body, (attempts.get(body) ?? 0) + 1);
      if (attempts.get(body) !== 1) return undefined;
      // Done, and yet an error is all that the client hears.
      const condition = { "if-none-match": "*", "x-replayed": "yes" };
      const text = `${attempts.size === 1 ? "first" : "second"} ${key}`;
      await fetch(`${standIn.endpoint}/stand-in/${key}`, { method: "PUT", body: text, headers: condition });
      return s3Error(500, "InternalError");
    });
    const access = await prepareBucket(standIn.location, optionsOf(standIn));
    await access.release();
    expect([...attempts.values()]).toEqual([2, 2]);
    expect(standIn.keys()).toEqual([]);
  });

  test("asks again when an answer does not come", async () => {
    await using standIn = startS3StandIn();
    let held = 0;
    standIn.intercept((request) => {
      if (!isListing(request) || held > 0) return undefined;
      held += 1;
      return new Promise(() => {});
    });
    const access = await prepareBucket(standIn.location, optionsOf(standIn), { requestTimeoutMs: 200 });
    await access.release();
    expect(held).toBe(1);
  });

  test("says that the server gives back other bytes than were written", async () => {
    await using standIn = startS3StandIn();
    standIn.intercept((seen) => (seen.method === "GET" && !isListing(seen) ? new Response("other") : undefined));
    expect(await refusal(standIn)).toStartWith("The server gave back other bytes than were written");
  });

  test("says that what answers does not speak S3", async () => {
    await using standIn = startS3StandIn();
    const answers = [
      [200, "<html>Welcome</html>"],
      [200, "<html><br>Welcome"],
      [200, '{"welcome":true}'],
      [404, "<html>Not found</html>"],
      [404, ""],
      [405, "no"],
    ] as const;
    for (const [status, body] of answers) {
      standIn.intercept(() => new Response(body, { status, headers: { "content-type": "text/html" } }));
      expect(await refusal(standIn)).toStartWith("What answers there does not speak S3");
    }
  });

  test("says that the bucket does not answer in time", async () => {
    await using standIn = startS3StandIn();
    standIn.freeze();
    expect(await refusal(standIn, {}, 200)).toStartWith("The bucket did not answer in time");
  });

  test("says that no server listens there, or that its name is not known", async () => {
    const location = { kind: "s3", url: "s3://bucket", bucket: "bucket", prefix: "" } as const;
    const endpoints = [
      [`http://127.0.0.1:${await freePort()}`, "No server listens there (ECONNREFUSED)"],
      ["http://no-such-server.invalid", "The server's name "],
    ] as const;
    for (const [endpoint, sentence] of endpoints) {
      const failure = await failureOf(prepareBucket(location, { endpoint, ...standInCredentials }));
      expect(failure.message).toStartWith(sentence);
      expect(failure.message).toEndWith(`s3://bucket at ${endpoint}`);
    }
  });
});

describe("A bucket over TLS", () => {
  test("is refused where its certificate is signed by nobody who is trusted here", async () => {
    await using alone = startS3StandIn(tlsFixture("alone"));
    expect(await refusal(alone)).toStartWith("The server's certificate is signed by itself alone");
    await using unknown = startS3StandIn(tlsFixture("valid"));
    expect(await refusal(unknown)).toStartWith(
      "The server's certificate is signed by an authority that is not trusted here",
    );
  });

  test("is refused where its certificate has expired, or is for another name", async () => {
    await using expired = startS3StandIn(tlsFixture("expired"));
    await using elsewhere = startS3StandIn(tlsFixture("elsewhere"));
    await using child = new StoreChild({ NODE_EXTRA_CA_CERTS: authority });
    const opening = (endpoint: string): Promise<unknown> =>
      child.open(expired.location, {}, { endpoint, ...standInCredentials }).catch((error: Error) => error.message);
    expect(await opening(expired.endpoint)).toContain("The server's certificate has expired");
    expect(await opening(elsewhere.endpoint)).toContain("The server's certificate is for another name");
  });

  test("is reached through an authority of one's own that both this runtime and the engine are told of", async () => {
    await using standIn = startS3StandIn(tlsFixture("valid"));
    await using child = new StoreChild({ NODE_EXTRA_CA_CERTS: authority, SSL_CERT_FILE: authority });
    await child.open(standIn.location, {}, { endpoint: standIn.endpoint, ...standInCredentials });
    await child.write([1, 2, 3]);
    expect(await child.keys()).toEqual([1, 2, 3]);
    await child.close();
  });

  test("is told from plain HTTP, both ways", async () => {
    await using plain = startS3StandIn();
    await using tls = startS3StandIn(tlsFixture("valid"));
    const wrong = (standIn: S3StandIn, from: string, to: string): Promise<Error> =>
      failureOf(prepareBucket(standIn.location, optionsOf(standIn, { endpoint: standIn.endpoint.replace(from, to) })));
    expect((await wrong(plain, "http:", "https:")).message).toStartWith(
      "The server speaks plain HTTP there, not HTTPS",
    );
    expect((await wrong(tls, "https:", "http:")).message).toStartWith("The server speaks HTTPS there, not plain HTTP");
  });
});

describe("Where a bucket is", () => {
  async function urlOf(bucket: string, options: S3Options): Promise<string | undefined> {
    const location = parseStoreUrl(`s3://${bucket}/a`);
    if (location.kind !== "s3") throw new Error("It is no bucket");
    const asked = new S3Bucket(location, { region: "us-east-1", ...standInCredentials, ...options });
    await asked.list("", undefined).catch(() => {});
    asked.close();
    return asked.url;
  }

  test("is in the path where an endpoint is given, or in the host where the options say so", async () => {
    const endpoint = "http://storage.invalid:9000";
    expect(await urlOf("orders", { endpoint })).toBe("http://storage.invalid:9000/orders");
    expect(await urlOf("orders", { endpoint, forcePathStyle: false })).toBe("http://orders.storage.invalid:9000");
    expect(await urlOf("orders", { endpoint: "https://storage.invalid/s3", forcePathStyle: true })).toBe(
      "https://storage.invalid/s3/orders",
    );
  });

  test("is taken from the profile where nothing else says it, by the engine as well", async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    const config = join(folder.directory, "config");
    const profile = ["[profile used]", `endpoint_url = ${standIn.endpoint}`, "region = eu-test-1"];
    await Bun.write(config, [...profile, "aws_access_key_id = k", "aws_secret_access_key = s"].join("\n"));
    await using child = new StoreChild({
      AWS_ACCESS_KEY_ID: undefined,
      AWS_SECRET_ACCESS_KEY: undefined,
      AWS_REGION: undefined,
      AWS_DEFAULT_REGION: undefined,
      AWS_CONFIG_FILE: config,
      AWS_PROFILE: "used",
    });
    await child.open(standIn.location, {}, {});
    await child.write([1]);
    await child.close();
    const signedFor = standIn.requests.map(({ headers }) => headers.get("authorization")?.includes("/eu-test-1/s3/"));
    expect(signedFor.length).toBeGreaterThan(10);
    expect(signedFor.every((fits) => fits)).toBe(true);
  });
});
