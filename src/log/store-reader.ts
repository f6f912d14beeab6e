/** The reads of a store, up to a limit: what is durable when the read begins, or the moment that a view is frozen at. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { readHeader, recordedAtMsOf, type StoredEvent, uuidPattern } from "../format/envelope.ts";
import { decodeHeadExtension, type Tombstone } from "../format/head-extension.ts";
import { streamHeadKey, streamHeadSpan, streamNameOfHeadKey } from "../format/key-families.ts";
import type { LogEnd } from "../format/records.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter } from "../vocabulary/filter.ts";
import { categoryOf, checkName } from "../vocabulary/names.ts";
import type { ArchiveReader } from "./archive-reader.ts";
import { checkBackwards, checkGaps, checkInteger, checkOptions, checkSignal } from "./arguments.ts";
import { deletedError } from "./deleted-streams.ts";
import { DroppedEvents } from "./dropped-events.ts";
import type { EventReader, LogGap, StreamDeletion, StreamInfo } from "./event-store.ts";
import { type ReadRange, withGaps } from "./gaps.ts";
import { IndexReader } from "./index-reader.ts";
import { LogReader } from "./log-reader.ts";
import type { RecentLog } from "./recent-log.ts";
import type { StreamHeads } from "./stream-heads.ts";
import { keptFrom, StreamReader } from "./stream-reader.ts";
import type { Postings } from "./term-index.ts";

const rowsAtOnce = 64;

export interface StoreReaderOptions {
  readonly kv: KvReader;
  readonly registry: EventRegistry;
  readonly heads: StreamHeads;
  readonly recent: RecentLog;
  /** The end of the log as it is durable now. */
  readonly end: () => LogEnd;
  /** What was archived. */
  readonly archive: ArchiveReader;
  /** The first version that a rule of retention lets readers see of a stream with so many; 1 for all. */
  readonly firstKept?: (streamName: string, version: number) => number;
  /** Throws where the store is closed or has stopped: what is in memory could still be read, and would be stale. */
  readonly assertReadable: () => void;
}

/** Where and when an event of that id was recorded. */
export interface EventPlace {
  readonly id: string;
  readonly position: number;
  readonly recordedAtMs: number;
}

type StoredLists = AsyncGenerator<readonly StoredEvent[], void>;

export class StoreReader {
  readonly index: IndexReader;
  /** What was dropped of the log. */
  readonly dropped: DroppedEvents;
  readonly #log: LogReader;
  readonly #streams: StreamReader;
  readonly #options: StoreReaderOptions;

  constructor(options: StoreReaderOptions) {
    this.#options = options;
    this.index = new IndexReader(options.kv);
    this.dropped = new DroppedEvents(options.kv);
    this.#log = new LogReader(options.kv);
    this.#streams = new StreamReader(options.kv, options.archive);
  }

  /**
   * The reads as they are seen up to a position, which is asked for once a read. `happenedByMs`: events that happened later are
   * passed over by `readStream` and `readAll`; what is told of streams knows nothing of it.
   */
  view<Definitions extends EventDefinitions>(
    upTo: () => Promise<number>,
    happenedByMs?: number,
  ): EventReader<Definitions> {
    const limit = async (): Promise<number> => {
      this.#options.assertReadable();
      return await upTo();
    };
    const view: EventReader = {
      readStream: (streamName, options) => this.#readStream(streamName, options, limit, happenedByMs),
      readAll: (options) => this.#readAll(options, limit, happenedByMs),
      streamInfo: async (streamName) => await this.#streamInfo(checkName(streamName, "streamName"), await limit()),
      listStreams: (options) => this.#listStreams(options, limit),
      lastPosition: limit,
    };
    return view as unknown as EventReader<Definitions>;
  }

  /** The position that a moment stands for, as far as the log reaches now. */
  async positionAt(timeMs: number): Promise<number> {
    return await this.#log.positionAt(timeMs, this.#options.end().lastPosition);
  }

  /** The events from `from` to `to` that match, ready for use. `filter` is what the caller gave, checked. */
  async *read(from: number, to: number, filter: CheckedFilter, signal?: AbortSignal): AsyncGenerator<RecordedEvent> {
    yield* this.#recorded(this.#stored(from, to, filter, false, undefined), filter, undefined, signal);
  }

