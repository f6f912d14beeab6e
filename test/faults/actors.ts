/**
 * Who uses a store while its storage fails: appenders that keep a ledger of what they were told, and followers that read
 * what is there. They behave as services should: they back off, repeat what is unknown, and open the store again where it
 * says so. Each call must end within a bound, with an error of the documented set, and say what became of it.
 */

import { type EventStore, EventStoreError, type ExpectedVersion } from "../../src/index.ts";
import { Ledger, type LedgerEntry, type LedgerPart } from "../support/ledger.ts";

const streams = ["order-1", "order-2", "cart-1", "cart-2"];
const backOffMs = 15;

/** What a caller of a store on a failing bucket may be told; the bucket's own words are in `cause`. */
const codesOfWrites = ["conflict", "overloaded", "storage-unavailable", "writer-fenced", "store-closed"];
const codesOfReads = ["storage-unavailable", "writer-fenced", "store-closed"];

export interface CastOptions {
  readonly random: () => number;
  /** Opens the store, on whatever is there. */
  readonly open: () => Promise<EventStore>;
  /** No call may take longer. */
  readonly callMsMax: number;
  readonly now: () => number;
}

export interface Told {
  readonly code: string;
  readonly outcome: string | undefined;
}

/** What all actors of a run share: the store of the moment, the ledger, and what they were told. */
export class Cast {
  readonly ledger: Ledger = new Ledger();
  readonly told: Map<string, number> = new Map();
  readonly read: { readonly id: string; readonly position: number }[] = [];
  slowestCallMs = 0;
  opens = 0;
  failedOpens = 0;
  readonly random: () => number;
  readonly #options: CastOptions;
  #store: EventStore | undefined;
  #opening: Promise<EventStore> | undefined;
  #ids = 0;
  #ended = false;

  constructor(options: CastOptions) {
    this.#options = options;
    this.random = options.random;
  }

  get current(): EventStore | undefined {
    return this.#store;
  }

  /** From now on nobody opens the store again: what failed must not go on behind the next test. */
  end(): void {
    this.#ended = true;
  }

  /** The store of the moment. One that says that it must be opened again is, as often as it takes. */
  async store(): Promise<EventStore> {
    const state = this.#store?.health().state;
    if (this.#store !== undefined && (state === "open" || state === "stalled")) return this.#store;
    this.#opening ??= this.#reopen().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  nextIds(count: number): readonly string[] {
    return Array.from({ length: count }, () => {
      this.#ids += 1;
      return `e${this.#ids}`;
    });
  }

  /** Times the call, and notes the error it ends with; others than ours are thrown on. */
  async call<T>(
    work: Promise<T>,
    allowed: readonly string[],
  ): Promise<{ readonly value: T } | { readonly error: EventStoreError }> {
    const startedMs = this.#options.now();
    const answer = await work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error: this.#note(error, allowed) }),
    );
    const tookMs = this.#options.now() - startedMs;
    this.slowestCallMs = Math.max(this.slowestCallMs, tookMs);
    if (tookMs > this.#options.callMsMax) throw new Error(`A call took ${Math.round(tookMs)} ms`);
    return answer;
  }

  backOff(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, backOffMs * (0.5 + this.random())));
  }

  #note(error: unknown, allowed: readonly string[]): EventStoreError {
    if (!(error instanceof EventStoreError)) throw error;
    if (!allowed.includes(error.code)) throw new Error(`A caller was told ${error.code}`, { cause: error });
    const told = `${error.code} ${error.outcome ?? "-"}`;
    this.told.set(told, (this.told.get(told) ?? 0) + 1);
    return error;
  }

  async #reopen(): Promise<EventStore> {
    await this.#store?.close().catch(() => {});
    while (!this.#ended) {
      const answer = await this.call(this.#options.open(), ["storage-unavailable", "writer-fenced"]);
      if ("value" in answer) {
        this.opens += 1;
        this.#store = answer.value;
        return answer.value;
      }
      this.failedOpens += 1;
      await this.backOff();
    }
    throw new Error("The run has ended");
  }
}

