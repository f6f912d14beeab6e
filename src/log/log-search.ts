/**
 * Finds stored events of the log by a filter: by the stored index as far as that is complete, and in memory behind it. What it
 * finds matches the names that events were stored with; whether they pass the filter once they are decoded is for the reader to say.
 */

import type { StoredEvent } from "../format/envelope.ts";
import type { LogEnd } from "../format/records.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import type { IndexReader } from "./index-reader.ts";
import type { LogReader } from "./log-reader.ts";
import type { RecentLog } from "./recent-log.ts";
import type { Postings } from "./term-index.ts";

export interface LogSearchOptions {
  readonly log: LogReader;
  readonly index: IndexReader;
  readonly recent: RecentLog;
  readonly registry: EventRegistry;
  /** The end of the log as it is durable now. */
  readonly end: () => LogEnd;
}

export class LogSearch {
  readonly #options: LogSearchOptions;

  constructor(options: LogSearchOptions) {
    this.#options = options;
  }

  /** The events from `from` to `to`, all of them where there is no filter; a dropped one is passed over. */
  forwards(
    from: number,
    to: number,
    filter: CheckedFilter,
    count?: number,
  ): AsyncGenerator<readonly StoredEvent[], void> {
    const { log, registry } = this.#options;
    const stored = registry.storedFilter(filter);
    return stored === undefined ? log.forwards(from, to, count) : log.at(this.#matching(stored, from, to));
  }

  /** The same from `to` down to `from`. `count`: how many of them are likely to be taken. */
  backwards(
    from: number,
    to: number,
    filter: CheckedFilter,
    count?: number,
  ): AsyncGenerator<readonly StoredEvent[], void> {
    const { log, registry } = this.#options;
    const stored = registry.storedFilter(filter);
    if (stored === undefined) return log.backwards(from, to, count);
    return log.atDescending(this.#matchingBackwards(stored, from, to), count);
  }

  /** The positions that match: from the stored index as far as that is complete, then from memory. */
  async *#matching(filter: CheckedFilter & object, from: number, to: number): AsyncGenerator<Postings> {
    for (let next = from; next <= to; ) {
      // Asked anew, because the index grows, and memory forgets what is indexed, while a slow caller reads.
      const indexedTo = Math.min(this.#options.end().indexedTo, to);
      if (next <= indexedTo) {
        yield* this.#options.index.forwards(filter, next, indexedTo);
        next = indexedTo + 1;
        continue;
      }
      const positions = this.#options.recent.matching(filter, next - 1, to);
      if (positions.length > 0) yield positions;
      return;
    }
  }

  async *#matchingBackwards(filter: CheckedFilter & object, from: number, to: number): AsyncGenerator<Postings> {
    const indexedTo = Math.min(this.#options.end().indexedTo, to);
    const recent = this.#options.recent.matching(filter, Math.max(indexedTo, from - 1), to);
    if (recent.length > 0) yield recent.toReversed();
    yield* this.#options.index.backwards(filter, from, indexedTo);
  }
}