  /**
   * The events from `from` to `to` in whose stored bytes one of `texts` occurs, as text or as the bytes of a UUID: those that
   * have it as their id, among their metadata, or anywhere else. Reads all of them, and decodes what it hands out.
   */
  async *mentioning(
    texts: readonly string[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): AsyncGenerator<RecordedEvent> {
    const needles = texts.flatMap(storedForms);
    const found = async function* (lists: StoredLists): StoredLists {
      for await (const list of lists) {
        signal?.throwIfAborted();
        const here = list.filter(({ bytes }) => needles.some((needle) => bytes.includes(needle)));
        if (here.length > 0) yield here;
      }
    };
    yield* this.#recorded(found(this.#log.forwards(from, to)), undefined, undefined, signal);
  }

  /** Where which event lies from `from` to `to`, in order; their data is not decoded. */
  async *ids(from: number, to: number, signal?: AbortSignal): AsyncGenerator<EventPlace> {
    for await (const list of this.#log.forwards(from, to)) {
      signal?.throwIfAborted();
      for (const { bytes, position } of list) {
        const { id, recordedAtMs } = readHeader(bytes);
        yield { id, position, recordedAtMs };
      }
    }
  }

  /**
   * As stored, in lists, those from `from` to `to` that match the names in `filter`, which they may have to pass once more when
   * they are decoded; a dropped one is passed over.
   */
  stored(from: number, to: number, filter: CheckedFilter): AsyncIterable<readonly StoredEvent[]> {
    return this.#stored(from, to, filter, false, undefined);
  }

  /** As stored, those of one stream from version `from` to `to`, as far as it has them. Throws `stream-deleted`. */
  async *storedStream(streamName: string, from: number, to: number): AsyncGenerator<readonly StoredEvent[]> {
    const head = await this.#head(streamName);
    if (head === undefined) return;
    const deleted = deletedError(streamName, head.extension);
    if (deleted !== undefined) throw deleted;
    yield* this.#streams.forwards(head, from, Math.min(to, head.version));
  }

  /** How many events a stream had when the log ended at a position, be it deleted or not; as many as are gone at least. */
  async streamVersionAt(streamName: string, position: number): Promise<number> {
    const head = await this.#head(streamName);
    return head === undefined ? 0 : await this.#streams.versionAt(head, position);
  }

  /**
   * The first version that a stream still has, where it had events when the log ended at a position, and all of those are
   * truncated. Throws `stream-deleted`.
   */
  async truncatedBehind(streamName: string, position: number): Promise<number | undefined> {
    const head = await this.#head(streamName);
    if (head === undefined || head.firstPosition > position) return undefined;
    const deleted = deletedError(streamName, head.extension);
    if (deleted !== undefined) throw deleted;
    const first = keptFrom(head);
    return (await this.#streams.versionAt(head, position)) < first ? first : undefined;
  }

  /** The events of one stream from version `from` to `to`, as far as it has them. */
  async streamRange(streamName: string, from: number, to: number): Promise<readonly StoredEvent[]> {
    const head = await this.#head(streamName);
    const events: StoredEvent[] = [];
    if (head === undefined || deletedError(streamName, head.extension) !== undefined) return events;
    for await (const list of this.#streams.forwards(head, from, Math.min(to, head.version))) events.push(...list);
    return events;
  }

  #readStream(
    streamName: string,
    options: unknown,
    limit: () => Promise<number>,
    happenedByMs: number | undefined,
  ): AsyncGenerator<RecordedEvent> {
    checkName(streamName, "streamName");
    const given = checkOptions(options, ["fromVersion", "direction", "limit", "signal"]);
    const fromVersion = checkInteger(given.fromVersion, "fromVersion", 1);
    const backwards = checkBackwards(given.direction);
    const count = checkInteger(given.limit, "limit", 1);
    const signal = checkSignal(given.signal);
    const lists = async function* (this: StoreReader): StoredLists {
      const position = await limit();
      const head = await this.#head(streamName);
      if (head === undefined) return;
      const deleted = deletedError(streamName, head.extension);
      if (deleted !== undefined) throw deleted;
      const version = await this.#streams.versionAt(head, position);
      if (backwards) {
        yield* this.#streams.backwards(head, 1, Math.min(fromVersion ?? version, version), count);
      } else {
        yield* this.#streams.forwards(head, fromVersion ?? 1, version, count);
      }
    }.call(this);
    return this.#recorded(happenedBy(lists, happenedByMs), undefined, count, signal);
  }

  /** Typed as events alone; where gaps are asked for they are among them. */
  #readAll(
    options: unknown,
    limit: () => Promise<number>,
    happenedByMs: number | undefined,
  ): AsyncGenerator<RecordedEvent> {
    const given = checkOptions(options, ["fromPosition", "direction", "limit", "filter", "gaps", "signal"]);
    const fromPosition = checkInteger(given.fromPosition, "fromPosition", 1);
    const backwards = checkBackwards(given.direction);
    const count = checkInteger(given.limit, "limit", 1);
    const filter = checkFilter(given.filter);
    const gaps = checkGaps(given.gaps);
    const signal = checkSignal(given.signal);
    const rangeTo = (last: number): ReadRange => {
      if (backwards) return { from: 1, to: Math.min(fromPosition ?? last, last), backwards, count };
      return { from: fromPosition ?? 1, to: last, backwards, count };
    };
    const listsIn = ({ from, to }: ReadRange): StoredLists =>
      happenedBy(this.#stored(from, to, filter, backwards, count), happenedByMs);
    if (!gaps) {
      const lists = async function* (): StoredLists {
        yield* listsIn(rangeTo(await limit()));
      };
      return this.#recorded(lists(), filter, count, signal);
    }
    const told = async function* (this: StoreReader): AsyncGenerator<RecordedEvent | LogGap> {
      signal?.throwIfAborted();
      const range = rangeTo(await limit());
      yield* withGaps(this.#recorded(listsIn(range), filter, count, signal), this.dropped, range);
    };
    return told.call(this) as AsyncGenerator<RecordedEvent>;
  }

  #stored(from: number, to: number, filter: CheckedFilter, backwards: boolean, count: number | undefined): StoredLists {
    const stored = this.#options.registry.storedFilter(filter);
    if (stored === undefined)
      return backwards ? this.#log.backwards(from, to, count) : this.#log.forwards(from, to, count);
    if (backwards) return this.#log.atDescending(this.#matchingBackwards(stored, from, to), count);
    return this.#log.at(this.#matching(stored, from, to));
  }

  /** The positions that match: from the stored index as far as that is complete, then from memory. */
  async *#matching(filter: CheckedFilter & object, from: number, to: number): AsyncGenerator<Postings> {
    for (let next = from; next <= to; ) {
      // Asked anew, because the index grows, and memory forgets what is indexed, while a slow caller reads.
      const indexedTo = Math.min(this.#options.end().indexedTo, to);
      if (next <= indexedTo) {
        yield* this.index.forwards(filter, next, indexedTo);
        next = indexedTo + 1;
        continue;
      }
      const positions = this.#options.recent.matching(filter, next - 1, to);
      if (positions.length > 0) yield positions;
      return;
    }
  }

  async *#matchingBackwards(filter: CheckedFilter & object, from: number, to: number): AsyncGenerator<Postings> {
    const indexedTo = Math.min(this.#options.end().indexedTo, to);
    const recent = this.#options.recent.matching(filter, Math.max(indexedTo, from - 1), to);
    if (recent.length > 0) yield recent.toReversed();
    yield* this.index.backwards(filter, from, indexedTo);
  }

  /** Decodes, upcasts and filters what was read, up to `count` events. */
  async *#recorded(
    lists: StoredLists,
    filter: CheckedFilter,
    count: number | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RecordedEvent> {
    const { registry } = this.#options;
    let left = count ?? Number.POSITIVE_INFINITY;
    signal?.throwIfAborted();
    for await (const list of lists) {
      const keys = registry.fetchKeys(list);
      if (keys !== undefined) await keys;
      for (const stored of list) {
        for (const event of registry.read(stored)) {
          if (!registry.passes(filter, event)) continue;
          yield event;
          left -= 1;
          signal?.throwIfAborted();
        }
        // Behind all parts of a split event: whoever goes on from the next position would miss the rest of them.
        if (left <= 0) return;
      }
    }
  }

  async #head(streamName: string): Promise<StreamHead | undefined> {
    const head = await this.#options.heads.get(streamName);
    return head === undefined ? undefined : this.#retained(head);
  }

  /** The head as retention lets it be seen already, though the events behind it are still there. */
  #retained(head: StreamHead): StreamHead {
    const first = this.#options.firstKept?.(head.streamName, head.version) ?? 1;
    return first <= head.truncatedBefore || first <= 1 ? head : { ...head, truncatedBefore: first };
  }

