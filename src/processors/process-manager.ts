/**
 * Process managers at work. One commit takes a batch of events, or the timers that are due, to what the instances make of
 * them: states, timers, what is asked for (the outbox) and the checkpoint. So a crash loses nothing and repeats nothing; what
 * is asked for is carried out behind the commit, under keys that make a repeat harmless.
 */

import { InvalidArgumentError } from "../errors.ts";
import { OrderedReader } from "../format/ordered-bytes.ts";
import { checkpointKey, instanceKey, timerKey, timerSpan } from "../format/processor-keys.ts";
import { decodeRecord, type PutRow, recordRow } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { AnyProcessManager } from "./define-process-manager.ts";
import { checkKnownEvents, type ProcessorHost } from "./definition.ts";
import { keptError } from "./kept-errors.ts";
import { Outbox, type OutboxRecord, outputBytesMax } from "./outbox.ts";
import { eventOf, type ParkedRecord, Parking } from "./parking.ts";
import {
  causeOf,
  correlated,
  type ProcessInput,
  type ProcessInstance,
  type ProcessStep,
  type SetTimer,
  takeStep,
} from "./process-step.ts";
import type { Batch, BatchContext, Processor } from "./processor.ts";
import { boundedKey, handlingKey } from "./reaction.ts";
import { HandlingFailure } from "./worker.ts";

/** How many events are handled with one commit, and how many timers. */
export const processBatchEvents = 256;
export const timersAtOnce = 256;
/** A commit is cut where it has so many rows or bytes; one step may not have more bytes than that. */
const rowsMax = 4_000;
const bytesMax: number = 8 * 1024 * 1024;
/** Parked timers get part numbers from here on. */
const firstTimerPart = 1_000_000;

interface InstanceInHand {
  instance: ProcessInstance | undefined;
  stored: boolean;
}

/** A timer that came due, as it is parked. */
interface ParkedTimer {
  readonly kind: "timer";
  readonly instance: string;
  readonly name: string;
  readonly timer: SetTimer;
}

type ParkedWork = ParkedTimer | { readonly kind: "output"; readonly record: OutboxRecord };

/** What waits to be committed together. */
class Draft {
  readonly instances = new Map<string, InstanceInHand>();
  readonly rows = new Map<string, KvOperation>();
  readonly parked: ParkedRecord[] = [];
  readonly blocked = new Set<string>();
  readonly added: (() => void)[] = [];
  bytes = 0;

  put(row: KvOperation): void {
    const key = Buffer.from(row.key).toString("latin1");
    this.rows.set(key, row);
    this.bytes += row.key.length + (row.kind === "put" ? row.value.length : 0);
  }

  get isFull(): boolean {
    return this.rows.size >= rowsMax || this.bytes >= bytesMax / 2;
  }
}

class RunningManager {
  readonly #core: StoreCore;
  readonly #manager: AnyProcessManager;
  readonly #outbox: Outbox;
  readonly parking: Parking;
  /** When the next timer is due, or was when it was last looked for. */
  #nextDueAtMs: number | undefined;
  #handledTo = 0;

