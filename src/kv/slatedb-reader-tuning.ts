/** How a reader follows a store: its intervals and deadlines, and why they are what they are. */

/** Tests shorten these; services leave them alone, but for `pollMs`. */
export interface SlateReaderTuning {
  /** How often the storage is asked for news: two listings and a GET each time, whether there is any or not. */
  readonly pollMs: number;
  /**
   * With no news for so long the storage itself is asked whether it answers, at the price of a listing: the engine's reader
   * tries again for ever, in silence.
   */
  readonly probeMs: number;
  /** How long the garbage collector spares what the reader reads, should the reader stop renewing that. */
  readonly checkpointLifetimeMs: number;
  /**
   * How long one native reader is in service. It must be less than half of `checkpointLifetimeMs`: from then on it would
   * write a manifest at each poll.
   */
  readonly rotateMs: number;
  /** How long a successor may take to come as far as its predecessor. */
  readonly catchUpMs: number;
  /** A reader that is younger has seen what there is: objects that it misses are missing, not collected since. */
  readonly freshMs: number;
  /** How long one read may take; the engine itself has no time-out. */
  readonly readTimeoutMs: number;
  /** How long opening may take: 4,096 WAL objects, the most there can be to replay, at 20 ms a request take 107 s. */
  readonly openTimeoutMs: number;
  readonly closeTimeoutMs: number;
  /** How long to wait before a failed opening is tried again, at first and at most. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** See the writer's tuning of that name. */
  readonly reuseConnections: boolean;
}

export const pollMsDefault = 1_000;

export const readerTuning: SlateReaderTuning = {
  pollMs: pollMsDefault,
  probeMs: 30_000,
  checkpointLifetimeMs: 60 * 60_000,
  rotateMs: 22 * 60_000,
  catchUpMs: 30_000,
  freshMs: 5_000,
  readTimeoutMs: 30_000,
  openTimeoutMs: 120_000,
  closeTimeoutMs: 10_000,
  retryMs: 250,
  retryMsMax: 30_000,
  reuseConnections: true,
};
