/**
 * The master key, as a service that wraps other keys: the shape of a KMS, and a local one from 32 bytes that the user holds.
 * Master keys never leave the service; what is stored is wrapped by one, together with that one's id.
 */

import { EncryptionKeyError, InvalidArgumentError } from "../errors.ts";
import { secretBytes } from "../runtime/secrets.ts";

/** A key as it is stored: its bytes wrapped, and which master key they were wrapped by. */
export interface WrappedKey {
  /** At most 256 characters. */
  readonly masterKeyId: string;
  /** At most 4,096 bytes. */
  readonly wrapped: Uint8Array;
}

/**
 * What wraps keys: a KMS, an HSM, or `localKeyService`. `context` is bound to the wrapped key (additional authenticated data, an
 * encryption context): to unwrap with another one must fail. What it throws or rejects with is told as `encryption-key`, and at a read
 * as `unreadable-event` of that event alone; but a `StorageUnavailableError` is told as it is, so that whoever follows the log tries
 * again until the service is there. Throttled and refused connections are best told so.
 */
export interface KeyService {
  /** The id of the master key that `wrap` takes now; rotation wraps anew what another one has wrapped. */
  currentKeyId(): string | Promise<string>;
  wrap(key: Uint8Array, context: Uint8Array): Promise<WrappedKey>;
  unwrap(wrapped: WrappedKey, context: Uint8Array): Promise<Uint8Array>;
}

/** 32 bytes, as they are or as base64 text (44 characters). */
export type MasterKey = Uint8Array | string;

const masterKeyBytes = 32;
const nonceBytes = 12;
const tagBits = 128;

interface KnownKey {
  readonly id: string;
  readonly key: CryptoKey;
}

function bytesOf(given: unknown, argument: string): Uint8Array<ArrayBuffer> {
  const isText = typeof given === "string" && /^[A-Za-z0-9+/]{43}=$/.test(given);
  const bytes = isText ? Buffer.from(given, "base64") : given;
  // What is wrong is not shown: it may be nearly right.
  if (!(bytes instanceof Uint8Array) || bytes.length !== masterKeyBytes)
    throw new InvalidArgumentError(argument, `must be ${masterKeyBytes} bytes, or these as base64 text`);
  return Uint8Array.from(bytes);
}

/** A fingerprint: it tells keys apart and gives nothing away. */
function idOf(bytes: Uint8Array): string {
  const hash = new Bun.CryptoHasher("sha256").update("strata master key\n").update(bytes).digest("hex");
  return `local:${hash.slice(0, 16)}`;
}

async function imported(bytes: Uint8Array<ArrayBuffer>): Promise<KnownKey> {
  const id = idOf(bytes);
  try {
    return { id, key: await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]) };
  } finally {
    bytes.fill(0);
  }
}

/**
 * Wraps by AES-256-GCM under a master key at hand. Of several the first one wraps, and all unwrap: put a new one in front, call
 * `store.rotateKeys()`, and drop the old one. Throws `invalid-argument` for what is no key.
 */
export function localKeyService(masterKeys: MasterKey | readonly MasterKey[]): KeyService {
  const given: readonly unknown[] = Array.isArray(masterKeys) ? masterKeys : [masterKeys];
  if (given.length === 0) throw new InvalidArgumentError("masterKey", "must be at least one");
  const bytes = given.map((key, index) =>
    bytesOf(key, Array.isArray(masterKeys) ? `masterKey[${index}]` : "masterKey"),
  );
  const currentId = bytes[0] === undefined ? "" : idOf(bytes[0]);
  const known = Promise.all(bytes.map(imported));
  const find = async (id: string): Promise<CryptoKey> => {
    const found = (await known).find((one) => one.id === id);
    if (found !== undefined) return found.key;
    throw new EncryptionKeyError(`None of the given master keys is the one that is needed: ${id}`);
  };
  return {
    currentKeyId: () => currentId,
    wrap: async (key, context) => {
      const iv = secretBytes(nonceBytes);
      const algorithm = { name: "AES-GCM", iv, additionalData: Uint8Array.from(context), tagLength: tagBits };
      const sealed = await crypto.subtle.encrypt(algorithm, await find(currentId), Uint8Array.from(key));
      return { masterKeyId: currentId, wrapped: Buffer.concat([iv, new Uint8Array(sealed)]) };
    },
    unwrap: async ({ masterKeyId, wrapped }, context) => {
      const key = await find(masterKeyId);
      const all = Uint8Array.from(wrapped);
      const iv = all.subarray(0, nonceBytes);
      const algorithm = { name: "AES-GCM", iv, additionalData: Uint8Array.from(context), tagLength: tagBits };
      try {
        return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, all.subarray(nonceBytes)));
      } catch (cause) {
        throw new EncryptionKeyError(`A wrapped key does not fit the master key ${masterKeyId}`, { cause });
      }
    },
  };
}
