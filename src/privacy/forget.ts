/**
 * Forgetting a subject, in steps that a crash may come between: a record that it is under way, then the keys, then what was made of
 * the data (caches, snapshots, documents), then the receipt, in the commit that removes the record. From the second step on nobody
 * reads the data; every step is harmless to repeat, and a record that is found when the store is opened is carried to its end.
 */

import { InvalidArgumentError, printable, StoreClosedError } from "../errors.ts";
import { decodeErasure, encodeErasure } from "../format/erasure-record.ts";
import { erasureKey, erasureSpan, snapshotSpan, subjectHashOfErasureKey } from "../format/key-families.ts";
import { nameOfSettingsKey, settingsSpan } from "../format/processor-keys.ts";
import type { KvOperation } from "../kv/kv.ts";
import { checkOptions } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { lifecycleStreamName, systemAppend } from "../log/system-events.ts";
import { subjectTagPrefix } from "../schema/personal-data.ts";
import type { EventMetadata, RecordedEvent } from "../vocabulary/event.ts";
import { checkFilter } from "../vocabulary/filter.ts";
import { forgottenType, type SubjectForgotten } from "../vocabulary/forgotten.ts";
import { checkName, isReserved } from "../vocabulary/names.ts";
import type { ForgetReceipt } from "./face.ts";
import { receiptOf } from "./receipt.ts";
import type { SubjectKeys } from "./subject-keys.ts";

/** How many rows are removed in one commit, and read at once. */
const rowsAtOnce = 512;

/** What the layers above keep of subjects. */
export interface ErasableLayers {
  /** Takes the subject out of documents; how many that changed. */
  erase(subject: string): Promise<number>;
  /** Whether a processor of this name runs here: documents of others are out of reach. */
  has(processor: string): boolean;
}

/** A subject that is being forgotten. */
interface Erasure {
  readonly subject: string;
  readonly hash: string;
  readonly metadata: EventMetadata;
  readonly sinceMs: number;
}

export class Forgetting {
  readonly #core: StoreCore;
  readonly #keys: SubjectKeys;
  readonly #layers: ErasableLayers;
  /** One at a time: subjects are forgotten seldom, and each goes through all projections. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(core: StoreCore, keys: SubjectKeys, layers: ErasableLayers) {
    this.#core = core;
    this.#keys = keys;
    this.#layers = layers;
    // What is under way is brought to its end while commits are still taken.
    core.onClose(async () => {
      await this.#last;
    });
  }

  async forget(subject: unknown, options: unknown): Promise<ForgetReceipt> {
    const name = checkName(subject, "subject");
    const { metadata = {} } = checkOptions(options, ["metadata"]);
    if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
      throw new InvalidArgumentError("metadata", `must be an object, not ${printable(metadata)}`);
    this.#core.assertOpen();
    return await this.#inTurn(() => this.#forget(name, metadata as EventMetadata));
  }

  /** Ends what an earlier process has begun. To be called once, when the store is open; what fails is told to `warn`. */
  async resume(): Promise<void> {
    await this.#inTurn(async () => {
      for (const { erasure, error } of await this.#unfinished()) {
        try {
          if (error !== undefined) throw error;
          await this.#finish(erasure);
        } catch (failure) {
          if (!(failure instanceof StoreClosedError)) this.#core.warn(failure);
        }
      }
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return await turn;
  }

