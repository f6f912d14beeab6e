/**
 * Follows a log that somebody else writes: where it ends, and its newest events in memory, as the writer has them. It goes
 * from one end that the writer has stored to the next, which are ends of commit groups, so nobody sees a part of a commit;
 * and it moves only once the events are there, so nobody passes over one. What the writer drops leaves memory here with the next
 * look.
 */

import { StorageCorruptError, StoreNotFoundError } from "../errors.ts";
import { everyKey, indexSegmentSize, logEndKey, storeHeaderKey } from "../format/key-families.ts";
import { decodeLogEnd, decodeStoreHeader, emptyLogEnd, type LogEnd, type StoreHeader } from "../format/records.ts";
import type { KvReader } from "../kv/kv.ts";
import { assertNoCopy } from "./copies.ts";
import { DroppedEvents } from "./dropped-events.ts";
import { LogReader } from "./log-reader.ts";
import { RecentLog, recentFromStored, recentSegmentsMin } from "./recent-log.ts";

/** Whoever is further behind does not go through all that it missed: it starts over from what the index does not hold. */
const followEventsMax = recentSegmentsMin * indexSegmentSize;

interface Found {
  readonly header: StoreHeader;
  readonly storeId: string;
  readonly end: LogEnd;
}

/** What a store says of itself, or `undefined` where there is nothing yet. */
async function look(kv: KvReader): Promise<Found | undefined> {
  // In this order: should another store be put in this one's place meanwhile, an end of that one never goes with this one's header.
  const end = await kv.get(logEndKey);
  const header = await kv.get(storeHeaderKey);
  if (header === undefined) return undefined;
  const decoded = decodeStoreHeader(header);
  const { storeId } = decoded;
  // Both are written at once, so an end that was not there yet is one of a moment ago.
  return { header: decoded, storeId, end: end === undefined ? emptyLogEnd : decodeLogEnd(end) };
}

export class LogFollower {
  readonly recent: RecentLog = new RecentLog(0);
  readonly #kv: KvReader;
  readonly #dropped: DroppedEvents;
  readonly #storeId: string;
  #end: LogEnd = emptyLogEnd;
  #reached = 0;
  #advancing: Promise<boolean> | undefined;

  private constructor(kv: KvReader, { storeId }: StoreHeader) {
    this.#kv = kv;
    this.#dropped = new DroppedEvents(kv);
    this.#storeId = storeId;
  }

  /**
   * Throws `store-not-found` for an empty database, `storage-corrupt` for one that is no store of this format,
   * `invalid-argument` for an unfinished copy of one.
   */
  static async open(kv: KvReader, url: string): Promise<LogFollower> {
    const found = await look(kv);
    if (found === undefined) {
      const cursor = await kv.scan(everyKey, "lookup");
      const [row] = await cursor.next(1);
      cursor.close();
      if (row === undefined) throw new StoreNotFoundError(url);
      throw new StorageCorruptError(`There is a database that is no store of Strata: ${url}`);
    }
    await assertNoCopy(kv, found.header, url, "read");
    const follower = new LogFollower(kv, found.header);
    await follower.#startOver(found.end);
    return follower;
  }

  get storeId(): string {
    return this.#storeId;
  }

  /** The end of the log as far as it has been followed. */
  get end(): LogEnd {
    return this.#end;
  }

  /** The furthest end that was ever seen, whether it has been followed or not. */
  get reached(): number {
    return this.#reached;
  }

  /** Where the log ends for another reader. Throws `storage-corrupt` where that reads another store. */
  async measure(kv: KvReader): Promise<number> {
    return (await this.#endOf(kv)).lastPosition;
  }

  /** Looks where the log ends now and goes there; whether it has moved. One at a time: later callers get the same answer. */
  advance(): Promise<boolean> {
    this.#advancing ??= this.#advance().finally(() => {
      this.#advancing = undefined;
    });
    return this.#advancing;
  }

  async #endOf(kv: KvReader): Promise<LogEnd> {
    return (await this.#look(kv)).end;
  }

  async #look(kv: KvReader): Promise<Found> {
    const found = await look(kv);
    if (found?.storeId === this.#storeId) return found;
    throw new StorageCorruptError("There is another store now in the place of the one that was opened");
  }

  async #advance(): Promise<boolean> {
    const { end, header } = await this.#look(this.#kv);
    const from = this.#end;
    if (end.lastPosition < from.lastPosition || end.indexedTo < from.indexedTo) {
      throw new StorageCorruptError(`The log went back from position ${from.lastPosition} to ${end.lastPosition}`);
    }
    this.#reached = Math.max(this.#reached, end.lastPosition);
    if (end.lastPosition - this.recent.lastPosition > followEventsMax) await this.#startOver(end);
    else await this.#follow(end);
    if (header.families.includes("dropped")) await this.#letGo();
    return end.lastPosition > from.lastPosition;
  }

  /** What is added is not seen by anybody until the end moves; what is forgotten is indexed as of then. */
  async #follow(end: LogEnd): Promise<void> {
    const { indexedTo } = this.#end;
    for await (const events of new LogReader(this.#kv).forwards(this.recent.lastPosition + 1, end.lastPosition)) {
      this.recent.add(events.map(recentFromStored), indexedTo);
    }
    this.recent.add([], end.indexedTo, end.lastPosition);
    this.#end = end;
  }

  /** Takes out of memory what the writer has dropped since it was read, also where the log has not grown. */
  async #letGo(): Promise<void> {
    const { firstPosition, lastPosition } = this.recent;
    for await (const { fromPosition, toPosition } of this.#dropped.runs(firstPosition, lastPosition)) {
      const positions = Array.from({ length: toPosition - fromPosition + 1 }, (_, index) => fromPosition + index);
      this.recent.drop(positions);
    }
  }

  async #startOver(end: LogEnd): Promise<void> {
    const recent = new RecentLog(end.indexedTo);
    for await (const events of new LogReader(this.#kv).forwards(end.indexedTo + 1, end.lastPosition)) {
      recent.add(events.map(recentFromStored), end.indexedTo);
    }
    recent.add([], end.indexedTo, end.lastPosition);
    // Both at once, with nothing in between: readers rely on memory beginning where the index ends.
    this.recent.takeOver(recent);
    this.#end = end;
    this.#reached = Math.max(this.#reached, end.lastPosition);
  }
}
