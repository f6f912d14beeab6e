/** What is told of streams rather than read of them: their ends, times and marks, of one or of a range, as of a position. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { recordedAtMsOf, type StoredEvent } from "../format/envelope.ts";
import { decodeHeadExtension, type Tombstone } from "../format/head-extension.ts";
import type { StreamHead } from "../format/stream-head.ts";
import { categoryOf, checkName } from "../vocabulary/names.ts";
import { checkInteger, checkOptions } from "./arguments.ts";
import type { StreamDeletion, StreamInfo } from "./event-store.ts";
import type { ShownHeads } from "./shown-heads.ts";
import { keptFrom, type StreamReader } from "./stream-reader.ts";

export interface StreamCatalogOptions {
  readonly heads: ShownHeads;
  readonly streams: StreamReader;
  /** The event of one version, if the stream has it still. */
  readonly eventAt: (streamName: string, version: number) => Promise<StoredEvent | undefined>;
}

export class StreamCatalog {
  readonly #options: StreamCatalogOptions;

  constructor(options: StreamCatalogOptions) {
    this.#options = options;
  }

  /** The stream as it was when the log ended at `position`; nothing where it had no events yet. */
  async info(streamName: string, position: number): Promise<StreamInfo | undefined> {
    const head = await this.#options.heads.get(streamName);
    return head === undefined ? undefined : await this.#infoAt(head, position);
  }

  /** Those that `options` ask for, as they were at the position that `limit` says. Throws `invalid-argument` at once. */
  list(options: unknown, limit: () => Promise<number>): AsyncGenerator<StreamInfo> {
    const given = checkOptions(options, ["category", "prefix", "after", "limit", "deleted"]);
    const category = given.category === undefined ? undefined : checkName(given.category, "category");
    const prefix = given.prefix === undefined || given.prefix === "" ? "" : checkName(given.prefix, "prefix");
    const after = given.after === undefined ? undefined : checkName(given.after, "after");
    const count = checkInteger(given.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
    if (given.deleted !== undefined && typeof given.deleted !== "boolean")
      throw new InvalidArgumentError("deleted", `must be true or false, not ${printable(given.deleted)}`);
    if (category?.includes("-") === true) throw new InvalidArgumentError("category", 'must not hold a "-"');
    return async function* (this: StreamCatalog): AsyncGenerator<StreamInfo> {
      const position = await limit();
      const widest = category?.startsWith(prefix) ? category : prefix;
      let left = count;
      for await (const head of this.#options.heads.beginningWith(widest, after)) {
        if (!head.streamName.startsWith(prefix) || head.streamName === after) continue;
        if (category !== undefined && categoryOf(head.streamName) !== category) continue;
        const info = await this.#infoAt(head, position);
        if (info === undefined || (info.deleted !== undefined && given.deleted !== true)) continue;
        yield info;
        left -= 1;
        if (left <= 0) return;
      }
    }.call(this);
  }

  async #infoAt(head: StreamHead, position: number): Promise<StreamInfo | undefined> {
    const { tombstone, archive } = decodeHeadExtension(head.extension);
    const common = {
      streamName: head.streamName,
      created: new Date(head.createdAtMs),
      truncatedBefore: keptFrom(head),
      ...(archive === undefined ? {} : { archivedBefore: archive.before }),
      ...(tombstone === undefined ? {} : { deleted: deletionOf(tombstone) }),
    };
    if (head.lastPosition <= position || tombstone?.purged === true) {
      const { version, lastPosition, lastRecordedAtMs } = head;
      return { ...common, version, lastPosition, lastRecordedAt: new Date(lastRecordedAtMs) };
    }
    const version = await this.#options.streams.versionAt(head, position);
    if (version === 0) return undefined;
    const last = await this.#options.eventAt(head.streamName, version);
    if (last === undefined) return undefined;
    return { ...common, version, lastPosition: last.position, lastRecordedAt: new Date(recordedAtMsOf(last.bytes)) };
  }
}

function deletionOf({ deletedAtMs, undeletableUntilMs, purged }: Tombstone): StreamDeletion {
  return { at: new Date(deletedAtMs), ...(purged ? {} : { undeletableUntil: new Date(undeletableUntilMs) }) };
}
