/** What verifying a store takes and answers. Pure types. */

import type { ChainHead, KeptHead } from "./chain-head.ts";

/** What to verify. */
export interface VerifyOptions {
  /** Where to begin. Default: 1. It goes back to the link that is stored before it, at most 1,024 positions. */
  readonly fromPosition?: number;
  /** Where to end. Default: where the log ends now. It goes on to the next link that is stored, at most 1,024 positions. */
  readonly toPosition?: number;
  /** A head that was kept elsewhere, within that range: whether the store still leads to it. */
  readonly against?: KeptHead;
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told now and then how far it is. */
  readonly onProgress?: (progress: VerifyProgress) => void;
}

/** How far verifying is. */
export interface VerifyProgress {
  /** It reads the log first, then the streams, then what is archived. */
  readonly phase: "log" | "streams" | "archives";
  /** Events read in this phase; of archives objects. */
  readonly events: number;
  /** How many there are, about; of archives not more than were read. */
  readonly eventsTotal: number;
}

/**
 * What is wrong: `unreadable`: rows that are damaged, or stand in objects that are. `missing`: positions without an event that
 * nobody dropped. `altered`: an event that is not what it was. `chain`: events that do not lead to the link that is stored
 * behind them. `record`: a link, or what is kept of dropped events, is damaged or missing. `stream`: a stream does not hold
 * what the log says of it. `head`: the log does not lead to the head that was kept elsewhere. `archive`: an object of the
 * archive is missing, is not the one that was stored, or does not hold the events of the log.
 */
export type VerifyBreakKind = "unreadable" | "missing" | "altered" | "chain" | "record" | "stream" | "head" | "archive";

/** One place where a store is not what it should be. */
export interface VerifyBreak {
  readonly kind: VerifyBreakKind;
  /** The positions it is about; absent where only a stream is known. */
  readonly fromPosition?: number;
  readonly toPosition?: number;
  readonly streamName?: string;
  /** The version within the stream. */
  readonly version?: number;
  /** The key of the row, in hexadecimal; its first byte is the family of ARCHITECTURE.md's table. */
  readonly row?: string;
  /** One sentence. */
  readonly reason: string;
}

/** What verifying has come to. */
export interface VerifyReport {
  /** Whether there is nothing wrong: no breaks. */
  readonly holds: boolean;
  /** The positions that were looked at; none where `toPosition` is less. */
  readonly fromPosition: number;
  readonly toPosition: number;
  /** Events before this position were looked at, but no chain covers them; `undefined`: the store has no chain yet. */
  readonly chainedFrom: number | undefined;
  /** The head of the chain when it began. */
  readonly head: ChainHead | undefined;
  /** Events whose digests were computed. */
  readonly events: number;
  /** Positions whose events were dropped, of which the digests that are kept were used. */
  readonly dropped: number;
  /** Stored links that were compared, the head included. */
  readonly links: number;
  /** Streams that were compared with the log. */
  readonly streams: number;
  /** Objects of the archive that were compared with the log. */
  readonly archiveObjects: number;
  /** In the order of their positions, at most 100; the first one is `breaks[0]`. */
  readonly breaks: readonly VerifyBreak[];
  /** How many there are in all. */
  readonly breakCount: number;
}

/** A log whose events are chained. */
export interface ProvenLog {
  /**
   * The newest link of the hash chain over all events: kept elsewhere, it proves later what the log was. `undefined` for a
   * replica of a store that was not yet written by a version with a chain.
   */
  chainHead(): ChainHead | undefined;
  /**
   * Walks the log, the streams and the archive, recomputes the hash chain, and names what does not hold; damage is reported, not thrown, and
   * what lies behind it is looked at as well. It works beside appends, up to where the log ended when it began.
   *
   * Throws `invalid-argument`, `storage-unavailable`, `store-closed`, `writer-fenced`, or the signal's reason.
   */
  verify(options?: VerifyOptions): Promise<VerifyReport>;
}
