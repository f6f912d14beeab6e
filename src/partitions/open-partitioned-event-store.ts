/** Opens a store in partitions: finds or makes the record of how it is parted, and claims what this process is to write. */

import { EventStoreError, InvalidArgumentError, printable } from "../errors.ts";
import {
  decodePartitioning,
  encodePartitioning,
  hashPartitioningName,
  type Partitioning,
  partitionByHash,
  partitionFolder,
  partitioningName,
} from "../format/partitioning-record.ts";
import { findStore } from "../kv/bucket-access.ts";
import { findFolder } from "../kv/folder.ts";
import type { S3Options, StoreLocation } from "../kv/object-store.ts";
import { type ObjectAccess, openObjects } from "../kv/objects.ts";
import { checkInteger } from "../log/arguments.ts";
import { processingOptionNames } from "../processors/processing.ts";
import { systemClock } from "../runtime/clock.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { EventStore } from "../store/event-store.ts";
import { openEventStore } from "../store/open-event-store.ts";
import { openEventStoreReader } from "../store/open-event-store-reader.ts";
import { checkLocation, type OpenOptions, warn } from "../store/open-options.ts";
import { Partition, type PartitionOpener } from "./partition.ts";
import type { PartitionedEventStore } from "./partitioned-event-store.ts";
import { partitionedFace } from "./partitioned-face.ts";

/** The most partitions of a store. Each that is open costs memory and idle requests as a store does. */
export const partitionsMax = 1_024;
/** So many are opened at once. */
const openingsAtOnce = 4;

/** How to open a store in partitions; what is not here is as for `openEventStore`, for each partition that is written. */
export interface PartitionedOpenOptions<Definitions extends EventDefinitions = never>
  extends Omit<
    OpenOptions<Definitions>,
    "onFenced" | "takeoverTimeoutMs" | "projections" | "reactors" | "processManagers"
  > {
  /** How many; settled for good when the store is made. 1 to 1,024. */
  readonly partitions: number;
  /**
   * Where a stream lives: an integer from 0 to `partitions` - 1. It must answer the same for the same name, in every process, for
   * ever. Streams that are to be committed together belong into one partition. Default: a hash of the name.
   */
  readonly partitionOf?: (streamName: string) => number;
  /** A name for `partitionOf`, which is stored: another one is refused. Default: `"custom"`. */
  readonly partitionedBy?: string;
  /**
   * What this process writes: `"all"`, `"none"`, or these. With `takeover: "always"` all of it is open when the store is; with
   * `"when-idle"` the store opens at once, and each partition is claimed when nobody else writes it. Default: `"all"`.
   */
  readonly write?: "all" | "none" | readonly number[];
  /** How often replicas of the partitions that are not written look for new events. Default: 1,000 ms. */
  readonly pollIntervalMs?: number;
}

/**
 * Opens the partitions below `url`, and makes them where there are none. Throws what `openEventStore` throws, and
 * `invalid-argument` where the store was made with other partitions, or where `url` holds a store without partitions.
 */
export async function openPartitionedEventStore<const Definitions extends EventDefinitions = never>(
  options: PartitionedOpenOptions<Definitions>,
): Promise<PartitionedEventStore<Definitions>> {
  const plan = checkPlan(options as PartitionedOpenOptions<EventDefinitions>);
  if (plan.location.kind !== "memory") await settlePartitioning(plan);
  const partitions = Array.from(
    { length: plan.partitions },
    (_, number) => new Partition(number, openerOf(plan, number)),
  );
  try {
    await claimAll(partitions, plan);
  } catch (error) {
    await Promise.allSettled(partitions.map((partition) => partition.close()));
    throw error;
  }
  return partitionedFace(partitions, plan.partitionOf) as unknown as PartitionedEventStore<Definitions>;
}

interface Plan {
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly partitions: number;
  readonly partitionedBy: string;
  readonly partitionOf: (streamName: string) => number;
  readonly written: readonly number[];
  readonly waits: boolean;
  readonly pollIntervalMs: number | undefined;
  readonly onError: (error: unknown) => void;
  /** Of each partition's store. */
  readonly own: Omit<OpenOptions<EventDefinitions>, "url">;
}

function checkPlan(options: PartitionedOpenOptions<EventDefinitions>): Plan {
  const { partitions, partitionOf, partitionedBy, write, pollIntervalMs, ...own } = options ?? {};
  for (const name of ["onFenced", "takeoverTimeoutMs", ...processingOptionNames]) {
    if (name in own) throw new InvalidArgumentError(`options.${name}`, "is not an option of a store in partitions");
  }
  const location = checkLocation(own);
  const count = checkInteger(partitions, "partitions", 1);
  if (count === undefined || count > partitionsMax)
    throw new InvalidArgumentError(
      "partitions",
      `must be an integer from 1 to ${partitionsMax}, not ${printable(partitions)}`,
    );
  if (partitionOf !== undefined && typeof partitionOf !== "function")
    throw new InvalidArgumentError("partitionOf", `must be a function, not ${printable(partitionOf)}`);
  if (partitionedBy !== undefined && (typeof partitionedBy !== "string" || partitionOf === undefined))
    throw new InvalidArgumentError("partitionedBy", "must be a string that names partitionOf");
  const written = writtenOf(write, count);
  if (location.kind === "memory" && written.length < count)
    throw new InvalidArgumentError("write", 'must be "all" for "memory:", which no other process can write');
  return {
    location,
    s3: own.s3 ?? {},
    partitions: count,
    partitionedBy: partitionOf === undefined ? hashPartitioningName : (partitionedBy ?? "custom"),
    partitionOf: partitionOf === undefined ? (name) => partitionByHash(name, count) : checkedBy(partitionOf, count),
    written,
    waits: own.takeover === "when-idle",
    pollIntervalMs: checkInteger(pollIntervalMs, "pollIntervalMs", 1),
    onError: own.onError ?? warn,
    own,
  };
}

