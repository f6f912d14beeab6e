/**
 * Credentials as AWS users have them. From every source that gives ones that end, the engine's requests are signed with renewed ones,
 * against a server that refuses those that have ended; ones that do not end are used as they are.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StoreChild } from "../support/child.ts";
import {
  type CredentialSources,
  refuseEnded,
  shortCredentials,
  signersOf,
  startCredentialSources,
} from "../support/credential-sources.ts";
import { startS3StandIn } from "./s3-stand-in.ts";
import { type Folder, temporaryFolder, until } from "./stores.ts";

setDefaultTimeout(60_000);

type Environment = Readonly<Record<string, string | undefined>>;

/** No credentials from anywhere but the given variables. */
const bareEnvironment: Environment = {
  AWS_ACCESS_KEY_ID: undefined,
  AWS_SECRET_ACCESS_KEY: undefined,
  AWS_SESSION_TOKEN: undefined,
  AWS_PROFILE: undefined,
  AWS_CONFIG_FILE: "/dev/null",
  AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  AWS_EC2_METADATA_DISABLED: "true",
};

const lastingMs = 3_000;

async function configFile(folder: Folder, text: string): Promise<Environment> {
  const path = join(folder.directory, "config");
  await writeFile(path, text);
  return { AWS_CONFIG_FILE: path, AWS_PROFILE: "used" };
}

const credentialProcess = join(import.meta.dir, "../support/credential-process.ts");

/** How each source is set up, as its users do. */
const setUps: Readonly<Record<string, (sources: CredentialSources, folder: Folder) => Promise<Environment>>> = {
  "a process that a profile names": (_, folder) =>
    configFile(
      folder,
      `[profile used]\ncredential_process = "${process.execPath}" "${credentialProcess}" ${lastingMs}\n`,
    ),
  "a role that a profile assumes": async ({ url }, folder) => ({
    AWS_ENDPOINT_URL_STS: url,
    ...(await configFile(
      folder,
      "[profile base]\naws_access_key_id = base\naws_secret_access_key = base-secret\n" +
        "[profile used]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\nregion = us-east-1\n",
    )),
  }),
  "a session of SSO": async ({ url }, folder) => {
    const cache = join(folder.directory, ".aws/sso/cache");
    await mkdir(cache, { recursive: true });
    const name = new Bun.CryptoHasher("sha1").update("the-session").digest("hex");
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
    await writeFile(join(cache, `${name}.json`), JSON.stringify({ accessToken: "logged-in", expiresAt }));
    return {
      HOME: folder.directory,
      AWS_ENDPOINT_URL_SSO: url,
      ...(await configFile(
        folder,
        "[profile used]\nsso_session = the-session\nsso_account_id = 111122223333\nsso_role_name = r\n" +
          "[sso-session the-session]\nsso_region = us-east-1\nsso_start_url = http://127.0.0.1/start\n",
      )),
    };
  },
  "a web identity": async ({ url }, folder) => {
    const file = join(folder.directory, "identity");
    await writeFile(file, "an-identity");
    return {
      AWS_ENDPOINT_URL_STS: url,
      AWS_WEB_IDENTITY_TOKEN_FILE: file,
      AWS_ROLE_ARN: "arn:aws:iam::1:role/r",
      AWS_REGION: "us-east-1",
    };
  },
  "the agent of a container": async ({ url, agentToken }, folder) => {
    const file = join(folder.directory, "token");
    await writeFile(file, agentToken);
    return { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/agent`, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file };
  },
  "the metadata service of a machine": async ({ url }) => ({
    AWS_EC2_METADATA_DISABLED: undefined,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: url,
  }),
};

for (const [source, setUp] of Object.entries(setUps)) {
  test(`What ${source} gives is renewed before it ends, again and again`, async () => {
    await using standIn = startS3StandIn();
    await using folder = await temporaryFolder();
    await using sources = startCredentialSources(lastingMs);
    refuseEnded(standIn);
    await using child = new StoreChild({ ...bareEnvironment, ...(await setUp(sources, folder)) });
    await child.open(standIn.location, {}, { endpoint: standIn.endpoint });
    const openedMs = Date.now();
    const written: number[] = [];
    await until(
      "writes go on after the first credentials have ended twice over",
      async () => {
        written.push(written.length);
        await child.write([written.length - 1]);
        return Date.now() - openedMs > 2 * lastingMs;
      },
      30_000,
    );
    expect(signersOf(standIn).length).toBeGreaterThan(2);
    expect(await child.keys()).toEqual(written);
    await child.close();
  });
}

test("Objects beside the database are signed with renewed credentials as well", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  refuseEnded(standIn);
  const command = `"${process.execPath}" "${credentialProcess}" ${lastingMs}`;
  const environment = await configFile(folder, `[profile used]\ncredential_process = ${command}\n`);
  const script = `
    import { openObjects } from ${JSON.stringify(join(import.meta.dir, "../../src/kv/objects.ts"))};
    const objects = await openObjects(${JSON.stringify(standIn.location)}, { endpoint: "${standIn.endpoint}" });
    for (let put = 0; ; put += 1) await objects.put("wal/" + put, new Uint8Array(1)).catch(() => {});`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    env: { ...process.env, ...bareEnvironment, ...environment },
  });
  // Refused requests are seen too, but what has ended is never stored; so each of these keys was good for some time.
  await until("objects were signed by credentials that came after others had ended", () => {
    const ends = signersOf(standIn).map((signer) => Number(signer.replace("process-", "")));
    return Math.max(...ends) - Math.min(...ends) > 2 * lastingMs;
  });
  const stored = standIn.keys().length;
  await until("one more is stored", () => standIn.keys().length > stored);
  child.kill("SIGKILL");
  await child.exited;
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
  expect(signersOf(standIn)).toEqual(["lasting-key"]);
});

test("Credentials are handed over past the proxy that the environment names", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  await using sources = startCredentialSources(lastingMs);
  const seen: string[] = [];
  const proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      seen.push(request.url);
      return new Response("no", { status: 502 });
    },
  });
  const process = setUps["a process that a profile names"];
  const proxyUrl = `http://127.0.0.1:${proxy.port}`;
  await using child = new StoreChild({
    ...bareEnvironment,
    ...(await process?.(sources, folder)),
    HTTP_PROXY: proxyUrl,
    http_proxy: proxyUrl,
    ALL_PROXY: proxyUrl,
  });
  await child.open(standIn.location, {}, { endpoint: standIn.endpoint });
  await child.write([1]);
  await child.close();
  expect(signersOf(standIn)[0]).toStartWith("process-");
  expect(seen.filter((url) => url.includes("credentials"))).toEqual([]);
  await proxy.stop(true);
});

test("A write that meets a source that gives nothing any more is told so, and the process warned without a secret", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  const given = shortCredentials("once", 2_000);
  const answer = JSON.stringify({ Version: 1, ...given, SessionToken: given.Token });
  const file = join(folder.directory, "given");
  await writeFile(file, answer);
  refuseEnded(standIn);
  const command = `/bin/sh -c "cat ${file} && rm ${file}"`;
  const environment = await configFile(folder, `[profile used]\ncredential_process = ${command}\n`);
  await using child = new StoreChild({ ...bareEnvironment, ...environment }, "pipe");
  await child.open(standIn.location, { writeTimeoutMs: 4_000 }, { endpoint: standIn.endpoint });
  await until("the first credentials have ended", () => Date.now() > Date.parse(given.Expiration));
  const failure = await child.write([1]).catch((error: Error) => error.message);
  expect(failure).toContain("storage-unavailable (unknown)");
  await child.kill();
  const warned = await child.errors();
  expect(warned).toContain("StrataCredentialsWarning: The credentials of a bucket cannot be renewed");
  expect(warned).toContain(standIn.endpoint);
  for (const secret of [given.AccessKeyId, given.SecretAccessKey, given.Token]) expect(warned).not.toContain(secret);
});

