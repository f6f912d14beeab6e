/**
 * How much to read at once where scans only ascend and reading goes backwards: windows that grow while events are small, and
 * stay within some megabytes where they are large.
 */

import type { StoredEvent } from "../format/envelope.ts";

const eventsAtFirst = 32;
const bytesWanted = 2 * 1024 * 1024;

export class BackwardsWindow {
  readonly #eventsMax: number;
  #events: number;

  /** `count`: how many events are wanted at most, if that is known. */
  constructor(eventsMax: number, count: number | undefined) {
    this.#eventsMax = eventsMax;
    this.#events = Math.min(eventsAtFirst, count ?? eventsAtFirst);
  }

  /** How many events to read next. */
  get events(): number {
    return this.#events;
  }

  /** Learns from what was read. */
  record(lists: readonly (readonly StoredEvent[])[]): void {
    const events = lists.flat();
    const bytes = events.reduce((sum, event) => sum + event.bytes.length, 0);
    const fitting = Math.floor(bytesWanted / Math.max(1, bytes / Math.max(1, events.length)));
    this.#events = Math.max(1, Math.min(this.#events * 4, fitting, this.#eventsMax));
  }
}
