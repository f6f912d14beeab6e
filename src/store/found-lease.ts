/**
 * The lease as whoever looks finds it: one GET, and for how long it has been seen unchanged, which alone tells a writer that is gone
 * from one that is there.
 */

import { StorageUnavailableError } from "../errors.ts";
import { decodeLease, leaseName, type StoredLease, unreadableExpiresAfterMs } from "../format/lease-record.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";

/** How long one request for the lease may take. */
const leaseRequestTimeoutMs = 10_000;

/** What stands where the lease belongs. */
export interface FoundLease {
  readonly tag: string;
  readonly bytes: Uint8Array;
  readonly stored: StoredLease;
}

/** Throws `storage-unavailable`, also where the storage does not answer in time. */
export async function readLease(objects: ObjectAccess): Promise<FoundLease | undefined> {
  const found = await answered(objects.get(leaseName));
  return found === undefined ? undefined : { ...found, stored: decodeLease(found.bytes) };
}

/** As `work`, or `storage-unavailable` after the time that a request for the lease may take. */
export async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await withDeadline(work, leaseRequestTimeoutMs, "The lease");
  } catch (cause) {
    if (!(cause instanceof DeadlineExpired)) throw cause;
    throw new StorageUnavailableError(`The storage did not answer within ${leaseRequestTimeoutMs} ms`, { cause });
  }
}

/** How long a lease stands unchanged before its writer is taken for gone. */
export function expiresAfterMsOf(stored: StoredLease): number {
  return stored.kind === "lease" ? stored.lease.expiresAfterMs : unreadableExpiresAfterMs;
}

/**
 * For how long a lease has been seen unchanged, on the observer's own monotonic clock: clocks of two machines are never compared.
 * Between two looks at most `gapMsMax` count, so that an observer which stood still, or could not look, takes nobody for gone.
 */
export class LeaseObserver {
  readonly #gapMsMax: number;
  #tag: string | undefined;
  /** Up to when the time is counted. */
  #countedToMs = 0;
  #unchangedMs = 0;

  constructor(gapMsMax: number) {
    this.#gapMsMax = gapMsMax;
  }

  /** `askedAtMs`, `answeredAtMs`: around the request that found the tag. Answers for how long it has been the same at least. */
  see(tag: string, askedAtMs: number, answeredAtMs: number): number {
    if (tag === this.#tag) {
      this.#unchangedMs += Math.min(askedAtMs - this.#countedToMs, this.#gapMsMax);
      this.#countedToMs = askedAtMs;
    } else {
      this.#unchangedMs = 0;
      this.#countedToMs = answeredAtMs;
    }
    this.#tag = tag;
    return this.#unchangedMs;
  }

  forget(): void {
    this.#tag = undefined;
  }
}
