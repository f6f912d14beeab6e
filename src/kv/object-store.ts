/**
 * Where a store lives, as its URL says it, and the options that reach a bucket. It asks nothing of any storage.
 */

import { resolve } from "node:path";
import { InvalidArgumentError, printable } from "../errors.ts";

/**
 * Each part optional: what is missing comes from `AWS_*`, then from what AWS users have: a profile, with what it says of SSO, roles
 * to assume or a process to ask; a web identity; the role of a container or a machine. Credentials that end are renewed.
 */
export interface S3Options {
  /** As in `http://127.0.0.1:9000`; without it, and without one in the environment or the profile, Amazon's own. */
  readonly endpoint?: string;
  /** Default: that of the environment or the profile, else `us-east-1`. */
  readonly region?: string;
  /**
   * Whether the bucket goes into the path of each URL, and not into the name of the host. Default: where an endpoint is given, or
   * the bucket's name has a dot in it.
   */
  readonly forcePathStyle?: boolean;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  /** Make the bucket where it does not exist. Default: false. */
  readonly createBucket?: boolean;
  /**
   * Keep two connections of the engine for its next requests, for three seconds, instead of opening one for each. Default: true. Without
   * it a path that dies without a word costs a request on a new connection nothing; with it up to 20 s, once.
   */
  readonly reuseConnections?: boolean;
}

export type StoreLocation =
  | { readonly kind: "memory"; readonly url: string }
  | { readonly kind: "folder"; readonly url: string; readonly directory: string }
  | { readonly kind: "s3"; readonly url: string; readonly bucket: string; readonly prefix: string };

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
