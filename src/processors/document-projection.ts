/**
 * A projection behind the log: documents, secondary keys and the checkpoint of a batch go into one commit. The same target
 * fills the generation that serves and one that is being built; which is which is for `Generations` to say.
 */

import { InvalidArgumentError } from "../errors.ts";
import type { KvOperation } from "../kv/kv.ts";
import { commitBytesMax } from "../log/commit.ts";
import { commitRowsMax } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { AnyProjection } from "./define-projection.ts";
import { type DocumentOverlay, UnstorableDocuments } from "./document-overlay.ts";
import { DocumentStore } from "./document-store.ts";
import { erasedAtOnce, eraseIn, personalKeysOf } from "./erased-documents.ts";
import type { Generations } from "./generations.ts";
import { eventOf, type ParkedRecord, Parking } from "./parking.ts";
import type { Batch, BatchContext, BatchTarget, Processor, Rebuilding } from "./processor.ts";
import { HandlingFailure } from "./worker.ts";

/** A batch with more rows takes several commits, because appends wait while one is written; one event may have more. */
const rowsAtOnceMax = 4_000;
/** The most rows and bytes of a commit. */
const rowsMax = commitRowsMax - 200;
const bytesMax = commitBytesMax / 4;

function bytesOf(rows: readonly KvOperation[]): number {
  return rows.reduce((sum, row) => sum + row.key.length + (row.kind === "put" ? row.value.length : 0), 0);
}

/** Applies batches to one generation of a projection's documents. */
export class DocumentTarget implements BatchTarget {
  readonly #core: StoreCore;
  readonly #projection: AnyProjection;
  readonly #parking: Parking | undefined;
  readonly documents: DocumentStore;
  readonly #changedMax: number;
  /** Batches that failed half-way come again from their beginning. */
  #handledTo = 0;

  /** `parking`: only for the generation that serves; what is built anew does not park. */
  constructor(core: StoreCore, projection: AnyProjection, generation: number, parking?: Parking) {
    this.#core = core;
    this.#projection = projection;
    this.#parking = projection.onFailure === "park" ? parking : undefined;
    this.documents = new DocumentStore(core, projection, generation);
    // A document is a row, and mostly each of its secondary keys is one that goes and one that comes.
    this.#changedMax = Math.ceil(rowsAtOnceMax / (1 + 2 * Object.keys(projection.indexes).length));
  }

  async loadCheckpoint(): Promise<number> {
    const position = await this.documents.loadCheckpoint();
    // Documents and checkpoint share their commits, so without the one there are none of the others.
    if (position === 0) this.documents.startsEmpty();
    return position;
  }

