/**
 * A reactor behind the log. The events of a batch go in lanes, one a key: in order within, a bounded number of lanes at a
 * time. What fails again and again is parked, and later events of its key behind it, so that everybody else goes on. The
 * checkpoint and what was parked share a commit; after a crash some events may be handled again, under the same keys.
 */

import { StoreClosedError } from "../errors.ts";
import { checkpointKey } from "../format/processor-keys.ts";
import { decodeRecord, recordRow } from "../format/processor-records.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { AnyReactor } from "./define-reactor.ts";
import { checkKnownEvents, type ProcessorHost } from "./definition.ts";
import { eventOf, type ParkedRecord, Parking } from "./parking.ts";
import type { Batch, BatchContext, Processor } from "./processor.ts";
import { keyOf, react } from "./reaction.ts";
import { delayAfter } from "./retries.ts";
import { HandlingFailure } from "./worker.ts";

/** How many events are handled before their checkpoint is saved: so many may be handled twice after a crash. */
export const reactorBatchEvents = 64;
/** How many keys are handled beside each other. */
export const reactorLanesMax = 16;

type Outcome = "handled" | ParkedRecord;

class AsyncReactor {
  readonly #core: StoreCore;
  readonly #reactor: AnyReactor;
  readonly parking: Parking;
  /** Of the batch that is under way, kept while its commit is tried again. */
  #outcomes = new Map<RecordedEvent, Outcome>();

  constructor(core: StoreCore, reactor: AnyReactor) {
    this.#core = core;
    this.#reactor = reactor;
    this.parking = new Parking(core, reactor.name, async (record, done) => {
      await react(reactor, await eventOf(core, record), record.attempts + 1, new AbortController().signal);
      await core.submit({ rows: [done] });
    });
  }

  async prepare(): Promise<void> {
    await this.#core.useFamilies(["checkpoints", "parkedEvents"]);
    await this.parking.prepare();
    if (this.#reactor.from === "end" && (await this.#checkpoint()) === undefined)
      await this.#save(this.#core.lastPosition(), []);
  }

  async loadCheckpoint(): Promise<number> {
    return (await this.#checkpoint()) ?? 0;
  }

  async handle({ events, fromPosition, toPosition }: Batch, { signal }: BatchContext): Promise<void> {
    this.#outcomes = new Map(
      events.flatMap((event) => {
        const outcome = this.#outcomes.get(event);
        return outcome === undefined ? [] : [[event, outcome] as const];
      }),
    );
    const lanes = new Map<string, RecordedEvent[]>();
    for (const event of events) {
      if (this.#outcomes.has(event)) continue;
      const key = this.#keyOf(event);
      const lane = lanes.get(key);
      if (lane === undefined) lanes.set(key, [event]);
      else lane.push(event);
    }
    const waiting = lanes.entries();
    const work = async (): Promise<void> => {
      for (const [key, lane] of waiting) await this.#runLane(key, lane, signal);
    };
    await Promise.all(Array.from({ length: Math.min(reactorLanesMax, lanes.size) }, work));
    const first = events.find((event) => !this.#outcomes.has(event));
    const to = first === undefined ? toPosition : first.position - 1;
    const parked = [...this.#outcomes.values()].filter((outcome) => outcome !== "handled");
    const settled = parked.filter((record) => record.position <= to);
    this.parking.assertRoom(settled.length);
    if (to >= fromPosition) await this.#save(to, settled);
    this.#outcomes = new Map();
    if (first !== undefined) throw new StoreClosedError();
  }

  async #checkpoint(): Promise<number | undefined> {
    const key = checkpointKey(this.#reactor.name, 0);
    const value = await this.#core.rows.get(key);
    return value === undefined
      ? undefined
      : (decodeRecord("checkpoint", { key, value }) as { position: number }).position;
  }

  async #save(position: number, parked: readonly ParkedRecord[]): Promise<void> {
    const checkpoint = recordRow("checkpoint", checkpointKey(this.#reactor.name, 0), { position });
    await this.#core.submit({ rows: [checkpoint, ...parked.map((record) => this.parking.row(record))] });
    for (const record of parked) this.parking.parked(record);
  }

  #keyOf(event: RecordedEvent): string {
    try {
      return keyOf(this.#reactor, event);
    } catch (error) {
      throw new HandlingFailure(this.#reactor.name, event, error);
    }
  }

  async #runLane(key: string, events: readonly RecordedEvent[], signal: AbortSignal): Promise<void> {
    let stuck = this.parking.blocks(key);
    for (const event of events) {
      if (signal.aborted) return;
      const outcome = stuck ? this.#behind(event, key) : await this.#try(event, key, signal);
      if (outcome === undefined) return;
      if (outcome !== "handled") stuck = true;
      this.#outcomes.set(event, outcome);
    }
  }

  /** `undefined`: the store closes, and nobody knows. */
  async #try(event: RecordedEvent, key: string, signal: AbortSignal): Promise<Outcome | undefined> {
    const { retries } = this.#reactor;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await react(this.#reactor, event, attempt, signal);
        return "handled";
      } catch (error) {
        if (signal.aborted) return undefined;
        if (attempt >= retries.attempts) {
          this.#core.warn(new HandlingFailure(this.#reactor.name, event, error));
          return this.parking.record(event, { key, error, attempts: attempt, waiting: false });
        }
        await pause(delayAfter(attempt, retries, this.#core.random), signal);
        if (signal.aborted) return undefined;
      }
    }
  }

  #behind(event: RecordedEvent, key: string): ParkedRecord {
    const error = new Error("It waits behind an earlier event of the same key");
    return this.parking.record(event, { key, error, attempts: 0, waiting: true });
  }
}

/** The processor of a reactor whose mode is `"async"`. */
export function asyncReactor(reactor: AnyReactor, { core }: ProcessorHost): Processor {
  const { name, version, filter } = reactor;
  checkKnownEvents(core, name, reactor.events);
  const running = new AsyncReactor(core, reactor);
  return {
    name,
    kind: "reactor",
    version,
    filter,
    batchEventsMax: reactorBatchEvents,
    parking: running.parking,
    prepare: () => running.prepare(),
    loadCheckpoint: () => running.loadCheckpoint(),
    handle: (batch, context) => running.handle(batch, context),
  };
}
