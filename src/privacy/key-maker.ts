/**
 * Makes the keys of subjects that have none yet, and brings the others' to hand. A key is stored, wrapped, before anybody gets it;
 * all who want keys of one object before its turn comes share one PUT.
 */

import type { WrappedSubjectKey } from "../format/key-shard.ts";
import { subjectKeyIdBytes } from "../format/sealed-fields.ts";
import type { Clock } from "../runtime/clock.ts";
import { secretBytes } from "../runtime/secrets.ts";
import { inChunks } from "./in-chunks.ts";
import type { KeyShards } from "./key-shards.ts";
import { type KeyWrapping, keysAtOnce } from "./key-wrapping.ts";
import { SubjectKey, type SubjectKeyRing } from "./subject-key.ts";

const subjectKeyBytes = 32;

export interface KeyMakerOptions {
  readonly shards: KeyShards;
  /** Where the keys are put, each as the one that new events are sealed under. */
  readonly ring: SubjectKeyRing;
  readonly wrapping: KeyWrapping;
  readonly clock: Clock;
}

/** Keys that are to be made in one object, for all who ask before its turn comes. */
interface Making {
  readonly subjects: Set<string>;
  readonly made: Promise<void>;
}

interface NewKey {
  readonly stored: WrappedSubjectKey;
  readonly bytes: Buffer;
}

export class KeyMaker {
  readonly #options: KeyMakerOptions;
  /** By the name of the object. */
  readonly #making = new Map<string, Making>();

  constructor(options: KeyMakerOptions) {
    this.#options = options;
  }

  /**
   * Finds or makes the keys of these subjects, all of one object. One that is destroyed meanwhile is not there when it resolves.
   * Throws as `KeyShards.change` and `KeyWrapping`.
   */
  async make(name: string, subjects: readonly string[]): Promise<void> {
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
    const { shards } = this.#options;
    const made = new Map<string, NewKey>();
    const shard = await shards
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
    await inChunks(stored, keysAtOnce, (one) => this.#toHand(one, made.get(one.subject)));
  }

  #endMaking(name: string, wanted: ReadonlySet<string>): void {
    if (this.#making.get(name)?.subjects === wanted) this.#making.delete(name);
  }

  /** `made`: what was made for the subject, which another process may have been faster with. */
  async #toHand(stored: WrappedSubjectKey, made: NewKey | undefined): Promise<void> {
    const { ring, wrapping, clock } = this.#options;
    const nowMs = clock.monotonic();
    const known = made?.stored.id === stored.id ? new SubjectKey(stored, made, nowMs) : ring.find(stored.id);
    const key = known ?? new SubjectKey(stored, { bytes: await wrapping.unwrap(stored) }, nowMs);
    ring.setCurrent(ring.add(key));
  }

  async #newKey(subject: string): Promise<NewKey> {
    const { wrapping, clock } = this.#options;
    const bytes = secretBytes(subjectKeyBytes);
    const id = secretBytes(subjectKeyIdBytes).toString("hex");
    const wrapped = await wrapping.wrap({ subject, id }, bytes);
    return { bytes, stored: { subject, id, createdAtMs: clock.now(), ...wrapped } };
  }
}
