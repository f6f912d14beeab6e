/**
 * Runs a store's processors, each by a worker of its own over one source of events, and answers how they are. A processor
 * with a bug stops neither the store nor another. Closing waits for the batches under way, and begins no other.
 */

import { InvalidArgumentError, OverloadedError, printable, StoreClosedError } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import { checkName } from "../vocabulary/names.ts";
import { EventSource } from "./event-source.ts";
import type { ProcessorControls, ProcessorInfo, RebuildResult } from "./face.ts";
import type { ParkingControls } from "./parking.ts";
import type { Processor, Rebuilding } from "./processor.ts";
import { describeProcessor } from "./processor-info.ts";
import { RebuildRun } from "./rebuild-run.ts";
import { checkRetries, defaultRetries } from "./retries.ts";
import { processorsMax, SettingsKeeper } from "./settings.ts";
import { type Settle, waitAmong } from "./waiting.ts";
import { batchEventsMaxDefault, Worker, type WorkerOptions } from "./worker.ts";

/** How often wakes are looked for; one timer for all, and none where nobody wants to be woken. */
const wakeIntervalMs = 250;
const waitForTimeoutMsDefault = 30_000;

interface Entry {
  readonly processor: Processor;
  /** Not where it is passive, or cannot go on with what serves. */
  main: Worker | undefined;
  rebuild: RebuildRun | undefined;
  /** A rebuild that is about to begin. */
  beginning: Promise<RebuildRun> | undefined;
}

interface WaitingFor {
  readonly entry: Entry;
  readonly position: number;
  readonly settle: Settle;
}

/** What is being built may have come to serve meanwhile: then it is erased as what serves. */
async function erasedIn(rebuild: RebuildRun, subject: string): Promise<number> {
  try {
    return await rebuild.worker.exclusively(() => rebuild.erase(subject));
  } catch (error) {
    if (error instanceof StoreClosedError) return 0;
    throw error;
  }
}

export class ProcessorRunner implements ProcessorControls {
  readonly #core: StoreCore;
  readonly settings: SettingsKeeper;
  readonly #source: EventSource;
  readonly #names = new Set<string>();
  readonly #entries = new Map<string, Entry>();
  readonly #waiting = new Set<WaitingFor>();
  #wakeTimer: ReturnType<typeof setInterval> | undefined;
  #state: "adding" | "running" | "stopped" = "adding";

  constructor(core: StoreCore) {
    this.#core = core;
    this.settings = new SettingsKeeper(core);
    this.#source = new EventSource(core, () => this.#checkWaiting());
  }