  constructor(host: ProcessorHost, manager: AnyProcessManager) {
    this.#core = host.core;
    this.#manager = manager;
    this.parking = new Parking(host.core, manager.name, (record, done) => this.#again(record, done));
    this.#outbox = new Outbox(host, manager.name, manager.retries, this.parking);
  }

  async prepare(): Promise<void> {
    const { name, from } = this.#manager;
    await this.#core.useFamilies(["checkpoints", "parkedEvents", "timers", "processInstances", "outbox"]);
    await this.parking.prepare();
    await this.#outbox.prepare();
    await this.#findNextTimer();
    if (from === "end" && (await this.#checkpoint()) === undefined) {
      const position = this.#core.lastPosition();
      await this.#core.submit({ rows: [recordRow("checkpoint", checkpointKey(name, 0), { position })] });
    }
  }

  async loadCheckpoint(): Promise<number> {
    this.#handledTo = (await this.#checkpoint()) ?? 0;
    return this.#handledTo;
  }

  /** At once, where something was left to be carried out. */
  wakeAtMs(): number | undefined {
    return this.#outbox.isEmpty ? this.#nextDueAtMs : 0;
  }

  async handle({ events, toPosition }: Batch, { signal, lastAttempt, attempt }: BatchContext): Promise<void> {
    await this.#outbox.drain(signal);
    let draft = new Draft();
    const left = events.filter(({ position }) => position > this.#handledTo);
    const names = left.map((event) => this.#correlated(event));
    await this.#load(draft, names);
    for (const [index, event] of left.entries()) {
      const instance = names[index];
      if (instance !== undefined) {
        const failed = this.#takeEvent(draft, instance, event, attempt);
        if (failed !== undefined && !lastAttempt) throw new HandlingFailure(this.#manager.name, event, failed);
      }
      const next = left[index + 1];
      if (!draft.isFull || next === undefined || next.position === event.position) continue;
      await this.#commit(draft, event.position);
      draft = new Draft();
      await this.#load(draft, names.slice(index + 1));
    }
    await this.#commit(draft, toPosition);
    await this.#outbox.drain(signal);
  }

  /** Handles the timers that are due. */
  async wake({ signal, attempt, lastAttempt }: BatchContext): Promise<void> {
    await this.#outbox.drain(signal);
    const nowMs = this.#core.clock.now();
    for (;;) {
      const due = await this.#due(nowMs);
      if (due.length === 0) break;
      const draft = new Draft();
      await this.#load(
        draft,
        due.map(({ instance }) => instance),
      );
      for (const one of due) {
        const failed = this.#takeTimer(draft, one, attempt);
        if (failed !== undefined && !lastAttempt) throw failed;
        // The others come with the next commit.
        if (draft.isFull) break;
      }
      await this.#commit(draft, undefined);
      await this.#outbox.drain(signal);
      if (signal.aborted) break;
    }
    await this.#findNextTimer();
  }

  async #checkpoint(): Promise<number | undefined> {
    const key = checkpointKey(this.#manager.name, 0);
    const value = await this.#core.rows.get(key);
    return value === undefined
      ? undefined
      : (decodeRecord("checkpoint", { key, value }) as { position: number }).position;
  }

  #correlated(event: RecordedEvent): string | undefined {
    try {
      return correlated(this.#manager, event);
    } catch (error) {
      throw new HandlingFailure(this.#manager.name, event, error);
    }
  }

  async #load(draft: Draft, names: readonly (string | undefined)[]): Promise<void> {
    const wanted = [...new Set(names)].filter((name) => name !== undefined);
    const keys = wanted.map((name) => instanceKey(this.#manager.name, name));
    const values = await this.#core.rows.getMany(keys);
    for (const [index, name] of wanted.entries()) {
      const key = keys[index];
      const value = values[index];
      const stored = key !== undefined && value !== undefined;
      const instance = stored ? (decodeRecord("instance", { key, value }) as ProcessInstance) : undefined;
      draft.instances.set(name, { instance, stored });
    }
  }

  /** What went wrong; then the event is parked in the draft, which the caller may throw away. */
  #takeEvent(draft: Draft, instance: string, event: RecordedEvent, attempt: number): unknown {
    const about = { key: instance, attempts: attempt };
    if (draft.blocked.has(instance) || this.parking.blocks(instance)) {
      const error = "It waits behind something earlier of the same instance";
      draft.parked.push(this.parking.record(event, { ...about, attempts: 0, error, waiting: true }));
      return undefined;
    }
    try {
      this.#take(draft, instance, { kind: "event", event }, event);
      return undefined;
    } catch (error) {
      draft.blocked.add(instance);
      draft.parked.push(this.parking.record(event, { ...about, error, waiting: false }));
      return error;
    }
  }

  #takeTimer(draft: Draft, { instance, name, timer, row }: DueTimerRow, attempt: number): unknown {
    draft.put({ kind: "delete", key: row });
    const set = draft.instances.get(instance)?.instance?.timers[name];
    // Taken back, or set anew, by what came before it in this draft.
    if (set?.number !== timer.number) return undefined;
    const waits = draft.blocked.has(instance) || this.parking.blocks(instance);
    try {
      if (!waits) this.#take(draft, instance, { kind: "timer", name, timer }, undefined);
      if (!waits) return undefined;
    } catch (error) {
      draft.blocked.add(instance);
      this.#parkTimer(draft, { kind: "timer", instance, name, timer }, error, attempt);
      return error;
    }
    const error = new Error("It waits behind something earlier of the same instance");
    this.#parkTimer(draft, { kind: "timer", instance, name, timer }, error, 0);
    return undefined;
  }

  #parkTimer(draft: Draft, work: ParkedTimer, error: unknown, attempts: number): void {
    const position = this.#core.lastPosition();
    draft.parked.push({
      position,
      part: this.parking.freePart(position, firstTimerPart),
      eventId: work.timer.cause.causationId,
      type: work.name,
      streamName: work.instance,
      key: work.instance,
      error: keptError(error, false),
      attempts,
      parkedAtMs: this.#core.clock.now(),
      waiting: attempts === 0,
      work,
    });
  }

  /** Takes a step and puts what it came to into the draft; where it throws, nothing of it is there. */
  #take(draft: Draft, name: string, input: ProcessInput, event: RecordedEvent | undefined): void {
    const hand = draft.instances.get(name) ?? { instance: undefined, stored: false };
    const step = takeStep(this.#manager, name, hand.instance, input);
    if (step === undefined) return;
    const records = this.#records(name, hand.instance, input, step, event);
    const outputs = records.map((record) => this.#outbox.add(record));
    const key = instanceKey(this.#manager.name, name);
    const row: KvOperation =
      step.instance === undefined ? { kind: "delete", key } : recordRow("instance", key, step.instance);
    const timers = this.#timerRows(name, hand.instance, step.instance);
    const all = [row, ...outputs.map((output) => output.row), ...timers];
    const bytes = all.reduce((sum, one) => sum + (one.kind === "put" ? one.value.length : 0), 0);
    if (bytes > bytesMax / 2)
      throw new InvalidArgumentError(
        this.#manager.name,
        `asks for ${bytes} bytes in one step, more than ${bytesMax / 2}`,
      );
    for (const one of all) draft.put(one);
    for (const { added } of outputs) draft.added.push(added);
    draft.instances.set(name, { instance: step.instance, stored: true });
  }

  #records(
    instance: string,
    before: ProcessInstance | undefined,
    input: ProcessInput,
    step: ProcessStep,
    event: RecordedEvent | undefined,
  ): OutboxRecord[] {
    const { name } = this.#manager;
    const cause = causeOf(input);
    const position = event?.position ?? this.#core.lastPosition();
    const type = input.kind === "event" ? input.event.type : input.name;
    const origin = {
      position,
      type,
      eventId: event?.id ?? cause.causationId,
      streamName: event?.streamName ?? instance,
      ...(event?.personal === undefined ? {} : { personal: true as const }),
    };
    return step.outputs.map((output, index) => {
      const idempotencyKey =
        input.kind === "event"
          ? handlingKey(name, input.event, `:${index}`)
          : boundedKey(
              `${name}:timer:${before?.begunAt ?? 0}.${input.timer.number}:${index}:${input.name}:${instance}`,
            );
      return { instance, idempotencyKey, cause, output, origin };
    });
  }

  /** What has changed among an instance's timers. */
  #timerRows(instance: string, before: ProcessInstance | undefined, after: ProcessInstance | undefined): KvOperation[] {
    const { name } = this.#manager;
    const rows: KvOperation[] = [];
    for (const [timer, set] of Object.entries(before?.timers ?? {})) {
      if (after?.timers[timer]?.number === set.number) continue;
      rows.push({ kind: "delete", key: timerKey(name, set.dueAtMs, instance, timer) });
    }
    for (const [timer, set] of Object.entries(after?.timers ?? {})) {
      if (before?.timers[timer]?.number === set.number) continue;
      const row = recordRow("timer", timerKey(name, set.dueAtMs, instance, timer), set);
      if (row.value.length > outputBytesMax)
        throw new InvalidArgumentError(name, `sets a timer with data of more than ${outputBytesMax} bytes`);
      rows.push(row);
    }
    return rows;
  }

  async #commit(draft: Draft, position: number | undefined): Promise<void> {
    const { name } = this.#manager;
    this.parking.assertRoom(draft.parked.length);
    const parked: PutRow[] = draft.parked.map((record) => this.parking.row(record));
    const checkpoint = position === undefined ? [] : [recordRow("checkpoint", checkpointKey(name, 0), { position })];
    await this.#core.submit({ rows: [...draft.rows.values(), ...parked, ...checkpoint] });
    if (position !== undefined) this.#handledTo = position;
    for (const added of draft.added) added();
    for (const record of draft.parked) this.parking.parked(record);
    for (const { instance } of draft.instances.values()) {
      for (const { dueAtMs } of Object.values(instance?.timers ?? {}))
        this.#nextDueAtMs = Math.min(dueAtMs, this.#nextDueAtMs ?? dueAtMs);
    }
  }

  async #due(nowMs: number): Promise<readonly DueTimerRow[]> {
    const rows = await this.#timers(timersAtOnce);
    return rows.filter(({ timer }) => timer.dueAtMs <= nowMs);
  }

  async #timers(count: number): Promise<readonly DueTimerRow[]> {
    const cursor = await this.#core.rows.scan(timerSpan(this.#manager.name), "lookup");
    try {
      return (await cursor.next(count)).map((row) => {
        const reader = new OrderedReader(row.key, 1);
        reader.string();
        reader.integer();
        const instance = reader.string();
        return { instance, name: reader.string(), timer: decodeRecord("timer", row) as SetTimer, row: row.key };
      });
    } finally {
      cursor.close();
    }
  }

