/**
 * The byte store on SlateDB. The sole importer of its binding: it maps every native error to ours, puts a deadline on each
 * call, flushes memtables itself, scans ascending only, and stops when this process may have been fenced unseen.
 * The reasons are in ARCHITECTURE.md, "Driving SlateDB"; each rule has a test that fails without it.
 */

import {
  type Db,
  DbBuilder,
  type DbIterator,
  type DbSnapshot,
  ObjectStore,
  type ReadOptions,
  type ScanOptions,
  Settings,
  WriteBatch,
} from "@slatedb/uniffi";
import {
  EventStoreError,
  InternalError,
  OverloadedError,
  StorageUnavailableError,
  StoreClosedError,
  type WriteOutcome,
} from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { Heartbeat } from "./heartbeat.ts";
import {
  assertKeyFits,
  type KeyValueStore,
  type KvCursor,
  type KvOperation,
  type KvRange,
  type KvRow,
  type KvSnapshot,
  type KvStats,
  type KvStatus,
  type ScanPurpose,
} from "./kv.ts";
import { openWithin } from "./late-opens.ts";
import { MemtableFlusher } from "./memtable-flusher.ts";
import { withNativeEnvironment } from "./native-environment.ts";
import { databaseFolder, prepareBucket, prepareFolder, type S3Options, type StoreLocation } from "./object-store.ts";
import {
  callError,
  closeError,
  closeReasonOf,
  errorOf,
  type Failure,
  failureFrom,
  maySayNoSuchBucket,
  openError,
} from "./slatedb-errors.ts";
import { engineSettings, type SlateTuning, sameSetting, tuningFor } from "./slatedb-settings.ts";

export interface SlateKvOptions {
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly clock: Clock;
  /** Tests shorten ages and break single rules; services leave it alone. */
  readonly tuning?: Partial<SlateTuning>;
}

/** "Remote" hides rows that are in memory and not yet on the object store. */
const readOptions: ReadOptions = { durability_filter: "Remote", dirty: false, cache_blocks: true };

const scanOptions: Readonly<Record<ScanPurpose, ScanOptions>> = {
  replay: {
    ...readOptions,
    cache_blocks: false,
    read_ahead_bytes: 1024 * 1024,
    max_fetch_tasks: 4,
    order: "Ascending",
  },
  lookup: { ...readOptions, cache_blocks: true, read_ahead_bytes: 1, max_fetch_tasks: 1, order: "Ascending" },
};

/** The most rows one crossing of `getMany` has under way: each may need a connection of its own. */
const getConcurrencyMax = 64;

const heartbeatIntervalMs = 1_000;

/** Reads let the process turn to other work at least this often. */
const breathIntervalMs = 10;

type Readable = Pick<Db | DbSnapshot, "get_with_options" | "scan_with_options">;

class SlateCursor implements KvCursor {
  readonly #kv: SlateKv;
  #iterator: DbIterator | undefined;
  #busy = false;
  /** Where a call failed, rows may have been read that nobody got: the cursor fails from then on. */
  #failure: unknown;

