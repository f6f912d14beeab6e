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
import { DocumentStore } from "./document-store.ts";
import { erasedAtOnce, eraseIn, personalKeysOf } from "./erased-documents.ts";
import type { Generations } from "./generations.ts";
import { eventOf, type ParkedRecord, Parking } from "./parking.ts";
import type { Batch, BatchContext, BatchTarget, Processor, Rebuilding } from "./processor.ts";
import { HandlingFailure } from "./worker.ts";

/** A batch with more rows is cut in two, because appends wait while its commit is written; one event may have more. */
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
  /** Batches that failed half-way come again from their beginning. */
  #handledTo = 0;

  /** `parking`: only for the generation that serves; what is built anew does not park. */
  constructor(core: StoreCore, projection: AnyProjection, generation: number, parking?: Parking) {
    this.#core = core;
    this.#projection = projection;
    this.#parking = projection.onFailure === "park" ? parking : undefined;
    this.documents = new DocumentStore(core, projection, generation);
  }

  loadCheckpoint(): Promise<number> {
    return this.documents.loadCheckpoint();
  }

  async handle({ events, toPosition }: Batch, context: BatchContext): Promise<void> {
    try {
      const left = events.filter(({ position }) => position > this.#handledTo);
      await this.#handle(left, toPosition, context.lastAttempt);
    } catch (error) {
      this.documents.forget();
      throw error;
    }
  }

  /** Applies one event out of its turn, together with a row that says so. */
  async handleAgain(event: RecordedEvent, done: KvOperation): Promise<void> {
    const overlay = this.documents.overlay();
    await this.documents.apply(overlay, [event], (_, error) => {
      throw error;
    });
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

  async #handle(events: readonly RecordedEvent[], toPosition: number, lastAttempt: boolean): Promise<void> {
    const { documents } = this;
    const overlay = documents.overlay();
    const parked: ParkedRecord[] = [];
    await documents.apply(overlay, events, (event, error) => {
      if (this.#parking === undefined || !lastAttempt) throw new HandlingFailure(this.#projection.name, event, error);
      const { attempts } = this.#projection.retries;
      parked.push(this.#parking.record(event, { error, attempts, waiting: false }));
    });
    this.#parking?.assertRoom(parked.length);
    const rows = overlay.rows(documents.generation);
    const bytes = bytesOf(rows);
    const isOne = events[0]?.position === events.at(-1)?.position;
    if (rows.length > (isOne ? rowsMax : rowsAtOnceMax) || bytes > bytesMax)
      return await this.#inHalves(events, toPosition, lastAttempt);
    const parkedRows = parked.flatMap((record) => this.#parking?.row(record) ?? []);
    await this.#core.submit({ rows: [...rows, ...parkedRows, documents.checkpointRow(toPosition)] });
    this.#handledTo = toPosition;
    documents.confirm(overlay, bytes);
    for (const record of parked) this.#parking?.parked(record);
  }

  /** Never between events of one position: a checkpoint could not say how far it has come. */
  async #inHalves(events: readonly RecordedEvent[], toPosition: number, lastAttempt: boolean): Promise<void> {
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
      await this.#handle(here, middle, lastAttempt);
      return await this.#handle(later, toPosition, lastAttempt);
    }
    await this.#handle(first, middle - 1, lastAttempt);
    await this.#handle(second, toPosition, lastAttempt);
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
