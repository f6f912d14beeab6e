/**
 * Verifies a store: the log and its chain first, then the streams, then the archives, each in one pass and in bounded memory;
 * and, where log and streams do not agree, which events it is. It only reads, so it works on a writer and on a replica, beside appends.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import {
  type ChainEnd,
  digestBytes,
  firstLink,
  linkEveryPositions,
  readChainEnd,
  writeEventDigest,
} from "../format/chain.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { indexSegmentSize, segmentOf } from "../format/key-families.ts";
import type { LogEnd } from "../format/records.ts";
import type { KvReader } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import { type ChainHead, chainHeadOf, checkKeptHead } from "../vocabulary/chain-head.ts";
import type { ProvenLog, VerifyProgress, VerifyReport } from "../vocabulary/verification.ts";
import { Agreement, strangersSegmentsMax } from "./agreement.ts";
import { ArchiveCheck } from "./archive-check.ts";
import { BreakList } from "./break-list.ts";
import { DroppedLookup } from "./dropped-lookup.ts";
import { EventSums } from "./event-sums.ts";
import { LogCheck } from "./log-check.ts";
import { walkStreams } from "./stream-check.ts";

/** Up to so many segments, each event is looked for in its stream instead of walking all streams. */
const segmentsLookedUp = 8;
/** Of so many segments in which log and streams disagree it is found out which events it is. */
const segmentsExplained = 64;

export interface VerifiedStore {
  readonly kv: KvReader;
  /** Those beside the store, where its archives are. */
  readonly objects: () => Promise<ObjectAccess>;
  /** The newest rows there are, where those of `kv` may be older than the objects. */
  readonly newest?: () => Promise<KvReader & AsyncDisposable>;
  /** The end of the log as it is durable now. */
  readonly end: () => LogEnd;
  /** Throws where the store is closed or has stopped. */
  readonly assertReadable: () => void;
}

/** The chain's part of a store's face. */
export function provenLog(store: VerifiedStore): ProvenLog {
  return {
    chainHead: () => headOf(readChainEnd(store.end().extension)),
    verify: async (options) => {
      store.assertReadable();
      return await new Verification(store, options).run();
    },
  };
}

function headOf(chain: ChainEnd | undefined): ChainHead | undefined {
  return chain === undefined ? undefined : chainHeadOf(chain);
}

class Verification {
  readonly #store: VerifiedStore;
  readonly #chain: ChainEnd | undefined;
  readonly #from: number;
  readonly #to: number;
  readonly #against: { readonly position: number; readonly link: string } | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onProgress: (progress: VerifyProgress) => void;
  readonly #breaks = new BreakList();

  constructor(store: VerifiedStore, options: unknown) {
    const given = checkOptions(options, ["fromPosition", "toPosition", "against", "signal", "onProgress"]);
    const { lastPosition, extension } = store.end();
    this.#store = store;
    this.#chain = readChainEnd(extension);
    const fromPosition = checkInteger(given.fromPosition, "fromPosition", 1) ?? 1;
    const lastWanted = checkInteger(given.toPosition, "toPosition", 0) ?? lastPosition;
    if (fromPosition > 1 && fromPosition > Math.min(lastWanted, lastPosition)) {
      const end = lastWanted < lastPosition ? `toPosition, ${lastWanted}` : `the end of the log, ${lastPosition}`;
      throw new InvalidArgumentError("fromPosition", `is behind ${end}: ${fromPosition}`);
    }
    const toPosition = Math.min(lastPosition, lastWanted);
    // From behind one stored link to the next one: what is between can be judged only by both.
    this.#from = Math.floor((fromPosition - 1) / linkEveryPositions) * linkEveryPositions + 1;
    this.#to = Math.min(lastPosition, Math.ceil(toPosition / linkEveryPositions) * linkEveryPositions);
    if (
      this.#chain !== undefined &&
      this.#from < this.#chain.fromPosition &&
      fromPosition >= this.#chain.fromPosition
    ) {
      this.#from = this.#chain.fromPosition;
    }
    this.#against = given.against === undefined ? undefined : checkKeptHead(given.against, "against");
    this.#signal = checkSignal(given.signal);
    if (given.onProgress !== undefined && typeof given.onProgress !== "function") {
      throw new InvalidArgumentError("onProgress", `must be a function, not ${printable(given.onProgress)}`);
    }
    this.#onProgress = (given.onProgress as ((progress: VerifyProgress) => void) | undefined) ?? (() => {});
  }