  async #findNextTimer(): Promise<void> {
    const [next] = await this.#timers(1);
    this.#nextDueAtMs = next?.timer.dueAtMs;
  }

  /** Tries again what was parked, and commits with it that it is not any more. */
  async #again(record: ParkedRecord, done: KvOperation): Promise<void> {
    const work = record.work as ParkedWork | undefined;
    if (work?.kind === "output") {
      await this.#outbox.again(work.record);
      await this.#core.submit({ rows: [done] });
      return;
    }
    const event = work === undefined ? await eventOf(this.#core, record) : undefined;
    const instance = work?.instance ?? record.key ?? "";
    const draft = new Draft();
    await this.#load(draft, [instance]);
    if (work !== undefined) {
      const { name, timer } = work;
      const set = draft.instances.get(instance)?.instance?.timers[name];
      if (set?.number === timer.number) this.#take(draft, instance, { kind: "timer", name, timer }, undefined);
    } else if (event !== undefined) this.#take(draft, instance, { kind: "event", event }, event);
    draft.put(done);
    await this.#commit(draft, undefined);
    await this.#outbox.drain(new AbortController().signal);
  }
}

interface DueTimerRow {
  readonly instance: string;
  readonly name: string;
  readonly timer: SetTimer;
  readonly row: Uint8Array;
}

/** The processor of a process manager. */
export function processManagerProcessor(manager: AnyProcessManager, host: ProcessorHost): Processor {
  const { name, version, filter, retries } = manager;
  checkKnownEvents(host.core, name, manager.events);
  const running = new RunningManager(host, manager);
  return {
    name,
    kind: "process-manager",
    version,
    filter,
    retries,
    batchEventsMax: processBatchEvents,
    parking: running.parking,
    prepare: () => running.prepare(),
    loadCheckpoint: () => running.loadCheckpoint(),
    handle: (batch, context) => running.handle(batch, context),
    wakeAtMs: () => running.wakeAtMs(),
    wake: (context) => running.wake(context),
  };
}
