/**
 * One processor at work: takes batch after batch from the source, retries what fails, and stops (`failed`) when that is in
 * vain, without harm to anybody else. Between batches it can be paused, given tasks, set elsewhere, or stopped; never within one.
 */

import { EventStoreError, printable, StoreClosedError, UnreadableEventError } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";
import type { Cursor, EventSource } from "./event-source.ts";
import type { Batch, BatchContext, BatchTarget, ReadBatch } from "./processor.ts";
import { type CheckedRetries, delayAfter, isStoreTrouble } from "./retries.ts";

/** The most events of a batch, unless a processor wants fewer. */
export const batchEventsMaxDefault = 8_192;

/** So near to the end of the log is as good as there. */
const nearEvents = 512;

/** The last thing that went wrong. */
export interface ProcessorError {
  readonly message: string;
  readonly at: Date;
  /** Of the first event of the batch that failed, or of the event itself where that is known. */
  readonly position: number | undefined;
  /** How often it has failed in a row. */
  readonly attempts: number;
  readonly cause: unknown;
}

/** Says which event it was that something failed at. */
export class HandlingFailure extends Error {
  override readonly name = "HandlingFailure";
  readonly position: number;

  constructor(processor: string, event: Pick<RecordedEvent, "type" | "streamName" | "position">, cause: unknown) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const where = `${printable(event.type)} of ${printable(event.streamName)} at position ${event.position}`;
    super(`${printable(processor)} failed at ${where}: ${what}`, { cause });
    this.position = event.position;
  }
}

export interface WorkerOptions {
  readonly name: string;
  readonly filter: CheckedFilter;
  readonly batchEventsMax: number;
  readonly retries: CheckedRetries;
  readonly target: BatchTarget;
  readonly core: StoreCore;
  readonly source: EventSource;
  isTransient(error: unknown): boolean;
  wakeAtMs?(): number | undefined;
  wake?(context: BatchContext): Promise<void>;
  /** Its position or state has changed. */
  onChange(): void;
  /** It has reached the end of the log, or is so near to it that under load it may never be nearer. */
  onCaughtUp?(): void;
}

interface Task {
  run(): Promise<void>;
  giveUp(): void;
}

type Activity = "starting" | "waiting" | "reading" | "handling" | "retrying" | "at a task";

export class Worker {
  readonly #options: WorkerOptions;
  readonly #cursor: Cursor;
  readonly #stop = new AbortController();
  /** Ends a wait for events, so that the loop looks at what else there is to do. */
  #interrupt = new AbortController();
  #saved = 0;
  #started = false;
  #paused: boolean;
  #error: ProcessorError | undefined;
  #failed = false;
  #retired = false;
  #activity: Activity = "starting";
  #progressSinceMs: number;
  #behindSinceMs: number | undefined;
  #lastProgressAt: Date | undefined;
  #running: Promise<void> | undefined;
  #tasks: Task[] = [];
  /** How often reading has failed in a row. */
  #readFailures = 0;
  /** Where the log ended when a wake was found to be due. */
  #wakeBehind: number | undefined;

  constructor(options: WorkerOptions, paused: boolean) {
    this.#options = options;
    this.#paused = paused;
    const { filter, batchEventsMax } = options;
    this.#cursor = { filter, batchEventsMax, position: 0, onRest: () => this.#rests() };
    this.#progressSinceMs = options.core.clock.monotonic();
  }

  get position(): number {
    return this.#options.source.positionOf(this.#cursor);
  }

  get started(): boolean {
    return this.#started;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get failed(): boolean {
    return this.#failed;
  }

  get error(): ProcessorError | undefined {
    return this.#error;
  }

  get lastProgressAt(): Date | undefined {
    return this.#lastProgressAt;
  }

  get activity(): Activity {
    return this.#activity;
  }

