/**
 * The byte store on SlateDB as its users hold it: one writer in service, which can be exchanged for one with other settings
 * while the store is in use. The engine takes settings only when it is opened, and giving space back needs others than
 * service does. Writes wait for the exchange, reads go on with the successor, and nobody else may have written in between.
 */

import { StorageUnavailableError, StoreClosedError, WriterFencedError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { ExchangedSnapshot } from "./exchanged-snapshot.ts";
import type {
  KeyValueStore,
  KvCursor,
  KvOperation,
  KvRange,
  KvSnapshot,
  KvStats,
  KvStatus,
  ReclaimOptions,
  ReclaimReport,
  ScanPurpose,
} from "./kv.ts";
import { MovingCursor } from "./moving-cursor.ts";
import { addObjectStoreStats, type ObjectStoreStats } from "./object-store-stats.ts";
import { errorOf, type Failure } from "./slatedb-errors.ts";
import { type MergeState, Reclaim, type ReclaimPlace } from "./slatedb-reclaim.ts";
import type { SlateTuning } from "./slatedb-settings.ts";
import type { SlateWriter } from "./slatedb-writer.ts";

/** A writer, and what the engine says of its merges. */
export interface OpenedWriter {
  readonly writer: SlateWriter;
  readonly mergeState: () => MergeState;
  /** Whether nobody else has the database open, as far as can be known. */
  readonly alone: () => Promise<boolean>;
}

export interface SlateStoreOptions {
  readonly url: string;
  readonly tuning: SlateTuning;
  readonly clock: Clock;
  readonly first: OpenedWriter;
  /** Opens another writer on the same place, once the one before is closed. */
  readonly open: (tuning: SlateTuning) => Promise<OpenedWriter>;
  /** How objects are looked at; nothing where there is no storage that could be given back. */
  readonly place: ReclaimPlace | undefined;
}

const noStats: KvStats = {
  writes: 0,
  rowsWritten: 0,
  bytesWritten: 0,
  gets: 0,
  scans: 0,
  rowsScanned: 0,
  memtableFlushes: 0,
};

function addStats(left: KvStats, right: KvStats): KvStats {
  return {
    writes: left.writes + right.writes,
    rowsWritten: left.rowsWritten + right.rowsWritten,
    bytesWritten: left.bytesWritten + right.bytesWritten,
    gets: left.gets + right.gets,
    scans: left.scans + right.scans,
    rowsScanned: left.rowsScanned + right.rowsScanned,
    memtableFlushes: left.memtableFlushes + right.memtableFlushes,
  };
}

function failed(error: unknown): Failure {
  if (error instanceof WriterFencedError) return { state: "fenced", error };
  const message = "The storage could not be opened again, so the store must be";
  return { state: "failed", error: new StorageUnavailableError(message, { cause: error }) };
}

export class SlateStore implements KeyValueStore {
  readonly url: string;
  readonly #options: SlateStoreOptions;
  #serving: OpenedWriter;
  /** Writes and exchanges, one after another. */
  #turn: Promise<unknown> = Promise.resolve();
  #exchanging: Promise<void> | undefined;
  #failure: Failure | undefined;
  #closed: Promise<void> | undefined;
  #reclaiming = false;
  readonly #closing = new AbortController();
  #before: KvStats = noStats;
  #requestsBefore: ObjectStoreStats | undefined;

  constructor(options: SlateStoreOptions) {
    this.url = options.url;
    this.#options = options;
    this.#serving = options.first;
  }

  async write(operations: readonly KvOperation[]): Promise<void> {
    // Nothing is waited for where nothing is under way: this is the path of every commit.
    if (this.#exchanging !== undefined || this.#reclaiming) {
      await this.#inTurn(() => this.#writer("not-applied").write(operations));
      return;
    }
    const writing = this.#writer("not-applied").write(operations);
    this.#turn = writing.catch(() => {});
    await writing;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return await this.#onWriter((writer) => writer.get(key));
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return await this.#onWriter((writer) => writer.getMany(keys));
  }

  async scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    return await MovingCursor.open<SlateWriter>((work) => this.#onWriter(work), range, purpose, false);
  }

  /** Of the writer in service: once that is exchanged, it throws `storage-unavailable`. */
  async snapshot(): Promise<KvSnapshot> {
    return await this.#onWriter(async (writer) => {
      const isLost = (): boolean => writer.status().state === "closed" && this.status().state === "open";
      return new ExchangedSnapshot(await writer.snapshot(), isLost);
    });
  }

  status(): KvStatus {
    if (this.#closed !== undefined) return { state: "closed" };
    if (this.#failure !== undefined) return this.#failure;
    return this.#exchanging === undefined ? this.#serving.writer.status() : { state: "open" };
  }

  stats(): KvStats {
    return addStats(this.#before, this.#serving.writer.stats());
  }

  objectStoreStats(): ObjectStoreStats {
    const now = this.#serving.writer.objectStoreStats();
    return this.#requestsBefore === undefined ? now : addObjectStoreStats(this.#requestsBefore, now);
  }

  /** Throws where it is closed or has failed. */
  assertUsable(): void {
    const writer = this.#writer();
    if (this.#exchanging === undefined) writer.assertUsable();
  }

  breathe(): Promise<void> | undefined {
    return this.#serving.writer.breathe();
  }

  async reclaim(options: ReclaimOptions): Promise<ReclaimReport> {
    const { place, tuning, clock } = this.#options;
    if (this.#reclaiming) {
      throw new StorageUnavailableError("Space is being given back already", { outcome: "not-applied" });
    }
    this.#writer("not-applied");
    this.#reclaiming = true;
    try {
      const signal = AbortSignal.any([this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])]);
      const host = {
        exchange: (wanted: SlateTuning) => this.#exchange(wanted),
        write: (operations: readonly KvOperation[]) => this.write(operations),
        flush: () => this.#writer().flushMemtable(),
        mergeState: () => this.#serving.mergeState(),
        alone: () => this.#serving.alone(),
      };
      return await new Reclaim({ host, place, tuning, clock, ...options, signal }).run();
    } finally {
      this.#reclaiming = false;
    }
  }

  close(): Promise<void> {
    this.#closing.abort();
    // A write under way is not waited for here: one that is never answered would keep it open.
    this.#closed ??= (this.#exchanging ?? Promise.resolve()).then(() => this.#serving.writer.close());
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #writer(outcome?: "not-applied"): SlateWriter {
    const options = outcome === undefined ? {} : { outcome };
    if (this.#closed !== undefined) throw new StoreClosedError("The store is closed", options);
    if (this.#failure !== undefined) throw errorOf(this.#failure, outcome);
    return this.#serving.writer;
  }

  /** Behind everything that has been begun before. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Reads change nothing, so what the exchange interrupts is done again. */
  async #onWriter<T>(work: (writer: SlateWriter) => Promise<T>): Promise<T> {
    if (this.#exchanging !== undefined) await this.#exchanging;
    const writer = this.#writer();
    try {
      return await work(writer);
    } catch (error) {
      if (this.#exchanging === undefined && this.#serving.writer === writer) throw error;
    }
    await this.#exchanging;
    return await work(this.#writer());
  }

  #exchange(tuning: SlateTuning): Promise<void> {
    return this.#inTurn(async () => {
      this.#writer("not-applied");
      const done = Promise.withResolvers<void>();
      this.#exchanging = done.promise;
      try {
        await this.#replace(tuning);
      } catch (error) {
        // A serving writer that has stopped says why itself, better than the exchange that met it.
        const found = this.#serving.writer.status();
        this.#failure = found.state === "fenced" || found.state === "failed" ? found : failed(error);
        throw error;
      } finally {
        this.#exchanging = undefined;
        done.resolve();
      }
    });
  }

  async #replace(tuning: SlateTuning): Promise<void> {
    const { writer } = this.#serving;
    // Everything is in tables before the last number is read, so that whoever opens next has nothing to replay.
    await writer.flushMemtable();
    const written = writer.durableSeq;
    await writer.close();
    const next = await this.#options.open(tuning);
    // Not before: until the next one serves, this one is still counted by itself.
    this.#before = addStats(this.#before, writer.stats());
    const requests = writer.objectStoreStats();
    this.#requestsBefore =
      this.#requestsBefore === undefined ? requests : addObjectStoreStats(this.#requestsBefore, requests);
    this.#serving = next;
    if (next.writer.durableSeq === written) return;
    // Somebody else opened it in between and wrote: what is known here of its rows is no longer true.
    await next.writer.close().catch(() => {});
    throw new WriterFencedError({ outcome: "not-applied" });
  }
}
