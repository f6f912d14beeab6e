/** The `encryption` option: what it may be, and opening the keys of a store by it. */

import { EncryptionKeyError, InvalidArgumentError, printable, StorageCorruptError } from "../errors.ts";
import { decodeKeyRecord, encodeKeyRecord, type KeyRecord } from "../format/key-record.ts";
import { keyRecordName } from "../format/key-shard.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import { secretBytes } from "../runtime/secrets.ts";
import { type KeyService, localKeyService, type MasterKey } from "./key-service.ts";
import { KeyWrapping } from "./key-wrapping.ts";
import { SubjectKeys } from "./subject-keys.ts";

/** What wraps the keys of subjects: one of the two is given. */
export interface EncryptionOptions {
  /**
   * 32 bytes, or these as base64 text, kept anywhere but in the store; of several the first one wraps, and all unwrap. Whoever has
   * it and the store reads the personal data; without it nobody ever does.
   */
  readonly masterKey?: MasterKey | readonly MasterKey[];
  /** A KMS or the like in its place. */
  readonly keyService?: KeyService;
}

const secretBytesLength = 32;
/** What the hashing secret is called where it is wrapped. */
const secretName = { subject: "subjects", id: "secret" } as const;
/** How long a reader may go on with a key that another process has destroyed, should it not see the receipt. */
export const recheckMsOfReaders = 60_000;

/** Throws `invalid-argument` for what is no `encryption`; `undefined` where there is none. */
export function checkEncryption(value: unknown): KeyService | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null)
    throw new InvalidArgumentError("encryption", "must be { masterKey } or { keyService }");
  const { masterKey, keyService, ...rest } = value as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new InvalidArgumentError(`encryption.${unknown}`, "is not an option");
  if ((masterKey === undefined) === (keyService === undefined))
    throw new InvalidArgumentError("encryption", "must have one of masterKey and keyService");
  if (masterKey !== undefined) return localKeyService(masterKey as MasterKey);
  const service = keyService as Partial<KeyService> | null;
  for (const name of ["currentKeyId", "wrap", "unwrap"] as const) {
    if (typeof service?.[name] !== "function")
      throw new InvalidArgumentError(
        `encryption.keyService.${name}`,
        `must be a function, not ${printable(service?.[name])}`,
      );
  }
  return service as KeyService;
}

/** Throws `invalid-argument` where events have personal fields and nothing encrypts them. */
export function assertEncrypted(hasPersonalFields: boolean, encryption: unknown): void {
  if (!hasPersonalFields || encryption !== undefined) return;
  throw new InvalidArgumentError(
    "encryption",
    "must be given: events have personal fields, which are never stored as they are",
  );
}

export interface OpenKeysOptions {
  readonly objects: ObjectAccess;
  readonly service: KeyService;
  readonly storeId: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** A store's keys, for writing. `used`: the store has had keys before, so that their record must be there. */
export async function openKeysToWrite(options: OpenKeysOptions, used: boolean): Promise<SubjectKeys> {
  const wrapping = new KeyWrapping(options.service, options.storeId);
  const record = (await readRecord(options)) ?? (await makeRecord(options, wrapping, used));
  const secret = await secretOf(record, wrapping);
  return new SubjectKeys({ ...options, wrapping, secret, recheckMs: Number.POSITIVE_INFINITY });
}

/** The same for reading: a record that is not there yet, or no more, keeps nobody from reading. */
export async function openKeysToRead(options: OpenKeysOptions): Promise<SubjectKeys> {
  const wrapping = new KeyWrapping(options.service, options.storeId);
  const record = await readRecord(options);
  // A wrong master key is told at once, and not at the first event.
  if (record !== undefined) (await secretOf(record, wrapping)).fill(0);
  return new SubjectKeys({ ...options, wrapping, secret: undefined, recheckMs: recheckMsOfReaders });
}

async function readRecord({ objects, storeId }: OpenKeysOptions): Promise<KeyRecord | undefined> {
  const stored = await objects.get(keyRecordName);
  if (stored === undefined) return undefined;
  const record = decodeKeyRecord(stored.bytes);
  if (record.storeId === storeId) return record;
  throw new StorageCorruptError(`${keyRecordName} is of another store: ${printable(record.storeId)}`);
}

async function makeRecord(options: OpenKeysOptions, wrapping: KeyWrapping, used: boolean): Promise<KeyRecord> {
  const { objects, storeId, clock } = options;
  if (used) throw new EncryptionKeyError(`The record of the store's keys is lost: there is no ${keyRecordName}`);
  const secret = secretBytes(secretBytesLength);
  const { masterKeyId, wrapped } = await wrapping.wrap(secretName, secret);
  secret.fill(0);
  const record: KeyRecord = { storeId, createdAtMs: clock.now(), masterKeyId, wrappedSecret: wrapped };
  const written = await objects.put(keyRecordName, encodeKeyRecord(record), { ifAbsent: true });
  if (written !== "conflict") return record;
  // Another process that has opened the store made one first.
  const found = await readRecord(options);
  if (found !== undefined) return found;
  throw new EncryptionKeyError(`The record of the store's keys comes and goes: ${keyRecordName}`);
}

async function secretOf({ masterKeyId, wrappedSecret }: KeyRecord, wrapping: KeyWrapping): Promise<Buffer> {
  return await wrapping.unwrap({ ...secretName, masterKeyId, wrapped: wrappedSecret });
}

/** Wraps the record's secret anew; whether that was needed. */
export async function rotateRecord(
  objects: ObjectAccess,
  wrapping: KeyWrapping,
  masterKeyId: string,
): Promise<boolean> {
  const stored = await objects.get(keyRecordName);
  if (stored === undefined)
    throw new EncryptionKeyError(`The record of the store's keys is lost: there is no ${keyRecordName}`);
  const record = decodeKeyRecord(stored.bytes);
  if (record.masterKeyId === masterKeyId) return false;
  const secret = await secretOf(record, wrapping);
  const { wrapped, ...by } = await wrapping.wrap(secretName, secret);
  secret.fill(0);
  const bytes = encodeKeyRecord({ ...record, masterKeyId: by.masterKeyId, wrappedSecret: wrapped });
  const written = await objects.put(keyRecordName, bytes, { ifTag: stored.tag });
  // Two rotations at once come to the same.
  return written !== "conflict" || (await rotateRecord(objects, wrapping, masterKeyId));
}
