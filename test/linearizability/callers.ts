/**
 * Callers who append to and read a few streams at the same time, some through a writer that is being replaced, some through
 * the one that takes over, and the history of what they were told.
 */

import {
  ConflictError,
  type EventReader,
  type EventStore,
  EventStoreError,
  type ExpectedVersion,
} from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { findUnsteadyReader } from "../support/linearizability.ts";
import { StreamHistory } from "../support/stream-history.ts";

export const streamNames: readonly string[] = ["a-1", "a-2", "b-1"];

export interface CallersOptions {
  readonly random: () => number;
  /** Opens one more writer, which fences those before it. */
  readonly open: () => Promise<EventStore>;
  /** Lets the others go on: in memory a turn of the event loop, elsewhere a moment. */
  readonly breathe: () => Promise<void>;
  /**
   * Whether a writer learns at once that it was replaced. Where not, its reads and conflicts after that may be old: the reads
   * are then held to the rule of replicas, the conflicts only to having stored nothing.
   */
  readonly replacedLearnAtOnce: boolean;
}

export class Callers {
  readonly history: StreamHistory = new StreamHistory();
  /** By stream, caller and writer: reads that may have been old, in order. */
  readonly laggingReads: Map<string, Map<string, (readonly string[])[]>> = new Map();
  /** What `end` has found in each stream. */
  readonly found: Map<string, readonly string[]> = new Map();
  readonly told: Map<string, number> = new Map();
  readonly #options: CallersOptions;
  readonly #writers: EventStore[] = [];
  /** Of each writer, the number of the open that made it; the newest open that was begun has the number `#opens`. */
  readonly #openedAs: number[] = [];
  #opens = 0;
  #opening: Promise<void> | undefined;
  #ids = 0;

  constructor(options: CallersOptions) {
    this.#options = options;
  }

  get writers(): readonly EventStore[] {
    return this.#writers;
  }

  /** Opens one more writer, again and again where that fails. */
  takeOver(): Promise<void> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<void> {
    for (;;) {
      this.#opens += 1;
      try {
        const writer = await this.#options.open();
        this.#openedAs.push(this.#opens);
        this.#writers.push(writer);
        return;
      } catch (error) {
        this.#note(error);
        await this.#options.breathe();
      }
    }
  }

