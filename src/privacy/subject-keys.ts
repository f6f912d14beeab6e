/**
 * The keys of a store's subjects, as the log and forgetting use them: sealing and opening by them, bringing them to hand, destroying
 * them. What an event needs is brought to hand by `provide` and `fetch`, which wait; sealing and opening do not. Where keys come
 * from is for `KeyMaker` and `KeyFinder`; all of them share one ring, so that what is destroyed is gone for everybody at once.
 */

import { EncryptionKeyError, StoreClosedError } from "../errors.ts";
import { mayBeSealed, readHeader, type StoredEvent } from "../format/envelope.ts";
import { keyShardName } from "../format/key-shard.ts";
import { type SealedFields, subjectHashBytes } from "../format/sealed-fields.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import type { OpenedFields, SealingKey, SubjectCipher } from "../schema/personal-data.ts";
import { openBox, type SealedPlace, sealBox } from "./field-cipher.ts";
import { inChunks } from "./in-chunks.ts";
import { type HeldKey, KeyFinder, lostKey } from "./key-finder.ts";
import { KeyMaker } from "./key-maker.ts";
import { KeyShards } from "./key-shards.ts";
import type { KeyWrapping } from "./key-wrapping.ts";
import { openNote, sealNote } from "./sealed-note.ts";
import { type DestroyedKeys, destroyStoredKeys, type StoredKeys, storedKeysOf } from "./stored-keys.ts";
import { type SubjectKey, SubjectKeyRing } from "./subject-key.ts";

/** How many key objects are asked for at once. */
const shardsAtOnce = 16;
/** How often a key is made anew because it was destroyed meanwhile. */
const makingsMax = 5;

export interface SubjectKeysOptions {
  readonly objects: ObjectAccess;
  readonly wrapping: KeyWrapping;
  readonly storeId: string;
  /** The secret behind the hashes of subjects; who only reads needs none. */
  readonly secret: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * After so long a key in memory is looked for in storage again, for who is not told of it when another process forgets a
   * subject. `Infinity` for a writer: nobody else can.
   */
  readonly recheckMs: number;
}

class UsableKey implements SealingKey {
  readonly key: SubjectKey;
  constructor(key: SubjectKey) {
    this.key = key;
  }
  get isUsable(): boolean {
    return this.key.bytes !== undefined;
  }
}

export class SubjectKeys implements SubjectCipher {
  readonly #options: SubjectKeysOptions;
  readonly shards: KeyShards;
  readonly #ring = new SubjectKeyRing();
  readonly #maker: KeyMaker;
  readonly #finder: KeyFinder;
  /** By an event's bytes, for as long as these are in memory. */
  readonly #held = new WeakMap<Buffer, HeldKey>();
  #closed = false;

