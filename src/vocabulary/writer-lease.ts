/**
 * Who writes to a store, as the lease beside its database says. It is advice for people and standbys: that two writers never
 * both acknowledge rests on the engine's fencing alone, and would if there were no lease.
 */

/** What the lease of a store says of its writer. Times are by that writer's clock. */
export interface WriterLease {
  /** `held`: renewed while the store is open. `released`: that writer has closed the store, and nobody has opened it since. */
  readonly state: "held" | "released";
  /** Of one opening of the store: a process that opens it again has another. */
  readonly instanceId: string;
  /** The `writerName` that it was opened with. */
  readonly writerName?: string;
  readonly host: string;
  readonly pid: number;
  /** When this writer took the lease, just before it opened the store. */
  readonly startedAt: Date;
  readonly renewedAt: Date;
  /** Whoever has seen the lease unchanged for so long may take it. */
  readonly expiresAfterMs: number;
}
