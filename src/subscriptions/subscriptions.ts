/**
 * Catch-up subscriptions: a position that moves along the log. What is recent comes out of memory, decoded once for all;
 * whoever is behind reads the log and comes back. There is no queue a subscriber could overflow, and no seam between the
 * two, because both are addressed by position.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { KvStatus } from "../kv/kv.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
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

  subscribe(options: unknown): AsyncGenerator<RecordedEvent> {
    const given = checkOptions(options, ["from", "filter", "signal"]);
    const filter = checkFilter(given.filter);
    const signal = checkSignal(given.signal);
    const left = new AbortController();
    const events = this.follow(
      this.#start(given.from),
      filter,
      signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]),
    );
    // Leaving the loop must not wait for the next event.
    const leave = events.return.bind(events);
    events.return = (value) => {
      left.abort();
      return leave(value);
    };
    return events;
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
  async *follow(
    from: number,
    filter: CheckedFilter,
    signal?: AbortSignal,
    to: number = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<RecordedEvent> {
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
        next = slice.next;
        for (const event of this.#decode(slice.events, filter)) {
          yield event;
          if (ended()) return;
        }
        continue;
      }
      try {
        for await (const event of reader.read(next, last, filter)) {
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
