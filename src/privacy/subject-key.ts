/**
 * One subject's key in memory. There is one object for each key, however many hold it, so that destroying it takes it from all of
 * them at once: the bytes are overwritten where they are.
 */

export class SubjectKey {
  readonly subject: string;
  readonly id: string;
  readonly #bytes: Buffer | undefined;
  #forgottenAtMs: number | undefined;
  #closed = false;
  /** By the monotonic clock: when it was last found in storage. */
  checkedAtMs: number;

  /** Takes the bytes over; none for a key that was destroyed at `forgottenAtMs`. */
  constructor(
    name: { readonly subject: string; readonly id: string },
    content: { readonly bytes: Buffer } | { readonly forgottenAtMs: number },
    checkedAtMs: number,
  ) {
    this.subject = name.subject;
    this.id = name.id;
    this.#bytes = "bytes" in content ? content.bytes : undefined;
    this.#forgottenAtMs = "bytes" in content ? undefined : content.forgottenAtMs;
    this.checkedAtMs = checkedAtMs;
  }

  /** The key itself; `undefined` once it is destroyed, or the store is closed. */
  get bytes(): Buffer | undefined {
    return this.#forgottenAtMs === undefined && !this.#closed ? this.#bytes : undefined;
  }

  /** When it was destroyed, in milliseconds since 1970. */
  get forgottenAtMs(): number | undefined {
    return this.#forgottenAtMs;
  }

  /** Overwrites the key. */
  destroy(atMs: number): void {
    this.#bytes?.fill(0);
    this.#forgottenAtMs ??= atMs;
  }

  /** Overwrites the key, because nobody may read any more. */
  close(): void {
    this.#bytes?.fill(0);
    this.#closed = true;
  }
}

/** The most keys that are kept in memory for their own sake; those of events in memory stay as long as these do. */
export const cachedSubjectKeysMax = 16_384;

/**
 * So many ids of keys that were destroyed are remembered, those destroyed last: a key that was being unwrapped meanwhile does not
 * come back. That takes no longer than a request of a key service, and subjects are forgotten one after another.
 */
export const destroyedKeysMax = 65_536;

/** The keys in memory, one object each. */
export class SubjectKeyRing {
  readonly #kept = new Map<string, SubjectKey>();
  readonly #all = new Map<string, WeakRef<SubjectKey>>();
  /** By subject: the key that new events are sealed under. */
  readonly #current = new Map<string, SubjectKey>();
  /** When keys were destroyed, by id. */
  readonly #destroyed = new Map<string, number>();
  #closed = false;
  readonly #gone = new FinalizationRegistry<string>((id) => {
    if (this.#all.get(id)?.deref() === undefined) this.#all.delete(id);
  });

  find(id: string): SubjectKey | undefined {
    const key = this.#kept.get(id) ?? this.#all.get(id)?.deref();
    if (key !== undefined) this.#keep(key);
    return key;
  }

  /** The key for new events of a subject. */
  current(subject: string): SubjectKey | undefined {
    const key = this.#current.get(subject);
    if (key === undefined || key.bytes === undefined) return undefined;
    this.#keep(key);
    return key;
  }

  /**
   * Adds a key, or answers the object that stands for it already, and overwrites this one. One that was destroyed meanwhile is
   * overwritten, and so is one that comes behind `close`.
   */
  add(key: SubjectKey): SubjectKey {
    if (this.#closed) {
      key.close();
      return key;
    }
    const destroyedAtMs = this.#destroyed.get(key.id);
    if (destroyedAtMs !== undefined) key.destroy(destroyedAtMs);
    const known = this.find(key.id);
    if (known !== undefined) {
      if (known !== key) key.close();
      return known;
    }
    this.#all.set(key.id, new WeakRef(key));
    this.#gone.register(key, key.id);
    this.#keep(key);
    return key;
  }

  /** Makes it the key for new events, unless it is destroyed. */
  setCurrent(key: SubjectKey): void {
    if (key.bytes !== undefined) this.#current.set(key.subject, key);
  }

  /** Overwrites these keys, and those that are still to come. */
  destroy(ids: Iterable<string>, atMs: number): void {
    for (const id of ids) {
      if (!this.#destroyed.has(id)) this.#destroyed.set(id, atMs);
      this.#all.get(id)?.deref()?.destroy(atMs);
    }
    for (const oldest of this.#destroyed.keys()) {
      if (this.#destroyed.size <= destroyedKeysMax) break;
      this.#destroyed.delete(oldest);
    }
  }

  /** Overwrites them all, and those that are still to come. */
  close(): void {
    this.#closed = true;
    for (const reference of this.#all.values()) reference.deref()?.close();
    this.#all.clear();
    this.#kept.clear();
    this.#current.clear();
    this.#destroyed.clear();
  }

  #keep(key: SubjectKey): void {
    this.#kept.delete(key.id);
    this.#kept.set(key.id, key);
    if (this.#kept.size <= cachedSubjectKeysMax) return;
    const [oldest] = this.#kept.values();
    if (oldest === undefined) return;
    this.#kept.delete(oldest.id);
    if (this.#current.get(oldest.subject) === oldest) this.#current.delete(oldest.subject);
  }
}