  async #streamInfo(streamName: string, position: number): Promise<StreamInfo | undefined> {
    const head = await this.#head(streamName);
    return head === undefined ? undefined : await this.#infoAt(head, position);
  }

  async #infoAt(head: StreamHead, position: number): Promise<StreamInfo | undefined> {
    const { tombstone, archive } = decodeHeadExtension(head.extension);
    const common = {
      streamName: head.streamName,
      created: new Date(head.createdAtMs),
      truncatedBefore: keptFrom(head),
      ...(archive === undefined ? {} : { archivedBefore: archive.before }),
      ...(tombstone === undefined ? {} : { deleted: deletionOf(tombstone) }),
    };
    if (head.lastPosition <= position || tombstone?.purged === true) {
      const { version, lastPosition, lastRecordedAtMs } = head;
      return { ...common, version, lastPosition, lastRecordedAt: new Date(lastRecordedAtMs) };
    }
    const version = await this.#streams.versionAt(head, position);
    if (version === 0) return undefined;
    const [last] = await this.streamRange(head.streamName, version, version);
    if (last === undefined) return undefined;
    return { ...common, version, lastPosition: last.position, lastRecordedAt: new Date(recordedAtMsOf(last.bytes)) };
  }

  #listStreams(options: unknown, limit: () => Promise<number>): AsyncGenerator<StreamInfo> {
    const given = checkOptions(options, ["category", "prefix", "after", "limit", "deleted"]);
    const category = given.category === undefined ? undefined : checkName(given.category, "category");
    const prefix = given.prefix === undefined || given.prefix === "" ? "" : checkName(given.prefix, "prefix");
    const after = given.after === undefined ? undefined : checkName(given.after, "after");
    const count = checkInteger(given.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
    if (given.deleted !== undefined && typeof given.deleted !== "boolean")
      throw new InvalidArgumentError("deleted", `must be true or false, not ${printable(given.deleted)}`);
    if (category?.includes("-") === true) throw new InvalidArgumentError("category", 'must not hold a "-"');
    return async function* (this: StoreReader): AsyncGenerator<StreamInfo> {
      const position = await limit();
      const widest = category?.startsWith(prefix) ? category : prefix;
      let left = count;
      for await (const head of this.#heads(widest, after)) {
        if (!head.streamName.startsWith(prefix) || head.streamName === after) continue;
        if (category !== undefined && categoryOf(head.streamName) !== category) continue;
        const info = await this.#infoAt(head, position);
        if (info === undefined || (info.deleted !== undefined && given.deleted !== true)) continue;
        yield info;
        left -= 1;
        if (left <= 0) return;
      }
    }.call(this);
  }

  async *#heads(prefix: string, after: string | undefined): AsyncGenerator<StreamHead> {
    const span = streamHeadSpan(prefix);
    const afterKey = after === undefined ? undefined : streamHeadKey(after);
    const start = afterKey !== undefined && Buffer.compare(afterKey, span.start) > 0 ? afterKey : span.start;
    if (Buffer.compare(start, span.end) >= 0) return;
    const cursor = await this.#options.kv.scan({ start, end: span.end }, "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const row of rows) yield this.#retained(decodeStreamHead(streamNameOfHeadKey(row.key), row.value));
      }
    } finally {
      cursor.close();
    }
  }
}

/** The lists without the events that happened later. Looks at their headers only, so what is passed over need not be readable. */
function happenedBy(lists: StoredLists, happenedByMs: number | undefined): StoredLists {
  if (happenedByMs === undefined) return lists;
  const happened = ({ bytes }: StoredEvent): boolean => {
    const { occurredAtMs, recordedAtMs } = readHeader(bytes);
    return (occurredAtMs ?? recordedAtMs) <= happenedByMs;
  };
  return (async function* (): StoredLists {
    for await (const list of lists) yield list.filter(happened);
  })();
}

/** How a text may stand in the stored bytes of an event: as it is, as in JSON, and as the bytes of a UUID. */
function storedForms(text: string): readonly Buffer[] {
  const json = JSON.stringify(text).slice(1, -1);
  const forms = [Buffer.from(text), ...(json === text ? [] : [Buffer.from(json)])];
  return uuidPattern.test(text) ? [...forms, Buffer.from(text.replaceAll("-", ""), "hex")] : forms;
}

function deletionOf({ deletedAtMs, undeletableUntilMs, purged }: Tombstone): StreamDeletion {
  return { at: new Date(deletedAtMs), ...(purged ? {} : { undeletableUntil: new Date(undeletableUntilMs) }) };
}
