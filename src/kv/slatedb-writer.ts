/**
 * A database that is open for writing: it maps every native error to ours, puts a deadline on each call, flushes memtables
 * itself, and stops when this process may have been fenced unseen. The reasons are in ARCHITECTURE.md, "Driving SlateDB";
 * each rule has a test that fails without it.
 */

import {
  EventStoreError,
  InternalError,
  OverloadedError,
  StorageCorruptError,
  StorageUnavailableError,
  StoreClosedError,
  type WriteOutcome,
} from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import type { DiskCache } from "./disk-cache.ts";
import { Heartbeat } from "./heartbeat.ts";
import {
  assertKeyFits,
  type KeyValueStore,
  type KvCursor,
  type KvOperation,
  type KvRange,
  type KvSnapshot,
  type KvStats,
  type KvStatus,
  type ScanPurpose,
} from "./kv.ts";
import { MemtableFlusher } from "./memtable-flusher.ts";
import { returnFreedMemory, returnFreedMemoryAtTimes } from "./native-functions.ts";
import type { ObjectStoreStats, RequestMeter } from "./object-store-stats.ts";
import { NativeBatch, type NativeDatabase, type NativeSnapshot } from "./slatedb-binding.ts";
import { callError, closeError, closeReasonOf, errorOf, type Failure, failureFrom } from "./slatedb-errors.ts";
import { type ReadHost, SlateReads } from "./slatedb-reads.ts";
import type { SlateTuning } from "./slatedb-settings.ts";
import { SlateSnapshot } from "./slatedb-snapshot.ts";

const heartbeatIntervalMs = 1_000;

export interface SlateWriterOptions {
  readonly url: string;
  readonly db: NativeDatabase;
  readonly tuning: SlateTuning;
  readonly clock: Clock;
  readonly meter: RequestMeter;
  readonly cache: DiskCache | undefined;
  /** Frees what the database is reached by; called when the engine has closed. */
  readonly release: () => Promise<void>;
}

/** Damage, a call that the engine would not take, or what its cache says of itself: a size that is not the object's. */
function mayBeOfCache(error: unknown): boolean {
  if (error instanceof StorageCorruptError || error instanceof InternalError) return true;
  return error instanceof StorageUnavailableError && String(error.cause).includes("cached_object_store");
}

export class SlateWriter implements KeyValueStore, ReadHost {
  readonly url: string;
  readonly #db: NativeDatabase;
  readonly #tuning: SlateTuning;
  readonly #clock: Clock;
  readonly #heartbeat: Heartbeat;
  readonly #flusher: MemtableFlusher;
  readonly #reads: SlateReads;
  readonly #meter: RequestMeter;
  readonly #cache: DiskCache | undefined;
  readonly #pauseLimitMs: number;
  readonly #release: () => Promise<void>;
  /** Calls under way that a failure must wake: the engine itself would leave some of them waiting. */
  readonly #underWay = new Set<(error: unknown) => void>();
  #failure: Failure | undefined;
  #closing: Promise<void> | undefined;
  /** Settles with the write under way, and never rejects. */
  #writing: Promise<unknown> | undefined;
  #stats = { writes: 0, rowsWritten: 0, bytesWritten: 0 };
  /** Whether the engine was called since the last beat. */
  #busy = false;

