/** Puts the face of a partitioned store over its partitions: routes what concerns a stream, merges what concerns them all. */

import { InvalidArgumentError, printable, StoreClosedError } from "../errors.ts";
import { checkBackwards, checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { CommitRequest } from "../log/commit.ts";
import type { EventReader, ListStreamsOptions, StreamInfo } from "../log/event-store.ts";
import type { ForgetOptions } from "../privacy/face.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkFilter, type EventFilter } from "../vocabulary/filter.ts";
import { checkName } from "../vocabulary/names.ts";
import { mergeLive, mergeOrdered } from "./merge.ts";
import type { Partition } from "./partition.ts";
import type {
  PartitionCommitRequest,
  PartitionedEvent,
  PartitionedEventStore,
  PartitionedReads,
  PartitionPositions,
  PartitionReceipt,
} from "./partitioned-event-store.ts";

type SourceOf = (partition: Partition) => Promise<EventReader | undefined>;

/** The face over these partitions, in the order of their numbers; `partitionOf` answers one of those numbers. */
export function partitionedFace(
  partitions: readonly Partition[],
  partitionOf: (streamName: string) => number,
): PartitionedEventStore {
  const face = new PartitionedFace(partitions, partitionOf);
  return face.store();
}

class PartitionedFace {
  readonly #partitions: readonly Partition[];
  readonly #partitionOf: (streamName: string) => number;
  #closing: Promise<void> | undefined;

  constructor(partitions: readonly Partition[], partitionOf: (streamName: string) => number) {
    this.#partitions = partitions;
    this.#partitionOf = partitionOf;
  }

  store(): PartitionedEventStore {
    const writerOf = (streamName: unknown) => this.#at(this.#placeOf(streamName, "streamName")).writer();
    const store = {
      ...this.#reads((partition) => partition.source()),
      partitions: this.#partitions.length,
      partitionOf: (streamName: string) => this.#placeOf(streamName, "streamName"),
      append: async (streamName: string, events: never, options: never) =>
        await writerOf(streamName).append(streamName, events, withinOne(options)),
      commit: async (request: PartitionCommitRequest) =>
        await this.#partitionOfCommit(request).writer().commit(withinOne(request)),
      execute: async (decider: never, id: string, command: never, options: never) =>
        await writerOf(streamOf(decider, id)).execute(decider, id, command, options),
      load: async (decider: never, id: string) => await writerOf(streamOf(decider, id)).load(decider, id),
      subscribe: (options: unknown) => this.#subscribe(options),
      asOf: (when: unknown) => {
        if (!(when instanceof Date) || Number.isNaN(when.getTime())) {
          const problem = "must be a valid Date: there is no position over all partitions";
          throw new InvalidArgumentError("when", `${problem}, not ${printable(when)}`);
        }
        const moment = new Date(when);
        return this.#reads((partition) => partition.sourceAt(moment));
      },
      lastPositions: async () => await Promise.all(this.#partitions.map(lastPositionOf)),
      forget: (subject: string, options?: ForgetOptions) => this.#forget(subject, options),
      written: () => this.#partitions.filter(({ role }) => role === "writer").map(({ number }) => number),
      writerOf: (partition: number) => this.#at(partition).writer(),
      claim: async (partition: number, options?: unknown) => {
        const signal = checkSignal(checkOptions(options, ["signal"]).signal);
        await this.#at(partition).claim(signal);
      },
      release: async (partition: number) => await this.#at(partition).release(),
      health: () => this.#partitions.map((partition) => partition.health()),
      close: () => this.#close(),
      [Symbol.asyncDispose]: () => this.#close(),
    };
    return store as unknown as PartitionedEventStore;
  }

  #at(partition: unknown): Partition {
    const found = typeof partition === "number" ? this.#partitions[partition] : undefined;
    if (found !== undefined) return found;
    const problem = `must be a partition from 0 to ${this.#partitions.length - 1}, not ${printable(partition)}`;
    throw new InvalidArgumentError("partition", problem, { outcome: "not-applied" });
  }

  #placeOf(streamName: unknown, argument: string): number {
    return this.#partitionOf(checkName(streamName, argument));
  }

  /** The one partition in which all streams of a commit live. */
  #partitionOfCommit(request: PartitionCommitRequest): Partition {
    const named = [...listOf(request, "appends"), ...listOf(request, "checks")].map(({ streamName }, index) => ({
      streamName,
      partition: this.#placeOf(streamName, `streamName of the ${index + 1}. stream`),
    }));
    const [first] = named;
    if (first === undefined)
      throw new InvalidArgumentError("appends", "must name a stream", { outcome: "not-applied" });
    const other = named.find(({ partition }) => partition !== first.partition);
    if (other === undefined) return this.#at(first.partition);
    const both = `${printable(first.streamName)} lives in ${first.partition}, ${printable(other.streamName)} in ${other.partition}`;
    throw new InvalidArgumentError("appends", `must lie in one partition: ${both}`, { outcome: "not-applied" });
  }

  /** One after another; what fails half-way is gone on with by repeating it. */
  async #forget(subject: string, options: ForgetOptions | undefined): Promise<readonly PartitionReceipt[]> {
    const writers = this.#partitions.map((partition) => partition.writer());
    const receipts: PartitionReceipt[] = [];
    let unknown: unknown;
    for (const [partition, writer] of writers.entries()) {
      try {
        receipts.push({ partition, receipt: await writer.forget(subject, options) });
      } catch (error) {
        if (!(error instanceof InvalidArgumentError) || error.argument !== "subject") throw error;
        unknown = error;
      }
    }
    if (receipts.length === 0) throw unknown;
    return receipts;
  }

  #reads(sourceOf: SourceOf): PartitionedReads {
    const one = async (streamName: unknown): Promise<EventReader | undefined> =>
      await sourceOf(this.#at(this.#placeOf(streamName, "streamName")));
    const reads = {
      readStream: async function* (streamName: string, options?: object): AsyncGenerator<RecordedEvent> {
        const source = await one(streamName);
        if (source !== undefined) yield* source.readStream(streamName, options);
      },
      streamInfo: async (streamName: string) => await (await one(streamName))?.streamInfo(streamName),
      readAll: (options?: unknown) => this.#readAll(options, sourceOf),
      listStreams: (options?: ListStreamsOptions) => this.#listStreams(options, sourceOf),
    };
    return reads as unknown as PartitionedReads;
  }

  #readAll(options: unknown, sourceOf: SourceOf): AsyncGenerator<PartitionedEvent<RecordedEvent>> {
    const given = checkOptions(options, ["from", "direction", "limit", "filter", "signal"]);
    const backwards = checkBackwards(given.direction);
    const from = given.from === undefined ? undefined : this.#checkPositions(given.from, "from");
    const limit = checkInteger(given.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
    checkFilter(given.filter);
    const filter = given.filter as EventFilter | undefined;
    const signal = checkSignal(given.signal);
    const own = {
      direction: backwards ? "backwards" : "forwards",
      ...(filter && { filter }),
      ...(signal && { signal }),
    } as const;
    return async function* (this: PartitionedFace): AsyncGenerator<PartitionedEvent<RecordedEvent>> {
      const sources = await Promise.all(this.#partitions.map(sourceOf));
      const ends = backwards ? sources.map(async (source) => (await source?.lastPosition()) ?? 0) : [];
      const positions = [...(from ?? (backwards ? await Promise.all(ends) : sources.map(() => 0)))];
      const events = sources.map((source, partition) => {
        const start = positions[partition] ?? 0;
        if (source === undefined || (backwards && start === 0)) return nothing();
        return source.readAll({ ...own, fromPosition: backwards ? start : start + 1 });
      });
      let left = limit;
      let at: RecordedEvent | undefined;
      for await (const [event, partition] of mergeOrdered(events, backwards ? later : earlier)) {
        // Parts of a split event come one after another, and are not torn apart.
        if (left <= 0 && (at === undefined || isWhole(at))) return;
        at = event;
        positions[partition] = event.position - (isWhole(event) === backwards ? 1 : 0);
        yield { event, partition, positions: Object.freeze([...positions]) };
        left -= 1;
      }
    }.call(this);
  }

  #listStreams(options: ListStreamsOptions | undefined, sourceOf: SourceOf): AsyncGenerator<StreamInfo> {
    const limit = checkInteger(options?.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
    return async function* (this: PartitionedFace): AsyncGenerator<StreamInfo> {
      const sources = await Promise.all(this.#partitions.map(sourceOf));
      const lists = sources.map((source) => source?.listStreams(options) ?? nothing());
      let left = limit;
      for await (const [info] of mergeOrdered(lists, byName)) {
        yield info;
        left -= 1;
        if (left <= 0) return;
      }
    }.call(this);
  }

  #subscribe(options: unknown): AsyncGenerator<PartitionedEvent<RecordedEvent>> {
    if (this.#closing !== undefined) throw new StoreClosedError();
    const given = checkOptions(options, ["from", "filter", "signal"]);
    const signal = checkSignal(given.signal);
    checkFilter(given.filter);
    const filter = given.filter as EventFilter | undefined;
    const start = this.#checkFrom(given.from);
    // Where the end is, is asked now, not when the first event is taken.
    const from = start === "end" ? Promise.all(this.#partitions.map(lastPositionOf)) : Promise.resolve(start);
    from.catch(() => {});
    const left = new AbortController();
    const ended = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
    const events = this.#follow(from, filter, ended);
    // Leaving the loop must not wait for the next event.
    const leave = events.return.bind(events);
    events.return = (value) => {
      left.abort();
      return leave(value);
    };
    return events;
  }

  async *#follow(
    from: Promise<PartitionPositions>,
    filter: EventFilter | undefined,
    ended: AbortSignal,
  ): AsyncGenerator<PartitionedEvent<RecordedEvent>> {
    const positions = [...(await from)];
    const open = (signal: AbortSignal) =>
      this.#partitions.map((partition, index) => partition.follow(positions[index] ?? 0, filter, signal));
    for await (const [event, partition] of mergeLive(open, ended)) {
      positions[partition] = event.position - (isWhole(event) ? 0 : 1);
      yield { event, partition, positions: Object.freeze([...positions]) };
    }
  }

  #checkFrom(from: unknown): PartitionPositions | "end" {
    if (from === "end") return from;
    if (from === "start") return this.#partitions.map(() => 0);
    const { after } = checkOptions(from, ["after"], "from");
    if (after !== undefined) return this.#checkPositions(after, "from.after");
    throw new InvalidArgumentError("from", `must be "start", "end" or { after }, not ${printable(from)}`);
  }

  #checkPositions(value: unknown, argument: string): PartitionPositions {
    const count = this.#partitions.length;
    const fits =
      Array.isArray(value) && value.length === count && value.every((one) => Number.isSafeInteger(one) && one >= 0);
    if (fits) return [...value];
    throw new InvalidArgumentError(argument, `must be a list of ${count} positions, not ${printable(value)}`);
  }

  #close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#partitions.map((partition) => partition.close())).then((results) => {
      for (const result of results) if (result.status === "rejected") throw result.reason;
    });
    return this.#closing;
  }
}

