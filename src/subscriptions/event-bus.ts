/**
 * The in-process bus: one subscription for all handlers, from the end of the log. A handler that throws or is slow harms
 * neither the writer nor the other handlers' events.
 */

import { InvalidArgumentError, printable, UnreadableEventError } from "../errors.ts";
import { causedBy } from "../runtime/causation.ts";
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
}

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

  async #run(from: number, signal: AbortSignal): Promise<void> {
    for (let next: number | undefined = from; next !== undefined; ) next = await this.#follow(next, signal);
    if (this.#stop?.signal === signal) this.#stop = undefined;
  }

  /** Delivers until the end; answers where to go on behind an event that cannot be read. */
  async #follow(from: number, signal: AbortSignal): Promise<number | undefined> {
    try {
      for await (const event of this.#options.subscriptions.follow(from, undefined, signal)) this.#deliver(event);
      return undefined;
    } catch (error) {
      this.#options.onError(error);
      return error instanceof UnreadableEventError ? error.position + 1 : undefined;
    }
  }

  #deliver(event: RecordedEvent): void {
    const shape = { type: event.type, tags: event.tags, category: categoryOf(event.streamName) };
    const cause = { correlationId: event.metadata.correlationId ?? event.id, causationId: event.id };
    for (const { filter, handler, after } of [...this.#listeners]) {
      if (event.position <= after || !matches(filter, shape)) continue;
      try {
        const result = causedBy(cause, () => handler(event));
        if (result instanceof Promise) result.catch(this.#options.onError);
      } catch (error) {
        this.#options.onError(error);
      }
    }
  }
}
