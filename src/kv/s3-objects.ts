/**
 * Objects in a bucket. Conditions are those of S3 (If-None-Match, If-Match), so they hold between all processes and machines.
 */

import { StoreClosedError, type WriteOutcome } from "../errors.ts";
import { storageError } from "./bucket-errors.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import type { ObjectAccess, ObjectEntry } from "./objects.ts";
import { S3Bucket } from "./s3-client.ts";

export function openS3Objects(location: StoreLocation & { kind: "s3" }, options: S3Options): ObjectAccess {
  return objectsIn(new S3Bucket(location, options), location);
}

/** The same by a client that is there; closing the objects closes it. */
export function objectsIn(bucket: S3Bucket, location: StoreLocation & { kind: "s3" }): ObjectAccess {
  const root = location.prefix === "" ? "" : `${location.prefix}/`;
  let closed = false;
  const assertOpen = (): void => {
    if (closed) throw new StoreClosedError("The objects are closed");
  };
  const ask = async <T>(work: () => Promise<T>, outcome?: WriteOutcome): Promise<T> => {
    assertOpen();
    try {
      return await work();
    } catch (error) {
      assertOpen();
      throw storageError(error, bucket.where, outcome);
    }
  };
  const close = async (): Promise<void> => {
    closed = true;
    bucket.close();
  };
  return {
    get: (name) => ask(() => bucket.get(`${root}${name}`)),
    put: (name, bytes, options = {}) => ask(() => bucket.put(`${root}${name}`, bytes, options), "unknown"),
    delete: (name) => ask(() => bucket.delete(`${root}${name}`), "unknown"),
    async *list(prefix): AsyncGenerator<ObjectEntry> {
      let after: string | undefined;
      do {
        const from = after;
        const page = await ask(() => bucket.list(`${root}${prefix}`, from));
        for (const { key, size, modifiedMs } of page.objects) yield { name: key.slice(root.length), size, modifiedMs };
        after = page.next;
      } while (after !== undefined);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