  /** Adds a processor; before `start`. Throws `invalid-argument` for a name that is taken or none, and too many processors. */
  add(processor: Processor): void {
    this.reserve(processor.name);
    if (this.#entries.size >= processorsMax)
      throw new InvalidArgumentError("processors", `must be at most ${processorsMax}`);
    checkRetries(processor.retries);
    this.#entries.set(processor.name, { processor, main: undefined, rebuild: undefined, beginning: undefined });
  }

  /** Takes a name for what needs no running. Throws `invalid-argument` for a name that is taken, or none. */
  reserve(name: string): void {
    checkName(name, "name");
    if (this.#names.has(name)) throw new InvalidArgumentError("name", `is that of two processors: ${printable(name)}`);
    this.#names.add(name);
  }

  /**
   * Reads the settings, prepares all processors, and has them go to work; to be awaited before the store is handed out.
   * Throws `invalid-argument` for a version that goes back or a name that was of another kind, and what `prepare` throws.
   */
  async start(): Promise<void> {
    if (this.#entries.size === 0) return;
    this.#core.onClose(() => this.stop());
    for (const { processor } of this.#entries.values()) await this.settings.load(processor);
    for (const { processor } of this.#entries.values()) await processor.prepare?.();
    this.#state = "running";
    this.#source.start();
    for (const entry of this.#entries.values()) await this.#startEntry(entry);
    if ([...this.#entries.values()].some(({ processor }) => processor.wake !== undefined))
      this.#wakeTimer = setInterval(() => this.#wakeThoseDue(), wakeIntervalMs);
  }

  processors(): readonly ProcessorInfo[] {
    return [...this.#entries.values()].map((entry) => this.#info(entry));
  }

  async waitFor(name: string, position: number, options?: unknown): Promise<void> {
    const given = checkOptions(options, ["timeoutMs", "signal"]);
    const timeoutMs = checkInteger(given.timeoutMs, "timeoutMs", 0) ?? waitForTimeoutMsDefault;
    if (timeoutMs > millisecondsMax)
      throw new InvalidArgumentError("timeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
    const signal = checkSignal(given.signal);
    if (checkInteger(position, "position", 0) === undefined) throw new InvalidArgumentError("position", "is missing");
    const entry = this.#find(name);
    signal?.throwIfAborted();
    this.#core.assertOpen();
    if (this.positionOf(name) >= position) return;
    const late = (): OverloadedError => this.#late(entry, position, timeoutMs);
    const waited = waitAmong(this.#waiting, (settle) => ({ entry, position, settle }), { timeoutMs, signal, late });
    this.#checkWaiting();
    await waited;
  }

  async pauseProcessor(name: string): Promise<void> {
    await this.#setPaused(name, true);
  }

  async resumeProcessor(name: string): Promise<void> {
    await this.#setPaused(name, false);
    const { main, rebuild } = this.#find(name);
    main?.retry();
    rebuild?.worker.retry();
  }

  async rebuild(name: string, options?: unknown): Promise<RebuildResult> {
    const signal = checkSignal(checkOptions(options, ["signal"]).signal);
    const entry = this.#find(name);
    signal?.throwIfAborted();
    this.#core.assertOpen();
    const run = entry.rebuild ?? (await this.#begin(entry));
    if (signal === undefined) return await run.done;
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      // Whoever gives up waiting does not give up the rebuild: that is what `cancelRebuild` is for.
      return await Promise.race([run.done, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async cancelRebuild(name: string): Promise<void> {
    const entry = this.#find(name);
    await entry.beginning;
    const { rebuild } = entry;
    if (rebuild === undefined) return;
    await rebuild.cancel();
    if (entry.rebuild === rebuild) entry.rebuild = undefined;
    this.#checkWaiting();
  }

  /** Runs `task` between two batches of a processor. */
  async exclusively<T>(name: string, task: () => Promise<T>): Promise<T> {
    const { main } = this.#find(name);
    return main === undefined ? await task() : await main.exclusively(task);
  }

  /** Takes a forgotten subject's data out of what processors keep; how many documents that changed. */
  async erase(subject: string): Promise<number> {
    let erased = 0;
    for (const { processor, main, rebuild } of this.#entries.values()) {
      const { erase } = processor;
      if (erase === undefined) continue;
      if (rebuild !== undefined) erased += await erasedIn(rebuild, subject);
      const own = async (): Promise<number> => (await processor.erase?.(subject)) ?? 0;
      erased += main === undefined ? await own() : await main.exclusively(own);
    }
    return erased;
  }

  /** Up to where a processor has handled everything. */
  positionOf(name: string): number {
    const { processor, main } = this.#find(name);
    if (processor.passive !== undefined) return processor.passive.position();
    return main?.started === true ? main.position : 0;
  }

  /** What a processor has parked. Throws `invalid-argument` for one that parks nothing. */
  parkingOf(name: unknown): ParkingControls {
    const { processor } = this.#find(name);
    if (processor.parking !== undefined) return processor.parking;
    throw new InvalidArgumentError("name", `is that of a processor that parks nothing: ${printable(name)}`);
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Resolves when the batches under way have ended; nothing is begun any more. */
  async stop(): Promise<void> {
    clearInterval(this.#wakeTimer);
    this.#state = "stopped";
    const entries = [...this.#entries.values()];
    const closed = new StoreClosedError();
    const stopping = entries.flatMap(({ main, rebuild }) => [main?.stop(), rebuild?.stop(closed)]);
    this.#checkWaiting();
    await Promise.all(stopping);
    await this.#source.stop();
  }

  async #startEntry(entry: Entry): Promise<void> {
    const { processor } = entry;
    const pending = await processor.rebuilds?.pending();
    if (processor.passive === undefined && (processor.continues?.() ?? true)) this.#startMain(entry);
    if (pending !== undefined) this.#startRebuild(entry, pending);
  }

  #startMain(entry: Entry): void {
    const { processor } = entry;
    const { wake, wakeAtMs } = processor;
    const worker = new Worker(
      {
        ...this.#workerOptions(processor),
        target: processor,
        ...(wakeAtMs === undefined ? {} : { wakeAtMs: () => processor.wakeAtMs?.() }),
        ...(wake === undefined ? {} : { wake: async (context) => await processor.wake?.(context) }),
      },
      this.settings.get(processor.name).paused,
    );
    entry.main = worker;
    worker.start();
  }

  #workerOptions(processor: Processor): Omit<WorkerOptions, "target"> {
    return {
      name: processor.name,
      filter: processor.filter,
      batchEventsMax: processor.batchEventsMax ?? batchEventsMaxDefault,
      retries: processor.retries === undefined ? defaultRetries : checkRetries(processor.retries),
      core: this.#core,
      source: this.#source,
      isTransient: (error) => processor.isTransient?.(error) ?? false,
      onChange: () => this.#checkWaiting(),
    };
  }

  async #begin(entry: Entry): Promise<RebuildRun> {
    const { rebuilds, name } = entry.processor;
    if (rebuilds === undefined)
      throw new InvalidArgumentError("name", `is that of a processor that builds nothing: ${printable(name)}`);
    entry.beginning ??= rebuilds
      .begin()
      .then((rebuilding) => this.#startRebuild(entry, rebuilding))
      .finally(() => {
        entry.beginning = undefined;
      });
    return await entry.beginning;
  }

  #startRebuild(entry: Entry, rebuilding: Rebuilding): RebuildRun {
    const { processor } = entry;
    const run = new RebuildRun({
      rebuilding,
      core: this.#core,
      paused: this.settings.get(processor.name).paused,
      worker: this.#workerOptions(processor),
      main: () => entry.main,
      onFinished: () => {
        if (entry.rebuild === run) entry.rebuild = undefined;
        if (entry.main === undefined && processor.passive === undefined && this.#state === "running")
          this.#startMain(entry);
        this.#checkWaiting();
      },
    });
    entry.rebuild = run;
    run.start();
    return run;
  }

  async #setPaused(name: string, paused: boolean): Promise<void> {
    const { main, rebuild } = this.#find(name);
    if (this.settings.get(name).paused !== paused) await this.settings.update(name, () => ({ paused }));
    main?.setPaused(paused);
    rebuild?.worker.setPaused(paused);
  }

  #find(name: unknown): Entry {
    const entry = typeof name === "string" ? this.#entries.get(name) : undefined;
    if (entry === undefined) throw new InvalidArgumentError("name", `is not that of a processor: ${printable(name)}`);
    return entry;
  }

  #info(entry: Entry): ProcessorInfo {
    const { processor, main, rebuild } = entry;
    const position = this.positionOf(processor.name);
    const { paused } = this.settings.get(processor.name);
    return describeProcessor({ processor, core: this.#core, main, rebuild, position, paused });
  }

  #checkWaiting(): void {
    for (const waiting of [...this.#waiting]) {
      const info = this.#info(waiting.entry);
      if (info.position >= waiting.position) waiting.settle();
      else if (this.#state === "stopped") waiting.settle(new StoreClosedError());
      else if (info.state === "failed" || info.state === "paused")
        waiting.settle(new OverloadedError(`Processor ${printable(info.name)} is ${info.state} at ${info.position}`));
    }
  }

  #late({ processor: { name } }: Entry, position: number, timeoutMs: number): OverloadedError {
    const where = `has not come to position ${position} within ${timeoutMs} ms`;
    return new OverloadedError(`Processor ${printable(name)} ${where}: it is at ${this.positionOf(name)}`);
  }

  #wakeThoseDue(): void {
    const nowMs = this.#core.clock.now();
    for (const { processor, main } of this.#entries.values()) {
      if (main?.isWaiting !== true || main.paused || main.failed) continue;
      const dueAtMs = processor.wakeAtMs?.();
      if (dueAtMs !== undefined && dueAtMs <= nowMs) main.poke();
    }
  }
}
