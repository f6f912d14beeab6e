/**
 * One bucket as this process reaches it without the engine: for the checks before the store opens, and for small objects beside
 * the database. The sole importer of the S3 client. Credentials come from the options, else from the SDK's default provider
 * chain, which renews them. Everything it throws is a `BucketError`, in which no credential is.
 */

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { BucketError, type BucketTask } from "./bucket-errors.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import { checkCredentialOptions, endpointOf, regionOf, usesPathStyle } from "./s3-options.ts";

/** How long one request may take, its second attempt included. */
const requestTimeoutMs = 30_000;

/** How long one attempt may take before the other one is made: an answer that got lost is not a bucket that is silent. */
const attemptTimeoutMsDefault = 14_000;

/** What S3 gives in one answer to a listing. */
const listPageMax = 1_000;

const requestAttemptsMax = 2;

export interface FoundCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modifiedMs: number;
}

export interface ListedPage {
  readonly objects: readonly ListedObject[];
  /** Where the next page goes on; absent on the last one. */
  readonly next: string | undefined;
}

/** At most one of the two. */
export interface PutCondition {
  readonly ifAbsent?: boolean;
  readonly ifTag?: string;
}

/** The region of the options or the environment, else that of the profile, else S3's first. */
async function findRegion(options: S3Options): Promise<string> {
  const region = regionOf(options);
  if (region !== undefined) return region;
  const client = new S3Client({});
  try {
    return await client.config.region();
  } catch {
    return "us-east-1";
  } finally {
    client.destroy();
  }
}

function createClient(bucket: string, options: S3Options, attemptTimeoutMs: number): S3Client {
  const endpoint = endpointOf(options);
  checkCredentialOptions(options);
  const { accessKeyId, secretAccessKey, sessionToken } = options;
  let region: Promise<string> | undefined;
  const config: S3ClientConfig = {
    region: () => {
      region ??= findRegion(options);
      return region;
    },
    maxAttempts: requestAttemptsMax,
    requestHandler: { requestTimeout: attemptTimeoutMs, throwOnRequestTimeout: true },
    forcePathStyle: usesPathStyle(bucket, options),
    // What speaks like S3 does not always know the checksums that the client would add.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // The engine corrects nothing: what passes here only by correction, the engine would try for ever.
    disableClockSkewCorrection: true,
    ...(endpoint === undefined ? {} : { endpoint }),
  };
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    config.credentials = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  }
  return new S3Client(config);
}

/** Where a listing of the bucket goes, without what it asks for: the bucket's own URL, its name in the host or in the path. */
function urlOf(request: unknown): string | undefined {
  if (typeof request !== "object" || request === null) return undefined;
  const { protocol, hostname, port, path }: { protocol?: unknown; hostname?: unknown; port?: unknown; path?: unknown } =
    request;
  if (typeof protocol !== "string" || typeof hostname !== "string" || typeof path !== "string") return undefined;
  return `${protocol}//${hostname}${typeof port === "number" ? `:${port}` : ""}${path.replace(/\/$/, "")}`;
}

export class S3Bucket {
  /** The bucket and its server, for messages. */
  readonly where: string;
  readonly #client: S3Client;
  readonly #name: string;
  readonly #secrets = new Set<string>();
  #url: string | undefined;

