/**
 * The compactor: goes along the log behind its end, a piece at a time, and looks after what was appended there. It waits for
 * nothing but appends, so an idle store pays nothing for it. What it has come to is in the store: whoever opens it next goes on.
 */

import { EventStoreError, InvalidArgumentError, printable, StorageCorruptError, StoreClosedError } from "../errors.ts";
import type { ReclaimOptions, ReclaimReport } from "../kv/kv.ts";
import { checkOptions, checkSignal } from "../log/arguments.ts";
import { DroppedEvents } from "../log/dropped-events.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { ProcessorInfo } from "../processors/face.ts";
import type { CompactionSettings } from "./compaction-options.ts";
import { addCounts, CompactionPass } from "./compaction-pass.ts";
import { type CompactionProgress, loadProgress, noProgress, progressRow } from "./compaction-progress.ts";
import { indexStretch, mergeIndex } from "./index-merger.ts";
import { type CompactionCounts, type LifecycleStep, noCounts } from "./lifecycle-step.ts";
import { mergeLog } from "./log-merger.ts";
import { mergeStreams } from "./stream-merger.ts";

/** What the compactor is called among the processors: names that begin so are free for nobody else. */
export const compactorName = "$compactor";

/** How many touched streams a step is given at once. */
const streamsAtOnce = 512;
/** How long to wait before another attempt at a pass that failed, at first and at most. */
const retryMs = 1_000;
const retryMsMax = 60_000;
/** How often it is looked whether time alone has made something due. */
const dueLookMs = 60_000;

/** What a pass has come to. All of it is durable. */
export interface CompactionReport extends CompactionCounts {
  /** The events from here on were looked after; behind `toPosition` where there were none. */
  readonly fromPosition: number;
  readonly toPosition: number;
  readonly tookMs: number;
  /** What came of `reclaim`, where that was asked for and the storage is one that has anything to give back. */
  readonly reclaimed?: ReclaimReport;
}

/** What is to be told while space is given back; `undefined` where none is to be. */
function checkReclaim({ reclaim, onProgress }: Record<string, unknown>): ReclaimOptions | undefined {
  if (reclaim !== undefined && typeof reclaim !== "boolean")
    throw new InvalidArgumentError("reclaim", `must be true or false, not ${printable(reclaim)}`);
  if (onProgress !== undefined && typeof onProgress !== "function")
    throw new InvalidArgumentError("onProgress", `must be a function, not ${printable(onProgress)}`);
  if (reclaim !== true) return undefined;
  return onProgress === undefined ? {} : { onProgress: onProgress as NonNullable<ReclaimOptions["onProgress"]> };
}

interface Failure {
  readonly message: string;
  readonly at: Date;
  readonly attempts: number;
}

export class Compactor {
  readonly #core: StoreCore;
  readonly #settings: CompactionSettings;
  readonly #steps: readonly LifecycleStep[];
  readonly #closed = new AbortController();
  /** Ends the pass in the background, because something else is to be done. */
  #interrupt = new AbortController();
  #progress: CompactionProgress | undefined;
  #loading: Promise<CompactionProgress> | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #inBackground = false;
  /** How many wait for a turn before the background may go on. */
  #asked = 0;
  /** The store is of no use any more. */
  #stopped = false;
  #counts: CompactionCounts = noCounts;
  #lastProgressAt: Date | undefined;
  #failure: Failure | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #dueTimer: ReturnType<typeof setInterval> | undefined;

