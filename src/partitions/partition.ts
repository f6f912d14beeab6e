/**
 * One partition as this process has it: written by the store that it has open for that, or read by a replica, which is opened
 * when it is first asked for. It changes hands without anybody who follows it missing an event or seeing one twice.
 */

import { EventStoreError, type EventStoreErrorCode, StoreClosedError, WriterActiveError } from "../errors.ts";
import type { EventReader, SubscribeOptions } from "../log/event-store.ts";
import { pause } from "../runtime/deadline.ts";
import type { EventStore, EventStoreReader } from "../store/event-store.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { PartitionHealth, PartitionRole } from "./partitioned-event-store.ts";

/** How often it is looked whether a partition that nobody has written to yet is there now, at first and at most. */
const lookMs = 1_000;
const lookMsMax = 30_000;
/** How often it is looked whether the writer still writes: one that has failed tells nobody. */
const watchMs = 1_000;
/** How long to wait before a follower goes on after its source has failed, at first and at most. */
const retryMs = 100;
const retryMsMax = 5_000;

const passing: readonly EventStoreErrorCode[] = ["store-closed", "writer-fenced", "storage-unavailable"];

/** How to open a partition; both for a store of its own. */
export interface PartitionOpener {
  /** Waits or takes over as the options have it; `onFenced` is told when another writer has taken the partition. */
  readonly write: (signal: AbortSignal, onFenced: () => void) => Promise<EventStore>;
  readonly read: () => Promise<EventStoreReader>;
  /** Whether a partition that was lost to another writer is waited for again. */
  readonly standsBy: boolean;
  readonly onError: (error: unknown) => void;
}

/** What reads and subscriptions need: the writer's own store, or a replica. */
type Source = EventStore | EventStoreReader;

/** See the file's head. Its calls throw what the store or replica behind them throws, and `store-closed` after `close`. */
export class Partition {
  readonly number: number;
  readonly #opener: PartitionOpener;
  #writer: EventStore | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #claiming: Claim | undefined;
  #reader: Promise<EventStoreReader> | undefined;
  #openReader: EventStoreReader | undefined;
  #error: EventStoreError | undefined;
  #closing: Promise<void> | undefined;
  readonly #closed = new AbortController();

  constructor(number: number, opener: PartitionOpener) {
    this.number = number;
    this.#opener = opener;
  }