  /** Throws `invalid-argument` for options that fit no bucket. */
  constructor(
    location: StoreLocation & { kind: "s3" },
    options: S3Options,
    attemptTimeoutMs: number = attemptTimeoutMsDefault,
  ) {
    this.#client = createClient(location.bucket, options, attemptTimeoutMs);
    this.#name = location.bucket;
    const endpoint = endpointOf(options);
    this.where = endpoint === undefined ? location.url : `${location.url} at ${endpoint}`;
    const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
    this.#keepSecret(options.accessKeyId, options.secretAccessKey, options.sessionToken);
    this.#keepSecret(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN);
    this.#client.middlewareStack.add(
      (next) => (given) => {
        if ("MaxKeys" in given.input) this.#url = urlOf(given.request);
        return next(given);
      },
      { step: "finalizeRequest", name: "strataBucketUrl", priority: "low" },
    );
  }

  /** The bucket's URL as the client found it from options, environment and profile; undefined before the first listing. */
  get url(): string | undefined {
    return this.#url;
  }

  async region(): Promise<string> {
    return await this.#client.config.region();
  }

  /**
   * What requests are signed with, renewed by the SDK when that nears its end. `renew` asks the sources again even though what
   * they gave last is still good.
   */
  async credentials(renew = false): Promise<FoundCredentials> {
    try {
      const found = await this.#client.config.credentials(renew ? { forceRefresh: true } : {});
      this.#keepSecret(found.accessKeyId, found.secretAccessKey, found.sessionToken);
      return found;
    } catch (error) {
      throw new BucketError(error, "sign", this.#secrets);
    }
  }

  /** Keys that begin with `prefix`, in their order, from behind `after`. */
  async list(prefix: string, after: string | undefined, limit: number = listPageMax): Promise<ListedPage> {
    const answer = await this.#send("list", (abortSignal) =>
      this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#name, Prefix: prefix, MaxKeys: limit, StartAfter: after }),
        { abortSignal },
      ),
    );
    if (answer.Name === undefined && answer.KeyCount === undefined) throw this.failure("NotS3", "list");
    const objects = (answer.Contents ?? []).map((entry) => ({
      key: entry.Key ?? "",
      size: entry.Size ?? 0,
      modifiedMs: entry.LastModified?.getTime() ?? 0,
    }));
    return { objects, next: answer.IsTruncated === true ? objects.at(-1)?.key : undefined };
  }

  /** The object, or `undefined` where there is none. */
  async get(key: string): Promise<{ readonly bytes: Uint8Array; readonly tag: string } | undefined> {
    try {
      return await this.#send("read", async (abortSignal) => {
        const answer = await this.#client.send(new GetObjectCommand({ Bucket: this.#name, Key: key }), { abortSignal });
        const bytes = (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
        return { bytes, tag: answer.ETag ?? "" };
      });
    } catch (error) {
      if (error instanceof BucketError && error.name === "NoSuchKey") return undefined;
      throw error;
    }
  }

  /** Writes all of the object or nothing. `conflict`: the condition did not hold, and nothing was written. */
  async put(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition = {},
  ): Promise<{ readonly tag: string } | "conflict"> {
    const command = new PutObjectCommand({
      Bucket: this.#name,
      Key: key,
      Body: bytes,
      ...(condition.ifAbsent === true ? { IfNoneMatch: "*" } : {}),
      ...(condition.ifTag === undefined ? {} : { IfMatch: condition.ifTag }),
    });
    try {
      const answer = await this.#send("write", (abortSignal) => this.#client.send(command, { abortSignal }));
      return { tag: answer.ETag ?? "" };
    } catch (error) {
      if (!(error instanceof BucketError) || !isConflict(error, condition)) throw error;
      // The first attempt may have been stored though its answer was lost: then the second meets what it has written itself.
      const stored = error.attempts > 1 ? await this.get(key) : undefined;
      return stored !== undefined && Buffer.compare(stored.bytes, bytes) === 0 ? { tag: stored.tag } : "conflict";
    }
  }

  async delete(key: string): Promise<void> {
    await this.#send("delete", (abortSignal) =>
      this.#client.send(new DeleteObjectCommand({ Bucket: this.#name, Key: key }), { abortSignal }),
    );
  }

  async create(): Promise<void> {
    await this.#send("make", (abortSignal) =>
      this.#client.send(new CreateBucketCommand({ Bucket: this.#name }), { abortSignal }),
    );
  }

  /** A failure that is no error of the client's. */
  failure(name: string, task: BucketTask): BucketError {
    return new BucketError(Object.assign(new Error(name), { name }), task, this.#secrets);
  }

  /** Frees connections. `credentials` goes on to work. */
  close(): void {
    this.#client.destroy();
  }

  #keepSecret(...secrets: readonly (string | undefined)[]): void {
    for (const secret of secrets) if (secret !== undefined && secret !== "") this.#secrets.add(secret);
  }

  /** Resolves the credentials first, so that what they are is known before an error could show them. */
  async #send<T>(task: BucketTask, request: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const sending = this.credentials().then(() => request(controller.signal));
    try {
      return await withDeadline(sending, requestTimeoutMs, "The bucket's answer");
    } catch (error) {
      if (error instanceof DeadlineExpired) controller.abort();
      throw error instanceof BucketError ? error : new BucketError(error, task, this.#secrets);
    }
  }
}

/** Somebody else was there first: 412, 409 for a write that came between, 404 where what the tag stood for is gone. */
function isConflict(error: BucketError, { ifAbsent, ifTag }: PutCondition): boolean {
  if (ifAbsent !== true && ifTag === undefined) return false;
  return error.status === 412 || error.name === "ConditionalRequestConflict" || error.name === "NoSuchKey";
}