  async handle({ events, toPosition }: Batch, context: BatchContext): Promise<void> {
    try {
      const left = events.filter(({ position }) => position > this.#handledTo);
      await this.#handle(left, toPosition, context);
    } catch (error) {
      this.documents.forget();
      if (context.lastAttempt && error instanceof HandlingFailure) await this.#handleBefore(error, events, context);
      throw error;
    }
  }

  /** Before it stops at an event, so that what comes before that is in the documents. Throws where it meets an earlier one. */
  async #handleBefore(
    { position }: HandlingFailure,
    events: readonly RecordedEvent[],
    context: BatchContext,
  ): Promise<void> {
    const before = events.filter((event) => event.position > this.#handledTo && event.position < position);
    try {
      if (before.length > 0) await this.#handle(before, position - 1, context);
    } catch (error) {
      this.documents.forget();
      if (error instanceof HandlingFailure) await this.#handleBefore(error, before, context);
      throw error;
    }
  }

  /** Applies one event out of its turn, together with a row that says so. */
  async handleAgain(event: RecordedEvent, done: KvOperation): Promise<void> {
    const overlay = this.documents.overlay();
    const failed = (_: RecordedEvent, error: unknown): never => {
      throw error;
    };
    await this.documents.apply(overlay, [event], { failed });
    overlay.encodeSince(0);
    const rows = overlay.rows(this.documents.generation);
    await this.#core.submit({ rows: [...rows, done] });
    this.documents.confirm(overlay, bytesOf(rows));
  }

  async erase(subject: string): Promise<number> {
    const keys = personalKeysOf(this.#projection, subject);
    let erased = 0;
    for (let at = 0; at < keys.length; at += erasedAtOnce) {
      const overlay = this.documents.overlay();
      const about = { projection: this.#projection, subject, position: this.#core.lastPosition() };
      erased += await eraseIn(overlay, this.documents, keys.slice(at, at + erasedAtOnce), about);
      const rows = overlay.rows(this.documents.generation);
      if (rows.length === 0) continue;
      await this.#core.submit({ rows });
      this.documents.confirm(overlay, bytesOf(rows));
    }
    return erased;
  }

  async #handle(events: readonly RecordedEvent[], toPosition: number, context: BatchContext): Promise<void> {
    for (let left = events; ; ) {
      const applied = await this.#commit(left, toPosition, context);
      if (applied === left.length) return;
      left = left.slice(applied);
    }
  }

  /** Applies as many of the events as a commit should hold, and answers how many; with all of them it is as far as `toPosition`. */
  async #commit(
    given: readonly RecordedEvent[],
    toPosition: number,
    context: BatchContext,
    refused: ReadonlyMap<number, unknown> = new Map(),
  ): Promise<number> {
    const { documents } = this;
    const overlay = documents.overlay();
    const parked: ParkedRecord[] = [];
    const failed = (event: RecordedEvent, error: unknown): void => {
      if (this.#parking === undefined || !context.lastAttempt)
        throw new HandlingFailure(this.#projection.name, event, error);
      const { attempts } = this.#projection.retries;
      parked.push(this.#parking.record(event, { error, attempts, waiting: false }));
    };
    const applied = await documents.apply(overlay, given, { failed, refused, changedMax: this.#changedMax });
    const events = applied === given.length ? given : given.slice(0, applied);
    const reached = applied === given.length ? toPosition : (events.at(-1)?.position ?? toPosition);
    this.#parking?.assertRoom(parked.length);
    const rows = rowsOrRefusal(overlay, documents.generation);
    if (rows instanceof UnstorableDocuments) {
      // Only now does it show what events have done: once more, up to the first of them or without them.
      return await this.#commit(given, toPosition, context, new Map([...refused, ...rows.reasons]));
    }
    const bytes = bytesOf(rows);
    const isOne = events[0]?.position === events.at(-1)?.position;
    if (rows.length > (isOne ? rowsMax : rowsAtOnceMax) || bytes > bytesMax) {
      await this.#inHalves(events, reached, context);
      return applied;
    }
    const parkedRows = parked.flatMap((record) => this.#parking?.row(record) ?? []);
    await this.#core.submit({ rows: [...rows, ...parkedRows, documents.checkpointRow(reached)] });
    this.#handledTo = reached;
    documents.confirm(overlay, bytes);
    context.reached?.(reached);
    for (const record of parked) this.#parking?.parked(record);
    return applied;
  }

  /** Never between events of one position: a checkpoint could not say how far it has come. */
  async #inHalves(events: readonly RecordedEvent[], toPosition: number, context: BatchContext): Promise<void> {
    const middle = events[Math.floor(events.length / 2)]?.position ?? 0;
    const first = events.filter((event) => event.position < middle);
    const second = events.filter((event) => event.position >= middle);
    if (first.length === 0) {
      const later = second.filter((event) => event.position > middle);
      if (later.length === 0) {
        const problem = `changes more documents for one event than fit a commit (${rowsMax} rows, ${bytesMax} bytes)`;
        throw new InvalidArgumentError(this.#projection.name, problem, { outcome: "not-applied" });
      }
      const here = second.filter((event) => event.position === middle);
      await this.#handle(here, middle, context);
      return await this.#handle(later, toPosition, context);
    }
    await this.#handle(first, middle - 1, context);
    await this.#handle(second, toPosition, context);
  }
}

function rowsOrRefusal(overlay: DocumentOverlay, generation: number): readonly KvOperation[] | UnstorableDocuments {
  try {
    return overlay.rows(generation);
  } catch (error) {
    if (error instanceof UnstorableDocuments) return error;
    throw error;
  }
}

/** The processor of a projection whose mode is `"async"`. */
export function asyncProjection(projection: AnyProjection, core: StoreCore, generations: Generations): Processor {
  const { name, version, filter, retries } = projection;
  const parking = new Parking(core, name, async (record, done) => {
    await serving().handleAgain(await eventOf(core, record), done);
  });
  let target: DocumentTarget | undefined;
  const serving = (): DocumentTarget => {
    const generation = generations.serving?.generation ?? 0;
    if (target?.documents.generation !== generation) target = new DocumentTarget(core, projection, generation, parking);
    return target;
  };
  const rebuilding = (generation: { generation: number; startedAtMs: number }): Rebuilding => ({
    version,
    startedAtMs: generation.startedAtMs,
    target: new DocumentTarget(core, projection, generation.generation),
    // What is built anew has handled what was parked, too.
    finish: () => generations.finish(parking),
    discard: () => generations.discard(),
  });
  return {
    name,
    kind: "projection",
    version,
    filter,
    retries,
    prepare: async () => {
      await generations.prepare();
      if (projection.onFailure === "park") await core.useFamilies(["parkedEvents"]);
      await parking.prepare();
    },
    continues: () => generations.isCurrent,
    loadCheckpoint: () => serving().loadCheckpoint(),
    handle: (batch, context) => serving().handle(batch, context),
    erase: (subject) => serving().erase(subject),
    parking,
    rebuilds: {
      pending: async () => {
        const { building } = generations;
        return building === undefined ? undefined : rebuilding(building);
      },
      begin: async () => rebuilding(await generations.begin()),
    },
  };
}