  get role(): PartitionRole {
    if (this.#writer !== undefined && writes(this.#writer)) return "writer";
    return this.#claiming === undefined ? "reader" : "standby";
  }

  health(): PartitionHealth {
    const store = this.#writer?.health() ?? this.#openReader?.health();
    return {
      partition: this.number,
      role: this.role,
      ...(store === undefined ? {} : { store }),
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
  }

  /** Throws `writer-active` where this process does not write here, `store-closed` after `close`. */
  writer(): EventStore {
    this.#assertOpen();
    if (this.#writer !== undefined) return this.#writer;
    const message = `This process does not write partition ${this.number}`;
    throw new WriterActiveError(this.#claiming === undefined ? message : `${message} yet`, undefined);
  }

  /**
   * Becomes the writer, or waits to be it with whoever waits already. Throws what opening a store throws, `store-closed` where the
   * partition is released meanwhile, or the signal's reason; when the last who waits has given up, the claim ends.
   */
  async claim(signal?: AbortSignal): Promise<void> {
    this.#assertOpen();
    signal?.throwIfAborted();
    const { promise: givenUp, reject } = Promise.withResolvers<never>();
    givenUp.catch(() => {});
    const onAbort = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const claiming = this.#claim();
    claiming.waiting += 1;
    try {
      await Promise.race([claiming.done, givenUp]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      claiming.waiting -= 1;
      if (claiming.waiting === 0) claiming.abort.abort(signal?.reason);
    }
  }

  /** Stops writing, or waiting to. */
  async release(): Promise<void> {
    this.#assertOpen();
    const claiming = this.#claiming;
    claiming?.abort.abort(new StoreClosedError(`Partition ${this.number} was released`));
    await claiming?.done.catch(() => {});
    await this.#drop();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Where to read now; `undefined` where nobody has written to the partition yet. */
  async source(): Promise<Source | undefined> {
    this.#assertOpen();
    if (this.#writer !== undefined && writes(this.#writer)) return this.#writer;
    this.#reader ??= this.#openAReader();
    try {
      return await this.#reader;
    } catch (error) {
      if (error instanceof EventStoreError && error.code === "store-not-found") return undefined;
      throw error;
    }
  }

  /** The same for `asOf`. */
  async sourceAt(when: Date): Promise<EventReader | undefined> {
    return (await this.source())?.asOf(when);
  }

  /**
   * The events behind position `after` and those to come, until the signal is aborted or the partition is closed; across
   * changes of the writer. What fails and may come right again is tried again; what will not is thrown.
   */
  async *follow(after: number, filter: EventFilter | undefined, signal: AbortSignal): AsyncGenerator<RecordedEvent> {
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    const place = new Place(after);
    let waits = 0;
    while (!ended.aborted) {
      try {
        const source = await this.source();
        if (source === undefined) {
          await pause(Math.min(lookMsMax, lookMs * 2 ** waits), ended);
          waits += 1;
          continue;
        }
        const options: SubscribeOptions = { from: { after: place.after }, signal: ended, ...(filter && { filter }) };
        for await (const event of source.subscribe(options)) {
          waits = 0;
          if (!place.isNew(event)) continue;
          place.take(event);
          yield event;
        }
      } catch (error) {
        if (ended.aborted) return;
        if (!mayPass(error)) throw error;
        await pause(Math.min(retryMsMax, retryMs * 2 ** waits), ended);
        waits += 1;
      }
    }
  }

  /** The claim under way, or a new one. */
  #claim(): Claim {
    if (this.#claiming !== undefined) return this.#claiming;
    const abort = new AbortController();
    const done = this.#become(abort.signal).finally(() => {
      if (this.#claiming === claiming) this.#claiming = undefined;
    });
    done.catch(() => {});
    const claiming: Claim = { done, abort, waiting: 0 };
    this.#claiming = claiming;
    return claiming;
  }

  async #become(signal: AbortSignal): Promise<void> {
    if (this.#writer !== undefined && writes(this.#writer)) return;
    // It has failed, or was fenced and has not been told yet.
    await this.#drop();
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.#openWriter(signal);
        this.#error = undefined;
        // Who follows goes on with the writer, which has everything that the replica has.
        this.#retireReader();
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        this.#error = error instanceof EventStoreError ? error : undefined;
        if (!this.#opener.standsBy || !mayPass(error)) throw error;
        await pause(Math.min(retryMsMax, retryMs * 2 ** attempt), signal);
        signal.throwIfAborted();
      }
    }
  }

  async #openWriter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let opened: EventStore | undefined;
    const writer = await this.#opener.write(signal, () => this.#lose(opened));
    opened = writer;
    if (signal.aborted) {
      await writer.close();
      signal.throwIfAborted();
    }
    this.#writer = writer;
    this.#watch = setInterval(() => {
      if (!writes(writer)) this.#lose(writer);
    }, watchMs);
    this.#watch.unref();
  }

  /** Another writer has the partition now, or this one has stopped for another reason. */
  #lose(writer: EventStore | undefined): void {
    if (writer === undefined || this.#writer !== writer || this.#claiming !== undefined) return;
    clearInterval(this.#watch);
    if (this.#opener.standsBy && this.#closing === undefined) this.claim().catch((error) => this.#report(error));
  }

  #report(error: unknown): void {
    const isOver = error instanceof EventStoreError && error.code === "store-closed";
    if (!isOver) this.#opener.onError(error);
  }

  async #drop(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    clearInterval(this.#watch);
    await writer?.close().catch((error) => this.#report(error));
  }

  #openAReader(): Promise<EventStoreReader> {
    const opening = this.#opener.read().then(
      async (reader) => {
        if (this.#reader === opening) this.#openReader = reader;
        else if (this.#closing !== undefined) await reader.close();
        return reader;
      },
      (error: unknown) => {
        // Tried anew by whoever asks next.
        if (this.#reader === opening) this.#reader = undefined;
        throw error;
      },
    );
    return opening;
  }

  #retireReader(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    this.#openReader = undefined;
    void reader?.then((open) => open.close()).catch(() => {});
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreClosedError();
  }

  async #close(): Promise<void> {
    this.#closed.abort();
    const claiming = this.#claiming;
    claiming?.abort.abort(new StoreClosedError());
    await claiming?.done.catch(() => {});
    const writer = this.#writer;
    this.#writer = undefined;
    clearInterval(this.#watch);
    const reader = this.#reader;
    try {
      await writer?.close();
    } finally {
      await reader?.then((open) => open.close()).catch(() => {});
    }
  }
}

/** An attempt to become the writer, and how many wait for it. */
interface Claim {
  readonly done: Promise<void>;
  readonly abort: AbortController;
  waiting: number;
}

/** How far a follower has come, to the part: the parts of a split event share its position. */
class Place {
  /** Everything up to here was handed out. */
  after: number;
  #at = 0;
  #part = -1;

  constructor(after: number) {
    this.after = after;
  }

  /** Whether it was not handed out before. */
  isNew({ position, part }: RecordedEvent): boolean {
    return position > this.after && (position !== this.#at || (part?.index ?? 0) > this.#part);
  }

  take({ position, part }: RecordedEvent): void {
    this.#at = position;
    this.#part = part?.index ?? 0;
    const isWhole = part === undefined || part.index === part.count - 1;
    this.after = isWhole ? position : position - 1;
  }
}

/** Whether a store still takes writes, as far as it knows. */
function writes(store: EventStore): boolean {
  const { state } = store.health();
  return state === "open" || state === "stalled";
}

/** Whether what failed so may go on from where it was: a source was closed under it, or does not answer. */
function mayPass(error: unknown): boolean {
  return error instanceof EventStoreError && passing.includes(error.code);
}
