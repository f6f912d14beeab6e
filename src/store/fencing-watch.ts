/**
 * Notices that this writer has stopped, also while nobody writes, and tells so: live readers, the lease, and once the handler of
 * `onFenced`, with who took over. It asks for a state in memory only; the engine itself looks at the storage.
 */

import type { EventStoreError } from "../errors.ts";
import type { KvStatus } from "../kv/kv.ts";
import { pause } from "../runtime/deadline.ts";
import type { WriterLease } from "../vocabulary/writer-lease.ts";
import type { Lease } from "./lease.ts";

/** What a writer that was fenced is told. */
export interface FencedInfo {
  /** What its appends fail with from now on. */
  readonly error: EventStoreError;
  /** Who took over; `undefined` where the lease does not say so: its writer could not store it, or it could not be read. */
  readonly takenOverBy: WriterLease | undefined;
}

const watchIntervalMs = 1_000;

/** The new writer stores the lease before it fences, but may have failed to: how often, and how far apart, to look for it. */
const looksMax = 3;
const lookIntervalMs = 1_000;

export interface FencingWatchOptions {
  readonly status: () => KvStatus;
  readonly lease: Lease | undefined;
  readonly onFenced: ((info: FencedInfo) => unknown) | undefined;
  readonly onError: (error: unknown) => void;
  /** The store takes no further writes. */
  readonly onStopped: () => void;
}

export class FencingWatch {
  readonly #options: FencingWatchOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #ending = new AbortController();
  #stopped = false;

  constructor(options: FencingWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.check(), watchIntervalMs);
    this.#timer.unref();
  }

  /** Looks now. What has to be told is told once, however often this is called. */
  check(): void {
    const status = this.#options.status();
    if (this.#stopped || status.state === "open") return;
    this.#stopped = true;
    clearInterval(this.#timer);
    if (status.state === "closed") return;
    this.#options.lease?.stop();
    this.#options.onStopped();
    this.#tell(status).catch((error: unknown) => this.#report(error));
  }

  /** The store is being closed: nobody is told anything any more. */
  end(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#ending.abort();
  }

  async #tell(status: KvStatus & { readonly error: EventStoreError }): Promise<void> {
    const { onFenced } = this.#options;
    if (onFenced === undefined) return;
    const takenOverBy = await this.#findSuccessor();
    // A writer that failed for another reason, such as having stood still, was fenced if somebody else has the lease.
    const fenced = status.state === "fenced" || takenOverBy !== undefined;
    if (fenced && !this.#ending.signal.aborted) await onFenced({ error: status.error, takenOverBy });
  }

  async #findSuccessor(): Promise<WriterLease | undefined> {
    const { lease } = this.#options;
    // Where this writer's record never stood there, another's may be older than this writer.
    if (lease?.wasHeld !== true) return undefined;
    for (let looks = 1; !this.#ending.signal.aborted; looks += 1) {
      const found = await lease.look().catch(() => undefined);
      if (found?.stored.kind === "lease" && !lease.isOwn(found)) return found.stored.lease;
      if (looks >= looksMax) break;
      await pause(lookIntervalMs, this.#ending.signal);
    }
    return undefined;
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // There is nobody left to tell.
    }
  }
}
