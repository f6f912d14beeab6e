/**
 * Checks what was archived: that each object which a row names is there, is the one that was stored, and holds the events of
 * the log, by the digests that are kept of dropped ones; and that no part of an archive is without a row. An object is in memory
 * as a whole. What is gone by right meanwhile, or is about to be, is no break: the head and the row are asked again.
 */

import { archiveObjectName, decodeArchiveObject } from "../format/archive-object.ts";
import { eventDigest } from "../format/chain.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { segmentOf, storeHeaderKey } from "../format/key-families.ts";
import { archivePartKey, everyArchivePart, placeOfArchivePartKey } from "../format/lifecycle-keys.ts";
import { type ArchivePart, decodeArchivePart } from "../format/lifecycle-records.ts";
import { decodeStoreHeader } from "../format/records.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import { uncoveredVersions } from "./archive-cover.ts";
import { isWantedOfArchive } from "./archived-versions.ts";
import type { BreakList } from "./break-list.ts";
import { messageOf } from "./log-check.ts";
import { digestsOf } from "./log-digests.ts";
import { orNothing, tolerantRows } from "./tolerant-rows.ts";

export interface ArchiveCheckOptions {
  readonly kv: KvReader;
  /** Those beside the store. */
  readonly objects: () => Promise<ObjectAccess>;
  /** The newest rows there are, where those of `kv` may be older than the objects. */
  readonly newest: (() => Promise<KvReader & AsyncDisposable>) | undefined;
  readonly breaks: BreakList;
  /** Objects that hold nothing of these positions are passed over. */
  readonly fromPosition: number;
  readonly toPosition: number;
  /** Whether that is all of the log: then the heads are asked for parts without a row, too. */
  readonly isWhole: boolean;
  /** Told after each object. */
  readonly onObject: (objects: number) => void;
}

/** A row of the archive, and what it says. */
interface Run extends ArchivePart {
  readonly streamName: string;
  readonly to: number;
  readonly key: Uint8Array;
}

export class ArchiveCheck {
  readonly #options: ArchiveCheckOptions;
  #objects = 0;

  constructor(options: ArchiveCheckOptions) {
    this.#options = options;
  }

  /** How many objects were looked at. */
  async run(): Promise<number> {
    const { kv, breaks, isWhole } = this.#options;
    if (!(await mayHaveArchives(kv))) return 0;
    for await (const found of tolerantRows(kv, everyArchivePart, "lookup")) {
      if (found.kind === "row") await this.#row(found.row);
      else {
        const reason = `What is said of archives cannot be read: ${messageOf(found.error)}`;
        breaks.add({ kind: "unreadable", reason });
      }
    }
    if (isWhole) {
      for await (const { streamName, version } of uncoveredVersions(kv)) {
        const key = archivePartKey(streamName, version);
        this.#tell(streamName, version, key, `No object of the archive has version ${version}`);
      }
    }
    return this.#objects;
  }

  async #row(row: KvRow): Promise<void> {
    const { fromPosition, toPosition, onObject } = this.#options;
    const { streamName, lastVersion: to } = placeOfArchivePartKey(row.key);
    let part: ArchivePart;
    try {
      part = decodeArchivePart(row);
    } catch (error) {
      this.#tell(streamName, to, row.key, `What is said of an archive is damaged: ${messageOf(error)}`);
      return;
    }
    if (part.lastPosition < fromPosition || part.firstPosition > toPosition) return;
    await this.#object({ ...part, streamName, to, key: row.key });
    this.#objects += 1;
    onObject(this.#objects);
  }

  async #object(run: Run): Promise<void> {
    const { streamName, from, to, digest, key } = run;
    const name = archiveObjectName(streamName, from, to);
    const object = await (await this.#options.objects()).get(name);
    try {
      if (object === undefined) {
        if (await this.#isStillWanted(streamName, to)) {
          this.#tell(streamName, to, key, `An object of the archive is missing: ${name}`, run);
        }
        return;
      }
      if (Buffer.compare(new Bun.CryptoHasher("sha256").update(object.bytes).digest(), digest) !== 0) {
        this.#tell(streamName, to, key, `An object of the archive is not the one that was stored: ${name}`, run);
        return;
      }
      await this.#compare(run, await decodeArchiveObject(name, streamName, object.bytes));
    } catch (error) {
      this.#tell(streamName, to, key, `An object of the archive cannot be used: ${messageOf(error)}`, run);
    }
  }

  async #isStillWanted(streamName: string, to: number): Promise<boolean> {
    const { kv, newest } = this.#options;
    if (!(await isWantedOfArchive(kv, streamName, to))) return false;
    if (newest === undefined) return true;
    await using rows = await newest();
    return await isWantedOfArchive(rows, streamName, to);
  }

  /** The events of an object with those of the log, by their digests; tells of the first that is another one. */
  async #compare(run: Run, events: readonly StoredEvent[]): Promise<void> {
    const { kv, breaks } = this.#options;
    const { streamName, from, to, key } = run;
    const positions = events.map(({ position }) => position);
    let digests: ReadonlyMap<number, Uint8Array> = new Map();
    let segment = -1;
    let next = from;
    for (const event of events) {
      if (event.version !== next) break;
      if (segmentOf(event.position) !== segment) {
        segment = segmentOf(event.position);
        digests = await digestsOf(kv, segment, positions);
      }
      const digest = digests.get(event.position);
      next += 1;
      // Of what the log has lost there is nothing to compare with.
      if (digest === undefined && breaks.hasLost(event.position)) continue;
      if (digest === undefined || Buffer.compare(digest, eventDigest(event)) !== 0) {
        const place = { firstPosition: event.position, lastPosition: event.position };
        this.#tell(streamName, event.version, key, "An event of the archive is not the one of the log", place);
        return;
      }
    }
    if (next !== to + 1) this.#tell(streamName, next, key, `An object of the archive has no version ${next}`, run);
  }

  #tell(
    streamName: string,
    version: number,
    key: Uint8Array,
    reason: string,
    positions?: { readonly firstPosition: number; readonly lastPosition: number },
  ): void {
    const row = Buffer.from(key).toString("hex");
    const place =
      positions === undefined ? {} : { fromPosition: positions.firstPosition, toPosition: positions.lastPosition };
    this.#options.breaks.add({ kind: "archive", ...place, streamName, version, row, reason });
  }
}

/** Where the header cannot be read it is looked for them. */
async function mayHaveArchives(kv: KvReader): Promise<boolean> {
  const header = await orNothing(() => kv.get(storeHeaderKey));
  const decoded = header && (await orNothing(async () => decodeStoreHeader(header)));
  return decoded?.families.includes("archives") ?? true;
}
