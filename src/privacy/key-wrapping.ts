/**
 * A key service as the store uses it: what is wrapped is bound to the store and to what the key is for, what the service answers is
 * checked, and what it throws becomes a typed error.
 */

import { EncryptionKeyError, EventStoreError } from "../errors.ts";
import { ByteWriter } from "../format/bytes.ts";
import type { KeyService, WrappedKey } from "./key-service.ts";

/** How many keys are wrapped, or unwrapped, at once. */
export const keysAtOnce = 64;
const masterKeyIdLengthMax = 256;
const wrappedBytesMax = 4_096;
const keyBytes = 32;

interface KeyName {
  readonly subject: string;
  readonly id: string;
}

export class KeyWrapping {
  readonly #service: KeyService;
  readonly #storeId: string;

  constructor(service: KeyService, storeId: string) {
    this.#service = service;
    this.#storeId = storeId;
  }

  /** The master key that wraps now. */
  async currentKeyId(): Promise<string> {
    return checkKeyId(await asked("The key service could not say its key", async () => this.#service.currentKeyId()));
  }

  async wrap(name: KeyName, key: Uint8Array): Promise<WrappedKey> {
    const context = this.#contextOf(name);
    const wrapped = await asked("The key service could not wrap a key", () => this.#service.wrap(key, context));
    const bytes: unknown = wrapped?.wrapped;
    if (!(bytes instanceof Uint8Array) || bytes.length === 0 || bytes.length > wrappedBytesMax)
      throw new EncryptionKeyError(`The key service must answer with 1 to ${wrappedBytesMax} wrapped bytes`);
    return { masterKeyId: checkKeyId(wrapped.masterKeyId), wrapped: bytes };
  }

  async unwrap({ masterKeyId, wrapped, subject, id }: WrappedKey & KeyName): Promise<Buffer> {
    const context = this.#contextOf({ subject, id });
    const service = this.#service;
    const key = await asked("The key service could not unwrap a key", () =>
      service.unwrap({ masterKeyId, wrapped }, context),
    );
    if (!(key instanceof Uint8Array) || key.length !== keyBytes)
      throw new EncryptionKeyError(`The key service must unwrap ${keyBytes} bytes`);
    const own = Buffer.from(key);
    key.fill(0);
    return own;
  }

  #contextOf({ subject, id }: KeyName): Uint8Array {
    const writer = new ByteWriter(256);
    for (const text of ["strata key 1", this.#storeId, subject, id]) writer.text(text);
    return writer.finish();
  }
}

async function asked<T>(problem: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof EventStoreError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new EncryptionKeyError(`${problem}: ${why}`, { cause });
  }
}

function checkKeyId(id: unknown): string {
  if (typeof id === "string" && id !== "" && id.length <= masterKeyIdLengthMax) return id;
  throw new EncryptionKeyError(`The key service must name its key by 1 to ${masterKeyIdLengthMax} characters`);
}
