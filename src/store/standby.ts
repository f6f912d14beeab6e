/**
 * A standby waits, without opening the store, until nobody holds its lease: opening would fence whoever writes. It asks for the
 * lease at each poll, one GET; a lease that was released, or that it has itself seen unchanged until it expired, it claims by a
 * conditional PUT, which of several standbys one wins. What it cannot read it takes for held, until that has not changed for long.
 */

import { EventStoreError, StorageUnavailableError, WriterActiveError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { WriterLease } from "../vocabulary/writer-lease.ts";
import { expiresAfterMsOf, LeaseObserver } from "./found-lease.ts";
import type { Lease } from "./lease.ts";

/** A standby that cannot look at the lease for so long gives up. */
const outageMsMax = 10 * 60_000;

export interface StandbyOptions {
  readonly lease: Lease;
  readonly clock: Clock;
  readonly pollMs: number;
}

export class Standby {
  readonly #options: StandbyOptions;
  readonly #observer: LeaseObserver;
  #writer: WriterLease | undefined;

  constructor(options: StandbyOptions) {
    this.#options = options;
    this.#observer = new LeaseObserver(2 * options.pollMs);
  }

  /** Who held the lease at the last look, where that could be read. */
  get writer(): WriterLease | undefined {
    return this.#writer;
  }

  /** Looks once, and claims the lease where nobody holds it; true when it is this process's. Throws `storage-unavailable`. */
  async look(): Promise<boolean> {
    const { lease, clock } = this.#options;
    const askedAtMs = clock.monotonic();
    const found = await lease.look();
    // Its own stands there when a claim was stored whose answer got lost.
    if (found === undefined || lease.isOwn(found)) return await lease.claim(found);
    const { stored, tag } = found;
    const unchangedMs = this.#observer.see(tag, askedAtMs, clock.monotonic());
    const released = stored.kind === "lease" && stored.lease.state === "released";
    if (released || unchangedMs >= expiresAfterMsOf(stored)) return await lease.claim(found);
    this.#writer = stored.kind === "lease" ? stored.lease : undefined;
    return false;
  }
}

/** How long a standby waits, and what else ends it. */
export interface StandbyLimits {
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Resolves when this process has the lease. Throws `writer-active` after `timeoutMs`, the signal's reason, and
 * `storage-unavailable` when the first look fails, or all of ten minutes do.
 */
export async function waitForLease(options: StandbyOptions, { timeoutMs, signal }: StandbyLimits): Promise<void> {
  const { clock, pollMs } = options;
  const standby = new Standby(options);
  const startedMs = clock.monotonic();
  let lookedAtMs: number | undefined;
  for (;;) {
    signal?.throwIfAborted();
    try {
      if (await standby.look()) return;
      lookedAtMs = clock.monotonic();
    } catch (error) {
      // Who has never been able to look has the wrong keys, or the wrong bucket.
      if (lookedAtMs === undefined || clock.monotonic() - lookedAtMs > outageMsMax) throw unavailable(error);
    }
    const waitedMs = clock.monotonic() - startedMs;
    if (timeoutMs !== undefined && waitedMs >= timeoutMs) {
      throw new WriterActiveError(`Another writer still holds the store's lease after ${timeoutMs} ms`, standby.writer);
    }
    await pause(Math.min(pollMs, timeoutMs === undefined ? pollMs : timeoutMs - waitedMs), signal);
  }
}

function unavailable(error: unknown): EventStoreError {
  if (error instanceof EventStoreError) return error;
  return new StorageUnavailableError("The lease could not be looked at", { cause: error, outcome: "not-applied" });
}