interface Attempt {
  readonly parts: readonly (LedgerPart & { readonly expectedVersion: ExpectedVersion })[];
  readonly entry: LedgerEntry;
}

/** One attempt; answers whether the caller now knows what became of the commit. */
async function attempt(cast: Cast, { parts, entry }: Attempt, mayBeStored: boolean): Promise<boolean> {
  const store = await cast.store();
  const appends = parts.map(({ streamName, ids, expectedVersion }) => ({
    streamName,
    expectedVersion,
    events: ids.map((id) => ({ id, type: "Happened", data: { id }, tags: [`stream:${streamName}`] })),
  }));
  const answer = await cast.call(store.commit({ appends }), codesOfWrites);
  if ("value" in answer) {
    const { position, streams: results, replayed } = answer.value;
    if (replayed && !mayBeStored) throw new Error("A first attempt was taken for a retry");
    entry.position = position;
    entry.versions = results.map((result) => result.streamVersion);
    entry.fate = "acknowledged";
    return true;
  }
  const { code, outcome } = answer.error;
  if (outcome === undefined) throw new Error("A failed write did not say what became of it", { cause: answer.error });
  // A conflict is told only where nothing of the commit is stored; other refusals speak of this attempt alone.
  if (outcome === "not-applied" && (code === "conflict" || !mayBeStored)) {
    entry.fate = "not-applied";
    return true;
  }
  return false;
}

async function expectationOf(cast: Cast, streamName: string): Promise<ExpectedVersion> {
  if (cast.random() < 0.5) return "any";
  const store = await cast.store();
  const answer = await cast.call(store.streamInfo(streamName), codesOfReads);
  return "value" in answer ? (answer.value?.version ?? "no-stream") : "any";
}

/** Appends to one stream or two, again and again; what is unknown it repeats, or leaves so. */
export async function appender(cast: Cast, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const from = Math.floor(cast.random() * streams.length);
    const names = streams.concat(streams).slice(from, from + (cast.random() < 0.3 ? 2 : 1));
    const parts: Attempt["parts"][number][] = [];
    for (const streamName of names) {
      const ids = cast.nextIds(1 + Math.floor(cast.random() * 2));
      parts.push({ streamName, ids, expectedVersion: await expectationOf(cast, streamName) });
    }
    const entry = cast.ledger.begin(parts);
    const repeats = cast.random() < 0.5;
    for (let known = await attempt(cast, { parts, entry }, false); !known && repeats && !signal.aborted; ) {
      await cast.backOff();
      known = await attempt(cast, { parts, entry }, true);
    }
    if (entry.fate !== "acknowledged") await cast.backOff();
  }
}

/** Reads the log onwards from where it is, again and again, across all openings. */
export async function follower(cast: Cast, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const store = await cast.store();
    const answer = await cast.call(readOn(cast, store), codesOfReads);
    if ("error" in answer) await cast.backOff();
    await cast.backOff();
  }
}

async function readOn(cast: Cast, store: EventStore): Promise<void> {
  const fromPosition = (cast.read.at(-1)?.position ?? 0) + 1;
  for await (const { id, position } of store.readAll({ fromPosition, limit: 200 })) cast.read.push({ id, position });
}

/** Tries until the store acknowledges an append, or says that it must be opened again; answers which. */
export async function probe(cast: Cast): Promise<"went on" | "must be opened again"> {
  for (;;) {
    const store = cast.current;
    if (store === undefined) throw new Error("No store was opened");
    const state = store.health().state;
    if (state === "failed" || state === "fenced") return "must be opened again";
    const [id = ""] = cast.nextIds(1);
    const parts = [{ streamName: "probe-1", ids: [id], expectedVersion: "any" as const }];
    const entry = cast.ledger.begin(parts);
    await attempt(cast, { parts, entry }, false);
    if (entry.fate === "acknowledged" && store === cast.current) return "went on";
    await cast.backOff();
  }
}
