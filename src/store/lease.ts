/**
 * The lease of a store, from its writer's side: taken before the store is opened, renewed while it is open, released when it is
 * closed. Every write of it is conditional on the tag that was read or written last, so no writer overwrites what it has not seen.
 * The lease is advice: nothing waits for a renewal, and a renewal that fails stops nothing. The lease follows the fence: a
 * writer that is not fenced gets it back, and one that is leaves it alone.
 */

import { EventStoreError, StorageUnavailableError } from "../errors.ts";
import { encodeLease, leaseName, type StoredLease } from "../format/lease-record.ts";
import { CountedObjects } from "../kv/counted-objects.ts";
import { noRequests, type RequestCounts, requestsSince } from "../kv/object-store-stats.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import type { LeaseHealth } from "../log/event-store.ts";
import type { Clock } from "../runtime/clock.ts";
import type { WriterLease } from "../vocabulary/writer-lease.ts";
import { answered, expiresAfterMsOf, type FoundLease, LeaseObserver, readLease } from "./found-lease.ts";

/** A lease expires after so many intervals without a renewal: two may fail or be late. */
export const expiresAfterIntervals = 3;

/** How often an opening that waits for nobody tries to get its record in, where others write theirs at the same time. */
const claimsMax = 5;

/**
 * A writer that was fenced learns so from the engine within seconds. One that has lost its lease and is still not fenced after
 * this time, and after two thirds of what the other's lease lasts, takes it back.
 */
const reclaimAfterMsMin = 5_000;

export interface LeaseOptions {
  readonly objects: ObjectAccess;
  readonly clock: Clock;
  readonly writer: Pick<WriterLease, "instanceId" | "writerName" | "host" | "pid">;
  readonly intervalMs: number;
}

