/**
 * What the engine needs to reach a bucket: a check that it can, and an environment that says where it is and how to sign. Credentials
 * that do not end go into that environment; those that do are handed over by an endpoint of ours, which must live as long as the store.
 */

import { BucketError, storageError } from "./bucket-errors.ts";
import { checkBucket } from "./bucket-preflight.ts";
import { type CredentialEndpoint, serveCredentials } from "./credential-endpoint.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import type { ObjectAccess } from "./objects.ts";
import { type FoundCredentials, S3Bucket } from "./s3-client.ts";
import { objectsIn } from "./s3-objects.ts";

type BucketLocation = StoreLocation & { readonly kind: "s3" };

/** A bucket that answers. */
export interface S3Access {
  /** What the native library must find in its environment to reach the bucket; `undefined` is what it must not find. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly state: "new" | "existing";
  /** To be called when the engine is closed, and where it did not open: what signs its requests ends with it. Idempotent. */
  release(): Promise<void>;
}

export interface PrepareBucketOptions {
  /** Default: `write`. */
  readonly mode?: "read" | "write";
  /** How long the check of the bucket may take. Default and maximum: 15,000 ms. */
  readonly timeoutMs?: number;
  /** How long the engine waits for one answer before it asks again. Default: 10,000 ms. */
  readonly requestTimeoutMs?: number;
  /** Looks at what is there once the bucket has answered; what it throws ends the preparation. */
  readonly inspect?: (objects: ObjectAccess) => Promise<void>;
}

const requestTimeoutMsDefault = 10_000;
/** In the check of the bucket an answer that got lost must leave time to ask again. */
const checkAttemptMsMax = 5_000;

/**
 * Whether there is a store in the bucket, which is made only where `createBucket` says so; `timeoutMs` as in
 * `PrepareBucketOptions`. Throws `storage-unavailable` with one
 * sentence that says what is wrong, `invalid-argument` for options that fit no bucket.
 */
export async function findStore(
  location: BucketLocation,
  options: S3Options,
  timeoutMs?: number,
): Promise<"new" | "existing"> {
  const bucket = new S3Bucket(location, options, Math.min(timeoutMs ?? checkAttemptMsMax, checkAttemptMsMax));
  try {
    return await checkBucket(bucket, location, {
      mode: "read",
      createBucket: options.createBucket === true,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  } catch (error) {
    throw storageError(error, bucket.where, "not-applied");
  } finally {
    bucket.close();
  }
}

/** Checks the bucket, and makes the engine's way to it. Throws as `findStore` does, or what `inspect` throws. */
export async function prepareBucket(
  location: BucketLocation,
  options: S3Options,
  { mode = "write", timeoutMs, requestTimeoutMs = requestTimeoutMsDefault, inspect }: PrepareBucketOptions = {},
): Promise<S3Access> {
  const bucket = new S3Bucket(location, options, Math.min(requestTimeoutMs, checkAttemptMsMax));
  try {
    const state = await checkBucket(bucket, location, {
      mode,
      createBucket: options.createBucket === true,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const found = await bucket.credentials();
    await inspect?.(objectsIn(bucket, location));
    const endpoint = found.expiration === undefined ? undefined : await endpointFor(bucket, found);
    return {
      state,
      environment: {
        ...placeOf(location, bucket.url ?? "", await bucket.region()),
        AWS_TIMEOUT: `${requestTimeoutMs}ms`,
        ...signing(endpoint === undefined ? found : undefined),
        ...endpoint?.environment,
      },
      release: async () => await endpoint?.close(),
    };
  } catch (error) {
    throw storageError(error, bucket.where, "not-applied");
  } finally {
    bucket.close();
  }
}

function endpointFor(bucket: S3Bucket, first: FoundCredentials): Promise<CredentialEndpoint> {
  return serveCredentials({
    first,
    renew: () => bucket.credentials(true),
    onFailure: (error) => {
      const why = error instanceof BucketError ? error.message : "unknown error";
      const message = `The credentials of a bucket cannot be renewed (${why}): ${bucket.where}`;
      process.emitWarning(message, { type: "StrataCredentialsWarning" });
    },
  });
}

/** The bucket's own URL, as the client has found it: with it the engine asks where the client asks, whatever the profile says. */
function placeOf(location: BucketLocation, url: string, region: string): Readonly<Record<string, string | undefined>> {
  return {
    CLOUD_PROVIDER: "aws",
    AWS_BUCKET: location.bucket,
    AWS_BUCKET_NAME: undefined,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: undefined,
    AWS_ENDPOINT: url,
    AWS_ENDPOINT_URL: undefined,
    AWS_ENDPOINT_URL_S3: undefined,
    AWS_ALLOW_HTTP: url.startsWith("http:") ? "true" : undefined,
    // To the engine it means that the endpoint is the bucket's own.
    AWS_VIRTUAL_HOSTED_STYLE_REQUEST: "true",
  };
}

/** Everything from which the engine would take credentials, so that it takes none but these. */
function signing(found: FoundCredentials | undefined): Readonly<Record<string, string | undefined>> {
  return {
    AWS_ACCESS_KEY_ID: found?.accessKeyId,
    AWS_SECRET_ACCESS_KEY: found?.secretAccessKey,
    AWS_SESSION_TOKEN: found?.sessionToken,
    AWS_TOKEN: undefined,
    AWS_SKIP_SIGNATURE: undefined,
    AWS_WEB_IDENTITY_TOKEN_FILE: undefined,
    AWS_ROLE_ARN: undefined,
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: undefined,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: undefined,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: undefined,
  };
}
