/**
 * What a store's keys have in common, as one small JSON object beside them: which store they are of, how they are spread, and
 * the secret that turns a subject into its hash, wrapped by the master key. People may read it. Without it no event of a known
 * subject can be written or forgotten; those that are stored can still be read.
 */

import { StorageCorruptError } from "../errors.ts";
import { keyRecordName, keyShardCount } from "./key-shard.ts";

const format = 1;
const recordBytesMax = 64 * 1024;
const note =
  "The keys of the store beside this folder. Without them its personal data cannot be read. Do not change or remove them.";

export interface KeyRecord {
  readonly storeId: string;
  readonly createdAtMs: number;
  readonly masterKeyId: string;
  /** The secret behind the hashes of subjects, wrapped. */
  readonly wrappedSecret: Uint8Array;
}

export function encodeKeyRecord({ storeId, createdAtMs, masterKeyId, wrappedSecret }: KeyRecord): Uint8Array {
  const record = {
    format,
    note,
    storeId,
    shards: keyShardCount,
    createdAt: new Date(createdAtMs),
    masterKeyId,
    wrappedSecret: Buffer.from(wrappedSecret).toString("base64"),
  };
  return new TextEncoder().encode(`${JSON.stringify(record, undefined, 2)}\n`);
}

/** Throws `storage-corrupt` for what is none, or of a newer version. */
export function decodeKeyRecord(bytes: Uint8Array): KeyRecord {
  const fields = fieldsOf(bytes);
  const found = fields.get("format");
  if (typeof found === "number" && found > format)
    throw new StorageCorruptError(`${keyRecordName} was written by a newer version of Strata: its format is ${found}`);
  const storeId = fields.get("storeId");
  const masterKeyId = fields.get("masterKeyId");
  const wrapped = fields.get("wrappedSecret");
  const createdAtMs = Date.parse(String(fields.get("createdAt")));
  const isOurs = found === format && fields.get("shards") === keyShardCount;
  if (!isOurs || typeof storeId !== "string" || typeof masterKeyId !== "string" || typeof wrapped !== "string")
    throw new StorageCorruptError(`${keyRecordName} is damaged`);
  return { storeId, masterKeyId, createdAtMs, wrappedSecret: Uint8Array.from(Buffer.from(wrapped, "base64")) };
}

function fieldsOf(bytes: Uint8Array): ReadonlyMap<string, unknown> {
  if (bytes.length > recordBytesMax) return new Map();
  try {
    const record: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return new Map(typeof record === "object" && record !== null ? Object.entries(record) : []);
  } catch {
    return new Map();
  }
}