  constructor(options: SubjectKeysOptions) {
    const { wrapping, clock, recheckMs } = options;
    this.#options = options;
    this.shards = new KeyShards(options);
    const parts = { shards: this.shards, ring: this.#ring, wrapping, clock };
    this.#maker = new KeyMaker(parts);
    this.#finder = new KeyFinder({ ...parts, recheckMs });
  }

  hashOf(subject: string): string {
    const { secret } = this.#options;
    if (secret === undefined) throw new EncryptionKeyError("A reader cannot tell subjects' hashes");
    const hash = new Bun.CryptoHasher("sha256", secret).update(subject).digest();
    return hash.subarray(0, subjectHashBytes).toString("hex");
  }

  keyFor(subject: string): SealingKey | undefined {
    const key = this.#ring.current(subject);
    return key === undefined ? undefined : new UsableKey(key);
  }

  async provide(subjects: ReadonlySet<string>): Promise<ReadonlyMap<string, SealingKey>> {
    this.#assertOpen();
    const missing = Map.groupBy(
      [...subjects].filter((subject) => this.#ring.current(subject) === undefined),
      keyShardName,
    );
    // Held until all are there, however many others are used meanwhile.
    const keys = new Map<string, SealingKey>();
    await inChunks([...missing], shardsAtOnce, async ([name, wanted]) => {
      let dead = wanted;
      // One that was destroyed while it was fetched is not there any more: the next turn makes another.
      for (let making = 1; dead.length > 0 && making <= makingsMax; making += 1) {
        await this.#maker.make(name, dead);
        this.#assertOpen();
        for (const subject of dead) {
          const key = this.keyFor(subject);
          if (key !== undefined) keys.set(subject, key);
        }
        dead = dead.filter((subject) => !keys.has(subject));
      }
    });
    for (const subject of subjects) {
      const key = keys.get(subject) ?? this.keyFor(subject);
      if (key !== undefined) keys.set(subject, key);
    }
    return keys;
  }

  seal(
    key: SealingKey,
    { streamName, eventId }: { readonly streamName: string; readonly eventId: string },
    bytes: Buffer,
    sealed: SealedFields,
    content: Uint8Array,
  ): void {
    const own = key instanceof UsableKey ? key.key : undefined;
    if (own?.bytes === undefined) return;
    Buffer.from(own.id, "hex").copy(sealed.keyId);
    sealBox(own.bytes, { storeId: this.#options.storeId, streamName, eventId }, sealed, content);
    this.#held.set(bytes, own);
  }

  fetch(events: readonly StoredEvent[]): Promise<void> | undefined {
    this.#assertOpen();
    const missing: { readonly bytes: Buffer; readonly subject: string; readonly id: string }[] = [];
    for (const { bytes } of events) {
      if (!mayBeSealed(bytes) || this.#finder.isFresh(this.#held.get(bytes))) continue;
      const sealed = sealedOf(bytes);
      if (sealed === undefined) continue;
      const id = hex(sealed.keyId);
      const key = this.#ring.find(id);
      if (key !== undefined && this.#finder.isFresh(key)) this.#held.set(bytes, key);
      else missing.push({ bytes, subject: hex(sealed.subject), id });
    }
    if (missing.length === 0) return undefined;
    const byShard = Map.groupBy(missing, ({ subject }) => keyShardName(subject));
    return inChunks([...byShard], shardsAtOnce, async ([name, wanted]) => {
      const held = await this.#finder.find(name, new Set(wanted.map(({ id }) => id)));
      for (const { bytes, id } of wanted) this.#held.set(bytes, held.get(id) ?? lostKey(name));
    });
  }

  open({ streamName, bytes }: StoredEvent, eventId: string, sealed: SealedFields): OpenedFields {
    const held = this.#held.get(bytes) ?? this.#ring.find(hex(sealed.keyId));
    if (held === undefined) return { kind: "lost", why: new EncryptionKeyError("its key was not fetched") };
    if ("lost" in held) return { kind: "lost", why: held.lost };
    if (held.forgottenAtMs !== undefined) return { kind: "forgotten", atMs: held.forgottenAtMs };
    const key = held.bytes;
    if (key === undefined) throw new StoreClosedError();
    const place: SealedPlace = { storeId: this.#options.storeId, streamName, eventId };
    try {
      return { kind: "open", content: openBox(key, place, sealed) };
    } catch (cause) {
      const message = "its personal fields are damaged, or do not belong to it";
      return { kind: "lost", why: new EncryptionKeyError(message, { cause }) };
    }
  }

  /** What is stored of a subject's keys. */
  async keysOf(subject: string): Promise<StoredKeys> {
    return await storedKeysOf(this.shards, subject);
  }

  /** Destroys all keys of a subject, in storage and then in memory. Once it resolves there is none. */
  async destroy(subject: string, atMs: number): Promise<DestroyedKeys> {
    this.#assertOpen();
    const summary = await destroyStoredKeys(this.shards, subject, atMs);
    this.#ring.destroy(summary.keyIds, atMs);
    return summary;
  }

  /** Seals what must be remembered of a subject for a while, under a secret that is not in the database. */
  sealNote(subject: string, note: string): Uint8Array {
    return sealNote(this.#options, subject, note);
  }

  openNote(subject: string, box: Uint8Array): string {
    return openNote(this.#options, subject, box);
  }

  /** Calls `drop` when a key that was in use turns out to have been destroyed by another process. It must not throw. */
  whenFoundDestroyed(drop: () => void): void {
    this.#finder.whenFoundDestroyed(drop);
  }

  /** Another process has destroyed these keys. */
  expire(keyIds: readonly string[], atMs: number): void {
    this.#ring.destroy(keyIds, atMs);
  }

  /** Another process may have destroyed any of them: each is looked for in storage again before it is used. */
  doubt(): void {
    this.#finder.doubt();
  }

  /** Overwrites all keys in memory. */
  close(): void {
    this.#closed = true;
    this.#ring.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new StoreClosedError();
  }
}

function sealedOf(bytes: Buffer): SealedFields | undefined {
  try {
    return readHeader(bytes).sealed;
  } catch {
    // Whoever decodes it will say what is wrong.
    return undefined;
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
