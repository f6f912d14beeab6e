/**
 * Which store a command works on, and opening it. Commands that only read make no store where there is none; but they do
 * open for writing, as long as there is no other way, and so fence a writer that is running.
 */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type EventStore, openEventStore, type S3Options } from "../index.ts";
import { folderLockName } from "../kv/file-lock.ts";
import { databaseFolder, parseStoreUrl, prepareBucket, type StoreLocation } from "../kv/object-store.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import { CommandFailure, usageFailure } from "./failure.ts";

/** Every command that works on a store has these. */
export const storeOptions: readonly OptionDescription[] = [
  { name: "url", value: "URL", text: "the store: file:DIR or s3://bucket/prefix (default: $STRATA_URL)" },
  {
    name: "endpoint",
    value: "URL",
    text: "where s3: stores are served, as in http://127.0.0.1:9000 (default: $AWS_*)",
  },
  { name: "region", value: "NAME", text: "the region of s3: stores (default: $AWS_REGION)" },
  { name: "create-bucket", text: "make the bucket where there is none; only import makes anything" },
  { name: "json", text: "write JSON, for programs" },
  { name: "help", short: "h", text: "show this text" },
];

/** For the notes of commands that only read. */
export const fencingNote =
  "Careful: this command opens the store for writing, since there is no other way yet. A service that is writing to the same store is fenced by that: it acknowledges nothing any more and must open the store again.";

export interface ChosenStore {
  readonly location: StoreLocation;
  readonly s3: S3Options;
}

/** The store that `--url` or `STRATA_URL` names. */
export function chosenStore(given: Arguments): ChosenStore {
  const url = given.text("url") ?? process.env.STRATA_URL;
  if (url === undefined || url === "") throw usageFailure("--url is missing, and STRATA_URL is not set");
  const endpoint = given.text("endpoint");
  const region = given.text("region");
  return {
    location: parseStoreUrl(url),
    s3: {
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(region === undefined ? {} : { region }),
      createBucket: given.flag("create-bucket"),
    },
  };
}

/** Opens the store, and makes it where there is none. */
export async function openOrCreate({ location, s3 }: ChosenStore): Promise<EventStore> {
  return await openEventStore({ url: location.url, s3 });
}

async function folderHoldsNothing(directory: string): Promise<boolean> {
  const entries: string[] = await readdir(directory).catch(() => []);
  if (entries.length === 0) return true;
  // A folder with something else in it is the store's to refuse.
  if (!entries.includes(databaseFolder)) return entries.includes(folderLockName);
  return (await readdir(join(directory, databaseFolder)).catch(() => [])).length === 0;
}

async function holdsNothing(location: StoreLocation, s3: S3Options): Promise<boolean> {
  switch (location.kind) {
    case "memory":
      return true;
    case "folder":
      return await folderHoldsNothing(location.directory);
    case "s3":
      return (await prepareBucket(location, s3)).state === "new";
  }
}

/** Opens a store that is there; `not-found` where there is none. */
export async function openExisting({ location, s3 }: ChosenStore): Promise<EventStore> {
  const reading = { ...s3, createBucket: false };
  if (await holdsNothing(location, reading)) {
    throw new CommandFailure("not-found", `There is no store at ${location.url}`);
  }
  return await openEventStore({ url: location.url, s3: reading });
}