export class Lease {
  readonly #options: LeaseOptions;
  readonly #observer: LeaseObserver;
  readonly #objects: CountedObjects;
  /** What was asked before the store was open. */
  #opening: RequestCounts | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Of the record that this writer stored last, while it is known to stand. */
  #tag: string | undefined;
  #renewals = 0;
  /** When this writer's record first stood there. */
  #startedAt: Date | undefined;
  #renewedAt: Date | undefined;
  /** What this writer has put its own record in place of, until it is open. */
  #replaced: FoundLease | undefined;
  #takenBy: StoredLease | undefined;
  #error: EventStoreError | undefined;
  #renewing: Promise<void> | undefined;
  #stopped = false;
  #lost = false;
  #ended = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#observer = new LeaseObserver(2 * options.intervalMs);
    this.#objects = new CountedObjects(options.objects);
  }

  get instanceId(): string {
    return this.#options.writer.instanceId;
  }

  /** Whether this writer's record has ever stood there. */
  get wasHeld(): boolean {
    return this.#startedAt !== undefined;
  }

  look(): Promise<FoundLease | undefined> {
    return readLease(this.#objects);
  }

  isOwn(found: FoundLease): boolean {
    return found.stored.kind === "lease" && found.stored.lease.instanceId === this.instanceId;
  }

  /** Puts this writer's record in place of `found`; false where something else stands there by now. */
  async claim(found: FoundLease | undefined): Promise<boolean> {
    return await this.#put("held", found?.tag);
  }

  /** Takes the lease whoever holds it. Failing that, it goes on: renewals try again. */
  async seize(): Promise<void> {
    try {
      for (let claims = 0; claims < claimsMax; claims += 1) {
        const found = await this.look();
        if (!(await this.claim(found))) continue;
        if (found !== undefined && !this.isOwn(found)) this.#replaced = found;
        return;
      }
    } catch (error) {
      this.#error = asStorageError(error);
    }
  }

  /** Renews from now on, at each interval. */
  start(): void {
    this.#timer = setInterval(() => void this.renew(), this.#options.intervalMs);
    this.#timer.unref();
  }

  /** One renewal; never two at once. It does not reject: what fails is told by `health`. */
  async renew(): Promise<void> {
    if (this.#stopped) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    await this.#renewing;
  }

  /** The store is open: what the lease replaced is history. */
  opened(): void {
    this.#replaced = undefined;
    this.#opening = this.#objects.requests;
  }

  /** What it has asked of the storage: until the store was open, and since. */
  requests(): { readonly opening: RequestCounts; readonly running: RequestCounts } {
    const now = this.#objects.requests;
    if (this.#opening === undefined) return { opening: now, running: noRequests };
    return { opening: this.#opening, running: requestsSince(now, this.#opening) };
  }

  /** No further renewals. What is stored stays as it is. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  /** The store was fenced, or has stopped: the lease is not renewed any more, and is the next writer's. */
  lose(takenBy?: StoredLease): void {
    this.stop();
    this.#lost = true;
    this.#takenBy = takenBy ?? this.#takenBy;
  }

  /** The store is closed: says so at once, if the lease is still this writer's. It does not reject. */
  async release(): Promise<void> {
    await this.#end(async (tag) => {
      await this.#put("released", tag);
    });
  }

  /** The store is closed after it was fenced: what is stored is the next writer's business. It does not reject. */
  async leave(): Promise<void> {
    await this.#end(async () => {});
  }

  /** The store could not be opened: puts back what a running writer had there, else releases. It does not reject. */
  async abandon(): Promise<void> {
    await this.#end(async (tag) => {
      const { stored, bytes } = this.#replaced ?? {};
      if (bytes === undefined || (stored?.kind === "lease" && stored.lease.state === "released")) {
        await this.#put("released", tag);
      } else {
        await answered(this.#objects.put(leaseName, bytes, { ifTag: tag }));
      }
    });
  }

  health(): LeaseHealth {
    const takenBy = this.#takenBy?.kind === "lease" ? { takenBy: this.#takenBy.lease } : {};
    const common = {
      instanceId: this.instanceId,
      ...(this.#renewedAt === undefined ? {} : { renewedAt: this.#renewedAt }),
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
    if (this.#takenBy !== undefined || (this.#lost && !this.#ended)) return { state: "lost", ...common, ...takenBy };
    if (this.#ended) return { state: "released", ...common };
    return { state: this.#error === undefined && this.#tag !== undefined ? "held" : "failing", ...common };
  }

  async #renew(): Promise<void> {
    try {
      const held = this.#tag !== undefined && (await this.#put("held", this.#tag));
      if (!held) await this.#regain();
      this.#error = undefined;
    } catch (error) {
      this.#error = asStorageError(error);
    }
  }

  /** The record that stands there is not the one that was stored last, or none ever was. */
  async #regain(): Promise<void> {
    const { clock } = this.#options;
    const askedAtMs = clock.monotonic();
    const found = await this.look();
    if (found !== undefined && !this.isOwn(found) && this.#startedAt !== undefined) {
      this.#takenBy = found.stored;
      const unchangedMs = this.#observer.see(found.tag, askedAtMs, clock.monotonic());
      if (unchangedMs < Math.max(reclaimAfterMsMin, (expiresAfterMsOf(found.stored) * 2) / 3)) return;
    }
    // Fenced or closed while it looked: the lease is another's by now.
    if (!this.#stopped) await this.#put("held", found?.tag);
  }

  async #put(state: WriterLease["state"], ifTag: string | undefined): Promise<boolean> {
    const { writer, clock, intervalMs } = this.#options;
    const renewedAt = new Date(clock.now());
    const expiresAfterMs = intervalMs * expiresAfterIntervals;
    const startedAt = this.#startedAt ?? renewedAt;
    const lease: WriterLease = { state, ...writer, startedAt, renewedAt, expiresAfterMs };
    const bytes = encodeLease(lease, this.#renewals);
    // Counted before: a record that may be stored is never stored a second time with the same bytes.
    this.#renewals += 1;
    const condition = ifTag === undefined ? ({ ifAbsent: true } as const) : { ifTag };
    const stored = await answered(this.#objects.put(leaseName, bytes, condition));
    this.#tag = stored === "conflict" ? undefined : stored.tag;
    if (stored === "conflict") return false;
    this.#renewedAt = renewedAt;
    this.#startedAt = startedAt;
    this.#takenBy = undefined;
    this.#observer.forget();
    return true;
  }

  async #end(last: (tag: string) => Promise<void>): Promise<void> {
    this.stop();
    await this.#renewing;
    try {
      if (this.#tag !== undefined) await last(this.#tag);
      this.#error = undefined;
    } catch (error) {
      this.#error = asStorageError(error);
    }
    this.#ended = true;
    this.#tag = undefined;
    await this.#objects.close().catch(() => {});
  }
}

function asStorageError(error: unknown): EventStoreError {
  if (error instanceof EventStoreError) return error;
  return new StorageUnavailableError("The lease could not be stored", { cause: error });
}
