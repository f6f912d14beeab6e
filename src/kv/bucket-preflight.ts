/**
 * The first word with a bucket: says in one sentence what is wrong, before the engine, which would retry each of these for ever.
 * For reading it asks two things: a listing, and an object that is not there. For writing five: it lists, writes an object of a new
 * name, writes it again under If-None-Match, reads it, and deletes it. Making the bucket is one more.
 */

import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { systemIds } from "../runtime/ids.ts";
import { BucketError } from "./bucket-errors.ts";
import { databaseFolder, type StoreLocation } from "./object-store.ts";
import type { S3Bucket } from "./s3-client.ts";
import { speaksTls } from "./tls-probe.ts";

/** How long all of it may take. */
export const preflightTimeoutMs = 15_000;

/** Beside the database; what a killed process leaves there may be deleted at any time. */
const probeFolder = "preflight";

export interface PreflightOptions {
  /** `read` writes nothing. A reader of the engine does write manifests, which this does not look at. */
  readonly mode: "read" | "write";
  readonly createBucket: boolean;
  /** Default and maximum: 15,000 ms. */
  readonly timeoutMs?: number;
}

/** Whether there is a database, once all that it needs is allowed. Throws `BucketError`. */
export async function checkBucket(
  bucket: S3Bucket,
  location: StoreLocation & { kind: "s3" },
  { mode, createBucket, timeoutMs = preflightTimeoutMs }: PreflightOptions,
): Promise<"new" | "existing"> {
  const root = location.prefix === "" ? "" : `${location.prefix}/`;
  const check = async (): Promise<"new" | "existing"> => {
    const state = await findDatabase(bucket, root, createBucket);
    if (mode === "write") await tryWriting(bucket, `${root}${probeFolder}/${systemIds.next()}`);
    else await bucket.get(`${root}${probeFolder}/absent`);
    return state;
  };
  try {
    return await withDeadline(check(), Math.min(timeoutMs, preflightTimeoutMs), "The check of the bucket");
  } catch (error) {
    if (error instanceof DeadlineExpired) throw bucket.failure(error.name, "list");
    if (error instanceof BucketError && (await meetsTls(bucket, error))) throw bucket.failure("PlainHttpToTls", "list");
    throw error;
  }
}

async function findDatabase(bucket: S3Bucket, root: string, createBucket: boolean): Promise<"new" | "existing"> {
  try {
    const found = await bucket.list(`${root}${databaseFolder}/manifest/`, undefined, 1);
    return found.objects.length > 0 ? "existing" : "new";
  } catch (error) {
    if (!(error instanceof BucketError) || error.name !== "NoSuchBucket" || !createBucket) throw error;
  }
  try {
    await bucket.create();
  } catch (error) {
    // Another opener made it in the meantime.
    if (!(error instanceof BucketError) || error.name !== "BucketAlreadyOwnedByYou") throw error;
  }
  return "new";
}

/** Under a name that nobody else has: the first write meets no other object, and the second must meet the first. */
async function tryWriting(bucket: S3Bucket, key: string): Promise<void> {
  // Not the same bytes: a write that is sent twice tells its own by them.
  const first = new TextEncoder().encode(`first ${key}`);
  const second = new TextEncoder().encode(`second ${key}`);
  if ((await putIfAbsent(bucket, key, first)) === "conflict") throw bucket.failure("ConditionIgnored", "write");
  try {
    if ((await putIfAbsent(bucket, key, second)) !== "conflict") throw bucket.failure("ConditionIgnored", "write");
    const found = await bucket.get(key);
    if (found === undefined || Buffer.compare(found.bytes, first) !== 0) throw bucket.failure("OtherBytes", "read");
  } catch (error) {
    await bucket.delete(key).catch(() => {});
    throw error;
  }
  await bucket.delete(key);
}

async function putIfAbsent(bucket: S3Bucket, key: string, bytes: Uint8Array): Promise<unknown> {
  try {
    return await bucket.put(key, bytes, { ifAbsent: true });
  } catch (error) {
    if (error instanceof BucketError && error.status === 501) throw bucket.failure("ConditionIgnored", "write");
    throw error;
  }
}

/** Whether the server hung up, or called it a bad request, because it speaks TLS where we did not. */
async function meetsTls(bucket: S3Bucket, error: BucketError): Promise<boolean> {
  const { url } = bucket;
  if (url === undefined || !url.startsWith("http:")) return false;
  if (error.task === "sign" || (error.status !== undefined && error.status !== 400)) return false;
  if (["ECONNREFUSED", "ENOTFOUND"].includes(error.name)) return false;
  const { hostname, port } = new URL(url);
  return await speaksTls(hostname, port === "" ? 80 : Number(port));
}
