/**
 * One partition as this process has it: written by the store that it has open for that, or read by a replica, which is opened
 * when it is first asked for. It changes hands without anybody who follows it missing an event or seeing one twice.
 */

import { EventStoreError, type EventStoreErrorCode, StoreClosedError, WriterActiveError } from "../errors.ts";
import type { EventReader, SubscribeOptions } from "../log/event-store.ts";
import type { EventStoreReader } from "../log/event-store-reader.ts";
import { pause } from "../runtime/deadline.ts";
import type { EventStore } from "../store/event-store.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { EventFilter } from "../vocabulary/filter.ts";
import type { PartitionHealth, PartitionRole } from "./partitioned-event-store.ts";

/** How often it is looked whether a partition that nobody has written to yet is there now. */
const lookMs = 1_000;
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
  #claiming: { readonly done: Promise<void>; readonly abort: AbortController } | undefined;
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
    if (this.#writer !== undefined) return "writer";
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

  /** Becomes the writer, or goes on waiting to be it. Throws what opening a store throws, or the signal's reason. */
  async claim(signal?: AbortSignal): Promise<void> {
    this.#assertOpen();
    signal?.throwIfAborted();
    if (this.#writer !== undefined) {
      if (writes(this.#writer)) return;
      // It has failed, or was fenced and has not been told yet.
      await this.#drop(this.#writer);
    }
    if (this.#claiming === undefined) {
      const abort = new AbortController();
      const done = this.#claim(abort.signal).finally(() => {
        this.#claiming = undefined;
      });
      done.catch(() => {});
      this.#claiming = { done, abort };
    }
    const { done, abort } = this.#claiming;
    const onAbort = (): void => abort.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    await done.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  /** Stops writing, or waiting to. */
  async release(): Promise<void> {
    this.#assertOpen();
    this.#claiming?.abort.abort(new StoreClosedError(`Partition ${this.number} was released`));
    await this.#claiming?.done.catch(() => {});
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.close();
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
    let failures = 0;
    let last = after;
    while (!ended.aborted) {
      try {
        const source = await this.source();
        if (source === undefined) {
          await pause(lookMs, ended);
          continue;
        }
        const options: SubscribeOptions = { from: { after: last }, signal: ended, ...(filter && { filter }) };
        for await (const event of source.subscribe(options)) {
          yield event;
          failures = 0;
          last = event.position;
        }
      } catch (error) {
        if (ended.aborted) return;
        if (!mayPass(error)) throw error;
        await pause(Math.min(retryMsMax, retryMs * 2 ** failures), ended);
        failures += 1;
      }
    }
  }

  async #claim(signal: AbortSignal): Promise<void> {
    try {
      let opened: EventStore | undefined;
      const writer = await this.#opener.write(signal, () => void this.#lose(opened));
      opened = writer;
      if (signal.aborted || this.#closing !== undefined) {
        await writer.close();
        signal.throwIfAborted();
        this.#assertOpen();
      }
      this.#writer = writer;
      this.#error = undefined;
    } catch (error) {
      if (!signal.aborted) this.#error = error instanceof EventStoreError ? error : undefined;
      throw error;
    }
    // Who follows goes on with the writer, which has everything that the replica has.
    this.#retireReader();
  }

  /** Another writer has the partition now. */
  async #lose(writer: EventStore | undefined): Promise<void> {
    if (writer !== undefined) await this.#drop(writer);
    if (this.#opener.standsBy && this.#closing === undefined) this.claim().catch(this.#opener.onError);
  }

  async #drop(writer: EventStore): Promise<void> {
    if (this.#writer === writer) this.#writer = undefined;
    await writer.close().catch(() => {});
  }

  async #openAReader(): Promise<EventStoreReader> {
    try {
      const reader = await this.#opener.read();
      if (this.#closing !== undefined) await reader.close();
      this.#openReader = reader;
      return reader;
    } catch (error) {
      // Tried anew by whoever asks next.
      this.#reader = undefined;
      throw error;
    }
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
    this.#claiming?.abort.abort(new StoreClosedError());
    this.#closed.abort();
    await this.#claiming?.done.catch(() => {});
    const writer = this.#writer;
    this.#writer = undefined;
    const reader = this.#reader;
    try {
      await writer?.close();
    } finally {
      await reader?.then((open) => open.close()).catch(() => {});
    }
  }
}

/** Whether a store still takes writes, as far as it knows. */
function writes(store: EventStore): boolean {
  const { state } = store.health();
  return state === "open" || state === "stalled";
}

/** Whether a subscription that failed so may go on from where it was: its source was closed under it, or does not answer. */
function mayPass(error: unknown): boolean {
  return error instanceof EventStoreError && passing.includes(error.code);
}
