/**
 * The keys of a store's subjects: made, found, destroyed. A key is stored, wrapped, before the first event is sealed under it; it is
 * destroyed by writing its object anew without it. What an event needs is brought to hand by `provide` and `fetch`, which wait;
 * sealing and opening do not. A key that is neither there nor known to be forgotten is lost, and that is never read as `null`.
 */

import { EncryptionKeyError, StorageUnavailableError, StoreClosedError } from "../errors.ts";
import { mayBeSealed, readHeader, type StoredEvent } from "../format/envelope.ts";
import { type KeyShard, keyShardName, type WrappedSubjectKey } from "../format/key-shard.ts";
import type { SealedFields } from "../format/sealed-fields.ts";
import { emptySealedFields, subjectHashBytes, subjectKeyIdBytes } from "../format/sealed-fields.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import { secretBytes } from "../runtime/secrets.ts";
import type { OpenedFields, SealingKey, SubjectCipher } from "../schema/personal-data.ts";
import { openBox, type SealedPlace, sealBox } from "./field-cipher.ts";
import { inChunks } from "./in-chunks.ts";
import { isAboutTheObject, KeyShards, type ReadShard } from "./key-shards.ts";
import type { KeyWrapping } from "./key-wrapping.ts";
import { SubjectKey, SubjectKeyRing } from "./subject-key.ts";

/** How many key objects, and keys of one, are asked for at once. */
const shardsAtOnce = 16;
const keysAtOnce = 64;
const subjectKeyBytes = 32;
/** A key that an object does not have is looked for again when the object was read longer ago than this. */
const lookAgainMs = 1_000;
/** How often a key is made, or fetched, anew because it was destroyed, or doubted, meanwhile. */
const attemptsMax = 5;

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

/** What an event in memory has for a key: the key itself, or why there is none. */
type Held = SubjectKey | { readonly lost: EncryptionKeyError };

/** What forgetting has come to. */
export interface DestroyedKeys {
  /** The ids of all keys that the subject has ever had, those destroyed earlier included. */
  readonly keyIds: readonly string[];
  /** Those destroyed now. */
  readonly destroyed: readonly string[];
  /** When the last of them was destroyed; `undefined` for a subject that never had one. */
  readonly forgottenAtMs: number | undefined;
}

/** Keys that are to be made in one object, for all who ask before its turn comes. */
interface Making {
  readonly subjects: Set<string>;
  readonly made: Promise<void>;
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
  /** By an event's bytes, for as long as these are in memory. */
  readonly #held = new WeakMap<Buffer, Held>();
  readonly #making = new Map<string, Making>();
  /** How often keys were doubted, and when last, by the monotonic clock. */
  #doubts = 0;
  #doubtedAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;
  #onFoundDestroyed: () => void = () => {};

