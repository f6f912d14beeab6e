/**
 * The import at work: while up to two batches are being written, the next one is read and planned. The commits of a batch
 * are submitted together, so that they share a commit group; batches are submitted in order, so that each stream's events
 * stay in the order of the input. It can stop at any moment: what is stored is known again by its ids.
 */

import { type EventStore, EventStoreError } from "../index.ts";
import { pause } from "../runtime/deadline.ts";
import { type Batch, type PlannedBatch, planBatch, type RefusedLine } from "./import-batches.ts";
import { MemoryGuard } from "./memory-guard.ts";
import type { StreamLedger } from "./stream-ledger.ts";

const batchesInFlightMax = 2;
/** How many refused lines are listed. */
export const refusedListedMax = 10;
/** A store that is overloaded is asked again so often, with such pauses. */
const attemptsMax = 120;
const attemptPauseMs = 500;

/** Counted so far. `imported` is durable. */
export interface ImportCounts {
  readonly imported: number;
  readonly alreadyThere: number;
  readonly bad: number;
}

interface InFlight {
  readonly batch: PlannedBatch;
  /** The first error, once all its commits have settled. */
  readonly settled: Promise<unknown>;
}

export class Importer {
  readonly #store: EventStore;
  readonly #ledger: StreamLedger;
  readonly #memory = new MemoryGuard();
  readonly #onProgress: () => void;
  #inFlight: InFlight[] = [];
  #counts = { imported: 0, alreadyThere: 0, bad: 0 };
  readonly #refused: RefusedLine[] = [];

  /** `onProgress`: called when a batch is durable. */
  constructor(store: EventStore, ledger: StreamLedger, onProgress: () => void) {
    this.#store = store;
    this.#ledger = ledger;
    this.#onProgress = onProgress;
  }

  get counts(): ImportCounts {
    return this.#counts;
  }

  /** The first lines that were refused. */
  get refused(): readonly RefusedLine[] {
    return this.#refused;
  }

  /** Imports all batches. What it throws leaves the counts as they are: all that was acknowledged. */
  async run(batches: AsyncIterable<Batch>): Promise<void> {
    try {
      for await (const batch of batches) if (!(await this.#take(batch))) break;
    } finally {
      while (this.#inFlight.length > 0) await this.#settleOldest();
    }
  }

  /** Answers whether the import goes on behind it. */
  async #take(batch: Batch): Promise<boolean> {
    const planned = await planBatch(batch, this.#ledger);
    while (this.#inFlight.length >= batchesInFlightMax) await this.#settleOldest();
    this.#inFlight.push({ batch: planned, settled: this.#submit(planned) });
    this.#counts.bad += planned.refused.length;
    this.#refused.push(...planned.refused.slice(0, refusedListedMax - this.#refused.length));
    return !planned.isLast;
  }

  async #submit(batch: PlannedBatch): Promise<unknown> {
    const outcomes = await Promise.allSettled(batch.commits.map((commit) => this.#store.commit(commit)));
    return outcomes.find((outcome) => outcome.status === "rejected")?.reason;
  }

  async #settleOldest(): Promise<void> {
    const [oldest] = this.#inFlight;
    if (oldest === undefined) return;
    const error = await oldest.settled;
    if (error instanceof EventStoreError && error.code === "overloaded") {
      await this.#submitAgain();
      return;
    }
    this.#inFlight.shift();
    if (error !== undefined) {
      // What was submitted behind it cannot succeed: its streams are not as expected.
      await Promise.all(this.#inFlight.splice(0).map(({ settled }) => settled));
      throw error;
    }
    this.#count(oldest.batch);
  }

  /** Backs off, then repeats what is under way, in order; commits that succeeded before answer with their first result. */
  async #submitAgain(): Promise<void> {
    const waiting = this.#inFlight.splice(0);
    await Promise.all(waiting.map(({ settled }) => settled));
    for (const { batch } of waiting) {
      for (const commit of batch.commits) await this.#persist(() => this.#store.commit(commit));
      this.#count(batch);
    }
  }

  async #persist(attempt: () => Promise<unknown>): Promise<void> {
    for (let attempts = 1; ; attempts += 1) {
      try {
        await attempt();
        return;
      } catch (error) {
        const again = error instanceof EventStoreError && error.code === "overloaded" && attempts < attemptsMax;
        if (!again) throw error;
        await pause(attemptPauseMs);
      }
    }
  }

  #count(batch: PlannedBatch): void {
    this.#counts.imported += batch.events;
    this.#counts.alreadyThere += batch.alreadyThere;
    this.#onProgress();
    this.#memory.record(batch.events + batch.alreadyThere, batch.characters);
  }
}
