/** What the tests of byte stores share: stores on folders and on the stand-in, bytes from text, and waiting for an event. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore, KvCursor, KvOperation, KvReader, KvRow } from "../../src/kv/kv.ts";
import type { StoreLocation } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import type { ReadCache, SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import type { S3StandIn } from "./s3-stand-in.ts";

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

export function put(key: string, value: string | Uint8Array): KvOperation {
  return { kind: "put", key: bytes(key), value: typeof value === "string" ? bytes(value) : value };
}

/** Bytes that no codec makes smaller. */
export function noise(length: number): Uint8Array {
  const value = new Uint8Array(length);
  for (let from = 0; from < length; from += 65_536) crypto.getRandomValues(value.subarray(from, from + 65_536));
  return value;
}

export interface Folder extends AsyncDisposable {
  readonly directory: string;
  readonly location: StoreLocation & { kind: "folder" };
}

export async function temporaryFolder(): Promise<Folder> {
  const directory = await mkdtemp(join(tmpdir(), "strata-kv-"));
  return {
    directory,
    location: { kind: "folder", url: `file:${directory}`, directory },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

export function openOnFolder(folder: Folder, tuning: Partial<SlateTuning> = {}): Promise<KeyValueStore> {
  return openSlateKv({ location: folder.location, s3: {}, clock: systemClock, tuning });
}

/** Credentials of the stand-in, which takes any: they are there to be looked for where they must not be. */
export const standInCredentials = { accessKeyId: "stand-in-key-id", secretAccessKey: "stand-in-secret" } as const;

/** Closing does not wait long: a test may end while the stand-in is frozen. */
const standInTuning: Partial<SlateTuning> = { closeTimeoutMs: 2_000 };

export function openOnStandIn(
  standIn: S3StandIn,
  tuning: Partial<SlateTuning> = {},
  clock: Clock = systemClock,
  readCache: ReadCache = "engine",
): Promise<KeyValueStore> {
  const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
  return openSlateKv({ location: standIn.location, s3, clock, readCache, tuning: { ...standInTuning, ...tuning } });
}

export async function allRows(reader: KvReader): Promise<readonly KvRow[]> {
  return await drain(await reader.scan({ start: Uint8Array.of(0) }, "lookup"));
}

export async function drain(cursor: KvCursor): Promise<readonly KvRow[]> {
  const all: KvRow[] = [];
  for (let rows = await cursor.next(1_000); rows.length > 0; rows = await cursor.next(1_000)) all.push(...rows);
  cursor.close();
  return all;
}

/** The error of ours that `work` ends with; anything else it ends with fails the test. */
export async function failureOf(work: Promise<unknown>): Promise<EventStoreError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof EventStoreError) return error;
    throw new Error("It failed with what is no error of ours", { cause: error });
  }
  throw new Error("It did not fail");
}

/** Waits until `condition` holds, and says what it waited for where that never comes. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain until ${what}`);
    await Bun.sleep(5);
  }
}

/** A clock that moves only when it is told to. */
export class TurnedClock implements Clock {
  wallMs = 1_700_000_000_000;
  monotonicMs = 1_000;

  now(): number {
    return this.wallMs;
  }

  monotonic(): number {
    return this.monotonicMs;
  }

  advance(ms: number): void {
    this.wallMs += ms;
    this.monotonicMs += ms;
  }
}
