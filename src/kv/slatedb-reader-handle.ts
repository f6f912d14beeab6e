/**
 * One native reader: a deadline on each call, errors of ours, and an end that waits for the calls under way. It polls the
 * storage by itself, keeps a checkpoint there against the garbage collector, and closes itself where a poll fails for good.
 */

import { type EventStoreError, StorageUnavailableError, StoreClosedError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { DeadlineExpired, pause, withDeadline } from "../runtime/deadline.ts";
import type { KvCursor, KvRange, KvReader, ScanPurpose } from "./kv.ts";
import { type NativeReader, NativeReaderBuilder } from "./slatedb-binding.ts";
import { callError, namesMissingData } from "./slatedb-errors.ts";
import type { NativePlace } from "./slatedb-place.ts";
import type { SlateReaderTuning } from "./slatedb-reader-tuning.ts";
import { type ReadHost, type ReadStats, SlateReads } from "./slatedb-reads.ts";

/** Above any backlog of a writer: a replay that needs two tables would stop between the rows of one write, and panics. */
const memtableBytesMax = 2 ** 40;

export class ReaderHandle implements KvReader, ReadHost {
  readonly openedMs: number;
  readonly #native: NativeReader;
  readonly #release: () => Promise<void>;
  readonly #clock: Clock;
  readonly #tuning: SlateReaderTuning;
  readonly #reads: SlateReads;
  readonly #cursors = new Set<KvCursor>();
  #durableSeq = 0;
  #calls = 0;
  #idle: (() => void) | undefined;
  #retired: Promise<void> | undefined;
  #lost = false;

  private constructor(native: NativeReader, release: () => Promise<void>, tuning: SlateReaderTuning, clock: Clock) {
    this.#native = native;
    this.#release = release;
    this.#tuning = tuning;
    this.#clock = clock;
    this.#reads = new SlateReads(this, clock);
    this.openedMs = clock.monotonic();
    this.look();
  }

  /** From now on the place is the reader's to release; where this throws, still the caller's. */
  static async open(
    { store, path, release }: NativePlace,
    tuning: SlateReaderTuning,
    clock: Clock,
  ): Promise<ReaderHandle> {
    const builder = new NativeReaderBuilder(path, store);
    builder.with_options({
      manifest_poll_interval_ms: tuning.pollMs,
      checkpoint_lifetime_ms: tuning.checkpointLifetimeMs,
      max_memtable_bytes: memtableBytesMax,
      skip_wal_replay: false,
    });
    const building = builder.build();
    try {
      const native = await withDeadline(building, tuning.openTimeoutMs, "Opening");
      return new ReaderHandle(native, release, tuning, clock);
    } catch (error) {
      building.then((late) => late.shutdown()).catch(() => {});
      throw error;
    }
  }

  /** Asks the native reader how it is; what is told of it below is as of then. */
  look(): this {
    if (this.#retired !== undefined) return this;
    const { durable_seq, close_reason } = this.#native.status();
    this.#durableSeq = Number(durable_seq);
    if (close_reason !== undefined) this.#lost = true;
    return this;
  }

  /** The newest write that it has taken in. */
  get durableSeq(): number {
    return this.#durableSeq;
  }

  /** Whether it closed itself, or misses objects that the garbage collector took: it must be replaced. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Whether calls on it are to be made again on its successor. */
  get useless(): boolean {
    return this.#retired !== undefined || this.#lost;
  }

  stats(): ReadStats {
    return this.#reads.stats();
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.use(() => this.#reads.getMany(this.#native, keys));
  }

  scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    return this.use(async () => {
      const cursor = await this.#reads.scan(this.#native, range, purpose);
      this.#cursors.add(cursor);
      return {
        next: (rowsMax) => this.use(() => cursor.next(rowsMax)),
        seek: (key) => this.use(() => cursor.seek(key)),
        close: () => {
          this.#cursors.delete(cursor);
          cursor.close();
        },
      };
    });
  }

  /** Runs calls that must not lose the native reader under way. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.assertUsable();
    this.#calls += 1;
    try {
      return await work();
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) this.#idle?.();
    }
  }

  assertUsable(): void {
    if (this.#retired !== undefined) throw new StoreClosedError("The reader is closed");
  }

  async read<T>(work: Promise<T>): Promise<T> {
    try {
      return await withDeadline(work, this.#tuning.readTimeoutMs, "Reading");
    } catch (error) {
      throw this.#mapError(error);
    }
  }

  /** Takes no further calls, and is closed and freed once those under way have returned. Never rejects. */
  retire(): Promise<void> {
    this.#retired ??= this.#close();
    return this.#retired;
  }

  #mapError(error: unknown): EventStoreError {
    if (error instanceof DeadlineExpired) {
      const message = `The storage did not answer within ${this.#tuning.readTimeoutMs} ms`;
      return new StorageUnavailableError(message, { cause: error });
    }
    // An old state of the store may name objects that were collected since; a fresh one does not.
    const old = this.#clock.monotonic() - this.openedMs > this.#tuning.freshMs;
    if (old && namesMissingData(error)) this.#lost = true;
    if (this.look().lost) return new StorageUnavailableError("The storage can no longer be followed", { cause: error });
    return callError(error);
  }

  async #close(): Promise<void> {
    if (this.#calls > 0) {
      const done = new AbortController();
      this.#idle = () => done.abort();
      await pause(this.#tuning.readTimeoutMs, done.signal);
    }
    for (const cursor of this.#cursors) cursor.close();
    this.#cursors.clear();
    // Removes its checkpoint from the storage; where that fails it expires.
    const ended = this.#native.shutdown().catch(() => {});
    // Its caches may hold hundreds of megabytes, of which the collector of this language knows nothing.
    const freed = ended.then(() => this.#native.dispose());
    await withDeadline(freed, this.#tuning.closeTimeoutMs, "Closing the reader").catch(() => {});
    await this.#release();
  }
}