  constructor(core: StoreCore, settings: CompactionSettings, steps: readonly LifecycleStep[]) {
    this.#core = core;
    this.#settings = settings;
    this.#steps = steps;
    core.onClose(() => this.#close());
  }

  /** Begins to work in the background, if it is to. To be called once, while the store opens. */
  start(): void {
    if (!this.#settings.background) return;
    this.#core.addAfterCommit(() => {
      this.#look();
      return undefined;
    });
    if (this.#steps.some(({ dueAtMs }) => dueAtMs !== undefined)) {
      this.#dueTimer = setInterval(() => this.#look(true), dueLookMs);
      this.#dueTimer.unref();
    }
    this.#load().then(
      () => this.#look(),
      (error: unknown) => this.#noteFailure(error),
    );
  }

  /** One pass over everything up to the end of the log, now. */
  async compact(options: unknown): Promise<CompactionReport> {
    const given = checkOptions(options, ["signal", "reclaim", "onProgress"]);
    const signal = checkSignal(given.signal);
    const reclaim = checkReclaim(given);
    signal?.throwIfAborted();
    this.#core.assertOpen();
    const either = signal === undefined ? this.#closed.signal : AbortSignal.any([signal, this.#closed.signal]);
    try {
      const report = await this.#beforeBackground(() => this.#pass(true, either));
      if (reclaim === undefined) return report;
      // It waits for long, and the background has its turns meanwhile.
      const reclaimed = await this.#core.reclaim({ ...reclaim, signal: either });
      return reclaimed === undefined ? report : { ...report, reclaimed };
    } catch (error) {
      if (this.#closed.signal.aborted && signal?.aborted !== true) throw new StoreClosedError();
      throw error;
    }
  }

  /** Has it rest or go on, also across restarts. */
  async setPaused(paused: boolean): Promise<void> {
    this.#core.assertOpen();
    await this.#beforeBackground(async () => {
      const progress = await this.#load();
      clearTimeout(this.#retryTimer);
      this.#retryTimer = undefined;
      if (progress.paused === paused) return;
      const next = { ...progress, paused };
      await this.#core.useFamilies(["compaction"]);
      await this.#core.submit({ rows: [progressRow(next)] });
      this.#progress = next;
    });
  }

  info(): ProcessorInfo {
    const { paused, streamsTo } = this.#progress ?? noProgress;
    const lagEvents = Math.max(0, this.#core.lastPosition() - streamsTo);
    const failed = this.#failure !== undefined;
    const state = paused ? "paused" : lagEvents > this.#settings.everyEvents ? "catching-up" : "running";
    return {
      name: compactorName,
      kind: "compactor",
      version: 1,
      state,
      position: streamsTo,
      lagEvents,
      lagMs: 0,
      lastProgressAt: this.#lastProgressAt,
      lastError: this.#failure === undefined ? undefined : { ...this.#failure, position: streamsTo },
      parked: 0,
      health: failed ? "stuck" : "ok",
      reason: failed ? `Its last pass was broken off and is repeated: ${this.#failure?.message}` : undefined,
      rebuild: undefined,
      counts: { ...this.#counts },
    };
  }

  #load(): Promise<CompactionProgress> {
    if (this.#progress !== undefined) return Promise.resolve(this.#progress);
    this.#loading ??= loadProgress(this.#core)
      .then((progress) => {
        this.#progress = progress;
        return progress;
      })
      .finally(() => {
        this.#loading = undefined;
      });
    return this.#loading;
  }

  /** Has the background make way, for as long as `work` takes. */
  async #beforeBackground<T>(work: () => Promise<T>): Promise<T> {
    this.#asked += 1;
    this.#interrupt.abort();
    try {
      return await this.#inTurn(work);
    } finally {
      this.#asked -= 1;
      this.#look();
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const working = this.#turn.then(work);
    this.#turn = working.catch(() => {});
    return await working;
  }

  /** Begins a pass in the background where there is enough to do. Called after every commit, so it must cost nothing. */
  #look(timeHasPassed = false): void {
    const progress = this.#progress;
    if (progress === undefined || progress.paused || this.#inBackground || this.#asked > 0) return;
    if (this.#retryTimer !== undefined || this.#stopped || !this.#settings.background) return;
    const behind = this.#core.lastPosition() - progress.streamsTo;
    if (behind < this.#settings.everyEvents && !(timeHasPassed && this.#isDue())) return;
    this.#inBackground = true;
    this.#interrupt = new AbortController();
    const signal = AbortSignal.any([this.#interrupt.signal, this.#closed.signal]);
    void this.#inTurn(() => this.#pass(false, signal))
      .then(
        () => {
          this.#failure = undefined;
        },
        (error: unknown) => {
          if (!signal.aborted) this.#noteFailure(error);
        },
      )
      .finally(() => {
        this.#inBackground = false;
        this.#look();
      });
  }

  #isDue(): boolean {
    const nowMs = this.#core.clock.now();
    return this.#steps.some((step) => (step.dueAtMs?.() ?? Number.POSITIVE_INFINITY) <= nowMs);
  }

  /** It tries again later, unless the store is of no use any more: then its next writer goes on. */
  #noteFailure(error: unknown): void {
    const attempts = (this.#failure?.attempts ?? 0) + 1;
    const message = error instanceof Error ? error.message : String(error);
    this.#failure = { message, at: new Date(this.#core.clock.now()), attempts };
    try {
      this.#core.assertOpen();
    } catch {
      this.#stopped = true;
    }
    if (this.#stopped) return;
    if (!(error instanceof EventStoreError) || error.code !== "storage-unavailable") this.#core.warn(error);
    this.#retryTimer = setTimeout(
      () => {
        this.#retryTimer = undefined;
        if (this.#progress !== undefined) this.#look();
        else
          this.#load().then(
            () => this.#look(),
            (again: unknown) => this.#noteFailure(again),
          );
      },
      Math.min(retryMsMax, retryMs * 2 ** (attempts - 1)),
    );
    this.#retryTimer.unref();
  }

  async #pass(full: boolean, signal: AbortSignal): Promise<CompactionReport> {
    signal.throwIfAborted();
    const { clock } = this.#core;
    const startedMs = clock.monotonic();
    const from = await this.#load();
    const onCounts = (counts: Partial<CompactionCounts>): void => {
      this.#counts = addCounts(this.#counts, counts);
      this.#lastProgressAt = new Date(clock.now());
    };
    const { share, everyEvents } = this.#settings;
    const pass = new CompactionPass({ core: this.#core, full, signal, share, onCounts });
    await this.#forEachStep(pass, (step) => step.begin?.(pass));
    const toPosition = this.#core.lastPosition();
    const least = full ? 1 : everyEvents;
    for (let behind = toPosition - from.streamsTo; behind >= least || (full && behind === 0); ) {
      await this.#core.inMaintenance(() => this.#piece(pass, toPosition));
      await this.#core.inMaintenance(() => this.#mergeIndex(pass));
      const left = toPosition - (await this.#load()).streamsTo;
      if (left <= 0 || left === behind) break;
      behind = left;
    }
    await this.#forEachStep(pass, (step) => step.end?.(pass));
    const reached = (await this.#load()).streamsTo;
    const tookMs = clock.monotonic() - startedMs;
    return { ...pass.counts, fromPosition: from.streamsTo + 1, toPosition: reached, tookMs };
  }

  async #forEachStep(pass: CompactionPass, work: (step: LifecycleStep) => Promise<void> | undefined): Promise<void> {
    for (const step of this.#steps) {
      await this.#core.inMaintenance(async () => {
        await work(step);
        await pass.flush();
      });
    }
  }

  /** One piece of the log, its streams, and the progress behind them. */
  async #piece(pass: CompactionPass, toPosition: number): Promise<void> {
    const before = await this.#load();
    const { logTo, streamsTo } = before;
    if (toPosition === 0) return;
    const walked = await mergeLog(pass, { mergedTo: logTo, streamsTo, toPosition });
    // Nothing at all behind what was looked after: then all of it was dropped.
    const isEmpty = walked.reached < Math.min(streamsTo + 1, toPosition);
    if (isEmpty) {
      const missing = await new DroppedEvents(this.#core.rows).firstMissing(streamsTo + 1, toPosition);
      if (missing !== undefined) throw new StorageCorruptError(`The log has a hole: no event at position ${missing}`);
    }
    const reached = isEmpty ? toPosition : walked.reached;
    await pass.flush();
    for (let from = 0; from < walked.touched.length; from += streamsAtOnce) {
      const streams = walked.touched.slice(from, from + streamsAtOnce);
      for (const step of this.#steps) {
        await step.streams?.(streams, pass);
        await pass.flush();
      }
      await mergeStreams(pass, streams);
      await pass.flush();
    }
    const after = { ...before, logTo: walked.mergedTo, streamsTo: Math.max(streamsTo, reached) };
    if (after.logTo === logTo && after.streamsTo === streamsTo) return;
    await this.#core.useFamilies(["compaction"]);
    await pass.flush([progressRow(after)]);
    this.#progress = after;
  }

  /** The next stretch of the index, or all of them in a pass that was asked for, where the log has got so far. */
  async #mergeIndex(pass: CompactionPass): Promise<void> {
    let before = await this.#load();
    while (before.streamsTo - before.indexTo >= indexStretch) {
      const indexTo = await mergeIndex(pass, before.indexTo);
      if (indexTo === before.indexTo) return;
      const after = { ...before, indexTo };
      await pass.flush([progressRow(after)]);
      this.#progress = after;
      before = after;
      if (!pass.full) return;
    }
  }

  async #close(): Promise<void> {
    this.#stopped = true;
    this.#closed.abort();
    clearTimeout(this.#retryTimer);
    clearInterval(this.#dueTimer);
    await this.#turn;
  }
}