  constructor({ url, db, tuning, clock, meter, cache, release }: SlateWriterOptions) {
    this.url = url;
    this.#release = release;
    this.#meter = meter;
    this.#cache = cache;
    this.#db = db;
    this.#tuning = tuning;
    this.#clock = clock;
    this.#reads = new SlateReads(this, clock);
    this.#pauseLimitMs = tuning.garbageMinAgeMs / 4;
    this.#heartbeat = new Heartbeat({
      clock,
      limitMs: this.#pauseLimitMs,
      intervalMs: Math.min(heartbeatIntervalMs, this.#pauseLimitMs / 4),
      onBeat: () => this.#beat(),
    });
    this.#flusher = new MemtableFlusher({
      tuning,
      clock,
      flush: () => db.flush_with_options({ flush_type: "MemTable" }),
      onFailure: (error) => this.#noteFailure(error),
    });
  }

  async write(operations: readonly KvOperation[]): Promise<void> {
    this.assertUsable("not-applied");
    if (operations.length === 0) return;
    await this.#pace();
    if (this.#flusher.unflushedBytes > this.#tuning.memtableBytesMax) {
      throw new OverloadedError(
        `The storage is behind: more than ${this.#tuning.memtableBytesMax} bytes wait to be stored`,
      );
    }
    const { batch, bytes } = this.#batchOf(operations);
    const startedMs = this.#clock.monotonic();
    const applied = this.#applyAndFlush(batch);
    this.#writing = applied.catch(() => {});
    await this.#call(applied, Math.min(this.#tuning.writeTimeoutMs, this.#pauseLimitMs), "unknown");
    this.#assertNotZombie(startedMs);
    this.#stats.writes += 1;
    this.#stats.rowsWritten += operations.length;
    this.#stats.bytesWritten += bytes;
    this.#flusher.recordGroup(bytes);
  }

  /** Lets the flush of the memtable catch up, so that what waits for it does not fill the memory. */
  async #pace(): Promise<void> {
    if (this.#flusher.unflushedBytes <= this.#tuning.memtablePaceBytes) return;
    await this.#flusher.waitForFlush(this.#tuning.memtablePaceMs);
    this.assertUsable("not-applied");
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.assertUsable();
    const wasEmptied = this.#cache?.emptied;
    try {
      return await this.#reads.getMany(this.#db, keys);
    } catch (error) {
      if (this.#cache?.emptied === wasEmptied) throw error;
      return await this.#reads.getMany(this.#db, keys);
    }
  }

  async scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.assertUsable();
    return await this.#reads.scan(this.#db, range, purpose);
  }

  async snapshot(): Promise<KvSnapshot> {
    this.assertUsable();
    return new SlateSnapshot(this, this.#reads, await this.#reads.acquire(this.#settledSnapshot()));
  }

  status(): KvStatus {
    if (this.#closing !== undefined) return { state: "closed" };
    return this.#failure ?? { state: "open" };
  }

  stats(): KvStats {
    return { ...this.#stats, ...this.#reads.stats(), memtableFlushes: this.#flusher.flushes };
  }

  objectStoreStats(): ObjectStoreStats {
    return this.#meter.read(this.#stats.bytesWritten);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Flushes what recovery has replayed into L0, so that the next recovery starts behind it. */
  async flushRecovered(timeoutMs: number): Promise<void> {
    await this.#call(this.#flusher.flushNow(), timeoutMs, undefined);
    if (this.#failure !== undefined) throw errorOf(this.#failure, "not-applied");
  }

  /** Makes a table of everything that is in memory. */
  async flushMemtable(): Promise<void> {
    this.assertUsable("not-applied");
    await this.flushRecovered(this.#tuning.writeTimeoutMs);
  }

  /** The number of the last write that is durable; it outlives the handle. */
  get durableSeq(): number {
    return Number(this.#db.status().durable_seq);
  }

  /** Puts the read deadline around a native call and maps its errors. */
  async read<T>(work: Promise<T>): Promise<T> {
    try {
      return await this.#call(work, this.#tuning.readTimeoutMs, undefined);
    } catch (error) {
      throw await this.#blameCache(error);
    }
  }

  /** What looks like damage may be damage of the disk cache alone: that is emptied, and the read can be tried again. */
  async #blameCache(error: unknown): Promise<unknown> {
    if (!mayBeOfCache(error) || this.#cache === undefined || !(await this.#cache.emptyOnce())) return error;
    const message = "What was read was damaged, so the disk cache was emptied and the read can be tried again";
    return new StorageUnavailableError(message, { cause: error });
  }

  breathe(): Promise<void> | undefined {
    return this.#reads.breathe();
  }

  assertUsable(outcome?: WriteOutcome): void {
    if (this.#closing !== undefined)
      throw new StoreClosedError("The store is closed", outcome === undefined ? {} : { outcome });
    if (this.#failure !== undefined) throw errorOf(this.#failure, outcome);
  }

  async #applyAndFlush(batch: NativeBatch): Promise<void> {
    try {
      await this.#db.write_with_options(batch, { await_durable: false });
    } finally {
      batch.dispose();
    }
    await this.#db.flush_with_options({ flush_type: "Wal" });
  }

  /** A snapshot includes the write under way, so it is handed out once that is durable: until then it would change. */
  async #settledSnapshot(): Promise<NativeSnapshot> {
    const native = await this.#db.snapshot();
    await this.#writing;
    return native;
  }

  #batchOf(operations: readonly KvOperation[]): { batch: NativeBatch; bytes: number } {
    const batch = new NativeBatch();
    let bytes = 0;
    try {
      for (const operation of operations) {
        assertKeyFits(operation.key, "not-applied");
        bytes += operation.key.length;
        if (operation.kind === "put") {
          batch.put(operation.key, operation.value);
          bytes += operation.value.length;
        } else {
          batch.delete(operation.key);
        }
      }
    } catch (error) {
      batch.dispose();
      throw error instanceof EventStoreError
        ? error
        : new InternalError("A batch could not be built", { cause: error, outcome: "not-applied" });
    }
    return { batch, bytes };
  }

  /** Settles as `work` does, at the latest after `timeoutMs` or when the store fails, with our errors only. */
  #call<T>(work: Promise<T>, timeoutMs: number, outcome: WriteOutcome | undefined): Promise<T> {
    this.#busy = true;
    return new Promise<T>((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.#underWay.delete(fail);
        clearTimeout(timer);
        reject(this.#mapError(error, outcome));
      };
      const timer = setTimeout(() => {
        const late = new StorageUnavailableError(`The storage did not answer within ${timeoutMs} ms`);
        // A write whose fate is unknown ends this writer: what comes after it could not be judged.
        if (outcome === "unknown") this.#fail({ state: "failed", error: late });
        else fail(late);
      }, timeoutMs);
      this.#underWay.add(fail);
      work.then((value) => {
        this.#underWay.delete(fail);
        clearTimeout(timer);
        resolve(value);
      }, fail);
    });
  }

  #mapError(error: unknown, outcome: WriteOutcome | undefined): EventStoreError {
    if (this.#closing === undefined) {
      if (outcome === "unknown" || closeReasonOf(error) !== undefined) this.#noteFailure(error);
      else this.#look();
    }
    if (this.#failure !== undefined) return errorOf(this.#failure, outcome);
    if (this.#closing !== undefined)
      return new StoreClosedError("The store was closed meanwhile", outcome === undefined ? {} : { outcome });
    return callError(error);
  }

  #beat(): void {
    this.#look();
    if (!this.#busy) return;
    this.#busy = false;
    returnFreedMemoryAtTimes(this.#clock.monotonic());
  }

  /** Looks whether the engine closed itself, and stops if it did. */
  #look(): void {
    if (this.#failure !== undefined || this.#closing !== undefined) return;
    const reason = this.#db.status().close_reason;
    if (reason !== undefined) this.#fail(failureFrom(reason, undefined));
  }

  /** A write or flush failed for good: whatever the reason, this handle takes no more of them. */
  #noteFailure(cause: unknown): void {
    if (this.#failure !== undefined) return;
    const reason = closeReasonOf(cause) ?? (this.#closing === undefined ? this.#db.status().close_reason : undefined);
    this.#fail(failureFrom(reason, cause));
  }

  #fail(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#flusher.stop();
    this.#heartbeat.stop();
    for (const wake of [...this.#underWay]) wake(failure.error);
  }

  /** After a flush has succeeded: may this process have been fenced so long ago that the fence is gone? */
  #assertNotZombie(startedMs: number): void {
    if (!this.#tuning.heartbeat) return;
    const stoodStillMs = Math.max(this.#heartbeat.check() ?? 0, this.#clock.monotonic() - startedMs);
    if (stoodStillMs <= this.#pauseLimitMs) return;
    const seconds = Math.round(stoodStillMs / 1000);
    const message = `This writer stood still for ${seconds} s and may have been replaced, so the store must be opened again`;
    this.#fail({ state: "failed", error: new StorageUnavailableError(message) });
    this.assertUsable("unknown");
  }

  async #close(): Promise<void> {
    this.#heartbeat.stop();
    this.#flusher.stop();
    const { closeTimeoutMs } = this.#tuning;
    try {
      if (this.#failure === undefined) await withDeadline(this.#settle(), closeTimeoutMs, "Flushing the memtable");
      await withDeadline(this.#db.shutdown(), closeTimeoutMs, "Closing the engine");
      this.#meter.stop();
      // Its caches may hold hundreds of megabytes, of which the collector of this language knows nothing.
      this.#db.dispose();
      returnFreedMemory();
    } catch (cause) {
      // Nobody waits for it any more, but this handle is to write nothing new.
      this.#db.shutdown().catch(() => {});
      if (this.#failure === undefined) throw closeError(cause);
    } finally {
      for (const wake of [...this.#underWay]) wake(new StoreClosedError("The store was closed meanwhile"));
      await this.#release();
    }
  }

  /** Ends the write under way, then flushes the memtable: `shutdown` would leave it for the next open to replay. */
  async #settle(): Promise<void> {
    await this.#writing;
    await this.#flusher.flushNow();
  }
}