  /** The newest writer, or another one that still takes itself for open. */
  async #pick(): Promise<number> {
    const { random } = this.#options;
    for (;;) {
      const open = [...this.#writers.keys()].filter((index) => {
        const state = this.#writers[index]?.health().state;
        return state === "open" || state === "stalled";
      });
      const index = random() < 0.6 ? open.at(-1) : open[Math.floor(random() * open.length)];
      if (index !== undefined) return index;
      await this.takeOver();
    }
  }

  /** Makes so many calls, one after another. */
  async call(caller: string, count: number): Promise<void> {
    for (let done = 0; done < count; done += 1) {
      const index = await this.#pick();
      const writer = this.#writers[index];
      if (writer === undefined) continue;
      const streamName = streamNames[Math.floor(this.#options.random() * streamNames.length)] ?? "a-1";
      if (this.#options.random() < 0.4) await this.#read(caller, index, writer, streamName);
      else await this.#append(caller, index, writer, streamName);
      await this.#options.breathe();
    }
  }

  /** Whether a newer writer may have been there before the call was over that is over now. */
  #mayLag(index: number): boolean {
    return !this.#options.replacedLearnAtOnce && this.#openedAs[index] !== this.#opens;
  }

  async #read(caller: string, index: number, writer: EventStore, streamName: string): Promise<void> {
    const recording = this.history.invoke(`${caller} on writer ${index}`, streamName, { kind: "read" });
    try {
      const ids = (await collect(writer.readStream(streamName))).map((event) => event.id);
      if (!this.#mayLag(index)) {
        recording.answered({ kind: "events", ids });
        return;
      }
      recording.notApplied();
      this.#noteLagging(`${caller} on writer ${index}`, streamName, ids);
    } catch (error) {
      this.#note(error);
    }
  }

  /**
   * Reads all streams so many times through a reader that may lag behind and must be steady: a read replica, or a writer that
   * does not know yet that it was replaced.
   */
  async readLagging(name: string, reader: Pick<EventReader, "readStream">, times: number): Promise<void> {
    for (let done = 0; done < times; done += 1) {
      for (const streamName of streamNames) {
        try {
          const ids = (await collect(reader.readStream(streamName))).map((event) => event.id);
          this.#noteLagging(name, streamName, ids);
        } catch (error) {
          this.#note(error);
        }
      }
      await this.#options.breathe();
    }
  }

  #noteLagging(reader: string, streamName: string, ids: readonly string[]): void {
    const readers = this.laggingReads.get(streamName) ?? new Map<string, (readonly string[])[]>();
    this.laggingReads.set(streamName, readers);
    readers.set(reader, [...(readers.get(reader) ?? []), ids]);
  }

  async #expectation(writer: EventStore, streamName: string): Promise<ExpectedVersion> {
    const { random } = this.#options;
    const dice = random();
    if (dice < 0.3) return "any";
    if (dice < 0.4) return "no-stream";
    if (dice < 0.5) return "stream-exists";
    try {
      return (await writer.streamInfo(streamName))?.version ?? 0;
    } catch (error) {
      this.#note(error);
      return 1;
    }
  }

  async #append(caller: string, index: number, first: EventStore, streamName: string): Promise<void> {
    const { random } = this.#options;
    const expectedVersion = await this.#expectation(first, streamName);
    const ids = Array.from({ length: 1 + Math.floor(random() * 2) }, () => {
      this.#ids += 1;
      return `e${this.#ids}`;
    });
    const repeats = random() < 0.5;
    let writer: EventStore | undefined = first;
    for (let at = index; writer !== undefined; writer = this.#writers[at]) {
      const known = await this.#attempt(`${caller} on writer ${at}`, at, writer, streamName, ids, expectedVersion);
      if (known || !repeats) return;
      await this.#options.breathe();
      at = await this.#pick();
    }
  }

  /** Answers whether the caller knows what became of it. */
  async #attempt(
    caller: string,
    index: number,
    writer: EventStore,
    streamName: string,
    ids: readonly string[],
    expectedVersion: ExpectedVersion,
  ): Promise<boolean> {
    const recording = this.history.invoke(caller, streamName, { kind: "append", ids, expectedVersion });
    try {
      const events = ids.map((id) => ({ id, type: "T", data: null }));
      const { streamVersion } = await writer.append(streamName, events, { expectedVersion });
      recording.answered({ kind: "appended", streamVersion });
      return true;
    } catch (error) {
      const { outcome } = this.#note(error);
      if (outcome === "not-applied" && error instanceof ConflictError && !this.#mayLag(index)) {
        recording.answered({ kind: "conflict", actualVersion: error.actualVersion ?? -1 });
        return true;
      }
      if (outcome === "not-applied") recording.notApplied();
      return error instanceof ConflictError;
    }
  }

  /** Throws where what was told does not fit together. */
  check(): void {
    this.history.check();
    for (const [streamName, readers] of this.laggingReads) {
      const problem = findUnsteadyReader(this.found.get(streamName) ?? [], readers);
      if (problem !== undefined) throw new Error(`${streamName}: ${problem}`);
    }
  }

  #note(error: unknown): EventStoreError {
    if (!(error instanceof EventStoreError)) throw error;
    const told = `${error.code} ${error.outcome ?? "-"}`;
    this.told.set(told, (this.told.get(told) ?? 0) + 1);
    return error;
  }

  /** Reads everything through a last writer, so that the history ends with what is there. */
  async end(): Promise<void> {
    await this.takeOver();
    for (const streamName of streamNames) {
      for (;;) {
        const index = await this.#pick();
        const writer = this.#writers[index];
        if (writer === undefined || this.#mayLag(index)) continue;
        const recording = this.history.invoke("the end", streamName, { kind: "read" });
        try {
          const ids = (await collect(writer.readStream(streamName))).map((event) => event.id);
          recording.answered({ kind: "events", ids });
          this.found.set(streamName, ids);
          break;
        } catch (error) {
          this.#note(error);
          recording.notApplied();
        }
      }
    }
    for (const writer of this.#writers) await writer.close().catch(() => {});
  }
}
