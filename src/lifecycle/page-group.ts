/** Which neighbouring pages become one: as many as fit into it, in order, and none that is large already. Pure. */

import type { StoredEvent } from "../format/envelope.ts";
import { type PageRow, pageBytesMax, pageEventsMax } from "../format/pages.ts";
import type { KvOperation } from "../kv/kv.ts";

/** A page as it was read. */
export interface SourcePage {
  readonly key: Uint8Array;
  /** Of the row: key and value. */
  readonly rowBytes: number;
  readonly events: readonly StoredEvent[];
}

/** Pages that fit into one. `closed`: what stands behind them does not fit any more. */
export interface PageGroup {
  readonly pages: readonly SourcePage[];
  readonly closed: boolean;
}

/** Gathers pages in order; hands out each group when it is known to be whole. */
export class PageGrouper {
  #pages: SourcePage[] = [];
  #events = 0;
  #bytes = 0;

  /** Answers the group before `page`, where that does not fit into it. */
  add(page: SourcePage): PageGroup | undefined {
    const bytes = page.events.reduce((sum, event) => sum + event.bytes.length, 0);
    const events = page.events.length;
    const fits = this.#events + events <= pageEventsMax && this.#bytes + bytes <= pageBytesMax;
    const before = this.#pages.length === 0 || fits ? undefined : this.end(true);
    this.#pages.push(page);
    this.#events += events;
    this.#bytes += bytes;
    return before;
  }

  /** What has been gathered since the last group; it may have no pages at all. */
  end(closed: boolean): PageGroup {
    const pages = this.#pages;
    this.#pages = [];
    this.#events = 0;
    this.#bytes = 0;
    return { pages, closed };
  }
}

/** What makes one page of several, and how many bytes fewer it has. */
export interface MergedPages {
  readonly operations: readonly KvOperation[];
  readonly bytesFreed: number;
}

/** Puts `merged` in the place of the pages that it was made of. It stands under the key of the last of them. */
export function replacePages(pages: readonly SourcePage[], merged: PageRow): MergedPages {
  const operations: KvOperation[] = [];
  let bytes = -merged.key.length - merged.value.length;
  for (const { key, rowBytes } of pages) {
    bytes += rowBytes;
    if (Buffer.compare(key, merged.key) !== 0) operations.push({ kind: "delete", key });
  }
  operations.push({ kind: "put", key: merged.key, value: merged.value });
  return { operations, bytesFreed: bytes };
}