  async #forget(subject: string, metadata: EventMetadata): Promise<ForgetReceipt> {
    const hash = this.#keys.hashOf(subject);
    const underWay = await this.#core.rows.get(erasureKey(hash));
    if (underWay !== undefined) return await this.#finish(this.#erasureOf(hash, underWay));
    const { live, keyIds } = await this.#keys.keysOf(hash);
    if (live.length === 0 && keyIds.length === 0) {
      const problem = `is none whose personal data the store has: ${printable(subject)}`;
      throw new InvalidArgumentError("subject", problem, { outcome: "not-applied" });
    }
    const earlier = live.length === 0 ? await this.#earlierReceipt(hash) : undefined;
    // Projections that did not run then may run now.
    if (earlier !== undefined)
      return { ...earlier, documents: await this.#layers.erase(subject), unreached: await this.#unreached() };
    const erasure = { subject, hash, metadata, sinceMs: this.#core.clock.now() };
    await this.#begin(erasure);
    return await this.#finish(erasure);
  }

  async #begin({ subject, hash, metadata, sinceMs }: Erasure): Promise<void> {
    await this.#core.useFamilies(["erasures"]);
    const key = erasureKey(hash);
    const note = noteOf(subject, metadata);
    const value = encodeErasure(key, { sinceMs, box: this.#keys.sealNote(hash, note) });
    await this.#core.submit({ rows: [{ kind: "put", key, value }] });
  }

  async #finish(erasure: Erasure): Promise<ForgetReceipt> {
    const { subject, hash, sinceMs, metadata } = erasure;
    const { keyIds } = await this.#keys.destroy(hash, sinceMs);
    this.#core.erasures.note();
    // Groups that were judged before the key was destroyed are durable behind this one, and what they kept is found below.
    await this.#core.submit({});
    this.#core.erasures.note();
    const { streams, events } = await this.#streamsOf(hash);
    const snapshots = await this.#removeSnapshots(streams);
    const documents = await this.#layers.erase(subject);
    const data: SubjectForgotten = {
      subject: hash,
      keys: keyIds,
      forgottenAt: new Date(sinceMs).toISOString(),
      events,
      streams: streams.size,
      snapshots,
      documents,
      unreached: await this.#unreached(),
    };
    const tags = [`${subjectTagPrefix}${hash}`];
    const { record } = await this.#core.submit({
      appends: [systemAppend({ type: forgottenType, data, metadata, tags })],
      rows: [{ kind: "delete", key: erasureKey(hash) }],
      system: true,
    });
    return receiptOf(data, record.position, false);
  }

  /** The streams that hold events of the subject, by the index, and how many events these are. */
  async #streamsOf(hash: string): Promise<{ readonly streams: ReadonlySet<string>; readonly events: number }> {
    const streams = new Set<string>();
    let events = 0;
    const filter = checkFilter({ tags: [`${subjectTagPrefix}${hash}`] });
    // As they are stored: nothing is decoded, so that none can be unreadable.
    for await (const list of this.#core.stored(1, this.#core.lastPosition(), filter)) {
      for (const { streamName } of list) {
        if (streamName === lifecycleStreamName) continue;
        streams.add(streamName);
        events += 1;
      }
    }
    return { streams, events };
  }

  /** A snapshot is a cache, so all of a stream's go, whatever they hold. */
  async #removeSnapshots(streams: ReadonlySet<string>): Promise<number> {
    let removed = 0;
    let rows: KvOperation[] = [];
    const remove = async (): Promise<void> => {
      if (rows.length > 0) await this.#core.submit({ rows });
      removed += rows.length;
      rows = [];
    };
    for (const streamName of streams) {
      const cursor = await this.#core.rows.scan(snapshotSpan(streamName), "lookup");
      try {
        for (let found = await cursor.next(rowsAtOnce); found.length > 0; found = await cursor.next(rowsAtOnce)) {
          rows.push(...found.map(({ key }): KvOperation => ({ kind: "delete", key })));
        }
      } finally {
        cursor.close();
      }
      if (rows.length >= rowsAtOnce) await remove();
    }
    await remove();
    return removed;
  }

  /** Processors that the store has known and that do not run here: what they keep could not be looked at. */
  async #unreached(): Promise<readonly string[]> {
    const names: string[] = [];
    const cursor = await this.#core.rows.scan(settingsSpan, "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const { key } of rows) names.push(nameOfSettingsKey(key));
      }
    } finally {
      cursor.close();
    }
    // The store's own, such as the compactor, keep nothing of subjects.
    return names.filter((name) => !isReserved(name) && !this.#layers.has(name));
  }

  async #earlierReceipt(hash: string): Promise<ForgetReceipt | undefined> {
    const filter = { types: [forgottenType], tags: [`${subjectTagPrefix}${hash}`] };
    const read = this.#core.reader.readAll({ direction: "backwards", limit: 1, filter });
    for await (const { data, position } of read as AsyncIterable<RecordedEvent>)
      return receiptOf(data as SubjectForgotten, position, true);
    return undefined;
  }

  async #unfinished(): Promise<readonly { readonly erasure: Erasure; readonly error?: unknown }[]> {
    const found: { readonly erasure: Erasure; readonly error?: unknown }[] = [];
    const cursor = await this.#core.rows.scan(erasureSpan, "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const { key, value } of rows) {
          const hash = subjectHashOfErasureKey(key);
          try {
            found.push({ erasure: this.#erasureOf(hash, value) });
          } catch (error) {
            found.push({ erasure: { subject: "", hash, metadata: {}, sinceMs: 0 }, error });
          }
        }
      }
    } finally {
      cursor.close();
    }
    return found;
  }

  #erasureOf(hash: string, value: Uint8Array): Erasure {
    const { sinceMs, box } = decodeErasure(erasureKey(hash), value);
    const { subject, metadata } = JSON.parse(this.#keys.openNote(hash, box)) as Pick<Erasure, "subject" | "metadata">;
    return { subject, metadata, hash, sinceMs };
  }
}

/** Whether some text in the value is this very one. */
function holdsText(value: unknown, text: string): boolean {
  if (typeof value !== "object" || value === null) return value === text;
  return Object.values(value).some((item) => holdsText(item, text));
}

/**
 * What must be known to go on after a crash. Throws `invalid-argument` for metadata that JSON cannot say, and for such as names
 * the subject: the receipt would keep it for ever.
 */
function noteOf(subject: string, metadata: EventMetadata): string {
  const told = { outcome: "not-applied" } as const;
  let note: string;
  try {
    note = JSON.stringify({ subject, metadata });
  } catch (cause) {
    throw new InvalidArgumentError("metadata", "must be what JSON can say", { cause, ...told });
  }
  if (holdsText((JSON.parse(note) as Pick<Erasure, "metadata">).metadata, subject))
    throw new InvalidArgumentError("metadata", "must not name the subject, which the receipt would keep", told);
  return note;
}

/** What `forget` and `rotateKeys` of a store without keys throw. */
export function withoutKeys(): never {
  throw new InvalidArgumentError("encryption", "must be given when the store is opened, to change its keys");
}
