/**
 * Checks what was archived: that each object which a row names is there, is the one that was stored, and holds the events of
 * the log, by the digests that are kept of dropped ones; and that no part of an archive is without a row. An object is in memory
 * as a whole. What is gone by right meanwhile, or is about to be, is no break: the head and the row are asked again.
 */

import { StorageCorruptError } from "../errors.ts";
import { archiveObjectName, decodeArchiveObject } from "../format/archive-object.ts";
import { eventDigest } from "../format/chain.ts";
import { entriesOf } from "../format/drop-events.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { decodeHeadExtension } from "../format/head-extension.ts";
import {
  globalPageKey,
  globalPageSpan,
  indexSegmentSize,
  lastPositionOfGlobalPageKey,
  segmentOf,
  storeHeaderKey,
  streamHeadKey,
  streamHeadSpan,
  streamNameOfHeadKey,
} from "../format/key-families.ts";
import {
  archivePartKey,
  archivePartSpan,
  everyArchivePart,
  lastVersionOfArchivePartKey,
  placeOfArchivePartKey,
} from "../format/lifecycle-keys.ts";
import { type ArchivePart, decodeArchivePart } from "../format/lifecycle-records.ts";
import { decodeGlobalPage } from "../format/pages.ts";
import { decodeStoreHeader } from "../format/records.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import { loadDropped } from "../log/dropped-events.ts";
import type { BreakList } from "./break-list.ts";
import { messageOf } from "./log-check.ts";
import { byNumber, tolerantRows } from "./tolerant-rows.ts";

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

/** The versions of a stream that only its archive may have; nothing where there are none. */
function archivedOf(head: StreamHead): { readonly from: number; readonly before: number } | undefined {
  const { archive, tombstone } = decodeHeadExtension(head.extension);
  if (archive === undefined || tombstone?.purged === true) return undefined;
  const from = Math.max(archive.from, head.truncatedBefore);
  return from < archive.before ? { from, before: archive.before } : undefined;
}

async function headOf(kv: KvReader, streamName: string): Promise<StreamHead | undefined> {
  const value = await kv.get(streamHeadKey(streamName));
  return value === undefined ? undefined : decodeStreamHead(streamName, value);
}

/** Whether that object is to be there still, by the rows as they are now. */
export async function isWantedOfArchive(kv: KvReader, streamName: string, to: number): Promise<boolean> {
  if ((await kv.get(archivePartKey(streamName, to))) === undefined) return false;
  const head = await headOf(kv, streamName);
  const archived = head === undefined ? undefined : archivedOf(head);
  return archived !== undefined && archived.from <= to;
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
    if (isWhole) await this.#cover();
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
    const { streamName, from, to, key } = run;
    let digests: ReadonlyMap<number, Uint8Array> = new Map();
    let segment = -1;
    let next = from;
    for (const event of events) {
      if (event.version !== next) break;
      if (segmentOf(event.position) !== segment) {
        segment = segmentOf(event.position);
        digests = await this.#digestsOf(segment, events);
      }
      const digest = digests.get(event.position);
      next += 1;
      // Of what the log has lost there is nothing to compare with.
      if (digest === undefined && this.#options.breaks.hasLost(event.position)) continue;
      if (digest === undefined || Buffer.compare(digest, eventDigest(event)) !== 0) {
        const place = { firstPosition: event.position, lastPosition: event.position };
        this.#tell(streamName, event.version, key, "An event of the archive is not the one of the log", place);
        return;
      }
    }
    if (next !== to + 1) this.#tell(streamName, next, key, `An object of the archive has no version ${next}`, run);
  }

  /** Digests of a segment: of dropped events those that are kept, of the others those of the log. */
  async #digestsOf(segment: number, wanted: readonly StoredEvent[]): Promise<ReadonlyMap<number, Uint8Array>> {
    const digests = new Map<number, Uint8Array>();
    const lacks = (): boolean =>
      wanted.some(({ position }) => segmentOf(position) === segment && !digests.has(position));
    await this.#addDropped(segment, digests);
    if (!lacks()) return digests;
    await this.#addLogged(segment, digests);
    // What was dropped while the log was read.
    if (lacks()) await this.#addDropped(segment, digests);
    return digests;
  }

  async #addDropped(segment: number, digests: Map<number, Uint8Array>): Promise<void> {
    const found = await orNothing(() => loadDropped(this.#options.kv, [segment]));
    for (const { position, digest } of entriesOf(found?.get(segment))) digests.set(position, digest);
  }

  async #addLogged(segment: number, digests: Map<number, Uint8Array>): Promise<void> {
    const first = segment * indexSegmentSize + 1;
    const last = first + indexSegmentSize - 1;
    const seek = byNumber(lastPositionOfGlobalPageKey, globalPageKey, last);
    for await (const found of tolerantRows(this.#options.kv, globalPageSpan(first), "lookup", seek)) {
      // What cannot be read was told where the log was walked.
      if (found.kind === "unreadable") continue;
      for (const event of (await orNothing(async () => decodeGlobalPage(found.row))) ?? []) {
        if (segmentOf(event.position) === segment) digests.set(event.position, eventDigest(event));
      }
      if (lastPositionOfGlobalPageKey(found.row.key) >= last) return;
    }
  }

  /** That the rows of each archived stream reach from its first to its last archived version. */
  async #cover(): Promise<void> {
    const { kv } = this.#options;
    for await (const found of tolerantRows(kv, streamHeadSpan(""), "replay")) {
      if (found.kind === "unreadable") continue;
      const { row } = found;
      const streamName = streamNameOfHeadKey(row.key);
      const head = await orNothing(async () => decodeStreamHead(streamName, row.value));
      if (head === undefined || (await this.#uncovered(head)) === undefined) continue;
      // Once more, by the head as it is now.
      const now = await orNothing(() => headOf(kv, streamName));
      const version = now === undefined ? undefined : await this.#uncovered(now);
      if (version === undefined) continue;
      this.#tell(
        streamName,
        version,
        archivePartKey(streamName, version),
        `No object of the archive has version ${version}`,
      );
    }
  }

  /** The first archived version that no row names. */
  async #uncovered(head: StreamHead): Promise<number | undefined> {
    const archived = archivedOf(head);
    if (archived === undefined) return undefined;
    let next = archived.from;
    for await (const found of tolerantRows(this.#options.kv, archivePartSpan(head.streamName, next), "lookup")) {
      if (found.kind === "unreadable") return undefined;
      const part = await orNothing(async () => decodeArchivePart(found.row));
      // One that is damaged was told of.
      if (part !== undefined && part.from > next) return next;
      next = lastVersionOfArchivePartKey(found.row.key) + 1;
    }
    return next < archived.before ? next : undefined;
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

/** Nothing where it is damaged, which is told where the log and the streams are walked. */
async function orNothing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    return undefined;
  }
}
