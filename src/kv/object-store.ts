/**
 * Where a store lives: URLs, folders, buckets and their credentials. The sole importer of the S3 client.
 * Credentials are handed to the native store and appear in no message.
 */

import { mkdir, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CreateBucketCommand, ListObjectsV2Command, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { InvalidArgumentError, printable, StorageUnavailableError } from "../errors.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";

/** Each part optional: what is missing comes from `AWS_*`, then from what AWS users have (profiles, roles). */
export interface S3Options {
  /** As in `http://127.0.0.1:9000`; without it, Amazon's own. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  /** Make the bucket where it does not exist. Default: false. */
  readonly createBucket?: boolean;
}

export type StoreLocation =
  | { readonly kind: "memory"; readonly url: string }
  | { readonly kind: "folder"; readonly url: string; readonly directory: string }
  | { readonly kind: "s3"; readonly url: string; readonly bucket: string; readonly prefix: string };

/** How long the first word with a bucket may take. */
const preflightTimeoutMs = 15_000;
/** How long one request of it may take before it is made again: an answer that got lost is not a bucket that is silent. */
const preflightRequestTimeoutMs = 5_000;

/** Below the store's own folder or prefix, so that other kinds of objects can stand beside the database. */
export const databaseFolder = "db";

const urlProblem = 'must be "memory:", "file:DIR" or "s3://bucket/prefix"';

/**
 * Reads `memory:`, `file:DIR` (relative to the working directory, or absolute) or `s3://bucket/prefix`. Throws
 * `invalid-argument` for what is none of them.
 */
export function parseStoreUrl(url: unknown): StoreLocation {
  if (typeof url !== "string") throw new InvalidArgumentError("url", `${urlProblem}, not ${printable(url)}`);
  if (url === "memory:") return { kind: "memory", url };
  if (url.startsWith("file:")) return { kind: "folder", url, directory: parseFolder(url) };
  if (url.startsWith("s3://")) return parseBucketUrl(url);
  if (url.includes("@")) throw new InvalidArgumentError("url", urlProblem);
  throw new InvalidArgumentError("url", `${urlProblem}, not ${printable(url)}`);
}

/** The path after `file:` is taken as it is; after `file://` it is a URL's, with %20 for a space. */
function parseFolder(url: string): string {
  let path = url.slice("file:".length);
  if (path.startsWith("//")) {
    try {
      path = decodeURIComponent(path.slice(2));
    } catch (cause) {
      throw new InvalidArgumentError("url", `has a "%" that starts no escaped character: ${printable(url)}`, { cause });
    }
  }
  // Object names hold no control characters, so the engine refuses them.
  const holdsControl = [...path].some((character) => character < " " || character === "\x7f");
  if (path.length === 0 || holdsControl) {
    throw new InvalidArgumentError("url", `must name a folder after "file:", not ${printable(url)}`);
  }
  return resolve(path);
}

function parseBucketUrl(url: string): StoreLocation {
  const [bucket = "", ...rest] = url.slice("s3://".length).split("/");
  const prefix = rest.filter((part) => part.length > 0).join("/");
  if (bucket.includes("@")) {
    throw new InvalidArgumentError("url", "must not hold credentials; they go into the options of s3");
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    const problem = 'must name a bucket of 3 to 63 of a-z, 0-9, "." and "-"';
    throw new InvalidArgumentError("url", `${problem}, not ${printable(bucket)}`);
  }
  // The engine escapes other characters once in some names and twice in others: it would not find its own objects.
  if (!/^[A-Za-z0-9!$&'()+,.:;=@_ /-]*$/.test(prefix) || rest.includes(".") || rest.includes("..")) {
    const problem = "must have a prefix of letters, digits, spaces and any of !$&'()+,-.:;=@_/";
    throw new InvalidArgumentError("url", `${problem}, not ${printable(prefix)}`);
  }
  return { kind: "s3", url, bucket, prefix };
}

/**
 * Makes the folder where there is none, and tells a new one from a store from something else.
 * Throws `invalid-argument` where the folder holds what is no store.
 */
export async function prepareFolder(directory: string): Promise<"new" | "existing"> {
  let entries: string[];
  try {
    await mkdir(directory, { recursive: true });
    entries = await readdir(directory);
  } catch (cause) {
    if (["EEXIST", "ENOTDIR"].includes(errorName(cause))) {
      throw new InvalidArgumentError("url", `names a file, or a folder below one: ${directory}`, { cause });
    }
    throw new StorageUnavailableError(`The folder cannot be used: ${directory}`, { cause, outcome: "not-applied" });
  }
  if (entries.length === 0) return "new";
  if (!entries.includes(databaseFolder)) {
    throw new InvalidArgumentError("url", `names a folder that is not empty and holds no store: ${directory}`);
  }
  const inside: string[] = await readdir(join(directory, databaseFolder)).catch(() => []);
  if (inside.length === 0) return "new";
  if (!inside.includes("manifest")) {
    throw new InvalidArgumentError("url", `names a folder that is not empty and holds no store: ${directory}`);
  }
  return "existing";
}

function endpointOf(options: S3Options): string | undefined {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_ENDPOINT } = process.env;
  const endpoint = options.endpoint ?? AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL ?? AWS_ENDPOINT;
  if (endpoint === undefined) return undefined;
  const url = URL.parse(endpoint);
  if (url !== null && (url.username !== "" || url.password !== "")) {
    throw new InvalidArgumentError("s3.endpoint", "must not hold credentials; they have options of their own");
  }
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    const shown = endpoint.includes("@") ? "" : `, not ${printable(endpoint)}`;
    throw new InvalidArgumentError("s3.endpoint", `must be a URL such as "http://127.0.0.1:9000"${shown}`);
  }
  return endpoint;
}

