/**
 * The in-process bus: one subscription for all handlers, from the end of the log. A handler that throws or is slow harms
 * neither the writer nor the other handlers' events.
 */

import { InvalidArgumentError, printable, UnreadableEventError } from "../errors.ts";
import { causedBy } from "../runtime/causation.ts";
import { pause } from "../runtime/deadline.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter, matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { Subscriptions } from "./subscriptions.ts";

interface Listener {
  readonly filter: CheckedFilter;
  readonly handler: (event: RecordedEvent) => unknown;
  /** Events up to here were there before it was added. */
  readonly after: number;
}

export interface EventBusOptions {
  readonly subscriptions: Subscriptions;
  readonly registry: EventRegistry;
  readonly lastPosition: () => number;
  readonly onError: (error: unknown) => void;
  /** Whether the store is closed, or must be opened again. */
  readonly hasStopped: () => boolean;
}

/** How long to wait before a failed read is tried again, at first and at most. */
const retryMs = 50;
const retryMsMax = 5_000;

export class EventBus {
  readonly #options: EventBusOptions;
  readonly #listeners = new Set<Listener>();
  #stop: AbortController | undefined;

  constructor(options: EventBusOptions) {
    this.#options = options;
  }

  on(filter: unknown, handler: unknown): () => void {
    if (typeof handler !== "function")
      throw new InvalidArgumentError("handler", `must be a function, not ${printable(handler)}`);
    const after = this.#options.lastPosition();
    const listener: Listener = {
      filter: checkFilter(filter),
      handler: (event) => handler(event),
      after,
    };
    this.#listeners.add(listener);
    if (this.#stop === undefined) {
      this.#stop = new AbortController();
      void this.#run(after + 1, this.#stop.signal);
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#stop?.abort();
      this.#stop = undefined;
    };
  }

  /** Follows the log for all handlers; what fails is reported, and tried again, for as long as there is a store to read. */
  async #run(from: number, signal: AbortSignal): Promise<void> {
    let next = from;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        for await (const event of this.#options.subscriptions.follow(next, undefined, signal)) {
          this.#deliver(event);
          // The parts of a split event come together, so the next position may wait until they are through.
          if (event.part === undefined || event.part.index + 1 === event.part.count) next = event.position + 1;
          failures = 0;
        }
        break;
      } catch (error) {
        this.#report(error);
        if (error instanceof UnreadableEventError) next = error.position + 1;
        else if (this.#options.hasStopped()) break;
        else await pause(Math.min(retryMsMax, retryMs * 2 ** failures), signal);
      }
    }
    if (this.#stop?.signal === signal) this.#stop = undefined;
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // There is nobody left to tell.
    }
  }

  #deliver(event: RecordedEvent): void {
    const shape = { type: event.type, tags: event.tags, category: categoryOf(event.streamName) };
    const { correlationId, actor } = event.metadata;
    const cause = {
      correlationId: correlationId ?? event.id,
      causationId: event.id,
      ...(actor === undefined ? {} : { actor }),
    };
    for (const { filter, handler, after } of [...this.#listeners]) {
      if (event.position <= after || !matches(filter, shape)) continue;
      try {
        const result = causedBy(cause, () => handler(event));
        if (result instanceof Promise) result.catch((error: unknown) => this.#report(error));
      } catch (error) {
        this.#report(error);
      }
    }
  }
}
