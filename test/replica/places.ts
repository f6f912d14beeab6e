/** Where the tests of replicas keep their stores, on a folder and on MinIO, and how they open both sides. */

import { type EventStore, type EventStoreReader, openEventStore, type S3Options } from "../../src/index.ts";
import type { StoreLocation } from "../../src/kv/object-store.ts";
import type { SlateReaderTuning } from "../../src/kv/slatedb-reader-tuning.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { temporaryFolder } from "../support/backends.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";

export interface Place extends AsyncDisposable {
  readonly url: string;
  readonly s3: Omit<S3Options, "createBucket">;
  readonly location: StoreLocation & { kind: "folder" | "s3" };
}

export interface Kind {
  readonly name: string;
  readonly available: boolean;
  create(): Promise<Place>;
}

let server: Promise<Minio> | undefined;

/** To be called when all tests of a file are done. */
export async function stopServer(): Promise<void> {
  await (await server)?.[Symbol.asyncDispose]();
  server = undefined;
}

export async function folderPlace(): Promise<Place> {
  const folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  return {
    url,
    s3: {},
    location: { kind: "folder", url, directory: folder.path },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function bucketPlace(): Promise<Place> {
  server ??= startMinio();
  const minio = await server;
  const bucket = await minio.createBucket();
  const url = `s3://${bucket}/replica`;
  return {
    url,
    s3: minio.s3,
    location: { kind: "s3", url, bucket, prefix: "replica" },
    [Symbol.asyncDispose]: async () => {},
  };
}

export const kinds: readonly Kind[] = [
  { name: "on a folder", available: true, create: folderPlace },
  { name: "on MinIO", available: minioAvailable, create: bucketPlace },
];

export function openWriter({ url, s3 }: Place): Promise<EventStore> {
  return openEventStore({ url, s3 });
}

/** A reader that looks often, so that tests do not wait. */
export function openReader({ url, s3 }: Place, tuning: Partial<SlateReaderTuning> = {}): Promise<EventStoreReader> {
  return openTunedReader({ url, s3, pollIntervalMs: 20 }, tuning);
}
