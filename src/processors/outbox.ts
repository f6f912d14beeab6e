/**
 * Carries out what process managers ask for. Each output stands in the outbox, in the commit of what asked for it, under a key
 * of its own; it is executed with that key, so that one that is repeated after a crash has its first result; then its row
 * goes. What an answer says no to is parked; what nobody answers is tried for as long as there is a store.
 */

import { decidersNamed } from "../decider/define-decider.ts";
import { DomainRefusal } from "../decider/refusal.ts";
import { EventStoreError, InvalidArgumentError, printable, StoreClosedError } from "../errors.ts";
import { payloadBytesMax } from "../format/payload.ts";
import { outboxKey, outboxSpan } from "../format/processor-keys.ts";
import { decodeRecord, type PutRow, recordRow } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import { type Cause, causedBy } from "../runtime/causation.ts";
import { pause } from "../runtime/deadline.ts";
import type { ProcessorHost } from "./definition.ts";
import { keptError } from "./kept-errors.ts";
import type { ParkedRecord, Parking } from "./parking.ts";
import { deciderOf, type ProcessOutput } from "./process-step.ts";
import { type CheckedRetries, delayAfter, isStoreTrouble } from "./retries.ts";

/** How many instances' outputs are carried out beside each other. */
const lanesMax = 16;
const rowsAtOnce = 500;
/** The most bytes of one output; what is parked with it must fit, too. */
export const outputBytesMax: number = payloadBytesMax - 16 * 1024;
/** Parked outputs get part numbers from here on, so that they are told from parts of events. */
const firstOutputPart = 1_000;

/** An output, and what has to be known to carry it out, whenever that is. */
export interface OutboxRecord {
  readonly instance: string;
  readonly idempotencyKey: string;
  readonly cause: Cause;
  readonly output: ProcessOutput;
  /** What asked for it: an event, or the event at whose position a timer came due. */
  readonly origin: {
    readonly position: number;
    readonly eventId: string;
    readonly type: string;
    readonly streamName: string;
    /** The event has personal data. */
    readonly personal?: true;
  };
}

interface Pending {
  readonly number: number;
  readonly record: OutboxRecord;
}

export class Outbox {
  readonly #host: ProcessorHost;
  readonly #name: string;
  readonly #retries: CheckedRetries;
  readonly #parking: Parking;
  #pending: Pending[] = [];
  #nextNumber = 1;

  constructor(host: ProcessorHost, name: string, retries: CheckedRetries, parking: Parking) {
    this.#host = host;
    this.#name = name;
    this.#retries = retries;
    this.#parking = parking;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Reads what was not carried out before. */
  async prepare(): Promise<void> {
    const cursor = await this.#host.core.rows.scan(outboxSpan(this.#name), "lookup");
    try {
      for (let number = 1; ; ) {
        const rows = await cursor.next(rowsAtOnce);
        if (rows.length === 0) break;
        for (const row of rows) {
          number = Number(Buffer.from(row.key).readBigUInt64BE(row.key.length - 8));
          this.#pending.push({ number, record: decodeRecord("outbox", row) as OutboxRecord });
          this.#nextNumber = number + 1;
        }
      }
    } finally {
      cursor.close();
    }
  }

  /** The row of an output, and what to do once it is durable. Throws `invalid-argument` for what cannot be stored. */
  add(record: OutboxRecord): { readonly row: PutRow; readonly added: () => void } {
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    const row = recordRow("outbox", outboxKey(this.#name, number), record);
    if (row.value.length > outputBytesMax) {
      const problem = `asks for something of ${row.value.length} bytes, more than ${outputBytesMax}`;
      throw new InvalidArgumentError(this.#name, problem, { outcome: "not-applied" });
    }
    return { row, added: () => this.#pending.push({ number, record }) };
  }

  /** Carries out all that waits, in order for each instance. Rejects where the store closes meanwhile, or is in trouble. */
  async drain(signal: AbortSignal): Promise<void> {
    if (this.isEmpty) return;
    const lanes = Map.groupBy(this.#pending, ({ record }) => record.instance).values();
    const done = new Set<Pending>();
    const parked: ParkedRecord[] = [];
    const work = async (): Promise<void> => {
      for (const lane of lanes) {
        for (const pending of lane) {
          const refused = await this.#carryOut(pending.record, signal);
          if (refused !== undefined) parked.push(refused);
          done.add(pending);
        }
      }
    };
    const works = await Promise.allSettled(Array.from({ length: lanesMax }, work));
    this.#parking.assertRoom(parked.length);
    const rows: KvOperation[] = [...done].map(({ number }) => ({ kind: "delete", key: outboxKey(this.#name, number) }));
    await this.#host.core.submit({ rows: [...rows, ...parked.map((record) => this.#parking.row(record))] });
    this.#pending = this.#pending.filter((pending) => !done.has(pending));
    for (const record of parked) this.#parking.parked(record);
    for (const outcome of works) if (outcome.status === "rejected") throw outcome.reason;
  }

  /** Tries a parked output again. Rejects with what it was refused with. */
  async again(record: OutboxRecord): Promise<void> {
    await this.#execute(record);
  }

  /** What to park, where the answer is no. */
  async #carryOut(record: OutboxRecord, signal: AbortSignal): Promise<ParkedRecord | undefined> {
    const { core } = this.#host;
    for (let attempt = 1; ; attempt += 1) {
      if (signal.aborted) throw new StoreClosedError();
      try {
        await this.#execute(record);
        return undefined;
      } catch (error) {
        core.assertOpen();
        const isLast = isFinal(error, record.output) || (!isStoreTrouble(error) && attempt >= this.#retries.attempts);
        if (isLast) {
          core.warn(error);
          return this.#toPark(record, error, attempt);
        }
        await pause(delayAfter(attempt, this.#retries, core.random), signal);
      }
    }
  }

  #toPark(record: OutboxRecord, error: unknown, attempts: number): ParkedRecord {
    const { position, eventId, type, streamName, personal } = record.origin;
    return {
      position,
      part: this.#parking.freePart(position, firstOutputPart),
      eventId,
      type,
      streamName,
      error: keptError(error, personal === true),
      ...(personal === undefined ? {} : { personal }),
      attempts,
      parkedAtMs: this.#host.core.clock.now(),
      waiting: false,
      work: { kind: "output", record },
    };
  }

  async #execute({ output, idempotencyKey, cause }: OutboxRecord): Promise<void> {
    const { core, execute } = this.#host;
    await causedBy(cause, async () => {
      if (output.kind === "append") {
        const { streamName, events, expectedVersion } = output;
        await core.submit({ appends: [{ streamName, events, expectedVersion }], idempotencyKey });
        return;
      }
      const known = decidersNamed(output.decider).find(({ events }) => core.registry.has(events));
      const decider = deciderOf(output) ?? known;
      if (decider === undefined)
        throw new InvalidArgumentError("decider", `is not defined in this process: ${printable(output.decider)}`);
      await execute(decider, output.id, output.command, { idempotencyKey });
    });
  }
}

/** Whether asking again would get the same answer. A command that met too many others may have more luck. */
function isFinal(error: unknown, output: ProcessOutput): boolean {
  if (error instanceof DomainRefusal) return true;
  if (!(error instanceof EventStoreError)) return false;
  if (error.code === "conflict") return output.kind === "append";
  return error.code === "invalid-command" || error.code === "invalid-event" || error.code === "invalid-argument";
}
