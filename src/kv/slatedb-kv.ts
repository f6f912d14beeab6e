/**
 * The byte store on SlateDB. The sole importer of its binding: it maps every native error to ours, puts a deadline on each
 * call, flushes memtables itself, scans ascending only, and stops when this process may have been fenced unseen.
 * The reasons are in ARCHITECTURE.md, "Driving SlateDB"; each rule has a test that fails without it.
 */

import {
  type CloseReason,
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
  StorageCorruptError,
  StorageUnavailableError,
  StoreClosedError,
  type WriteOutcome,
  WriterFencedError,
} from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import { Heartbeat } from "./heartbeat.ts";
import type {
  KeyValueStore,
  KvCursor,
  KvOperation,
  KvRange,
  KvReader,
  KvRow,
  KvSnapshot,
  KvStats,
  KvStatus,
  ScanPurpose,
} from "./kv.ts";
import { MemtableFlusher } from "./memtable-flusher.ts";
import { withNativeEnvironment } from "./native-environment.ts";
import { databaseFolder, prepareBucket, prepareFolder, type S3Options, type StoreLocation } from "./object-store.ts";
import { engineSettings, type SlateTuning, tuningFor } from "./slatedb-settings.ts";

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

/** The most rows one crossing of `getMany` has under way. */
const getConcurrencyMax = 256;

/** A row may not be larger than the engine's block of memory for it; keys are bounded by its format. */
const keyBytesMax = 65_535;

const heartbeatIntervalMs = 1_000;

/** What the binding's errors have in common, without relying on classes it does not export. */
function tagOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "tag" in error && typeof error.tag === "string") return error.tag;
  return error instanceof Error ? error.constructor.name : "unknown";
}

interface Failure {
  readonly state: "fenced" | "failed";
  readonly error: EventStoreError;
}

function failureFrom(reason: CloseReason, cause: unknown): Failure {
  if (reason === "Fenced") return { state: "fenced", error: new WriterFencedError({ cause }) };
  return {
    state: "failed",
    error: new StorageUnavailableError("The storage engine stopped, so the store must be opened again", { cause }),
  };
}

/** The same failure, told of one call. */
function errorOf(failure: Failure, outcome: WriteOutcome | undefined): EventStoreError {
  const options = { cause: failure.error.cause ?? failure.error, ...(outcome === undefined ? {} : { outcome }) };
  if (failure.state === "fenced") return new WriterFencedError(options);
  return new StorageUnavailableError(failure.error.message, options);
}

type Readable = Pick<Db | DbSnapshot, "get_with_options" | "scan_with_options">;

class SlateCursor implements KvCursor {
  readonly #kv: SlateKv;
  #iterator: DbIterator | undefined;
  #busy = false;

  constructor(kv: SlateKv, iterator: DbIterator) {
    this.#kv = kv;
    this.#iterator = iterator;
  }