function regionOf(options: S3Options): string {
  return options.region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? "us-east-1";
}

/** A client for the bucket, with the credentials of `options`, else of the SDK's default provider chain. */
export function createS3Client(options: S3Options, requestTimeoutMs: number = preflightRequestTimeoutMs): S3Client {
  const endpoint = endpointOf(options);
  if ((options.accessKeyId === undefined) !== (options.secretAccessKey === undefined)) {
    throw new InvalidArgumentError("s3", "must have both accessKeyId and secretAccessKey, or neither");
  }
  const config: S3ClientConfig = {
    region: regionOf(options),
    maxAttempts: 2,
    requestHandler: { requestTimeout: requestTimeoutMs, throwOnRequestTimeout: true },
  };
  if (endpoint !== undefined) {
    config.endpoint = endpoint;
    config.forcePathStyle = true;
  }
  if (options.accessKeyId !== undefined && options.secretAccessKey !== undefined) {
    config.credentials = {
      accessKeyId: options.accessKeyId,
      secretAccessKey: options.secretAccessKey,
      ...(options.sessionToken === undefined ? {} : { sessionToken: options.sessionToken }),
    };
  }
  return new S3Client(config);
}

/** What kind of error it is: S3's own name for it, or the system's, as in ECONNREFUSED. */
function errorName(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** What the client's error says, without the request it carries: that holds the access key and the session token. */
function withoutRequest(error: unknown, secrets: readonly (string | undefined)[]): Error {
  let message = error instanceof Error ? error.message : String(error);
  for (const secret of secrets) if (secret) message = message.replaceAll(secret, "***");
  const bare = new Error(message);
  bare.name = errorName(error);
  return bare;
}

async function listOne(client: S3Client, bucket: string, prefix: string): Promise<boolean> {
  const answer = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }));
  return (answer.KeyCount ?? answer.Contents?.length ?? 0) > 0;
}

/** Whether the bucket is there and can be listed; makes it where the options say so. */
async function checkBucket(
  client: S3Client,
  location: StoreLocation & { kind: "s3" },
  options: S3Options,
): Promise<"new" | "existing"> {
  const root = location.prefix === "" ? "" : `${location.prefix}/`;
  const database = `${root}${databaseFolder}/manifest/`;
  try {
    return (await listOne(client, location.bucket, database)) ? "existing" : "new";
  } catch (error) {
    if (errorName(error) !== "NoSuchBucket" || options.createBucket !== true) throw error;
  }
  await client.send(new CreateBucketCommand({ Bucket: location.bucket }));
  return "new";
}

/** What the native library must find in its environment to reach the bucket. */
export interface S3Access {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly state: "new" | "existing";
}

