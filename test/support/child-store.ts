/**
 * A process of its own that opens a byte store and does what its parent tells it, one JSON line at a time; one answer a
 * line. It is there to be stopped, killed and resumed from outside, as processes are. `child.ts` is the parent's side.
 */

import { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore, KvOperation, KvStats } from "../../src/kv/kv.ts";
import type { S3Options, StoreLocation } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { systemClock } from "../../src/runtime/clock.ts";

/** What the child can be asked. Keys are numbers, written with leading zeros; values are filler of a size. */
export type ChildRequest =
  | {
      readonly kind: "open";
      readonly location: StoreLocation;
      readonly s3: S3Options;
      readonly tuning: Partial<SlateTuning>;
    }
  | { readonly kind: "write"; readonly keys: readonly number[]; readonly valueBytes: number }
  /** Writes group after group, and says of each that it is acknowledged, until the process ends. */
  | { readonly kind: "write-on"; readonly from: number; readonly groupKeys: number; readonly valueBytes: number }
  | { readonly kind: "keys" }
  /** Reads these keys at once, together with scans of everything, while it writes. Answers how many keys were there. */
  | { readonly kind: "read-at-once"; readonly keys: readonly number[]; readonly scans: number }
  | { readonly kind: "get"; readonly key: number }
  | { readonly kind: "status" }
  | { readonly kind: "stats" }
  | { readonly kind: "close" };

/** An error as it crosses the line. */
export interface ChildFailure {
  readonly code: string;
  readonly outcome: string | undefined;
  readonly message: string;
}

export type ChildAnswer =
  | { readonly id: number; readonly value: ChildValue }
  | { readonly id: number; readonly failure: ChildFailure }
  /** All keys below this number are acknowledged. */
  | { readonly acknowledged: number };

export type ChildValue = null | string | number | readonly number[] | KvStats;

const rowsAtOnce = 1_000;

function keyOf(number: number): Uint8Array {
  return Buffer.from(`n${String(number).padStart(9, "0")}`);
}

function putOf(key: number, valueBytes: number): KvOperation {
  // Not to be compressed away: sizes on storage are part of what the tests look at.
  const value = new Uint8Array(valueBytes);
  for (let from = 0; from < valueBytes; from += 65_536) crypto.getRandomValues(value.subarray(from, from + 65_536));
  return { kind: "put", key: keyOf(key), value };
}

function groupOf(from: number, count: number, valueBytes: number): readonly KvOperation[] {
  return Array.from({ length: count }, (_, index) => putOf(from + index, valueBytes));
}

function answer(line: ChildAnswer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function writeOn(kv: KeyValueStore, request: ChildRequest & { kind: "write-on" }): Promise<never> {
  for (let from = request.from; ; from += request.groupKeys) {
    await kv.write(groupOf(from, request.groupKeys, request.valueBytes));
    answer({ acknowledged: from + request.groupKeys });
  }
}

async function keysIn(kv: KeyValueStore): Promise<readonly number[]> {
  const keys: number[] = [];
  const cursor = await kv.scan({ start: Buffer.from("n"), end: Buffer.from("o") }, "replay");
  for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
    for (const row of rows) keys.push(Number(Buffer.from(row.key).toString().slice(1)));
  }
  return keys;
}

async function readAtOnce(kv: KeyValueStore, request: ChildRequest & { kind: "read-at-once" }): Promise<number> {
  let reading = true;
  const write = async (): Promise<void> => {
    while (reading) await kv.write([putOf(request.keys.length, 10)]);
  };
  const scans = Array.from({ length: request.scans }, () => keysIn(kv));
  const reads = Promise.all([kv.getMany(request.keys.map(keyOf)), ...scans]).finally(() => {
    reading = false;
  });
  const [[values]] = await Promise.all([reads, write()]);
  return values.filter((value) => value !== undefined).length;
}

let opened: KeyValueStore | undefined;

async function handle(request: ChildRequest): Promise<ChildValue> {
  if (request.kind === "open") {
    const { location, s3, tuning } = request;
    opened = await openSlateKv({ location, s3, clock: systemClock, tuning });
    return null;
  }
  const kv = opened;
  if (kv === undefined) throw new Error("The child has no store open");
  switch (request.kind) {
    case "write":
      await kv.write(request.keys.map((key) => putOf(key, request.valueBytes)));
      return null;
    case "write-on":
      return await writeOn(kv, request);
    case "keys":
      return await keysIn(kv);
    case "read-at-once":
      return await readAtOnce(kv, request);
    case "get":
      return (await kv.get(keyOf(request.key)))?.length ?? null;
    case "status":
      return kv.status().state;
    case "stats":
      return kv.stats();
    case "close":
      await kv.close();
      return null;
  }
}

function failureOf(error: unknown): ChildFailure {
  if (error instanceof EventStoreError) return { code: error.code, outcome: error.outcome, message: error.message };
  return { code: "not ours", outcome: undefined, message: String(error) };
}

for await (const line of console) {
  const { id, request }: { id: number; request: ChildRequest } = JSON.parse(line);
  handle(request).then(
    (value) => answer({ id, value }),
    (error: unknown) => answer({ id, failure: failureOf(error) }),
  );
}
// The parent is gone, or wants no more.
process.exit(0);
