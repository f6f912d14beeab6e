/**
 * A pass under way: what its steps commit, gathered into few commits, counted, and spaced so that the compactor takes no
 * more than its share of the writer's time. It has at most one commit in the pipeline.
 */

import { OverloadedError } from "../errors.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { CoreCommit, StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import { type CompactionCounts, type LifecyclePass, noCounts } from "./lifecycle-step.ts";

/** What has gathered is committed when it has so many rows or bytes: putting 256 rows takes some 4 ms of a commit group. */
export const gatheredRowsMax = 256;
export const gatheredBytesMax: number = 512 * 1024;
/** Work of less than this is not worth a rest; no rest is longer. */
const workMsMin = 4;
const restMsMax = 2_000;
const fullShareBesideAppends = 0.5;
/** How often a commit is offered again to a pipeline that is full, and how long to wait before that, at first. */
const offersMax = 8;
const offerAgainMs = 50;

/** Counts of two, added up. */
export function addCounts(left: CompactionCounts, right: Partial<CompactionCounts>): CompactionCounts {
  const sum: Record<string, number> = { ...left };
  for (const [name, count] of Object.entries(right)) sum[name] = (sum[name] ?? 0) + count;
  return sum as unknown as CompactionCounts;
}

export interface CompactionPassOptions {
  readonly core: StoreCore;
  readonly full: boolean;
  readonly signal: AbortSignal;
  /** Of the time, more than 0 and at most 1; one that was asked for takes all that is left over, or half beside appends. */
  readonly share: number;
  /** Told of counts as they become durable. */
  readonly onCounts: (counts: Partial<CompactionCounts>) => void;
}

export class CompactionPass implements LifecyclePass {
  readonly core: StoreCore;
  readonly full: boolean;
  readonly signal: AbortSignal;
  readonly #share: number;
  readonly #onCounts: CompactionPassOptions["onCounts"];
  #counts: CompactionCounts = noCounts;
  #gathered: KvOperation[] = [];
  #gatheredBytes = 0;
  #gatheredCounts: CompactionCounts = noCounts;
  #workSinceMs: number;
  #lastPosition: number;

  constructor({ core, full, signal, share, onCounts }: CompactionPassOptions) {
    this.core = core;
    this.full = full;
    this.signal = signal;
    this.#share = share;
    this.#onCounts = onCounts;
    this.#workSinceMs = core.clock.monotonic();
    this.#lastPosition = core.lastPosition();
  }

  /** What is durable of it. */
  get counts(): CompactionCounts {
    return this.#counts;
  }

  async commit(commit: CoreCommit, counts: Partial<CompactionCounts> = {}): Promise<void> {
    this.signal.throwIfAborted();
    await this.#offer(commit);
    this.#counts = addCounts(this.#counts, counts);
    this.#onCounts(counts);
    await this.breathe();
  }

  async maintain(operations: readonly KvOperation[], counts: Partial<CompactionCounts> = {}): Promise<void> {
    for (const operation of operations) {
      this.#gathered.push(operation);
      this.#gatheredBytes += operation.key.length + (operation.kind === "put" ? operation.value.length : 0);
    }
    this.#gatheredCounts = addCounts(this.#gatheredCounts, counts);
    if (this.#gathered.length >= gatheredRowsMax || this.#gatheredBytes >= gatheredBytesMax) await this.flush();
  }

  async flush(rows: readonly KvOperation[] = []): Promise<void> {
    const maintenance = this.#gathered;
    const counts = this.#gatheredCounts;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#gatheredCounts = noCounts;
    if (maintenance.length + rows.length > 0) await this.commit({ maintenance, rows }, counts);
  }

  async breathe(): Promise<void> {
    this.signal.throwIfAborted();
    const workedMs = this.core.clock.monotonic() - this.#workSinceMs;
    if (workedMs < workMsMin) return;
    const restMs = Math.min(restMsMax, workedMs * (1 / this.#shareNow() - 1));
    if (restMs >= 1) await pause(restMs, this.signal);
    else await new Promise<void>((resolve) => setImmediate(resolve));
    this.signal.throwIfAborted();
    this.#workSinceMs = this.core.clock.monotonic();
  }

  #shareNow(): number {
    const before = this.#lastPosition;
    this.#lastPosition = this.core.lastPosition();
    if (!this.full) return this.#share;
    return this.#lastPosition === before ? 1 : Math.max(this.#share, fullShareBesideAppends);
  }

  /** A pipeline that is full is waited for: there is nobody to whom it would matter when. */
  async #offer(commit: CoreCommit): Promise<void> {
    for (let offer = 1; ; offer += 1) {
      try {
        await this.core.submit(commit);
        return;
      } catch (error) {
        if (!(error instanceof OverloadedError) || offer >= offersMax) throw error;
        await pause(offerAgainMs * 2 ** offer, this.signal);
        this.signal.throwIfAborted();
      }
    }
  }
}