interface FoundCredentials {
  readonly expiration?: Date;
  /** The SDK's marks of how it came by them; the role of a machine leaves none. */
  readonly $source?: object;
}

/**
 * Whether the native library finds these credentials by itself, and renews them before they end: those of a pod, a task or
 * a machine. Others that end are handed over as they are, and the store has to be opened again when they do.
 */
function engineRenews(options: S3Options, { expiration, $source = {} }: FoundCredentials): boolean {
  if (options.accessKeyId !== undefined || expiration === undefined) return false;
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI } = process.env;
  const { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE } = process.env;
  const sources = Object.keys($source);
  if (sources.some((source) => source.includes("PROFILE"))) return false;
  if (sources.includes("CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN")) return true;
  if (sources.includes("CREDENTIALS_HTTP")) {
    if (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI !== undefined) return true;
    return AWS_CONTAINER_CREDENTIALS_FULL_URI !== undefined && AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE !== undefined;
  }
  return sources.length === 0;
}

/** Resolves the credentials and says whether the bucket answers, before the native store, which would retry for ever. */
export async function prepareBucket(
  location: StoreLocation & { kind: "s3" },
  options: S3Options,
  timeoutMs: number = preflightTimeoutMs,
  requestTimeoutMs: number = preflightRequestTimeoutMs,
): Promise<S3Access> {
  const client = createS3Client(options, Math.min(requestTimeoutMs, preflightRequestTimeoutMs));
  const endpoint = endpointOf(options);
  const where = endpoint === undefined ? location.url : `${location.url} at ${endpoint}`;
  try {
    const deadlineMs = Math.min(timeoutMs, preflightTimeoutMs);
    const checking = Promise.all([checkBucket(client, location, options), client.config.credentials()]);
    const [state, found] = await withDeadline(checking, deadlineMs, "The bucket's answer");
    const credentials = engineRenews(options, found) ? undefined : found;
    return {
      state,
      environment: {
        CLOUD_PROVIDER: "aws",
        AWS_BUCKET: location.bucket,
        AWS_BUCKET_NAME: undefined,
        AWS_REGION: regionOf(options),
        AWS_DEFAULT_REGION: undefined,
        AWS_ACCESS_KEY_ID: credentials?.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials?.secretAccessKey,
        AWS_SESSION_TOKEN: credentials?.sessionToken,
        AWS_TOKEN: undefined,
        AWS_SKIP_SIGNATURE: undefined,
        AWS_ENDPOINT: endpoint,
        AWS_ENDPOINT_URL: undefined,
        AWS_ENDPOINT_URL_S3: undefined,
        AWS_ALLOW_HTTP: endpoint?.startsWith("http:") === true ? "true" : undefined,
        AWS_VIRTUAL_HOSTED_STYLE_REQUEST: endpoint === undefined ? "true" : "false",
      },
    };
  } catch (cause) {
    throw bucketError(cause, where, secretsOf(options));
  } finally {
    client.destroy();
  }
}

function secretsOf(options: S3Options): readonly (string | undefined)[] {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
  const { accessKeyId, secretAccessKey, sessionToken } = options;
  return [accessKeyId, secretAccessKey, sessionToken, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN];
}

function bucketError(
  error: unknown,
  where: string,
  secrets: readonly (string | undefined)[],
): StorageUnavailableError | InvalidArgumentError {
  if (error instanceof InvalidArgumentError) return error;
  const options = { cause: withoutRequest(error, secrets), outcome: "not-applied" } as const;
  if (error instanceof DeadlineExpired)
    return new StorageUnavailableError(`The bucket did not answer in time: ${where}`, options);
  const name = errorName(error);
  switch (name) {
    case "NoSuchBucket":
      return new StorageUnavailableError(`There is no such bucket (createBucket makes it): ${where}`, options);
    case "InvalidAccessKeyId":
    case "SignatureDoesNotMatch":
      return new StorageUnavailableError(`The server refuses these credentials: ${where}`, options);
    case "AccessDenied":
      return new StorageUnavailableError(`These credentials may not list the bucket: ${where}`, options);
    case "CredentialsProviderError":
      return new StorageUnavailableError(
        `No credentials were found in the options, the environment or a profile: ${where}`,
        options,
      );
    default:
      return new StorageUnavailableError(`The bucket cannot be reached (${name}): ${where}`, options);
  }
}