test("Where a source of credentials gives none, opening says which and why", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  await using sources = startCredentialSources(lastingMs);
  const opening = async (environment: Environment): Promise<unknown> => {
    await using child = new StoreChild({ ...bareEnvironment, ...environment });
    return await child
      .open(standIn.location, {}, { endpoint: standIn.endpoint })
      .catch((error: Error) => error.message);
  };
  const role = await setUps["a role that a profile assumes"]?.(sources, folder);
  expect(await opening({ ...role, AWS_ENDPOINT_URL_STS: `${sources.url}/denied` })).toContain(
    "The source of the credentials gives none (AccessDenied: sts:AssumeRole)",
  );
  const session = await setUps["a session of SSO"]?.(sources, folder);
  await rm(join(folder.directory, ".aws"), { recursive: true });
  expect(await opening({ ...session })).toMatch(/gives none \(CredentialsProviderError: .*aws sso login/);
  const command = await configFile(
    folder,
    "[profile used]\ncredential_process = /bin/sh -c 'exit 1' secret-argument\n",
  );
  const failed = await opening(command);
  // The SDK goes on to the next source, and says no more of this one.
  expect(failed).toContain("No credentials were found");
  expect(failed).not.toContain("secret-argument");
});

test("Where no credentials are found, opening says so", async () => {
  await using standIn = startS3StandIn();
  await using child = new StoreChild(bareEnvironment);
  const opening = child.open(standIn.location, {}, { endpoint: standIn.endpoint });
  expect(await opening.catch((error: Error) => error.message)).toContain("No credentials were found");
});