  /** How long it has neither come any further nor been at rest. */
  get noProgressForMs(): number {
    return this.#activity === "waiting" ? 0 : this.#options.core.clock.monotonic() - this.#progressSinceMs;
  }

  get isWaiting(): boolean {
    return this.#activity === "waiting";
  }

  /** When what it has not handled yet was recorded; `undefined` where it has handled everything. */
  get behindSinceMs(): number | undefined {
    return this.#behindSinceMs;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when the batch under way has ended, one way or the other; nothing is begun after it. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#interrupt.abort();
    await this.#running;
  }

  setPaused(paused: boolean): void {
    this.#paused = paused;
    this.poke();
  }

  /** Tries again what had failed for good. */
  retry(): void {
    this.#failed = false;
    this.#readFailures = 0;
    this.poke();
  }

  /** Has it look again at what there is to do. */
  poke(): void {
    this.#interrupt.abort();
    this.#options.onChange();
  }

  /** Runs `task` between two batches, also while paused or failed. */
  async exclusively<T>(task: () => Promise<T>): Promise<T> {
    if (this.#stop.signal.aborted) throw new StoreClosedError();
    return await new Promise<T>((resolve, reject) => {
      this.#tasks.push({
        run: () => Promise.try(task).then(resolve, reject),
        giveUp: () => reject(new StoreClosedError()),
      });
      this.poke();
    });
  }

  /** To be called within a task: goes on behind `position`. */
  moveTo(position: number): void {
    this.#options.source.leave(this.#cursor);
    this.#cursor.position = position;
    this.#saved = position;
    this.#failed = false;
    this.#error = undefined;
  }

  /** To be called within a task: nothing is read, handled or saved any more. Another goes on where it was. */
  retire(): void {
    this.#retired = true;
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { source } = this.#options;
    while (!this.#stop.signal.aborted && !source.hasStopped) {
      try {
        await this.#step();
        this.#readFailures = 0;
      } catch (error) {
        if (source.failure !== undefined || !this.#isStoreOpen()) break;
        this.#readFailures += 1;
        await this.#afterFailure(error, this.#readFailures, undefined);
      }
    }
    this.#stop.abort();
    for (const task of this.#tasks.splice(0)) task.giveUp();
    source.leave(this.#cursor);
    await this.#saveAtEnd();
  }

  async #step(): Promise<void> {
    this.#interrupt = new AbortController();
    const [task] = this.#tasks;
    if (task !== undefined) {
      this.#tasks.shift();
      this.#does("at a task");
      await task.run();
      return;
    }
    if (this.#paused || this.#failed) return await this.#interrupted();
    if (!this.#started) {
      this.#cursor.position = await this.#options.target.loadCheckpoint();
      this.#saved = this.#cursor.position;
      this.#started = true;
      this.#options.onChange();
      return;
    }
    if (await this.#woken()) return;
    this.#does("reading");
    const batch = await this.#options.source.next(this.#cursor, this.#interrupt.signal);
    if (batch !== undefined) await this.#take(batch);
  }

  async #woken(): Promise<boolean> {
    const { wakeAtMs, wake, core, source } = this.#options;
    const dueAtMs = wakeAtMs?.();
    if (dueAtMs === undefined || wake === undefined || dueAtMs > core.clock.now()) {
      this.#wakeBehind = undefined;
      return false;
    }
    // What was in the log when it became due comes first: it may be what the wake was waiting for.
    this.#wakeBehind ??= core.lastPosition();
    if (this.position < this.#wakeBehind && this.position < source.head) return false;
    if (source.head < this.#wakeBehind) {
      await core.grown(source.head, this.#interrupt.signal);
      await pause(0);
      return !this.#interrupt.signal.aborted;
    }
    this.#does("handling");
    await this.#attempts(undefined, (context) => wake(context));
    this.#wakeBehind = undefined;
    return true;
  }

  async #take(batch: ReadBatch): Promise<void> {
    const [first] = batch.events;
    if (first === undefined && batch.unreadable !== undefined) throw batch.unreadable;
    this.#behindSinceMs = first?.recordedAt.getTime() ?? this.#behindSinceMs;
    this.#does("handling");
    const reached = (position: number): void => this.#reached(position);
    const done = await this.#attempts(first, (context) => this.#options.target.handle(batch, { ...context, reached }));
    if (!done) return;
    this.#error = undefined;
    this.#behindSinceMs = batch.events.at(-1)?.recordedAt.getTime();
    this.#reached(batch.toPosition);
    if (this.#options.source.head - batch.toPosition <= nearEvents) this.#options.onCaughtUp?.();
  }

  /** Everything up to there is durable. */
  #reached(position: number): void {
    this.#cursor.position = position;
    this.#saved = position;
    this.#lastProgressAt = new Date(this.#options.core.clock.now());
    this.#progresses();
    this.#options.onChange();
  }

  /** Whether it was done in the end; not where the processor failed or stopped instead. */
  async #attempts(first: RecordedEvent | undefined, work: (context: BatchContext) => Promise<void>): Promise<boolean> {
    const { retries } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await work({ signal, attempt, lastAttempt: attempt >= retries.attempts });
        return true;
      } catch (error) {
        if (signal.aborted || this.#options.source.failure !== undefined || !this.#isStoreOpen()) return false;
        await this.#afterFailure(error, attempt, first?.position);
        if (this.#failed || this.#paused || this.#tasks.length > 0 || signal.aborted) return false;
        this.#does("handling");
      }
    }
  }

  async #afterFailure(error: unknown, attempts: number, position: number | undefined): Promise<void> {
    const { retries, core, onChange } = this.#options;
    const at = positionIn(error) ?? position;
    const message = error instanceof Error ? error.message : String(error);
    this.#error = { message, at: new Date(core.clock.now()), position: at, attempts, cause: error };
    const forever = isStoreTrouble(error) || this.#options.isTransient(error);
    if (!forever && attempts >= retries.attempts) {
      this.#failed = true;
      core.warn(error);
      onChange();
      return;
    }
    onChange();
    this.#does("retrying");
    this.#interrupt = new AbortController();
    await pause(
      delayAfter(attempts, retries, core.random),
      AbortSignal.any([this.#stop.signal, this.#interrupt.signal]),
    );
  }

  #rests(): void {
    this.#does("waiting");
    this.#behindSinceMs = undefined;
    this.#options.onChange();
    this.#options.onCaughtUp?.();
  }

  #interrupted(): Promise<void> {
    this.#does("waiting");
    const { signal } = this.#interrupt;
    return new Promise((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async #saveAtEnd(): Promise<void> {
    const position = this.position;
    if (this.#retired || !this.#started || this.#failed || position <= this.#saved || !this.#isStoreOpen()) return;
    const batch: Batch = { events: [], fromPosition: this.#saved + 1, toPosition: position };
    try {
      // The wait is over, so the signal of a stop is not for this one.
      await this.#options.target.handle(batch, { signal: new AbortController().signal, attempt: 1, lastAttempt: true });
    } catch (error) {
      // Nothing is lost: it will find out again that these events did not concern it.
      if (!isStoreTrouble(error)) this.#options.core.warn(error);
    }
  }

  #does(activity: Activity): void {
    if (this.#activity === "waiting") this.#progresses();
    this.#activity = activity;
  }

  #progresses(): void {
    this.#progressSinceMs = this.#options.core.clock.monotonic();
  }

  #isStoreOpen(): boolean {
    try {
      this.#options.core.assertOpen();
      return true;
    } catch {
      return false;
    }
  }
}

function positionIn(error: unknown): number | undefined {
  if (error instanceof HandlingFailure || error instanceof UnreadableEventError) return error.position;
  if (error instanceof EventStoreError && error.cause !== undefined) return positionIn(error.cause);
  return undefined;
}
