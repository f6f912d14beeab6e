/** How to reach a bucket, from the options, then from the environment. What neither says is left to the SDK, which asks the profile. */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { S3Options } from "./object-store.ts";

/** Throws `invalid-argument` for what is no URL, and for credentials in it. */
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

export function regionOf(options: S3Options): string | undefined {
  return options.region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
}

/** Whether the bucket goes into the path of a URL: the default where an endpoint is given, and where a certificate would not fit. */
export function usesPathStyle(bucket: string, options: S3Options): boolean {
  return options.forcePathStyle ?? (endpointOf(options) !== undefined || bucket.includes("."));
}

/** Throws `invalid-argument` for half of a credential. */
export function checkCredentialOptions({ accessKeyId, secretAccessKey, sessionToken }: S3Options): void {
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    throw new InvalidArgumentError("s3", "must have both accessKeyId and secretAccessKey, or neither");
  }
  if (sessionToken !== undefined && accessKeyId === undefined) {
    throw new InvalidArgumentError("s3.sessionToken", "must come with accessKeyId and secretAccessKey");
  }
}
