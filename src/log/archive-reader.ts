/**
 * Reads what was archived of a stream: which object holds a version is a row, the object is fetched whole, checked against
 * the row and unpacked. Dear beside a page: so the newest one read is kept.
 */

import { StorageCorruptError, StorageUnavailableError } from "../errors.ts";
import { archiveObjectName, decodeArchiveObject } from "../format/archive-object.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { archivePartKey, archivePartSpan, lastVersionOfArchivePartKey } from "../format/lifecycle-keys.ts";
import { type ArchivePart, decodeArchivePart } from "../format/lifecycle-records.ts";
import type { KvReader } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";

/** Rows of one stream that are fetched at once: each is of some megabytes of events. */
const rowsAtOnce = 4;

/** An object of the archive, as its row says. */
export interface ArchivedRun extends ArchivePart {
  readonly streamName: string;
  readonly to: number;
}

interface Unpacked {
  readonly name: string;
  readonly digest: Uint8Array;
  readonly events: readonly StoredEvent[];
}

export class ArchiveReader {
  readonly #kv: KvReader;
  readonly #objects: () => Promise<ObjectAccess>;
  readonly #lags: boolean;
  #newest: Unpacked | undefined;

  /**
   * `objects` are those beside the store; they are opened when an archive is first read. `lags`: whether the rows may be older
   * than the objects, as a replica's are.
   */
  constructor(kv: KvReader, objects: () => Promise<ObjectAccess>, lags: boolean) {
    this.#kv = kv;
    this.#objects = objects;
    this.#lags = lags;
  }

  /** The objects of a stream that hold versions from `from` on, in order. */
  async *runs(streamName: string, from: number): AsyncGenerator<ArchivedRun> {
    const cursor = await this.#kv.scan(archivePartSpan(streamName, from), "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const row of rows) {
          yield { ...decodeArchivePart(row), streamName, to: lastVersionOfArchivePartKey(row.key) };
        }
      }
    } finally {
      cursor.close();
    }
  }

  /**
   * The events of versions `from` to `to`, in lists, as far as the archive has them without a hole: whoever gets fewer looks
   * whether they are gone by right. Throws `storage-corrupt` for an object that is damaged, or missing though its row is there;
   * `storage-unavailable`, also for one that is missing where the rows may be older than the objects.
   */
  async *forwards(streamName: string, from: number, to: number): AsyncGenerator<readonly StoredEvent[]> {
    let next = from;
    if (next > to) return;
    for await (const run of this.runs(streamName, from)) {
      if (run.from > next) return;
      const events = await this.#unpack(run);
      if (events === undefined) return;
      yield events.filter(({ version }) => version >= next && version <= to);
      next = run.to + 1;
      if (next > to) return;
    }
  }

  /** The last version up to `to` that was recorded at or before `position`, among those from `from` on; `from - 1` for none. */
  async versionAt(streamName: string, from: number, to: number, position: number): Promise<number> {
    let version = from - 1;
    for await (const run of this.runs(streamName, from)) {
      if (run.firstPosition > position) break;
      if (run.lastPosition <= position) {
        version = Math.min(to, run.to);
        continue;
      }
      const events = (await this.#unpack(run)) ?? [];
      for (const event of events) {
        if (event.position <= position && event.version <= to) version = Math.max(version, event.version);
      }
      break;
    }
    return version;
  }

  /** An object goes behind its row: so where the row is still there, either it is an old one, or the object is lost. */
  async #assertGone(streamName: string, to: number, name: string): Promise<void> {
    if ((await this.#kv.get(archivePartKey(streamName, to))) === undefined) return;
    if (!this.#lags) throw new StorageCorruptError(`An object of the archive is missing: ${name}`);
    const message = "An object of the archive is missing, and whether it was dropped is not known here yet";
    throw new StorageUnavailableError(`${message}: ${name}`);
  }

  async #unpack({ streamName, from, to, digest }: ArchivedRun): Promise<readonly StoredEvent[] | undefined> {
    const name = archiveObjectName(streamName, from, to);
    if (this.#newest?.name === name && Buffer.compare(this.#newest.digest, digest) === 0) return this.#newest.events;
    const object = await (await this.#objects()).get(name);
    if (object === undefined) {
      await this.#assertGone(streamName, to, name);
      return undefined;
    }
    const found = new Bun.CryptoHasher("sha256").update(object.bytes).digest();
    if (Buffer.compare(found, digest) !== 0) {
      throw new StorageCorruptError(`An object of the archive is not the one that was stored: ${name}`);
    }
    const events = await decodeArchiveObject(name, streamName, object.bytes);
    this.#newest = { name, digest, events };
    return events;
  }
}
