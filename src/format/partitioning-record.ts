/**
 * How a partitioned store is parted, as one small JSON object at its root says: for good, because a stream's partition follows
 * from it. People may read it.
 */

import { StorageCorruptError } from "../errors.ts";

/** Its name, below the store's folder or prefix. */
export const partitioningName = "partitions.json";

const format = 1;
const recordBytesMax = 4 * 1024;
const note = "A store in partitions, each a store of its own beside this object. Do not change or remove it.";

/** What decides where a stream lives. */
export interface Partitioning {
  readonly partitions: number;
  /** The name of the function from stream names to partitions. */
  readonly partitionedBy: string;
  readonly createdAtMs: number;
}

/** The folder of a partition: four digits at least, so that they sort. */
export function partitionFolder(partition: number): string {
  return `partition-${String(partition).padStart(4, "0")}`;
}

/** The partition of a stream where nothing else is said: xxHash32 of the name's UTF-8 bytes, modulo the number of partitions. */
export function partitionByHash(streamName: string, partitions: number): number {
  return Bun.hash.xxHash32(Buffer.from(streamName, "utf8"), 0) % partitions;
}

/** The name that stands for `partitionByHash`. */
export const hashPartitioningName = "xxhash32";

export function encodePartitioning({ partitions, partitionedBy, createdAtMs }: Partitioning): Uint8Array {
  const record = { format, note, partitions, partitionedBy, createdAt: new Date(createdAtMs) };
  return new TextEncoder().encode(`${JSON.stringify(record, undefined, 2)}\n`);
}

/** Throws `storage-corrupt` for what is none, or of a newer version. */
export function decodePartitioning(bytes: Uint8Array): Partitioning {
  const fields = fieldsOf(bytes);
  const found = fields?.get("format");
  if (typeof found === "number" && found > format) {
    throw new StorageCorruptError(
      `${partitioningName} was written by a newer version of Strata: its format is ${found}`,
    );
  }
  const partitions = fields?.get("partitions");
  const partitionedBy = fields?.get("partitionedBy");
  const createdAtMs = Date.parse(String(fields?.get("createdAt")));
  const isCount = typeof partitions === "number" && Number.isSafeInteger(partitions) && partitions > 0;
  if (found !== format || !isCount || typeof partitionedBy !== "string" || Number.isNaN(createdAtMs)) {
    throw new StorageCorruptError(`${partitioningName} is damaged`);
  }
  return { partitions, partitionedBy, createdAtMs };
}

function fieldsOf(bytes: Uint8Array): ReadonlyMap<string, unknown> | undefined {
  if (bytes.length > recordBytesMax) return undefined;
  try {
    const record: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof record === "object" && record !== null ? new Map(Object.entries(record)) : undefined;
  } catch {
    return undefined;
  }
}
