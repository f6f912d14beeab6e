/** Credentials that end: where the environment renews them, what the engine signs with is renewed as well. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StoreChild } from "../support/child.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { temporaryFolder, until } from "./stores.ts";

setDefaultTimeout(60_000);

/** No credentials from anywhere but the given variables. */
const bareEnvironment = {
  AWS_ACCESS_KEY_ID: undefined,
  AWS_SECRET_ACCESS_KEY: undefined,
  AWS_SESSION_TOKEN: undefined,
  AWS_PROFILE: undefined,
  AWS_CONFIG_FILE: "/dev/null",
  AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
} as const;

/** Hands out credentials as a container's agent does: each time new ones, good for a minute. */
function startCredentialAgent(): { readonly url: string; stop(): void } {
  let given = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      if (request.headers.get("authorization") !== "agent-token") return new Response("no", { status: 403 });
      given += 1;
      return Response.json({
        AccessKeyId: `role-key-${given}`,
        SecretAccessKey: `role-secret-${given}`,
        Token: `role-token-${given}`,
        Expiration: new Date(Date.now() + 60_000).toISOString(),
      });
    },
  });
  return { url: `http://127.0.0.1:${server.port}/credentials`, stop: () => void server.stop(true) };
}

/** The keys that WAL objects were signed with, in order. */
function signers(standIn: S3StandIn): readonly string[] {
  const puts = standIn.requests.filter(({ method, key }) => method === "PUT" && key.includes("/wal/"));
  return puts.map(({ headers }) => /Credential=([^/]+)\//.exec(headers.get("authorization") ?? "")?.[1] ?? "nobody");
}

test("The role of a container is asked for again before its credentials end", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  const tokenFile = join(folder.directory, "token");
  await writeFile(tokenFile, "agent-token");
  const agent = startCredentialAgent();
  await using child = new StoreChild({
    ...bareEnvironment,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: agent.url,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile,
  });
  await child.open(standIn.location, {}, { endpoint: standIn.endpoint });
  let key = 0;
  await until("a write is signed with renewed credentials", async () => {
    key += 1;
    await child.write([key]);
    return new Set(signers(standIn)).size > 1;
  });
  await child.close();
  expect(signers(standIn).every((signer) => signer.startsWith("role-key-"))).toBe(true);
  agent.stop();
});

test("Credentials of the environment that do not end are used as they are", async () => {
  await using standIn = startS3StandIn();
  await using child = new StoreChild({
    ...bareEnvironment,
    AWS_ACCESS_KEY_ID: "lasting-key",
    AWS_SECRET_ACCESS_KEY: "lasting-secret",
  });
  await child.open(standIn.location, {}, { endpoint: standIn.endpoint });
  await child.write([1]);
  await child.close();
  expect(new Set(signers(standIn))).toEqual(new Set(["lasting-key"]));
});

test("Where no credentials are found, opening says so", async () => {
  await using standIn = startS3StandIn();
  await using child = new StoreChild({ ...bareEnvironment, AWS_EC2_METADATA_DISABLED: "true" });
  const opening = child.open(standIn.location, {}, { endpoint: standIn.endpoint });
  expect(await opening.catch((error: Error) => error.message)).toContain("No credentials were found");
});
