/**
 * The objects that hold subjects' keys, beside the database and never in it: an LSM keeps what was deleted for a long time, a
 * small object that is written anew does not. A subject's hash says which object holds its keys, so that one PUT makes a key
 * and one makes it go away. What is gone stays named by its id, to tell a forgotten key from a lost one.
 *
 * seal | version | master key ids | keys: subject (16), id (8), master key, made (6), wrapped | forgotten: subject (16), id (8), when (6)
 */

import { StorageCorruptError } from "../errors.ts";
import { type ByteReader, ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import { subjectHashBytes, subjectKeyIdBytes } from "./sealed-fields.ts";

/** Frozen: over so many objects the keys of a store are spread. The store's key record says it, too. */
export const keyShardCount = 1_024;
/** All of them are below this. */
export const keyFolder = "keys";
export const keyRecordName: string = `${keyFolder}/record.json`;

const shardKind = 0x7c;
const shardVersion = 1;

/** A subject's key as it is stored. Ids and hashes are lower-case hexadecimal text. */
export interface WrappedSubjectKey {
  readonly subject: string;
  readonly id: string;
  readonly masterKeyId: string;
  readonly createdAtMs: number;
  readonly wrapped: Uint8Array;
}

/** What is left of a key that was destroyed. */
export interface ForgottenSubjectKey {
  readonly subject: string;
  readonly id: string;
  readonly forgottenAtMs: number;
}

/** The keys of the subjects whose hashes lead to one object. */
export interface KeyShard {
  /** By id. */
  readonly keys: ReadonlyMap<string, WrappedSubjectKey>;
  /** By id. */
  readonly forgotten: ReadonlyMap<string, ForgottenSubjectKey>;
}

export const emptyKeyShard: KeyShard = { keys: new Map(), forgotten: new Map() };

/** The object that holds a subject's keys. */
export function keyShardName(subject: string): string {
  const shard = Number.parseInt(subject.slice(0, 8), 16) % keyShardCount;
  return `${keyFolder}/${shard.toString(16).padStart(3, "0")}`;
}

export function encodeKeyShard(name: string, shard: KeyShard): Buffer {
  const masters = [...new Set([...shard.keys.values()].map(({ masterKeyId }) => masterKeyId))];
  const writer = new ByteWriter(4_096);
  beginSealed(writer, shardKind);
  writer.byte(shardVersion);
  writer.varint(masters.length);
  for (const master of masters) writer.text(master);
  writer.varint(shard.keys.size);
  for (const { subject, id, masterKeyId, createdAtMs, wrapped } of shard.keys.values()) {
    writer.raw(Buffer.from(subject, "hex"));
    writer.raw(Buffer.from(id, "hex"));
    writer.varint(masters.indexOf(masterKeyId));
    writer.uint48(createdAtMs);
    writer.block(wrapped);
  }
  writer.varint(shard.forgotten.size);
  for (const { subject, id, forgottenAtMs } of shard.forgotten.values()) {
    writer.raw(Buffer.from(subject, "hex"));
    writer.raw(Buffer.from(id, "hex"));
    writer.uint48(forgottenAtMs);
  }
  return seal(writer, Buffer.from(name));
}

/** Throws `storage-corrupt` for one that is damaged, is another object's, or is of a newer version. */
export function decodeKeyShard(name: string, bytes: Uint8Array): KeyShard {
  const reader = openSealed(Buffer.from(name), bytes, shardKind, `The key object ${name}`);
  if (reader.byte() !== shardVersion)
    throw new StorageCorruptError(`The key object ${name} was stored by a newer version of Strata`);
  const masters: string[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) masters.push(reader.text());
  const keys = new Map<string, WrappedSubjectKey>();
  for (let left = reader.varint(); left > 0; left -= 1) {
    const { subject, id } = readName(reader);
    const masterKeyId = masters[reader.varint()];
    if (masterKeyId === undefined)
      throw new StorageCorruptError(`The key object ${name} is damaged: a name is missing`);
    const createdAtMs = reader.uint48();
    keys.set(id, { subject, id, masterKeyId, createdAtMs, wrapped: Uint8Array.from(reader.block()) });
  }
  const forgotten = new Map<string, ForgottenSubjectKey>();
  for (let left = reader.varint(); left > 0; left -= 1) {
    const named = readName(reader);
    forgotten.set(named.id, { ...named, forgottenAtMs: reader.uint48() });
  }
  return { keys, forgotten };
}

function readName(reader: ByteReader): { readonly subject: string; readonly id: string } {
  const subject = reader.raw(subjectHashBytes).toString("hex");
  return { subject, id: reader.raw(subjectKeyIdBytes).toString("hex") };
}
