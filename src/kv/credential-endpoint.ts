/**
 * Credentials that end, for the engine: a server on loopback that speaks as a container's agent does, which the engine asks again
 * whenever fewer than five minutes are left. What it gives comes from the SDK's chain. It answers only to a token that stands in
 * a file for this user alone; it is closed with the store. Credentials are in memory only, and in no message.
 */

import { rmSync } from "node:fs";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { StorageUnavailableError } from "../errors.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { sameSecret, unguessableText } from "../runtime/secrets.ts";
import { RenewedCredentials } from "./renewed-credentials.ts";
import type { FoundCredentials } from "./s3-client.ts";

export interface CredentialEndpoint {
  /** What the native library must find in its environment to ask here, and nowhere else. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface CredentialEndpointOptions {
  /** What was found when the store opened. */
  readonly first: FoundCredentials;
  /** Asks the sources again. */
  readonly renew: () => Promise<FoundCredentials>;
  /** Told once when renewing begins to fail. */
  readonly onFailure: (error: unknown) => void;
  readonly clock?: Clock;
}

const path = "/credentials";

/** Folders of tokens that a process which ends without closing its stores still removes; one that is killed leaves them. */
const leftovers = new Set<string>();

function removeLeftovers(): void {
  for (const folder of leftovers) rmSync(folder, { recursive: true, force: true });
}

async function writeTokenFile(token: string): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), "strata-credentials-"));
    if (leftovers.size === 0) process.once("exit", removeLeftovers);
    leftovers.add(folder);
    const file = join(folder, "token");
    await writeFile(file, token, { mode: 0o600 });
    return file;
  } catch (cause) {
    const problem = "Credentials that end need a folder for temporary files (TMPDIR) that can be written";
    throw new StorageUnavailableError(`${problem}: ${tmpdir()}`, { cause, outcome: "not-applied" });
  }
}

async function removeTokenFile(file: string): Promise<void> {
  const folder = dirname(file);
  await rm(folder, { recursive: true, force: true });
  leftovers.delete(folder);
  if (leftovers.size === 0) process.off("exit", removeLeftovers);
}

/** A proxy is not to see it: this goes nowhere but to this process. */
function withoutProxy(): string {
  const { NO_PROXY, no_proxy } = process.env;
  const given = NO_PROXY ?? no_proxy ?? "";
  return given === "" ? "127.0.0.1" : `${given},127.0.0.1`;
}

/** Throws `storage-unavailable` where no temporary file can be written. */
export async function serveCredentials(options: CredentialEndpointOptions): Promise<CredentialEndpoint> {
  const clock = options.clock ?? systemClock;
  const credentials = new RenewedCredentials({ ...options, clock });
  const token = unguessableText();
  const tokenFile = await writeTokenFile(token);
  const answer = async (request: Request): Promise<Response> => {
    if (!sameSecret(request.headers.get("authorization") ?? "", token)) return new Response(null, { status: 403 });
    if (request.method !== "GET" || new URL(request.url).pathname !== path) return new Response(null, { status: 404 });
    const found = await credentials.current();
    if (found === undefined) return new Response(null, { status: 503 });
    // Some machines sweep away temporary files that nobody has touched for days.
    const now = clock.now() / 1_000;
    await utimes(tokenFile, now, now).catch(() => {});
    return Response.json({
      AccessKeyId: found.accessKeyId,
      SecretAccessKey: found.secretAccessKey,
      Token: found.sessionToken ?? "",
      Expiration: found.expiration?.toISOString(),
    });
  };
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 60, fetch: answer });
  // A process that has nothing else to do may end.
  server.unref();
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([server.stop(true), removeTokenFile(tokenFile)]);
  };
  return {
    environment: {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${server.port}${path}`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile,
      NO_PROXY: withoutProxy(),
      no_proxy: withoutProxy(),
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
