/**
 * What the actors of a simulation share: a store over a storage that fails by a seed, opened again whenever it has stopped, what
 * they were promised and what a follower has seen across all its lives. The same seed gives the same history; the offset of a
 * simulation keeps its choices apart from those of the storage and of other simulations.
 */

import { expect } from "bun:test";
import { type EventStore, EventStoreError, type RecordedEvent } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import type { IdSource } from "../../src/runtime/ids.ts";
import {
  createFaultyStorage,
  type FaultRates,
  type FaultyStorage,
  openFaultyKv,
  seededRandom,
  tick,
} from "./faulty-kv.ts";

/** The part of a store that a world needs, whatever events it knows. */
type SimulatedStore = Pick<EventStore, "health" | "close" | "subscribe">;

/** The only clock and ids of a simulation. */
export interface SimulatedRuntime {
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: () => number;
}

export interface FaultyWorldOptions<Store> {
  readonly seed: number;
  readonly seedOffset: number;
  /** The most of each rate; a seed has chosen rates below. Default: those of the store and of the compactor. */
  readonly ratesMax?: FaultRates;
  readonly open: (kv: KeyValueStore, runtime: SimulatedRuntime) => Promise<Store>;
}

/** An append that was acknowledged: the ids of its events in order, and where the last of them is. */
export interface Acknowledged {
  readonly streamName: string;
  readonly ids: readonly string[];
  readonly streamVersion: number;
  readonly position: number;
}

const ratesMaxDefault: FaultRates = {
  ...{ failBefore: 0.1, failAfter: 0.05, loseTail: 0.05, fence: 0.03 },
  ...{ readFailure: 0.02, delay: 0.6 },
};

export class FaultyWorld<Store extends SimulatedStore, Promised extends Acknowledged = Acknowledged> {
  readonly faults: FaultyStorage;
  readonly random: () => number;
  readonly trace: string[] = [];
  readonly acknowledged: Promised[] = [];
  readonly followed: RecordedEvent[] = [];
  readonly #open: FaultyWorldOptions<Store>["open"];
  #store: Store | undefined;
  #opening: Promise<Store> | undefined;
  #ticks = 0;
  #ids = 0;

  constructor({ seed, seedOffset, ratesMax = ratesMaxDefault, open }: FaultyWorldOptions<Store>) {
    this.#open = open;
    this.random = seededRandom(seed + seedOffset);
    // The order of the choices is part of the history of a seed.
    const pick = (most: number): number => this.random() * most;
    const rates: FaultRates = {
      failBefore: pick(ratesMax.failBefore),
      failAfter: pick(ratesMax.failAfter),
      loseTail: pick(ratesMax.loseTail),
      fence: pick(ratesMax.fence),
      readFailure: pick(ratesMax.readFailure),
      delay: pick(ratesMax.delay),
    };
    this.faults = createFaultyStorage(seed, rates, (line) => this.trace.push(line));
  }

  nextId(): string {
    this.#ids += 1;
    return `id-${this.#ids}`;
  }

  /** The open store; opens it again, as often as it takes, after the one before has stopped. */
  async store(): Promise<Store> {
    if (this.#store?.health().state === "open") return this.#store;
    this.#opening ??= this.#openAgain().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #openAgain(): Promise<Store> {
    await this.#store?.close().catch(() => {});
    const clock = { now: () => 1_700_000_000_000 + this.#ticks++, monotonic: () => this.#ticks };
    const ids = { next: () => this.nextId() };
    for (;;) {
      try {
        this.#store = await this.#open(openFaultyKv(this.faults), { clock, ids, random: this.random });
        this.trace.push("opened");
        return this.#store;
      } catch (error) {
        this.trace.push(`open: ${simulatedFailure(error).code}`);
      }
    }
  }

  /** Runs `work` on the store of the moment until it comes through. */
  async repeat<T>(work: (store: Store) => Promise<T>): Promise<T> {
    for (;;) {
      const store = await this.store();
      try {
        return await work(store);
      } catch (error) {
        const { code, outcome } = simulatedFailure(error);
        this.trace.push(`${code} ${outcome}`);
      }
    }
  }

  /** Follows the log across all reopenings, from its own checkpoint. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const store = await this.store();
      try {
        const after = this.followed.at(-1)?.position ?? 0;
        for await (const event of store.subscribe({ from: { after }, signal })) this.followed.push(event);
        // Closed under it: goes on with the next store.
        await tick();
      } catch (error) {
        this.trace.push(`follow: ${simulatedFailure(error).code}`);
      }
    }
  }

  /** Waits until `count` events were followed, for as long as `store` is the one of the moment. */
  async hasFollowed(count: number, store: Store): Promise<boolean> {
    while (this.followed.length < count && (await this.store()) === store) await tick();
    return this.followed.length >= count;
  }
}

/** A failure of the kind that the storage was told to have; all else is thrown on. */
export function simulatedFailure(error: unknown): EventStoreError {
  if (!(error instanceof EventStoreError) || error.code === "storage-corrupt") throw error;
  return error;
}

/** The log has no gaps, and what was acknowledged, and only that, is there once and where it was told to be. */
export function expectOneHistory(
  { acknowledged }: { readonly acknowledged: readonly Acknowledged[] },
  log: readonly RecordedEvent[],
): void {
  expect(log.map(({ position }) => position)).toEqual(log.map((_, index) => index + 1));
  expect(log.map(({ id }) => id).toSorted()).toEqual(acknowledged.flatMap(({ ids }) => ids).toSorted());
  for (const { streamName, ids, streamVersion, position } of acknowledged) {
    const stored = log.slice(position - ids.length, position);
    expect(stored.map(({ id }) => id)).toEqual([...ids]);
    expect(stored.map((event) => event.streamName)).toEqual(ids.map(() => streamName));
    expect(stored.at(-1)?.version).toBe(streamVersion);
  }
}

/** Runs `simulate` once for each of the seeds 1 to `seeds`, and says which one fails. */
export async function forEachSeed(seeds: number, simulate: (seed: number) => Promise<void>): Promise<void> {
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      await simulate(seed);
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
  }
}

/** Each of the seeds gives the same trace twice, and one of at least `linesMin` lines. */
export async function expectSameTraces(
  seeds: readonly number[],
  linesMin: number,
  traceOf: (seed: number) => Promise<readonly string[]>,
): Promise<void> {
  for (const seed of seeds) {
    const trace = await traceOf(seed);
    expect(trace.length).toBeGreaterThan(linesMin);
    expect(await traceOf(seed)).toEqual(trace);
  }
}
