/**
 * What an import knows of the streams it writes: the version that each will have, and the ids it holds. Both are bounded:
 * streams that were not needed for long are forgotten, and asked of the store again when they come back. A stream with
 * commits under way is never forgotten, since the store does not show those yet. A stream that has lost events takes no more of
 * them: nobody knows any longer which it had.
 */

import { printable } from "../errors.ts";
import type { EventStore, StreamInfo } from "../index.ts";
import { RememberedIds } from "./remembered-ids.ts";

export interface LedgerBounds {
  /** The most ids that are remembered in all; a stream costs some for itself. */
  readonly idsMax: number;
  /** Longer streams are not remembered whole: at least half as many of the newest ids are. */
  readonly idsPerStreamMax: number;
}

export const ledgerBounds: LedgerBounds = { idsMax: 300_000, idsPerStreamMax: 100_000 };

/** What a stream costs besides its ids. */
const idsPerStreamCost = 4;
/** How many streams are asked of the store at a time. */
const lookupsAtOnce = 64;
/** Batches for which a stream stays, whatever the bounds: the one being planned and those that are under way. */
const batchesKept = 3;
/** The most streams too long to be remembered whole of which it is known how far they were compared. */
const longStreamsMax = 100_000;

/** What is to become of an event. */
export type Planned = "append" | "already-there" | { readonly refused: string };

interface KnownStream {
  version: number;
  /** Why the stream takes no events but those it is known to have. */
  readonly refusal: string | undefined;
  readonly ids: RememberedIds;
  /** Of a long stream, the ids that the input is being compared with. */
  readonly compared: RememberedIds;
  /** A long stream's versions up to here have been compared; absent where all its ids fit. */
  comparedTo: number | undefined;
  usedInBatch: number;
  readonly storedTo: number;
}

export class StreamLedger {
  readonly #store: EventStore;
  readonly #bounds: LedgerBounds;
  /** In the order of their last use, oldest first. */
  readonly #streams = new Map<string, KnownStream>();
  readonly #comparedTo = new Map<string, number>();
  #ids = 0;
  #batch = 0;
  /** Every stream that the store has is known here, so that an unknown one needs no look-up. */
  #knowsAll: boolean;

  /** `isEmpty`: the store has no events yet. */
  constructor(store: EventStore, isEmpty: boolean, bounds: LedgerBounds = ledgerBounds) {
    this.#store = store;
    this.#knowsAll = isEmpty;
    this.#bounds = bounds;
  }

  /** Begins a batch: makes its streams known. `wanted`: for each, how many events the input has for it. */
  async begin(wanted: ReadonlyMap<string, number>): Promise<void> {
    this.#batch += 1;
    const missing: string[] = [];
    for (const name of wanted.keys()) {
      if (this.#streams.has(name)) continue;
      if (this.#knowsAll) this.#note(name, this.#newStream(0));
      else missing.push(name);
    }
    for (let from = 0; from < missing.length; from += lookupsAtOnce) {
      const names = missing.slice(from, from + lookupsAtOnce);
      const found = await Promise.all(names.map((name) => this.#load(name)));
      for (const [index, stream] of found.entries()) this.#note(names[index] ?? "", stream);
    }
    for (const [name, count] of wanted) await this.#touch(name, count);
    this.#forget();
  }

  /** The version that the stream has, with everything that was planned for it. */
  versionOf(name: string): number {
    return this.#streams.get(name)?.version ?? 0;
  }

  /** Plans an event for a stream of this batch, unless it is there already, or nobody can tell whether it was. */
  plan(name: string, id: string): Planned {
    const stream = this.#streams.get(name);
    if (stream === undefined || stream.ids.has(id) || stream.compared.has(id)) return "already-there";
    if (stream.refusal !== undefined) return { refused: stream.refusal };
    this.#remember(stream.ids, id);
    stream.version += 1;
    return "append";
  }

  #note(name: string, stream: KnownStream): void {
    this.#streams.set(name, stream);
    this.#ids += costOf(stream);
  }

  #remember(ids: RememberedIds, id: string): void {
    const before = ids.size;
    ids.add(id);
    this.#ids += ids.size - before;
  }

  async #load(name: string): Promise<KnownStream> {
    const info = await this.#store.streamInfo(name);
    const stream = this.#newStream(info?.version ?? 0, info && refusalOf(info));
    if (info === undefined || info.deleted !== undefined) return stream;
    const { idsPerStreamMax } = this.#bounds;
    const isLong = info.version > idsPerStreamMax;
    if (isLong) stream.comparedTo = Math.max(this.#comparedTo.get(name) ?? 0, info.truncatedBefore - 1);
    // Of a long stream the newest, for inputs that begin near its end; the others come as they are compared.
    const fromVersion = isLong ? info.version - Math.floor(idsPerStreamMax / 2) + 1 : 1;
    for await (const event of this.#store.readStream(name, { fromVersion })) stream.ids.add(event.id);
    return stream;
  }

  async #touch(name: string, count: number): Promise<void> {
    const stream = this.#streams.get(name);
    if (stream === undefined) return;
    this.#streams.delete(name);
    this.#streams.set(name, stream);
    stream.usedInBatch = this.#batch;
    if (stream.comparedTo !== undefined) await this.#compareOn(name, stream, stream.comparedTo, count);
  }

  /** An input that is read once more has a long stream's events in their order: loads as many as it may hold now. */
  async #compareOn(name: string, stream: KnownStream, comparedTo: number, count: number): Promise<void> {
    const limit = Math.min(count, stream.storedTo - comparedTo);
    if (limit > 0) {
      const options = { fromVersion: comparedTo + 1, limit };
      for await (const event of this.#store.readStream(name, options)) this.#remember(stream.compared, event.id);
    }
    stream.comparedTo = comparedTo + limit;
    this.#comparedTo.set(name, stream.comparedTo);
    for (const oldest of this.#comparedTo.keys()) {
      if (this.#comparedTo.size <= longStreamsMax) break;
      this.#comparedTo.delete(oldest);
    }
  }

  #forget(): void {
    for (const [name, stream] of this.#streams) {
      if (this.#ids <= this.#bounds.idsMax || stream.usedInBatch > this.#batch - batchesKept) return;
      this.#streams.delete(name);
      this.#ids -= costOf(stream);
      this.#knowsAll = false;
    }
  }

  #newStream(version: number, refusal?: string): KnownStream {
    const { idsPerStreamMax } = this.#bounds;
    return {
      version,
      refusal,
      ids: new RememberedIds(idsPerStreamMax),
      compared: new RememberedIds(idsPerStreamMax),
      comparedTo: undefined,
      usedInBatch: this.#batch,
      storedTo: version,
    };
  }
}

/** Why a stream takes no more events: of those that are gone, the ids are gone as well. */
function refusalOf({ streamName, truncatedBefore, deleted }: StreamInfo): string | undefined {
  if (deleted !== undefined) return `its stream is deleted: ${printable(streamName)}`;
  if (truncatedBefore <= 1) return undefined;
  const since = `the versions before ${truncatedBefore} of its stream are truncated`;
  return `${since}, so that nobody can tell whether it was among them: ${printable(streamName)}`;
}

function costOf({ ids, compared }: KnownStream): number {
  return ids.size + compared.size + idsPerStreamCost;
}
