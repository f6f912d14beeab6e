/**
 * The heads of streams as readers are to see them: a rule of retention holds from the append that is one too many, though the events
 * behind it are still there.
 */

import { streamHeadKey, streamHeadSpan, streamNameOfHeadKey } from "../format/key-families.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";
import type { StreamHeads } from "./stream-heads.ts";

const rowsAtOnce = 64;

export interface ShownHeadsOptions {
  readonly kv: KvReader;
  readonly heads: StreamHeads;
  /** The first version that a rule of retention lets readers see of a stream with so many; 1 for all. */
  readonly firstKept?: (streamName: string, version: number) => number;
}

export class ShownHeads {
  readonly #options: ShownHeadsOptions;

  constructor(options: ShownHeadsOptions) {
    this.#options = options;
  }

  /** The stream's head; nothing where it has no events. */
  async get(streamName: string): Promise<StreamHead | undefined> {
    const head = await this.#options.heads.get(streamName);
    return head === undefined ? undefined : this.#retained(head);
  }

  /** Those of streams whose names begin so, in the order of their names, from `after` on. */
  async *beginningWith(prefix: string, after: string | undefined): AsyncGenerator<StreamHead> {
    const span = streamHeadSpan(prefix);
    const afterKey = after === undefined ? undefined : streamHeadKey(after);
    const start = afterKey !== undefined && Buffer.compare(afterKey, span.start) > 0 ? afterKey : span.start;
    if (Buffer.compare(start, span.end) >= 0) return;
    const cursor = await this.#options.kv.scan({ start, end: span.end }, "lookup");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        for (const row of rows) yield this.#retained(decodeStreamHead(streamNameOfHeadKey(row.key), row.value));
      }
    } finally {
      cursor.close();
    }
  }

  /** The head as retention lets it be seen already. */
  #retained(head: StreamHead): StreamHead {
    const first = this.#options.firstKept?.(head.streamName, head.version) ?? 1;
    return first <= head.truncatedBefore || first <= 1 ? head : { ...head, truncatedBefore: first };
  }
}
