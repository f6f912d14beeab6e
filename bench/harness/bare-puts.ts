/**
 * The floor under a commit on a bucket: a bare conditional PUT (`If-None-Match: *`) of as many bytes as a commit group's object
 * has, one after another on a connection that is kept, or on a new one each, with next to no client: a signed URL and `fetch`.
 */

import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { S3Options } from "../../src/index.ts";
import { endpointOf } from "../../src/kv/s3-options.ts";
import { check } from "./scenario.ts";
import { median } from "./statistics.ts";

const signedForSeconds = 3_600;
/** The most that one call of the generator gives. */
const randomBytesMax = 65_536;

export interface BarePuts {
  put(): Promise<void>;
}

interface Place {
  readonly bucket: string;
  readonly prefix: string;
}

function placeOf(url: string): Place {
  const [bucket = "", ...path] = url.slice("s3://".length).split("/");
  return { bucket, prefix: path.join("/") };
}

function clientOf(bucket: string, s3: S3Options): Bun.S3Client {
  const { region, accessKeyId, secretAccessKey } = s3;
  const endpoint = endpointOf(s3);
  return new Bun.S3Client({
    bucket,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(accessKeyId === undefined ? {} : { accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
  });
}

/** Objects of so many bytes, new ones, below the URL. `keepConnection`: default true. */
export function openBarePuts(
  url: string,
  s3: S3Options,
  bytes: number,
  { keepConnection = true }: { readonly keepConnection?: boolean } = {},
): BarePuts {
  const { bucket, prefix } = placeOf(url);
  const client = clientOf(bucket, s3);
  const content = Buffer.alloc(bytes, crypto.getRandomValues(Buffer.alloc(Math.min(bytes, randomBytesMax))));
  let next = 0;
  return {
    put: async () => {
      next += 1;
      const signed = client.presign(`${prefix}/object-${next}`, { method: "PUT", expiresIn: signedForSeconds });
      const headers = { "If-None-Match": "*" };
      const answer = await fetch(signed, { method: "PUT", body: content, headers, keepalive: keepConnection });
      await answer.arrayBuffer();
      check(answer.ok, `a bare PUT was answered with ${answer.status}`);
    },
  };
}

/** The same through Amazon's own client, as a program that keeps objects in a bucket would make them. */
export function openSdkPuts(url: string, s3: S3Options, bytes: number): BarePuts & Disposable {
  const { bucket, prefix } = placeOf(url);
  const { region = "us-east-1", accessKeyId, secretAccessKey } = s3;
  const endpoint = endpointOf(s3);
  const keys =
    accessKeyId === undefined || secretAccessKey === undefined ? undefined : { accessKeyId, secretAccessKey };
  const client = new S3Client({
    region,
    forcePathStyle: true,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(keys === undefined ? {} : { credentials: keys }),
  });
  const Body = crypto.getRandomValues(Buffer.alloc(Math.min(bytes, randomBytesMax)));
  let next = 0;
  return {
    put: async () => {
      next += 1;
      const Key = `${prefix}/object-${next}`;
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body, IfNoneMatch: "*" }));
    },
    [Symbol.dispose]: () => client.destroy(),
  };
}

/** The median size of the commit groups' objects of a store, of the first thousand. */
export async function groupObjectBytes(url: string, s3: S3Options): Promise<number> {
  const { bucket, prefix } = placeOf(url);
  const { contents = [] } = await clientOf(bucket, s3).list({ prefix: `${prefix}/db/wal/` });
  // Not the fence that opening writes, nor the row of the header.
  const sizes = contents.slice(2).map(({ size }) => size ?? 0);
  check(sizes.length > 0, "there are no objects of commit groups");
  return median(sizes);
}