  async run(): Promise<VerifyReport> {
    this.#signal?.throwIfAborted();
    const kept = this.#keptOnTheWay();
    const sums = new EventSums(this.#from, this.#to);
    const counts = await this.#checkLog(kept, sums);
    const few = segmentOf(Math.max(1, this.#to)) - segmentOf(this.#from) < segmentsLookedUp;
    const streams = few ? await this.#lookUp() : await this.#checkStreams(sums);
    const archiveObjects = await this.#checkArchives();
    const { breaks, breakCount } = this.#breaks.finish();
    return {
      holds: breakCount === 0,
      fromPosition: this.#from,
      toPosition: this.#to,
      chainedFrom: this.#chain?.fromPosition,
      head: headOf(this.#chain),
      ...counts,
      streams,
      archiveObjects,
      breaks,
      breakCount,
    };
  }

  /** The kept head where the walk passes it; where it cannot, that is told at once. */
  #keptOnTheWay(): { readonly position: number; readonly link: string } | undefined {
    const kept = this.#against;
    if (kept === undefined) return undefined;
    const { position } = kept;
    const first = this.#chain?.fromPosition ?? Number.POSITIVE_INFINITY;
    const { lastPosition } = this.#store.end();
    const tell = (reason: string): undefined => {
      this.#breaks.add({ kind: "head", fromPosition: position, toPosition: position, reason });
    };
    if (position > lastPosition)
      return tell(`The log ends at ${lastPosition}, before the head that was kept elsewhere`);
    if (position < first - 1) return tell("The chain begins behind the head that was kept elsewhere");
    if (position === first - 1) {
      const same = Buffer.from(firstLink(first)).toString("hex") === kept.link;
      return same ? undefined : tell("The chain does not begin with the head that was kept elsewhere");
    }
    if (position >= this.#from && position <= this.#to) return kept;
    throw new InvalidArgumentError("against", `must lie within ${this.#from} to ${this.#to}, not at ${position}`);
  }

  async #checkLog(
    against: { readonly position: number; readonly link: string } | undefined,
    sums: EventSums,
  ): Promise<LogCheck["counts"]> {
    const eventsTotal = Math.max(0, this.#to - this.#from + 1);
    const check = new LogCheck({
      ...{ kv: this.#store.kv, chain: this.#chain, fromPosition: this.#from, toPosition: this.#to, against },
      breaks: this.#breaks,
      onEvent: ({ position }, digest) => sums.add(position, digest),
      onPage: (position) => this.#step({ phase: "log", events: position - this.#from + 1, eventsTotal }),
    });
    if (eventsTotal > 0) await check.run();
    return check.counts;
  }

  async #checkArchives(): Promise<number> {
    const { kv, objects, newest, end } = this.#store;
    if (this.#from > this.#to) return 0;
    const check = new ArchiveCheck({
      ...{ kv, objects, newest, breaks: this.#breaks, fromPosition: this.#from, toPosition: this.#to },
      isWhole: this.#from === 1 && this.#to >= (this.#chain?.position ?? end().lastPosition),
      onObject: (objectsRead) => this.#step({ phase: "archives", events: objectsRead, eventsTotal: objectsRead }),
    });
    return await check.run();
  }

  /** Tells how far it is, and ends where it is to end. */
  #step(progress: VerifyProgress): void {
    this.#signal?.throwIfAborted();
    this.#store.assertReadable();
    this.#onProgress(progress);
  }

  /** A few segments: each event is looked for in its stream. */
  async #lookUp(): Promise<number> {
    const agreement = new Agreement(this.#store.kv, this.#breaks);
    if (this.#from > this.#to) return 0;
    for (let segment = segmentOf(this.#from); segment <= segmentOf(this.#to); segment += 1) {
      await this.#compare(agreement, segment);
    }
    return agreement.streams;
  }

  async #compare(agreement: Agreement, segment: number): Promise<number> {
    this.#signal?.throwIfAborted();
    const first = segment * indexSegmentSize + 1;
    return await agreement.compare(Math.max(first, this.#from), Math.min(first + indexSegmentSize - 1, this.#to));
  }

  async #checkStreams(sums: EventSums): Promise<number> {
    const { kv, end } = this.#store;
    const eventsTotal = end().lastPosition;
    const digest = Buffer.allocUnsafe(digestBytes);
    const dropped = new DroppedLookup(kv);
    const isWithin = ({ position }: StoredEvent): boolean => position >= this.#from && position <= this.#to;
    const remove = (event: StoredEvent): void => {
      if (!isWithin(event)) return;
      writeEventDigest(event, digest);
      sums.remove(event.position, digest);
    };
    let events = 0;
    const streams = await walkStreams({
      kv,
      breaks: this.#breaks,
      lastPosition: () => end().lastPosition,
      onEvent: remove,
      // Truncated and not dropped yet: the log has them still, unless the compactor has come as far as that.
      onHidden: async (hidden) => {
        const inLog = await dropped.notDropped(hidden.filter(isWithin).map(({ position }) => position));
        for (const event of hidden) if (inLog.has(event.position)) remove(event);
      },
      onStream: (versions) => {
        events += versions;
        this.#step({ phase: "streams", events, eventsTotal });
      },
    });
    await this.#explain([...sums.unequal()]);
    return streams;
  }

  /**
   * Which events it is in which log and streams disagree. Nothing is told of what was dropped from both, or merged, between the
   * two walks: there each event is found to agree after all.
   */
  async #explain(segments: readonly number[]): Promise<void> {
    const agreement = new Agreement(this.#store.kv, this.#breaks);
    const unexplained: number[] = [];
    let explained = 0;
    let next = 0;
    for (; next < segments.length && explained < segmentsExplained; next += 1) {
      const segment = segments[next] ?? 0;
      if ((await this.#compare(agreement, segment)) === 0) unexplained.push(segment);
      else explained += 1;
    }
    for (let from = 0; from < unexplained.length; from += strangersSegmentsMax) {
      await agreement.findStrangers(unexplained.slice(from, from + strangersSegmentsMax), this.#to);
    }
    for (const segment of segments.slice(next)) {
      const fromPosition = segment * indexSegmentSize + 1;
      const toPosition = Math.min(this.#to, fromPosition + indexSegmentSize - 1);
      const reason = "The log and the streams hold different events at some of these positions";
      this.#breaks.add({ kind: "stream", fromPosition, toPosition, reason });
    }
  }
}