  constructor(options: SubjectKeysOptions) {
    this.#options = options;
    this.shards = new KeyShards(options);
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
      for (let attempt = 1; dead.length > 0 && attempt <= attemptsMax; attempt += 1) {
        await this.#make(name, dead);
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
      if (!mayBeSealed(bytes) || this.#isFresh(this.#held.get(bytes))) continue;
      const sealed = sealedOf(bytes);
      if (sealed === undefined) continue;
      const id = hex(sealed.keyId);
      const key = this.#ring.find(id);
      if (key !== undefined && this.#isFresh(key)) this.#held.set(bytes, key);
      else missing.push({ bytes, subject: hex(sealed.subject), id });
    }
    if (missing.length === 0) return undefined;
    const byShard = Map.groupBy(missing, ({ subject }) => keyShardName(subject));
    return inChunks([...byShard], shardsAtOnce, async ([name, wanted]) => {
      const held = await this.#findSettled(name, new Map(wanted.map(({ id, subject }) => [id, subject])));
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
  async keysOf(subject: string): Promise<DestroyedKeys & { readonly live: readonly string[] }> {
    const { shard } = await this.shards.read(keyShardName(subject), 0);
    return { ...summaryOf(shard, subject, []), live: liveKeysOf(shard, subject) };
  }

  /** Destroys all keys of a subject, in storage and then in memory. Once it resolves there is none. */
  async destroy(subject: string, atMs: number): Promise<DestroyedKeys> {
    this.#assertOpen();
    let destroyed: readonly string[] = [];
    const shard = await this.shards.change(keyShardName(subject), async (found) => {
      destroyed = liveKeysOf(found, subject);
      if (destroyed.length === 0) return undefined;
      const keys = new Map([...found.keys].filter(([, key]) => key.subject !== subject));
      const gone = destroyed.map((id) => [id, { subject, id, forgottenAtMs: atMs }] as const);
      return { keys, forgotten: new Map([...found.forgotten, ...gone]) };
    });
    const summary = summaryOf(shard, subject, destroyed);
    this.#ring.destroy(summary.keyIds, atMs);
    return summary;
  }

  /** Seals what must be remembered of a subject for a while, under a secret that is not in the database. */
  sealNote(subject: string, note: string): Uint8Array {
    const sealed = emptySealedFields(Buffer.from(subject, "hex"), [], Buffer.byteLength(note));
    sealBox(this.#noteKey(), this.#noteAbout(subject), sealed, Buffer.from(note));
    return sealed.box;
  }

  openNote(subject: string, box: Uint8Array): string {
    const sealed = { ...emptySealedFields(Buffer.from(subject, "hex"), [], 0), box };
    try {
      return openBox(this.#noteKey(), this.#noteAbout(subject), sealed).toString();
    } catch (cause) {
      throw new EncryptionKeyError("The record of a subject that is being forgotten cannot be opened", { cause });
    }
  }

  #noteKey(): Buffer {
    const { secret } = this.#options;
    if (secret === undefined) throw new EncryptionKeyError("A reader has no notes of subjects");
    return new Bun.CryptoHasher("sha256", secret).update("strata notes").digest();
  }

  #noteAbout(subject: string): SealedPlace {
    return { storeId: this.#options.storeId, streamName: "", eventId: subject };
  }

  /** Calls `drop` when a key that was in use turns out to have been destroyed by another process. It must not throw. */
  whenFoundDestroyed(drop: () => void): void {
    this.#onFoundDestroyed = drop;
  }

  /** Another process has destroyed these keys. */
  expire(keyIds: readonly string[], atMs: number): void {
    this.#ring.destroy(keyIds, atMs);
  }

  /** Another process may have destroyed any of them: each is looked for in storage again before it is used. */
  doubt(): void {
    this.#doubts += 1;
    this.#doubtedAtMs = this.#options.clock.monotonic();
    this.shards.doubt();
  }

  /** Overwrites all keys in memory. */
  close(): void {
    this.#closed = true;
    this.#ring.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new StoreClosedError();
  }

  #isFresh(held: Held | undefined): boolean {
    if (held === undefined || "lost" in held) return false;
    if (held.forgottenAtMs !== undefined) return true;
    if (held.checkedAtMs <= this.#doubtedAtMs) return false;
    return this.#options.clock.monotonic() - held.checkedAtMs <= this.#options.recheckMs;
  }

  /** As `#find`, where none of what it answers was doubted while it was found. */
  async #findSettled(name: string, wanted: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, Held>> {
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const doubts = this.#doubts;
      const found = await this.#find(name, wanted);
      if (doubts === this.#doubts) return found;
    }
    throw new StorageUnavailableError(`The log moves on faster than the key object ${name} can be read`);
  }

  /** The keys of these ids, as far as the object has them. Throws where it cannot be reached. */
  async #find(name: string, wanted: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, Held>> {
    const found = new Map<string, Held>();
    try {
      const has = ({ keys, forgotten }: KeyShard): boolean =>
        [...wanted.keys()].every((id) => keys.has(id) || forgotten.has(id));
      const known = await this.shards.read(name, this.#options.recheckMs);
      const stored = has(known.shard) ? known : await this.shards.read(name, lookAgainMs);
      await inChunks([...wanted.keys()], keysAtOnce, async (id) => {
        const held = await this.#heldIn(stored, id);
        found.set(id, held ?? (stored.exists ? lostKey(name) : lostObject(name)));
      });
    } catch (cause) {
      if (!isAboutTheObject(cause)) throw cause;
      const lost = cause instanceof EncryptionKeyError ? cause : new EncryptionKeyError(messageOf(cause), { cause });
      for (const id of wanted.keys()) found.set(id, { lost });
    }
    return found;
  }

  async #heldIn({ shard, atMs }: ReadShard, id: string): Promise<Held | undefined> {
    const forgotten = shard.forgotten.get(id);
    const known = this.#ring.find(id);
    if (forgotten !== undefined) {
      if (known?.bytes !== undefined) {
        known.destroy(forgotten.forgottenAtMs);
        this.#onFoundDestroyed();
      }
      return known ?? this.#ring.add(new SubjectKey(forgotten, forgotten, atMs));
    }
    // The object was read before it was destroyed.
    if (known?.forgottenAtMs !== undefined) return known;
    const stored = shard.keys.get(id);
    if (stored === undefined) return undefined;
    if (known?.bytes !== undefined) {
      known.checkedAtMs = atMs;
      return known;
    }
    try {
      return await this.#unwrapped(stored, atMs);
    } catch (cause) {
      if (cause instanceof EncryptionKeyError) return { lost: cause };
      // The service says that it will be there again: who reads waits, instead of passing over the event.
      if (cause instanceof StorageUnavailableError) throw cause;
      return { lost: new EncryptionKeyError(`its key cannot be unwrapped: ${messageOf(cause)}`, { cause }) };
    }
  }

  async #unwrapped(stored: WrappedSubjectKey, atMs: number): Promise<SubjectKey> {
    const bytes = await this.#options.wrapping.unwrap(stored);
    return this.#ring.add(new SubjectKey(stored, { bytes }, atMs));
  }

  /** Finds or makes keys in one object; whoever comes before its turn shares one PUT. */
  async #make(name: string, subjects: readonly string[]): Promise<void> {
    let making = this.#making.get(name);
    if (making === undefined) {
      const wanted = new Set<string>();
      making = { subjects: wanted, made: this.#makeAll(name, wanted) };
      this.#making.set(name, making);
    }
    for (const subject of subjects) making.subjects.add(subject);
    await making.made;
  }

  async #makeAll(name: string, wanted: ReadonlySet<string>): Promise<void> {
    const made = new Map<string, { readonly stored: WrappedSubjectKey; readonly bytes: Buffer }>();
    const shard = await this.shards
      .change(name, async (found) => {
        // Whoever comes from now on waits for the next turn.
        this.#endMaking(name, wanted);
        const has = new Set([...found.keys.values()].map(({ subject }) => subject));
        const missing = [...wanted].filter((subject) => !has.has(subject));
        if (missing.length === 0) return undefined;
        await inChunks(missing, keysAtOnce, async (subject) => {
          if (!made.has(subject)) made.set(subject, await this.#newKey(subject));
        });
        const added = missing.flatMap((subject) => made.get(subject)?.stored ?? []);
        return { ...found, keys: new Map([...found.keys, ...added.map((key) => [key.id, key] as const)]) };
      })
      .finally(() => this.#endMaking(name, wanted));
    const stored = [...shard.keys.values()].filter(({ subject }) => wanted.has(subject));
    await inChunks(stored, keysAtOnce, async (one) => {
      const own = made.get(one.subject);
      const nowMs = this.#options.clock.monotonic();
      const known = own?.stored.id === one.id ? new SubjectKey(one, own, nowMs) : this.#ring.find(one.id);
      this.#ring.setCurrent(known === undefined ? await this.#unwrapped(one, nowMs) : this.#ring.add(known));
    });
  }

  #endMaking(name: string, wanted: ReadonlySet<string>): void {
    if (this.#making.get(name)?.subjects === wanted) this.#making.delete(name);
  }

  async #newKey(subject: string): Promise<{ readonly stored: WrappedSubjectKey; readonly bytes: Buffer }> {
    const { wrapping, clock } = this.#options;
    const bytes = secretBytes(subjectKeyBytes);
    const id = secretBytes(subjectKeyIdBytes).toString("hex");
    const wrapped = await wrapping.wrap({ subject, id }, bytes);
    return { bytes, stored: { subject, id, createdAtMs: clock.now(), ...wrapped } };
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function lostKey(name: string): Held {
  return { lost: new EncryptionKeyError(`its key is lost: the key object ${name} does not have it`) };
}

function lostObject(name: string): Held {
  return { lost: new EncryptionKeyError(`its key is lost: there is no key object ${name}`) };
}

function liveKeysOf(shard: KeyShard, subject: string): readonly string[] {
  return [...shard.keys.values()].filter((key) => key.subject === subject).map(({ id }) => id);
}

function summaryOf(shard: KeyShard, subject: string, destroyed: readonly string[]): DestroyedKeys {
  const gone = [...shard.forgotten.values()].filter((key) => key.subject === subject);
  const times = gone.map(({ forgottenAtMs }) => forgottenAtMs);
  return {
    keyIds: gone.map(({ id }) => id),
    destroyed,
    forgottenAtMs: times.length === 0 ? undefined : Math.max(...times),
  };
}
