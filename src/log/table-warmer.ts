/**
 * Has the storage read beforehand what a first read would otherwise wait for, request after request: the filter and the index of
 * each of its tables. Looks when it is started, and each minute in which tables may have changed; an idle store is not asked.
 * It is a convenience and no more: it never throws, and nothing waits for it.
 */

import { streamHeadKey, streamPageSpan } from "../format/key-families.ts";
import type { KvReader } from "../kv/kv.ts";
import { nameBytesMax } from "../vocabulary/names.ts";

/** How often tables that came since are looked at, at most. */
const lookIntervalMs = 60_000;

/**
 * Looks for the head and the pages of a stream that cannot be there. The look for the head asks the filter of each table whose
 * range it lies in, one after another; the scan opens the index of each, and reads a block of it. What was read before costs no request:
 * a table that is new costs three. `beside`: a stream near which reads are likely, since of the tables that share out a range
 * between them only those around it are opened.
 */
export async function openTables(kv: KvReader, beside: string): Promise<void> {
  // Longer than a name may be.
  const absent = beside.padEnd(nameBytesMax + 1, "\u0001");
  const scan = async (): Promise<void> => (await kv.scan(streamPageSpan(absent, 1), "lookup")).close();
  await Promise.all([kv.get(streamHeadKey(absent)), scan()]);
}

export interface TableWarmerOptions {
  readonly kv: KvReader;
  /** A number that changes when there may be new tables. Asking costs nothing. */
  readonly changes: () => number;
  /** The stream that was written last. */
  readonly newest: () => string;
  /** For tests. */
  readonly intervalMs?: number;
}

export class TableWarmer {
  readonly #options: TableWarmerOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  #seen: number;
  /** Tables are merged some time after the last change, so there is one look more after it. */
  #settled = false;
  #looking: Promise<void> | undefined;

  constructor(options: TableWarmerOptions) {
    this.#options = options;
    this.#seen = options.changes();
    this.#timer = setInterval(() => this.#consider(), options.intervalMs ?? lookIntervalMs);
    this.#timer.unref();
    void this.look();
  }

  /** Resolves when the look that this begins, or the one under way, is through, however it ended. */
  look(): Promise<void> {
    const { kv, newest } = this.#options;
    // What is wrong with the storage, a read will be told.
    this.#looking ??= openTables(kv, newest())
      .catch(() => {})
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #consider(): void {
    const changes = this.#options.changes();
    const changed = changes !== this.#seen;
    if (!changed && this.#settled) return;
    this.#settled = !changed;
    this.#seen = changes;
    void this.look();
  }
}
