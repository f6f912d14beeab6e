/**
 * Catch-up subscriptions: a position that moves along the log. What is recent comes out of memory, decoded once for all;
 * whoever is behind reads the log and comes back. There is no queue a subscriber could overflow, and no seam between the
 * two, because both are addressed by position.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { KvStatus } from "../kv/kv.ts";
import { checkGaps, checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { LogGap } from "../log/event-store.ts";
import { withGaps } from "../log/gaps.ts";
import type { RecentEvent, RecentLog } from "../log/recent-log.ts";
import type { StoreReader } from "../log/store-reader.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter, matches } from "../vocabulary/filter.ts";
import { LiveFeed } from "./live-feed.ts";

/** The most events that a live subscriber holds on to at a time. */
const sliceEventsMax = 256;

export interface SubscriptionsOptions {
  readonly reader: StoreReader;
  readonly registry: EventRegistry;
  readonly recent: RecentLog;
  readonly lastPosition: () => number;
  readonly status: () => KvStatus;
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #feed: LiveFeed;
  #closed = false;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
    this.#feed = new LiveFeed(options.status);
  }

  /** New events are durable. */
  notify(): void {
    this.#feed.notify();
  }

  /** Ends all subscriptions, with the event that each has at hand. */
  end(): void {
    this.#closed = true;
    this.#feed.notify();
  }

  /** Typed as events alone; where gaps are asked for they are among them. */
  subscribe(options: unknown): AsyncGenerator<RecordedEvent> {
    const given = checkOptions(options, ["from", "filter", "gaps", "signal"]);
    const gaps = checkGaps(given.gaps);
    const filter = checkFilter(given.filter);
    const signal = checkSignal(given.signal);
    const left = new AbortController();
    const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
    const events = this.#follow(this.#start(given.from), filter, either, Number.POSITIVE_INFINITY, gaps);
    // Leaving the loop must not wait for the next event.
    const leave = events.return.bind(events);
    events.return = (value) => {
      left.abort();
      return leave(value);
    };
    return events as AsyncGenerator<RecordedEvent>;
  }

  /**
   * Resolves once there are events behind `position`, or the signal is aborted, or the subscriptions have ended; rejects where
   * the store has failed or was fenced.
   */
  async grown(position: number, signal?: AbortSignal): Promise<void> {
    while (!this.#closed && signal?.aborted !== true && this.#options.lastPosition() <= position) {
      const status = this.#options.status();
      if (status.state === "fenced" || status.state === "failed") throw status.error;
      await this.#feed.wait(signal);
    }
  }

  /** The events from position `from` on that match, and those to come, up to position `to`. */
  follow(
    from: number,
    filter: CheckedFilter,
    signal?: AbortSignal,
    to: number = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<RecordedEvent> {
    // Without gaps there are none among them.
    return this.#follow(from, filter, signal, to, false) as AsyncGenerator<RecordedEvent>;
  }

  async *#follow(
    from: number,
    filter: CheckedFilter,
    signal: AbortSignal | undefined,
    to: number,
    gaps: boolean,
  ): AsyncGenerator<RecordedEvent | LogGap> {
    const { recent, reader, lastPosition } = this.#options;
    const ended = (): boolean => this.#closed || signal?.aborted === true;
    for (let next = from; next <= to && !ended(); ) {
      const last = Math.min(lastPosition(), to);
      if (next > last) {
        const status = this.#options.status();
        if (status.state === "fenced" || status.state === "failed") throw status.error;
        await this.#feed.wait(signal);
        continue;
      }
      if (next >= recent.firstReadable) {
        // Events with their bytes: held here, they stay readable however slow the subscriber is.
        const slice = recent.slice(next, last, sliceEventsMax);
        const read = { from: next, to: slice.next - 1, backwards: false, count: undefined };
        const isWhole = slice.events.length === slice.next - next;
        next = slice.next;
        const keys = this.#options.registry.fetchKeys(slice.events.map(([, stored]) => stored));
        if (keys !== undefined) await keys;
        const events = this.#decode(slice.events, filter);
        if (gaps && !isWhole) yield* withGaps(events, reader.dropped, read);
        else {
          for (const event of events) {
            yield event;
            if (ended()) return;
          }
        }
        continue;
      }
      try {
        const read = { from: next, to: last, backwards: false, count: undefined };
        const events = reader.read(next, last, filter);
        for await (const event of gaps ? withGaps(events, reader.dropped, read) : events) {
          yield event;
          if (ended()) return;
        }
      } catch (error) {
        // Closed under a read: that is an end, too.
        if (this.#closed) return;
        throw error;
      }
      next = last + 1;
    }
  }

  /**
   * All events from `from` to `to`, which must be there or have been dropped, as they are stored, in lists: for who decodes only
   * some of them, by `decode`. Ends early where the signal is aborted or the subscriptions end.
   */
  async *stored(from: number, to: number, signal?: AbortSignal): AsyncGenerator<readonly StoredEvent[]> {
    const { recent, reader } = this.#options;
    const ended = (): boolean => this.#closed || signal?.aborted === true;
    for (let next = from; next <= to && !ended(); ) {
      if (next >= recent.firstReadable) {
        const slice = recent.slice(next, to, sliceEventsMax);
        next = slice.next;
        yield slice.events.map(([, stored]) => stored);
        continue;
      }
      try {
        for await (const list of reader.stored(next, to, undefined)) {
          yield list;
          if (ended()) return;
        }
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      next = to + 1;
    }
  }

  /** What readers see of a stored event; what is recent is decoded once for all. Throws `unreadable-event`. */
  decode(stored: StoredEvent): readonly RecordedEvent[] {
    const recent = this.#options.recent.find(stored.position);
    if (recent === undefined || recent.stored !== stored) return this.#options.registry.read(stored);
    recent.recorded ??= this.#options.registry.read(stored);
    return recent.recorded;
  }

  *#decode(slice: readonly (readonly [RecentEvent, StoredEvent])[], filter: CheckedFilter): Generator<RecordedEvent> {
    const { registry } = this.#options;
    const storedFilter = registry.storedFilter(filter);
    for (const [recent, stored] of slice) {
      if (!matches(storedFilter, recent)) continue;
      const recorded = recent.recorded ?? registry.read(stored);
      if (recent.stored !== undefined) recent.recorded = recorded;
      for (const event of recorded) if (registry.passes(filter, event)) yield event;
    }
  }

  #start(from: unknown): number {
    if (from === "start") return 1;
    if (from === "end") return this.#options.lastPosition() + 1;
    if (typeof from === "object" && from !== null) {
      const { position, after, ...rest } = from as Record<string, unknown>;
      if (Object.keys(rest).length === 0 && (position === undefined) !== (after === undefined)) {
        const start = checkInteger(position, "from.position", 1) ?? (checkInteger(after, "from.after", 0) ?? 0) + 1;
        return start;
      }
    }
    throw new InvalidArgumentError("from", `must be "start", "end", { position } or { after }, not ${printable(from)}`);
  }
}
