/** The reads of a store, up to a limit: what is durable when the read begins, or the moment that a view is frozen at. */

import { readHeader, type StoredEvent } from "../format/envelope.ts";
import type { LogEnd } from "../format/records.ts";
import type { KvReader } from "../kv/kv.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter } from "../vocabulary/filter.ts";
import { checkName } from "../vocabulary/names.ts";
import type { ArchiveReader } from "./archive-reader.ts";
import { checkBackwards, checkGaps, checkInteger, checkOptions, checkSignal } from "./arguments.ts";
import { deletedError } from "./deleted-streams.ts";
import { DroppedEvents } from "./dropped-events.ts";
import type { EventReader, LogGap } from "./event-store.ts";
import { type ReadRange, withGaps } from "./gaps.ts";
import { IndexReader } from "./index-reader.ts";
import { LogReader } from "./log-reader.ts";
import { LogSearch } from "./log-search.ts";
import type { RecentLog } from "./recent-log.ts";
import { happenedBy, mentioning, recordedOf, type StoredLists } from "./recorded-lists.ts";
import { ShownHeads } from "./shown-heads.ts";
import { StreamCatalog } from "./stream-catalog.ts";
import type { StreamHeads } from "./stream-heads.ts";
import { keptFrom, StreamReader } from "./stream-reader.ts";

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

export class StoreReader {
  readonly index: IndexReader;
  /** What was dropped of the log. */
  readonly dropped: DroppedEvents;
  readonly #log: LogReader;
  readonly #search: LogSearch;
  readonly #heads: ShownHeads;
  readonly #streams: StreamReader;
  readonly #catalog: StreamCatalog;
  readonly #options: StoreReaderOptions;

  constructor(options: StoreReaderOptions) {
    const { kv, archive, recent, registry, end } = options;
    this.#options = options;
    this.index = new IndexReader(kv);
    this.dropped = new DroppedEvents(kv);
    this.#log = new LogReader(kv);
    this.#search = new LogSearch({ log: this.#log, index: this.index, recent, registry, end });
    this.#heads = new ShownHeads(options);
    this.#streams = new StreamReader(kv, archive);
    this.#catalog = new StreamCatalog({
      heads: this.#heads,
      streams: this.#streams,
      eventAt: async (streamName, version) => (await this.streamRange(streamName, version, version))[0],
    });
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
      streamInfo: async (streamName) => await this.#catalog.info(checkName(streamName, "streamName"), await limit()),
      listStreams: (options) => this.#catalog.list(options, limit),
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
    yield* recordedOf(this.#options.registry, this.#search.forwards(from, to, filter), { filter, signal });
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
    const lists = mentioning(this.#log.forwards(from, to), texts, signal);
    yield* recordedOf(this.#options.registry, lists, { signal });
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
    return this.#search.forwards(from, to, filter);
  }

  /** As stored, those of one stream from version `from` to `to`, as far as it has them. Throws `stream-deleted`. */
  async *storedStream(streamName: string, from: number, to: number): AsyncGenerator<readonly StoredEvent[]> {
    const head = await this.#heads.get(streamName);
    if (head === undefined) return;
    const deleted = deletedError(streamName, head.extension);
    if (deleted !== undefined) throw deleted;
    yield* this.#streams.forwards(head, from, Math.min(to, head.version));
  }

  /** How many events a stream had when the log ended at a position, be it deleted or not; as many as are gone at least. */
  async streamVersionAt(streamName: string, position: number): Promise<number> {
    const head = await this.#heads.get(streamName);
    return head === undefined ? 0 : await this.#streams.versionAt(head, position);
  }

  /**
   * The first version that a stream still has, where it had events when the log ended at a position, and all of those are
   * truncated. Throws `stream-deleted`.
   */
  async truncatedBehind(streamName: string, position: number): Promise<number | undefined> {
    const head = await this.#heads.get(streamName);
    if (head === undefined || head.firstPosition > position) return undefined;
    const deleted = deletedError(streamName, head.extension);
    if (deleted !== undefined) throw deleted;
    const first = keptFrom(head);
    return (await this.#streams.versionAt(head, position)) < first ? first : undefined;
  }

  /** The events of one stream from version `from` to `to`, as far as it has them. */
  async streamRange(streamName: string, from: number, to: number): Promise<readonly StoredEvent[]> {
    const head = await this.#heads.get(streamName);
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
      const head = await this.#heads.get(streamName);
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
    return recordedOf(this.#options.registry, happenedBy(lists, happenedByMs), { count, signal });
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
    const listsIn = ({ from, to }: ReadRange): StoredLists => {
      const search = this.#search;
      const lists = backwards ? search.backwards(from, to, filter, count) : search.forwards(from, to, filter, count);
      return happenedBy(lists, happenedByMs);
    };
    const { registry } = this.#options;
    const wanted = { filter, count, signal };
    if (!gaps) {
      const lists = async function* (): StoredLists {
        yield* listsIn(rangeTo(await limit()));
      };
      return recordedOf(registry, lists(), wanted);
    }
    const told = async function* (this: StoreReader): AsyncGenerator<RecordedEvent | LogGap> {
      signal?.throwIfAborted();
      const range = rangeTo(await limit());
      yield* withGaps(recordedOf(registry, listsIn(range), wanted), this.dropped, range);
    };
    return told.call(this) as AsyncGenerator<RecordedEvent>;
  }
}
