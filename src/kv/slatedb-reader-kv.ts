/**
 * A replica of the byte store on SlateDB, read from the storage itself, beside or without a writer. One native reader is in
 * service at a time. It is replaced in time, before it would write a manifest at each poll, and when it is lost; a successor
 * is put in service only once it has come at least as far, so nobody's view ever goes back.
 */

import { type EventStoreError, StorageUnavailableError, StoreClosedError, StoreNotFoundError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { DeadlineExpired, pause, withDeadline } from "../runtime/deadline.ts";
import { findStore, prepareBucket } from "./bucket-access.ts";
import { assertUndamaged, assertUndamagedFolder } from "./damage-check.ts";
import { findFolder } from "./folder.ts";
import type { KeyValueReader, KvCursor, KvRange, KvReader, KvReaderStats, KvReaderStatus, ScanPurpose } from "./kv.ts";
import { MovingCursor } from "./moving-cursor.ts";
import { assertWrapped } from "./native-declarations.ts";
import type { S3Options, StoreLocation } from "./object-store.ts";
import type { ObjectAccess } from "./objects.ts";
import { SignOfLife } from "./sign-of-life.ts";
import { openError } from "./slatedb-errors.ts";
import { bucketPlace, folderPlace, type NativePlace } from "./slatedb-place.ts";
import { ReaderHandle } from "./slatedb-reader-handle.ts";
import { readerTuning, type SlateReaderTuning } from "./slatedb-reader-tuning.ts";

/** How far a view of the store reaches, as whoever uses it counts. */
export interface ViewProgress {
  /** How far that reader sees. Throws where it is another store. */
  readonly measure: (reader: KvReader) => Promise<number>;
  /** How far anybody has seen. */
  readonly reached: () => number;
  /** Reads what a successor should have read before it is put in service. Where it fails, it is put in service without. */
  readonly prepare?: (reader: KvReader) => Promise<void>;
}

export interface SlateReaderOptions {
  readonly location: StoreLocation & { kind: "folder" | "s3" };
  readonly s3: S3Options;
  readonly clock: Clock;
  /** What a successor must have reached, besides the writes that its predecessor has taken in. */
  readonly view?: ViewProgress;
  readonly tuning?: Partial<SlateReaderTuning>;
}

/** How often the reader in service is looked at, at most. */
const lookMsMax = 250;
const lookMsMin = 10;

/** Resolves the place anew each time, credentials included: they may have ended since. */
async function resolvePlace(
  options: SlateReaderOptions,
  tuning: SlateReaderTuning,
  timeoutMs: number,
): Promise<NativePlace> {
  const { location, s3 } = options;
  if (location.kind === "folder") {
    if ((await findFolder(location.directory)) === "new") throw new StoreNotFoundError(location.url);
    await assertUndamagedFolder(location);
    return folderPlace(location);
  }
  const inspect = (objects: ObjectAccess): Promise<void> => assertUndamaged(objects, location);
  const access = await prepareBucket(location, { ...s3, createBucket: false }, { mode: "read", timeoutMs, inspect });
  try {
    if (access.state === "new") throw new StoreNotFoundError(location.url);
    return bucketPlace(location, access, tuning.reuseConnections);
  } catch (error) {
    await access.release();
    throw error;
  }
}

/** Whether the place answers: one listing, without making anything of the engine's. */
async function findPlace({ location, s3 }: SlateReaderOptions, timeoutMs: number): Promise<void> {
  if (location.kind === "folder") await findFolder(location.directory);
  else await findStore(location, { ...s3, createBucket: false }, timeoutMs);
}

async function openHandle(options: SlateReaderOptions, tuning: SlateReaderTuning): Promise<ReaderHandle> {
  let place: NativePlace | undefined;
  try {
    place = await resolvePlace(options, tuning, tuning.openTimeoutMs);
    return await ReaderHandle.open(place, tuning, options.clock);
  } catch (cause) {
    await place?.release();
    throw openError(cause, options.location.url);
  }
}

class SlateReaderKv implements KeyValueReader {
  readonly url: string;
  readonly #options: SlateReaderOptions;
  readonly #tuning: SlateReaderTuning;
  readonly #clock: Clock;
  readonly #lookMs: number;
  readonly #closing = new AbortController();
  readonly #life: SignOfLife;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #retiring = new Set<Promise<void>>();
  #serving: ReaderHandle;
  #replacing: Promise<void> | undefined;
  /** Why the last attempt to replace the reader in service failed. */
  #failure: EventStoreError | undefined;
  #closed: Promise<void> | undefined;
  #stats = { gets: 0, scans: 0, rowsScanned: 0, readersOpened: 1, readersLost: 0 };

  constructor(options: SlateReaderOptions, tuning: SlateReaderTuning, first: ReaderHandle) {
    this.url = options.location.url;
    this.#options = options;
    this.#tuning = tuning;
    this.#clock = options.clock;
    this.#serving = first;
    this.#life = new SignOfLife({
      clock: options.clock,
      silenceMs: tuning.probeMs,
      retryMs: tuning.retryMs,
      ask: () => findPlace(options, tuning.readTimeoutMs),
      signal: this.#closing.signal,
    });
    this.#lookMs = Math.max(lookMsMin, Math.min(lookMsMax, tuning.pollMs / 4));
    this.#timer = setInterval(() => this.#look(), this.#lookMs);
    this.#timer.unref();
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#onReader((handle) => handle.getMany(keys));
  }

  scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    return MovingCursor.open<ReaderHandle>((work) => this.#onReader(work), range, purpose, true);
  }

  progress(): number {
    return this.#serving.look().durableSeq;
  }

  status(): KvReaderStatus {
    if (this.#closed !== undefined) return { state: "closed" };
    if (this.#failure !== undefined) return { state: "stalled", error: this.#failure };
    if (this.#life.failure !== undefined) return { state: "stalled", error: openError(this.#life.failure, this.url) };
    if (this.#serving.lost) return { state: "stalled", error: lostError() };
    return { state: "open" };
  }

  stats(): KvReaderStats {
    const now = this.#serving.stats();
    const { gets, scans, rowsScanned, ...readers } = this.#stats;
    return {
      gets: gets + now.gets,
      scans: scans + now.scans,
      rowsScanned: rowsScanned + now.rowsScanned,
      ...readers,
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #onReader<T>(work: (handle: ReaderHandle) => Promise<T>): Promise<T> {
    const handle = await this.#inService();
    try {
      return await handle.use(() => work(handle));
    } catch (error) {
      this.#assertOpen();
      if (!handle.useless) throw error;
    }
    // Reads change nothing, so they may be made twice.
    const next = await this.#inService();
    try {
      return await next.use(() => work(next));
    } catch (error) {
      this.#assertOpen();
      throw error;
    }
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw new StoreClosedError();
  }

  /** The reader in service; where that is lost, its successor. */
  async #inService(): Promise<ReaderHandle> {
    this.#assertOpen();
    if (!this.#serving.useless) return this.#serving;
    try {
      await withDeadline(this.#replace(), this.#tuning.readTimeoutMs, "Opening a reader again");
    } catch (error) {
      if (!(error instanceof DeadlineExpired)) throw error;
    }
    this.#assertOpen();
    if (this.#serving.useless) throw lostError(this.#failure);
    return this.#serving;
  }

  #look(): void {
    const old = this.#clock.monotonic() - this.#serving.openedMs > this.#tuning.rotateMs;
    if (old || this.#serving.look().lost) void this.#replace();
    this.#life.hear(this.#serving.durableSeq);
  }

  /** Never rejects; resolves when another reader is in service, or this is closed. */
  #replace(): Promise<void> {
    this.#replacing ??= this.#replaceInTime().finally(() => {
      this.#replacing = undefined;
    });
    return this.#replacing;
  }

  async #replaceInTime(): Promise<void> {
    const { signal } = this.#closing;
    const { retryMs, retryMsMax } = this.#tuning;
    if (this.#serving.lost) this.#stats.readersLost += 1;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await this.#openSuccessor();
        this.#failure = undefined;
        return;
      } catch (error) {
        this.#failure = openError(error, this.url);
      }
      await pause(Math.min(retryMsMax, retryMs * 2 ** failures), signal);
    }
  }

  async #openSuccessor(): Promise<void> {
    const next = await openHandle(this.#options, this.#tuning);
    try {
      // Where there is nobody in service, whoever waits is better served by a cold reader.
      if (!this.#serving.lost) await this.#options.view?.prepare?.(next).catch(() => {});
      await this.#catchUp(next);
    } catch (error) {
      this.#retire(next);
      throw error;
    }
  }

  /** Puts `next` in service as soon as it has come as far as the reader in service and all that was read through that. */
  async #catchUp(next: ReaderHandle): Promise<void> {
    const { view } = this.#options;
    const startedMs = this.#clock.monotonic();
    while (!this.#closing.signal.aborted && !next.look().lost) {
      // Taken before it is measured: the engine counts a write a moment before it shows its rows.
      const taken = next.durableSeq;
      const measured = await view?.measure(next);
      // From here to the exchange nothing waits, so neither side of the comparison can move.
      const reached = measured === undefined || measured >= (view?.reached() ?? 0);
      if (reached && taken >= this.#serving.look().durableSeq && !this.#closing.signal.aborted) {
        this.#exchange(next);
        return;
      }
      if (this.#clock.monotonic() - startedMs > this.#tuning.catchUpMs) break;
      await pause(this.#lookMs, this.#closing.signal);
    }
    throw new StorageUnavailableError("A reader that was opened again did not come as far as the one before it");
  }

  #exchange(next: ReaderHandle): void {
    const before = this.#serving;
    this.#serving = next;
    const { gets, scans, rowsScanned } = before.stats();
    this.#stats.gets += gets;
    this.#stats.scans += scans;
    this.#stats.rowsScanned += rowsScanned;
    this.#stats.readersOpened += 1;
    this.#retire(before);
  }

  #retire(handle: ReaderHandle): void {
    const retiring = handle.retire().finally(() => this.#retiring.delete(retiring));
    this.#retiring.add(retiring);
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort();
    this.#retire(this.#serving);
    const settled = Promise.allSettled([this.#replacing, ...this.#retiring]);
    // What hangs is left to itself: a reader holds nothing that others wait for, and its checkpoint expires.
    await withDeadline(settled, this.#tuning.closeTimeoutMs, "Closing the reader").catch(() => {});
  }
}

function lostError(cause?: unknown): StorageUnavailableError {
  return new StorageUnavailableError("The storage can no longer be followed and is being opened again", { cause });
}

/**
 * Opens a replica. Throws `store-not-found` where there is nothing, `invalid-argument` for a folder that holds something
 * else, `storage-unavailable` where the storage does not answer or may not be written to: a reader leaves a checkpoint.
 * Throws `storage-corrupt` where an object of the database is damaged or gone.
 */
export async function openSlateReaderKv(options: SlateReaderOptions): Promise<KeyValueReader> {
  assertWrapped();
  const { reuseConnections = true } = options.s3;
  const tuning: SlateReaderTuning = { ...readerTuning, reuseConnections, ...options.tuning };
  return new SlateReaderKv(options, tuning, await openHandle(options, tuning));
}
