/**
 * Which store a command works on, and opening it. Commands that only read open a reader: they make no store where there is
 * none, and a service that is writing to it goes on undisturbed.
 */

import {
  type EncryptionOptions,
  type EventDefinitions,
  type EventStore,
  type EventStoreReader,
  openEventStore,
  openEventStoreReader,
  type S3Options,
  StoreNotFoundError,
} from "../index.ts";
import { findStore } from "../kv/bucket-access.ts";
import { findFolder } from "../kv/folder.ts";
import { parseStoreUrl, type StoreLocation } from "../kv/object-store.ts";
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

/** Commands that show events have these, too. */
export const personalOptions: readonly OptionDescription[] = [
  {
    name: "hide-personal",
    text: "show personal fields as null; else STRATA_MASTER_KEY must be set where there are any",
  },
];

/** Commands that do not begin while somebody writes to the store. */
export const waitOption: OptionDescription = {
  name: "wait",
  value: "SECONDS",
  text: "how long to wait for the store's writer to go (default: 0)",
};

/** Commands that change what only the writer may. */
export const takeoverOptions: readonly OptionDescription[] = [
  waitOption,
  { name: "takeover", text: "fence whoever is writing to the store; else the command gives up where somebody is" },
];

const waitSecondsMax = 86_400;

/** Opening waits for the store's writer to go, for as long as `--wait` says. */
function whenIdle(given: Arguments): { readonly takeover: "when-idle"; readonly takeoverTimeoutMs: number } {
  const waitSeconds = given.integer("wait", 0, waitSecondsMax) ?? 0;
  return { takeover: "when-idle", takeoverTimeoutMs: waitSeconds * 1_000 };
}

/** Opens a store that is there for work that compacts nothing by itself, once nobody writes to it; `not-found` where there is none. */
export async function openWhenIdle(given: Arguments, writer: string = writerName): Promise<EventStore> {
  const chosen = chosenStore(given);
  const takeover = whenIdle(given);
  await assertExists(chosen);
  const { location, s3 } = chosen;
  const { createBucket: _, ...access } = s3;
  return await openEventStore({ url: location.url, s3: access, compaction: false, writerName: writer, ...takeover });
}

/** For the notes of those. */
export const takeoverNote =
  "A service that is writing to the store is not disturbed: the command gives up (writer-active). With --takeover that service is fenced.";

/** What a store's lease calls these commands. */
const writerName = "strata, the command line";

/** For the notes of commands that only read. */
export const readingNote =
  "A service that is writing to the same store is not disturbed. The credentials need the right to put objects all the same: while it reads, the command leaves a mark in the store that keeps the garbage collector away.";

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

/** The master keys in the environment, where they are seen by nobody who lists processes; the first one wraps. */
function encryptionOption(): { readonly encryption?: EncryptionOptions } {
  const keys = (process.env.STRATA_MASTER_KEY ?? "").split(/[\s,]+/).filter((key) => key !== "");
  return keys.length === 0 ? {} : { encryption: { masterKey: keys } };
}

/** Opens the store, and makes it where there is none. */
export async function openOrCreate({ location, s3 }: ChosenStore): Promise<EventStore> {
  return await openEventStore({ url: location.url, s3, writerName, ...encryptionOption() });
}

/** Opens a store that is there to change its keys, which takes a master key; `not-found` where there is none. */
export async function openToChangeKeys(chosen: ChosenStore, given: Arguments): Promise<EventStore> {
  const { encryption } = encryptionOption();
  if (encryption === undefined)
    throw usageFailure("STRATA_MASTER_KEY is not set: the store's master key, as base64 text");
  await assertExists(chosen);
  const { createBucket: _, ...s3 } = chosen.s3;
  const takeover = given.flag("takeover") ? ({ takeover: "always" } as const) : whenIdle(given);
  return await openEventStore({ url: chosen.location.url, s3, writerName, encryption, ...takeover });
}

/** What is known of a store that is opened for reading. */
export interface ReadingOptions {
  /** Of a category, where its events are known. */
  readonly events?: EventDefinitions;
  /** Personal fields are not to be shown. */
  readonly hide?: boolean;
}

/** Opens a store that is there for reading, which no writer notices; `not-found` where there is none. */
export async function openExisting(
  { location, s3: { createBucket: _, ...s3 } }: ChosenStore,
  { events, hide = false }: ReadingOptions = {},
): Promise<EventStoreReader> {
  if (location.kind === "memory") {
    throw new CommandFailure("not-found", "There is no store at memory:, which only its own process can read");
  }
  try {
    // Without its types: which they are is known only when the command runs.
    const definitions = events === undefined ? {} : { events: [events as never] };
    const encryption = hide ? ({ encryption: "hide" } as const) : encryptionOption();
    return await openEventStoreReader({ url: location.url, s3, ...definitions, ...encryption });
  } catch (error) {
    if (error instanceof StoreNotFoundError) throw new CommandFailure("not-found", error.message, error);
    throw error;
  }
}

async function holdsNothing(location: StoreLocation, s3: S3Options): Promise<boolean> {
  switch (location.kind) {
    case "memory":
      return true;
    case "folder":
      return (await findFolder(location.directory)) === "new";
    case "s3":
      return (await findStore(location, s3)) === "new";
  }
}

/** `not-found` where there is no store. */
export async function assertExists({ location, s3 }: ChosenStore): Promise<void> {
  if (await holdsNothing(location, { ...s3, createBucket: false })) {
    throw new CommandFailure("not-found", `There is no store at ${location.url}`);
  }
}