  async next(rowsMax: number): Promise<readonly KvRow[]> {
    const iterator = this.#iterator;
    if (iterator === undefined) return [];
    return await this.#use(async () => {
      const rows: KvRow[] = [];
      while (rows.length < rowsMax) {
        const row = await iterator.next();
        if (row === undefined) {
          this.#iterator = undefined;
          iterator.dispose();
          break;
        }
        rows.push({ key: row.key, value: row.value });
      }
      this.#kv.countScanned(rows.length);
      return rows;
    });
  }

  async seek(key: Uint8Array): Promise<void> {
    const iterator = this.#iterator;
    if (iterator !== undefined) await this.#use(() => iterator.seek(key));
  }

  close(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    // A native call that is still under way holds the iterator; it is freed when that returns.
    if (!this.#busy) iterator?.dispose();
  }

  async #use<T>(work: () => Promise<T>): Promise<T> {
    const iterator = this.#iterator;
    this.#busy = true;
    const running = work().finally(() => {
      this.#busy = false;
      if (this.#iterator === undefined) iterator?.dispose();
    });
    return await this.#kv.read(running);
  }
}

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
    this.#assertUsable("not-applied");
    if (operations.length === 0) return;
    if (this.#flusher.unflushedBytes > this.#tuning.memtableBytesMax) {
      throw new OverloadedError(
        `The storage is behind: more than ${this.#tuning.memtableBytesMax} bytes wait to be stored`,
      );
    }
    const { batch, bytes } = this.#batchOf(operations);
    const startedMs = this.#clock.monotonic();
    try {
      await this.#call(this.#applyAndFlush(batch), this.#pauseLimitMs, "unknown");
    } finally {
      batch.dispose();
    }
    this.#assertNotZombie(startedMs);
    this.#stats.writes += 1;
    this.#stats.rowsWritten += operations.length;
    this.#stats.bytesWritten += bytes;
    this.#flusher.recordGroup(bytes);
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#assertUsable();
    this.#stats.gets += 1;
    return await this.read(this.#db.get_with_options(key, readOptions));
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#assertUsable();
    return await this.#getMany(this.#db, keys);
  }

  async scan(range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.#assertUsable();
    return await this.#scan(this.#db, range, purpose);
  }

  async snapshot(): Promise<KvSnapshot> {
    this.#assertUsable();
    const native = await this.read(this.#db.snapshot());
    let closed = false;
    const reader: KvReader = {
      get: async (key) => {
        this.#assertUsable();
        return await this.read(native.get_with_options(key, readOptions));
      },
      getMany: async (keys) => {
        this.#assertUsable();
        return await this.#getMany(native, keys);
      },
      scan: async (range, purpose) => {
        this.#assertUsable();
        return await this.#scan(native, range, purpose);
      },
    };
    return {
      ...reader,
      close: () => {
        if (!closed) native.dispose();
        closed = true;
      },
    };
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
  async flushRecovered(): Promise<void> {
    await this.#call(this.#flusher.flushNow(), this.#tuning.openTimeoutMs, undefined);
    if (this.#failure !== undefined) throw errorOf(this.#failure, "not-applied");
  }

  /** Puts the read deadline around a native call and maps its errors. */
  read<T>(work: Promise<T>): Promise<T> {
    return this.#call(work, this.#tuning.readTimeoutMs, undefined);
  }

  countScanned(rows: number): void {
    this.#stats.rowsScanned += rows;
  }

  async #applyAndFlush(batch: WriteBatch): Promise<void> {
    await this.#db.write_with_options(batch, { await_durable: false });
    await this.#db.flush_with_options({ flush_type: "Wal" });
  }

  #batchOf(operations: readonly KvOperation[]): { batch: WriteBatch; bytes: number } {
    const batch = new WriteBatch();
    let bytes = 0;
    try {
      for (const operation of operations) {
        if (operation.key.length === 0 || operation.key.length > keyBytesMax) {
          throw new InternalError(`A key has ${operation.key.length} bytes`, { outcome: "not-applied" });
        }
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

  async #getMany(source: Readable, keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#stats.gets += keys.length;
    const values: (Uint8Array | undefined)[] = [];
    for (let from = 0; from < keys.length; from += getConcurrencyMax) {
      const some = keys.slice(from, from + getConcurrencyMax);
      values.push(...(await this.read(Promise.all(some.map((key) => source.get_with_options(key, readOptions))))));
    }
    return values;
  }

  async #scan(source: Readable, range: KvRange, purpose: ScanPurpose): Promise<KvCursor> {
    this.#stats.scans += 1;
    const bounds = { start: range.start, start_inclusive: true, end: range.end, end_inclusive: false };
    return new SlateCursor(this, await this.read(source.scan_with_options(bounds, scanOptions[purpose])));
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
    if (outcome === "unknown") this.#noteFailure(error);
    else this.#look();
    if (this.#failure !== undefined) return errorOf(this.#failure, outcome);
    if (this.#closing !== undefined)
      return new StoreClosedError("The store was closed meanwhile", outcome === undefined ? {} : { outcome });
    if (error instanceof EventStoreError) return error;
    switch (tagOf(error)) {
      case "Data":
        return new StorageCorruptError("The storage holds damaged data", { cause: error });
      case "Unavailable":
      case "Closed":
        return new StorageUnavailableError("The storage failed", { cause: error });
      default:
        return new InternalError("The storage engine refused a call", { cause: error });
    }
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
    this.#fail(failureFrom(this.#db.status().close_reason ?? "Unknown", cause));
  }

  #fail(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#flusher.stop();
    this.#heartbeat.stop();
    for (const wake of [...this.#underWay]) wake(failure.error);
  }

  #assertUsable(outcome?: WriteOutcome): void {
    if (this.#closing !== undefined)
      throw new StoreClosedError("The store is closed", outcome === undefined ? {} : { outcome });
    if (this.#failure !== undefined) throw errorOf(this.#failure, outcome);
  }

  /** After a flush has succeeded: may this process have been fenced so long ago that the fence is gone? */
  #assertNotZombie(startedMs: number): void {
    if (!this.#tuning.heartbeat) return;
    const stoodStillMs = Math.max(this.#heartbeat.check() ?? 0, this.#clock.monotonic() - startedMs);
    if (stoodStillMs <= this.#pauseLimitMs) return;
    const seconds = Math.round(stoodStillMs / 1000);
    const message = `This writer stood still for ${seconds} s and may have been replaced, so the store must be opened again`;
    this.#fail({ state: "failed", error: new StorageUnavailableError(message) });
    this.#assertUsable("unknown");
  }

  async #close(): Promise<void> {
    this.#heartbeat.stop();
    this.#flusher.stop();
    const { closeTimeoutMs } = this.#tuning;
    try {
      if (this.#failure === undefined) {
        // `shutdown` would leave the memtable for the next open to replay.
        await withDeadline(this.#flusher.flushNow(), closeTimeoutMs, "Flushing the memtable");
      }
      await withDeadline(this.#db.shutdown(), closeTimeoutMs, "Closing the engine");
    } catch (cause) {
      if (this.#failure === undefined) {
        const what = cause instanceof DeadlineExpired ? "did not answer in time" : "failed";
        throw new StorageUnavailableError(
          `The storage ${what} while the store was closing; what was acknowledged is durable`,
          { cause },
        );
      }
    } finally {
      for (const wake of [...this.#underWay]) wake(new StoreClosedError("The store was closed meanwhile"));
    }
  }
}

/** The default settings with ours put over them, read back, because the engine ignores names it does not know. */
function nativeSettings(tuning: SlateTuning): Settings {
  const settings = Settings.default();
  const wanted = Object.entries(engineSettings(tuning));
  for (const [path, value] of wanted) settings.set(path, JSON.stringify(value));
  const actual: unknown = JSON.parse(settings.to_json_string());
  for (const [path, value] of wanted) {
    const found = path
      .split(".")
      .reduce<unknown>((at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined), actual);
    const same = typeof value === "string" && typeof found === "string" ? true : found === value;
    if (!same || found === undefined) throw new InternalError(`The engine did not take the setting ${path}`);
  }
  return settings;
}

async function resolveObjectStore(options: SlateKvOptions): Promise<{ store: ObjectStore; path: string }> {
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
      const { environment } = await prepareBucket(location, options.s3);
      // Not `resolve`, which takes any variable of the environment (TOKEN, REGION) for a setting of S3. And no env file.
      const store = withNativeEnvironment(environment, () => ObjectStore.from_env("/dev/null"));
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
  let db: Db;
  try {
    const { store, path } = await resolveObjectStore(options);
    const builder = new DbBuilder(path, store);
    builder.with_settings(nativeSettings(tuning));
    builder.with_sst_block_size("Block16Kib");
    const building = builder.build();
    // An opener that stalls for longer than this might fence nothing any more: its handle is thrown away.
    const deadlineMs = Math.min(tuning.openTimeoutMs, tuning.garbageMinAgeMs / 4);
    db = await withDeadline(building, deadlineMs, "Opening").catch((error: unknown) => {
      building.then((late) => late.shutdown()).catch(() => {});
      throw error;
    });
  } catch (cause) {
    throw openError(cause, url);
  }
  const kv = new SlateKv(url, db, tuning, options.clock);
  if (tuning.flushAfterOpen) {
    try {
      await kv.flushRecovered();
    } catch (error) {
      await kv.close().catch(() => {});
      throw error;
    }
  }
  return kv;
}

function openError(cause: unknown, url: string): EventStoreError {
  if (cause instanceof EventStoreError) return cause;
  if (cause instanceof DeadlineExpired) {
    return new StorageUnavailableError(`The storage did not answer while the store was opening: ${url}`, {
      cause,
      outcome: "not-applied",
    });
  }
  if (tagOf(cause) === "Data") return new StorageCorruptError(`The storage holds damaged data: ${url}`, { cause });
  if (tagOf(cause) === "Closed") return new WriterFencedError({ cause, outcome: "not-applied" });
  return new StorageUnavailableError(`The store cannot be opened: ${url}`, { cause, outcome: "not-applied" });
}
