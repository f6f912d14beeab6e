/**
 * One bucket as this process reaches it without the engine: for the checks before the store opens, and for small objects beside
 * the database. The sole importer of the S3 client. Credentials come from the options, else from the SDK's default provider
 * chain, which renews them; `redacted` keeps them out of every error.
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
import { type EventStoreError, InvalidArgumentError, printable, type WriteOutcome } from "../errors.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { bucketError, errorName } from "./bucket-errors.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";

/** How long one request may take, its second attempt included. */
export const requestTimeoutMs = 30_000;

/** What S3 gives in one answer to a listing. */
const listPageMax = 1_000;

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

/** The answers to a conditional PUT that mean: somebody else was there first. */
const conflictNames: readonly string[] = ["PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"];

export function endpointOf(options: S3Options): string | undefined {
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

export function regionOf(options: S3Options): string {
  return options.region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? "us-east-1";
}

function createClient(options: S3Options): S3Client {
  const endpoint = endpointOf(options);
  if ((options.accessKeyId === undefined) !== (options.secretAccessKey === undefined)) {
    throw new InvalidArgumentError("s3", "must have both accessKeyId and secretAccessKey, or neither");
  }
  const config: S3ClientConfig = {
    region: regionOf(options),
    maxAttempts: 2,
    // What speaks like S3 does not always know the checksums that the client would add.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
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

/** How often the client tried, as it notes on its errors. */
function attemptsOf(error: unknown): number {
  if (typeof error !== "object" || error === null || !("$metadata" in error)) return 1;
  const metadata = error.$metadata;
  if (typeof metadata !== "object" || metadata === null || !("attempts" in metadata)) return 1;
  return typeof metadata.attempts === "number" ? metadata.attempts : 1;
}

export class S3Bucket {
  /** The bucket and its server, for messages. */
  readonly where: string;
  readonly #client: S3Client;
  readonly #name: string;
  readonly #secrets = new Set<string>();

  /** Throws `invalid-argument` for options that fit no bucket. */
  constructor(location: StoreLocation & { kind: "s3" }, options: S3Options) {
    this.#client = createClient(options);
    this.#name = location.bucket;
    const endpoint = endpointOf(options);
    this.where = endpoint === undefined ? location.url : `${location.url} at ${endpoint}`;
    const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
    this.#keepSecret(options.accessKeyId, options.secretAccessKey, options.sessionToken);
    this.#keepSecret(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN);
  }

  /** What requests are signed with from now on; renewed by the SDK when it nears its end. */
  async credentials(): Promise<FoundCredentials> {
    const found = await this.#client.config.credentials();
    this.#keepSecret(found.accessKeyId, found.secretAccessKey, found.sessionToken);
    return found;
  }

  /** Keys that begin with `prefix`, in their order, from behind `after`. */
  async list(prefix: string, after: string | undefined, limit: number = listPageMax): Promise<ListedPage> {
    const answer = await this.#send((abortSignal) =>
      this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#name, Prefix: prefix, MaxKeys: limit, StartAfter: after }),
        { abortSignal },
      ),
    );
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
      return await this.#send(async (abortSignal) => {
        const answer = await this.#client.send(new GetObjectCommand({ Bucket: this.#name, Key: key }), { abortSignal });
        const bytes = (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
        return { bytes, tag: answer.ETag ?? "" };
      });
    } catch (error) {
      if (errorName(error) === "NoSuchKey") return undefined;
      throw error;
    }
  }

  /** Writes all of the object or nothing. `conflict`: the condition did not hold, and nothing was written. */
  async put(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition = {},
  ): Promise<{ readonly tag: string } | "conflict"> {
    const conditional = condition.ifAbsent === true || condition.ifTag !== undefined;
    const command = new PutObjectCommand({
      Bucket: this.#name,
      Key: key,
      Body: bytes,
      ...(condition.ifAbsent === true ? { IfNoneMatch: "*" } : {}),
      ...(condition.ifTag === undefined ? {} : { IfMatch: condition.ifTag }),
    });
    try {
      const answer = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
      return { tag: answer.ETag ?? "" };
    } catch (error) {
      if (!conditional || !conflictNames.includes(errorName(error))) throw error;
      // The first attempt may have been stored though its answer was lost: then the second meets what it has written itself.
      const stored = attemptsOf(error) > 1 ? await this.get(key) : undefined;
      return stored !== undefined && Buffer.compare(stored.bytes, bytes) === 0 ? { tag: stored.tag } : "conflict";
    }
  }

  async delete(key: string): Promise<void> {
    await this.#send((abortSignal) =>
      this.#client.send(new DeleteObjectCommand({ Bucket: this.#name, Key: key }), { abortSignal }),
    );
  }

  async create(): Promise<void> {
    await this.#send((abortSignal) =>
      this.#client.send(new CreateBucketCommand({ Bucket: this.#name }), { abortSignal }),
    );
  }

  /** What an error of these calls is to a user: no secret is in it or in its cause. */
  redacted(error: unknown, outcome?: WriteOutcome): EventStoreError {
    return bucketError(error, this.where, this.#secrets, outcome);
  }

  close(): void {
    this.#client.destroy();
  }

  #keepSecret(...secrets: readonly (string | undefined)[]): void {
    for (const secret of secrets) if (secret !== undefined && secret !== "") this.#secrets.add(secret);
  }

  /** Resolves the credentials first, so that what they are is known before an error could show them. */
  async #send<T>(request: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const sending = this.credentials().then(() => request(controller.signal));
    try {
      return await withDeadline(sending, requestTimeoutMs, "The bucket's answer");
    } catch (error) {
      if (error instanceof DeadlineExpired) controller.abort();
      throw error;
    }
  }
}
