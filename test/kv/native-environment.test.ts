/** Variables in the environment as the native library sees it: set for one call, then as they were before. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { nativeEnvironmentValue, withNativeEnvironment } from "../../src/kv/native-environment.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { StoreChild } from "../support/child.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { put, standInCredentials } from "./stores.ts";

setDefaultTimeout(60_000);

test("Variables are set for the length of the call, and gone after it", () => {
  const name = "STRATA_TEST_ABSENT";
  const inside = withNativeEnvironment({ [name]: "grün = 100%" }, () => nativeEnvironmentValue(name));
  expect(inside).toBe("grün = 100%");
  expect(nativeEnvironmentValue(name)).toBeUndefined();
});

test("A variable that was there has its value again after the call, also one that was removed or emptied for it", () => {
  const name = "STRATA_TEST_PRESENT";
  withNativeEnvironment({ [name]: "outer" }, () => {
    for (const value of ["inner", "", undefined]) {
      expect(withNativeEnvironment({ [name]: value }, () => nativeEnvironmentValue(name))).toBe(value);
      expect(nativeEnvironmentValue(name)).toBe("outer");
    }
  });
  expect(nativeEnvironmentValue(name)).toBeUndefined();
});

test("The environment is put back when the call throws", () => {
  const name = "STRATA_TEST_THROWS";
  const work = (): never => {
    throw new Error("no");
  };
  expect(() => withNativeEnvironment({ [name]: "x", PATH: undefined }, work)).toThrow("no");
  expect(nativeEnvironmentValue(name)).toBeUndefined();
  expect(nativeEnvironmentValue("PATH")).toBe(process.env.PATH ?? "");
});

/** What people have in their environment for other purposes, and the native library would take for settings of S3. */
const strayVariables = {
  TOKEN: "stray-token",
  REGION: "stray-region",
  BUCKET: "stray-bucket",
  ENDPOINT: "http://127.0.0.1:1",
  AWS_TOKEN: "stray-aws-token",
  AWS_BUCKET_NAME: "stray-bucket-name",
  AWS_SKIP_SIGNATURE: "true",
};

function requestsWith(standIn: S3StandIn, header: string, text: string): number {
  return standIn.requests.filter(({ headers }) => headers.get(header)?.includes(text) === true).length;
}

test("A variable that has nothing to do with us does not reach the storage", async () => {
  await using standIn = startS3StandIn();
  await using child = new StoreChild(strayVariables);
  await child.open(standIn.location, {}, { endpoint: standIn.endpoint, ...standInCredentials });
  await child.write([1, 2, 3]);
  await child.close();
  const native = standIn.requests.filter(({ method, key }) => method === "PUT" && !key.startsWith("store/preflight/"));
  expect(native.length).toBeGreaterThan(3);
  expect(native.every(({ key }) => key.startsWith("store/db/"))).toBe(true);
  expect(new Set(standIn.requests.map(({ bucket }) => bucket))).toEqual(new Set([standIn.location.bucket]));
  expect(requestsWith(standIn, "x-amz-security-token", "stray")).toBe(0);
  expect(requestsWith(standIn, "authorization", "stray")).toBe(0);
  expect(requestsWith(standIn, "authorization", `Credential=${standInCredentials.accessKeyId}`)).toBe(
    standIn.requests.length,
  );
});

test("Stores of one process that open at the same time keep to their own servers, keys and regions", async () => {
  const names = ["one", "two", "three", "four"];
  const standIns = names.map(() => startS3StandIn());
  const stores = await Promise.all(
    standIns.map((standIn, index) => {
      const { endpoint, location } = standIn;
      const name = names[index] ?? "";
      const s3 = { endpoint, region: `region-${name}`, accessKeyId: `key-${name}`, secretAccessKey: `secret-${name}` };
      // Only the first has a session, whose token must not stay behind for the others.
      return openSlateKv({ location, s3: index === 0 ? { ...s3, sessionToken: "token" } : s3, clock: systemClock });
    }),
  );
  await Promise.all(stores.map((kv, index) => kv.write([put("key", `value ${names[index]}`)])));
  await Promise.all(stores.map((kv) => kv.close()));
  for (const [index, standIn] of standIns.entries()) {
    const credential = `Credential=key-${names[index]}/`;
    expect(standIn.keys().length).toBeGreaterThan(3);
    expect(requestsWith(standIn, "authorization", credential)).toBe(standIn.requests.length);
    expect(requestsWith(standIn, "authorization", `/region-${names[index]}/`)).toBe(standIn.requests.length);
    expect(requestsWith(standIn, "x-amz-security-token", "")).toBe(index === 0 ? standIn.requests.length : 0);
    await standIn[Symbol.asyncDispose]();
  }
});

test("The engine's own way to read a URL would have sent such a variable along", async () => {
  await using standIn = startS3StandIn();
  const script = `
    import { DbBuilder, ObjectStore } from "@slatedb/uniffi";
    const db = await new DbBuilder("db", ObjectStore.resolve("s3://stand-in")).build();
    await db.shutdown();`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    cwd: join(import.meta.dir, "../.."),
    env: {
      ...process.env,
      TOKEN: "stray-token",
      AWS_ACCESS_KEY_ID: standInCredentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: standInCredentials.secretAccessKey,
      AWS_ENDPOINT: standIn.endpoint,
      AWS_ALLOW_HTTP: "true",
      AWS_REGION: "us-east-1",
    },
  });
  expect(await child.exited).toBe(0);
  expect(requestsWith(standIn, "x-amz-security-token", "stray-token")).toBeGreaterThan(0);
});