  constructor(kv: SlateKv, iterator: DbIterator) {
    this.#kv = kv;
    this.#iterator = iterator;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    const rows: KvRow[] = [];
    await this.#use(async (iterator) => {
      while (rows.length < rowsMax && this.#iterator === iterator) {
        await this.#kv.breathe();
        const row = await iterator.next();
        if (row === undefined) this.close();
        else rows.push({ key: row.key, value: row.value });
      }
    });
    this.#kv.countScanned(rows.length);
    return rows;
  }

  async seek(key: Uint8Array): Promise<void> {
    await this.#use((iterator) => iterator.seek(key));
  }

  close(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    // A native call that is still under way holds the iterator; it is freed when that returns.
    if (!this.#busy) iterator?.dispose();
  }

  async #use(work: (iterator: DbIterator) => Promise<void>): Promise<void> {
    this.#kv.assertUsable();
    if (this.#failure !== undefined) throw this.#failure;
    const iterator = this.#iterator;
    if (iterator === undefined) return;
    this.#busy = true;
    const running = work(iterator).finally(() => {
      this.#busy = false;
      if (this.#iterator === undefined) iterator.dispose();
    });
    try {
      await this.#kv.read(running);
    } catch (error) {
      this.#failure = error;
      this.close();
      throw error;
    }
  }
}

class SlateSnapshot implements KvSnapshot {
  readonly #kv: SlateKv;
  readonly #native: DbSnapshot;
  #calls = 0;
  #closed = false;

  constructor(kv: SlateKv, native: DbSnapshot) {
    this.#kv = kv;
    this.#native = native;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#use((native) => this.#kv.getManyOf(native, keys));
  }

  scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    return this.#use((native) => this.#kv.scanOf(native, range, purpose));
  }

  close(): void {
    this.#closed = true;
    // A call that is still under way needs it; it is freed when that returns.
    if (this.#calls === 0) this.#native.dispose();
  }

  async #use<T>(work: (native: DbSnapshot) => Promise<T>): Promise<T> {
    this.#kv.assertUsable();
    if (this.#closed) throw new StoreClosedError("The snapshot is closed");
    this.#calls += 1;
    try {
      return await work(this.#native);
    } finally {
      this.#calls -= 1;
      if (this.#closed && this.#calls === 0) this.#native.dispose();
    }
  }
}

/** A scan of a range in which no key can be; the engine refuses those. */
const emptyCursor: KvCursor = { next: async () => [], seek: async () => {}, close: () => {} };

class SlateKv implements KeyValueStore {
  readonly url: string;
  readonly #db: Db;
  readonly #tuning: SlateTuning;
  readonly #clock: Clock;
  readonly #heartbeat: Heartbeat;
  readonly #flusher: MemtableFlusher;
  readonly #pauseLimitMs: number;
  /** Calls under way that a failure must wake: the engine itself would leave some of them waiting. */
  readonly #underWay = new Set<(error: unknown) => void>();
  #failure: Failure | undefined;
  #closing: Promise<void> | undefined;
  /** Settles with the write under way, and never rejects. */
  #writing: Promise<unknown> | undefined;
  #breathedMs = 0;
  #stats = { writes: 0, rowsWritten: 0, bytesWritten: 0, gets: 0, scans: 0, rowsScanned: 0 };

  constructor(url: string, db: Db, tuning: SlateTuning, clock: Clock) {
    this.url = url;
    this.#db = db;
    this.#tuning = tuning;
    this.#clock = clock;
    this.#pauseLimitMs = tuning.garbageMinAgeMs / 4;
    this.#heartbeat = new Heartbeat({
      clock,
      limitMs: this.#pauseLimitMs,
      intervalMs: Math.min(heartbeatIntervalMs, this.#pauseLimitMs / 4),
      onBeat: () => this.#look(),
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
    return await this.getManyOf(this.#db, keys);
  }

  async scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.assertUsable();
    return await this.scanOf(this.#db, range, purpose);
  }

  async snapshot(): Promise<KvSnapshot> {
    this.assertUsable();
    return new SlateSnapshot(this, await this.#acquire(this.#settledSnapshot()));
  }

  status(): KvStatus {
    if (this.#closing !== undefined) return { state: "closed" };
    return this.#failure ?? { state: "open" };
  }

  stats(): KvStats {
    return { ...this.#stats, memtableFlushes: this.#flusher.flushes };
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

  /** Puts the read deadline around a native call and maps its errors. */
  read<T>(work: Promise<T>): Promise<T> {
    return this.#call(work, this.#tuning.readTimeoutMs, undefined);
  }

  /**
   * What the engine answers from memory settles without the event loop turning: a long scan would stop timers, requests
   * and our own deadlines for its whole length.
   */
  breathe(): Promise<void> | undefined {
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#breathedMs < breathIntervalMs) return undefined;
    this.#breathedMs = nowMs;
    return new Promise((resolve) => setImmediate(resolve));
  }

  countScanned(rows: number): void {
    this.#stats.rowsScanned += rows;
  }

  assertUsable(outcome?: WriteOutcome): void {
    if (this.#closing !== undefined)
      throw new StoreClosedError("The store is closed", outcome === undefined ? {} : { outcome });
    if (this.#failure !== undefined) throw errorOf(this.#failure, outcome);
  }

  async #applyAndFlush(batch: WriteBatch): Promise<void> {
    try {
      await this.#db.write_with_options(batch, { await_durable: false });
    } finally {
      batch.dispose();
    }
    await this.#db.flush_with_options({ flush_type: "Wal" });
  }

  /** A snapshot includes the write under way, so it is handed out once that is durable: until then it would change. */
  async #settledSnapshot(): Promise<DbSnapshot> {
    const native = await this.#db.snapshot();
    await this.#writing;
    return native;
  }

  #batchOf(operations: readonly KvOperation[]): { batch: WriteBatch; bytes: number } {
    const batch = new WriteBatch();
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

  async getManyOf(source: Readable, keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#stats.gets += keys.length;
    for (const key of keys) assertKeyFits(key);
    const values: (Uint8Array | undefined)[] = [];
    for (let from = 0; from < keys.length; from += getConcurrencyMax) {
      const some = keys.slice(from, from + getConcurrencyMax);
      await this.breathe();
      values.push(...(await this.read(Promise.all(some.map((key) => source.get_with_options(key, readOptions))))));
    }
    return values;
  }

  async scanOf(source: Readable, range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.#stats.scans += 1;
    if (range.end !== undefined && Buffer.compare(range.start, range.end) >= 0) return emptyCursor;
    const bounds = { start: range.start, start_inclusive: true, end: range.end, end_inclusive: false };
    return new SlateCursor(this, await this.#acquire(source.scan_with_options(bounds, scanOptions[purpose])));
  }

  /** As `read`, for a native object: where nobody waits for it any more, it is freed as soon as it is there. */
  async #acquire<T extends DbIterator | DbSnapshot>(work: Promise<T>): Promise<T> {
    try {
      return await this.read(work);
    } catch (error) {
      work.then(
        (native) => native.dispose(),
        () => {},
      );
      throw error;
    }
  }

  /** Settles as `work` does, at the latest after `timeoutMs` or when the store fails, with our errors only. */
  #call<T>(work: Promise<T>, timeoutMs: number, outcome: WriteOutcome | undefined): Promise<T> {
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
      // Its caches may hold hundreds of megabytes, of which the collector of this language knows nothing.
      this.#db.dispose();
    } catch (cause) {
      // Nobody waits for it any more, but this handle is to write nothing new.
      this.#db.shutdown().catch(() => {});
      if (this.#failure === undefined) throw closeError(cause);
    } finally {
      for (const wake of [...this.#underWay]) wake(new StoreClosedError("The store was closed meanwhile"));
    }
  }

  /** Ends the write under way, then flushes the memtable: `shutdown` would leave it for the next open to replay. */
  async #settle(): Promise<void> {
    await this.#writing;
    await this.#flusher.flushNow();
  }
}

/** The default settings with `wanted` put over them, by dotted path; throws where the engine did not take one. */
export function nativeSettings(wanted: Readonly<Record<string, unknown>>): Settings {
  const settings = Settings.default();
  for (const [path, value] of Object.entries(wanted)) settings.set(path, JSON.stringify(value));
  const actual: unknown = JSON.parse(settings.to_json_string());
  for (const [path, value] of Object.entries(wanted)) {
    const found = path
      .split(".")
      .reduce<unknown>((at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined), actual);
    if (!sameSetting(value, found)) throw new InternalError(`The engine did not take the setting ${path}`);
  }
  return settings;
}

async function resolveObjectStore(
  options: SlateKvOptions,
  tuning: SlateTuning,
): Promise<{ store: ObjectStore; path: string }> {
  const { location } = options;
  switch (location.kind) {
    case "memory":
      return { store: ObjectStore.resolve("memory:///"), path: databaseFolder };
    case "folder": {
      await prepareFolder(location.directory);
      const folder = location.directory.split("/").map(encodeURIComponent).join("/");
      return { store: ObjectStore.resolve(`file://${folder}`), path: databaseFolder };
    }
    case "s3": {
      const { environment } = await prepareBucket(location, options.s3, tuning.openTimeoutMs, tuning.requestTimeoutMs);
      const variables = {
        ...environment,
        AWS_TIMEOUT: `${tuning.requestTimeoutMs}ms`,
        AWS_POOL_MAX_IDLE_PER_HOST: tuning.reuseConnections ? undefined : "0",
      };
      // Not `resolve`, which takes any variable of the environment (TOKEN, REGION) for a setting of S3. And no env file.
      const store = withNativeEnvironment(variables, () => ObjectStore.from_env("/dev/null"));
      return { store, path: location.prefix === "" ? databaseFolder : `${location.prefix}/${databaseFolder}` };
    }
  }
}

/**
 * Opens the database for writing and fences an earlier writer.
 * Throws `invalid-argument` for a folder that holds something else, `storage-unavailable` where the storage does not answer.
 */
export async function openSlateKv(options: SlateKvOptions): Promise<KeyValueStore> {
  const tuning: SlateTuning = { ...tuningFor(options.location), ...options.tuning };
  const url = options.location.url;
  let startedMs = options.clock.monotonic();
  const open = async (): Promise<Db> => {
    const { store, path } = await resolveObjectStore(options, tuning);
    startedMs = options.clock.monotonic();
    return await buildDatabase(path, store, tuning, options);
  };
  let db: Db;
  try {
    // Where the bucket itself may have been gone for a moment, what is gone for good is still gone the second time.
    db = await open().catch((error) => (maySayNoSuchBucket(error) ? open() : Promise.reject(error)));
  } catch (cause) {
    throw openError(cause, url);
  }
  const kv = new SlateKv(url, db, tuning, options.clock);
  if (tuning.flushAfterOpen) {
    try {
      await kv.flushRecovered(Math.max(1, tuning.openTimeoutMs - (options.clock.monotonic() - startedMs)));
    } catch (cause) {
      // Not waited for: where a flush hangs, closing hangs as well.
      kv.close().catch(() => {});
      throw openError(cause, url);
    }
  }
  return kv;
}

async function buildDatabase(
  path: string,
  store: ObjectStore,
  tuning: SlateTuning,
  { location, s3, clock }: SlateKvOptions,
): Promise<Db> {
  const builder = new DbBuilder(path, store);
  builder.with_settings(nativeSettings(engineSettings(tuning)));
  builder.with_sst_block_size("Block16Kib");
  return await openWithin({
    key: `${location.url} ${s3.endpoint ?? ""}`,
    // An opener that stalls for longer than this might fence nothing any more: its handle is thrown away.
    timeoutMs: Math.min(tuning.openTimeoutMs, tuning.garbageMinAgeMs / 4),
    clock,
    open: () => builder.build(),
    discard: (tooLate) => tooLate.shutdown(),
  });
}