function writtenOf(write: unknown, count: number): readonly number[] {
  if (write === undefined || write === "all") return Array.from({ length: count }, (_, number) => number);
  if (write === "none") return [];
  const isPartition = (number: unknown): boolean =>
    Number.isSafeInteger(number) && Number(number) >= 0 && Number(number) < count;
  if (Array.isArray(write) && write.every(isPartition)) return [...new Set<number>(write)];
  throw new InvalidArgumentError(
    "write",
    `must be "all", "none" or a list of partitions below ${count}, not ${printable(write)}`,
  );
}

/** The caller's function, whose answer is looked at each time: a stream in the wrong place would be a stream torn in two. */
function checkedBy(partitionOf: (streamName: string) => number, count: number): (streamName: string) => number {
  return (streamName) => {
    const partition: unknown = partitionOf(streamName);
    if (Number.isSafeInteger(partition) && Number(partition) >= 0 && Number(partition) < count)
      return Number(partition);
    const problem = `must answer an integer from 0 to ${count - 1}, not ${printable(partition)}`;
    throw new InvalidArgumentError("partitionOf", problem, { outcome: "not-applied" });
  };
}

/** The record at the root decides; the first to open the store writes it. */
async function settlePartitioning(plan: Plan): Promise<void> {
  const { location, s3, partitions, partitionedBy } = plan;
  await using objects = await openObjects(location, s3);
  const wanted = { partitions, partitionedBy, createdAtMs: systemClock.now() };
  const found = await foundPartitioning(objects);
  if (found === undefined) {
    await assertNoStore(location, s3);
    const put = await objects.put(partitioningName, encodePartitioning(wanted), { ifAbsent: true });
    if (put !== "conflict") return;
  }
  const settled = found ?? (await foundPartitioning(objects)) ?? wanted;
  if (settled.partitions !== partitions)
    throw new InvalidArgumentError(
      "partitions",
      `must be ${settled.partitions}, as the store was made, not ${partitions}`,
    );
  if (settled.partitionedBy !== partitionedBy) {
    const problem = `must be the one that the store was made with, ${printable(settled.partitionedBy)}`;
    throw new InvalidArgumentError("partitionOf", `${problem}, not ${printable(partitionedBy)}`);
  }
}

async function foundPartitioning(objects: ObjectAccess): Promise<Partitioning | undefined> {
  const found = await objects.get(partitioningName);
  return found === undefined ? undefined : decodePartitioning(found.bytes);
}

/** Makes the bucket where the options say so; a folder is made with its first object. */
async function assertNoStore(location: StoreLocation, s3: S3Options): Promise<void> {
  const state =
    location.kind === "s3"
      ? await findStore(location, s3)
      : location.kind === "folder"
        ? await findFolder(location.directory)
        : "new";
  if (state === "existing") throw new InvalidArgumentError("url", `names a store without partitions: ${location.url}`);
}

function openerOf(plan: Plan, partition: number): PartitionOpener {
  const { location, own, pollIntervalMs, onError } = plan;
  const url =
    location.kind === "memory" ? location.url : `${location.url.replace(/\/+$/, "")}/${partitionFolder(partition)}`;
  // The bucket is there by now.
  const { createBucket: _, ...s3 } = plan.s3;
  const { events, clock, encryption } = own;
  return {
    write: async (signal, onFenced) =>
      (await openEventStore<EventDefinitions>({ ...own, url, s3, signal, onFenced })) as unknown as EventStore,
    read: () =>
      openEventStoreReader({
        ...{ url, s3, onError },
        ...(events === undefined ? {} : { events }),
        ...(clock === undefined ? {} : { clock }),
        ...(encryption === undefined ? {} : { encryption }),
        ...(pollIntervalMs === undefined ? {} : { pollIntervalMs }),
      }),
    standsBy: plan.waits,
    onError,
  };
}

async function claimAll(partitions: readonly Partition[], { written, waits, onError, own }: Plan): Promise<void> {
  const claimed = written.flatMap((number) => partitions[number] ?? []);
  if (waits) {
    for (const partition of claimed) {
      partition.claim(own.signal).catch((error: unknown) => {
        // Released, closed or given up: there is nothing to tell.
        if (own.signal?.aborted !== true && !isClosed(error)) onError(error);
      });
    }
    return;
  }
  const waiting = claimed.values();
  const open = async (): Promise<void> => {
    for (const partition of waiting) await partition.claim(own.signal);
  };
  await Promise.all(Array.from({ length: openingsAtOnce }, open));
}

function isClosed(error: unknown): boolean {
  return error instanceof EventStoreError && error.code === "store-closed";
}