/** Whether nothing more comes of an event: the parts of a split one share its position. */
function isWhole({ part }: RecordedEvent): boolean {
  return part === undefined || part.index === part.count - 1;
}

async function* nothing(): AsyncGenerator<never> {}

async function lastPositionOf(partition: Partition): Promise<number> {
  return (await (await partition.source())?.lastPosition()) ?? 0;
}

function earlier(left: RecordedEvent, right: RecordedEvent): number {
  return left.recordedAt.getTime() - right.recordedAt.getTime();
}

function later(left: RecordedEvent, right: RecordedEvent): number {
  return earlier(right, left);
}

function byName(left: StreamInfo, right: StreamInfo): number {
  return Buffer.compare(Buffer.from(left.streamName), Buffer.from(right.streamName));
}

/** Of what is no decider the store's own checks say so, wherever this name leads. */
function streamOf(decider: { readonly events?: { readonly category?: unknown } }, id: unknown): string {
  return `${String(decider?.events?.category)}-${String(id)}`;
}

/** The list of a request, as far as one can be seen: the store's own checks say what is wrong with the rest. */
function listOf(request: unknown, part: "appends" | "checks"): readonly { readonly streamName: unknown }[] {
  const list: unknown = typeof request === "object" && request !== null ? Reflect.get(request, part) : undefined;
  if (!Array.isArray(list)) return [];
  return list.map((one: unknown) => ({
    streamName: typeof one === "object" && one !== null ? Reflect.get(one, "streamName") : undefined,
  }));
}

/** A condition by query is judged by one writer, who sees one partition: whoever gives it must say that this is meant. */
function withinOne<Given extends object>(given: Given): Given & Pick<CommitRequest, "failIfMatch"> {
  const condition: unknown = given === undefined ? undefined : Reflect.get(given, "failIfMatch");
  if (typeof condition !== "object" || condition === null) return given as Given & Pick<CommitRequest, "failIfMatch">;
  const { within, ...rest } = condition as { readonly within?: unknown };
  if (within === "partition") return { ...given, failIfMatch: rest } as Given & Pick<CommitRequest, "failIfMatch">;
  const problem = 'must say within: "partition", because it is not judged against the others';
  throw new InvalidArgumentError("failIfMatch", problem, { outcome: "not-applied" });
}
