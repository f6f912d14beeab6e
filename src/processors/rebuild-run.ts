/**
 * A rebuild under way: a worker of its own fills the new read model; once that has reached the end of the log, the processor
 * stands still for a moment, and the new one takes over. Until then nothing about the one that serves is touched.
 */

import type { StoreCore } from "../log/store-internals.ts";
import { pause } from "../runtime/deadline.ts";
import type { RebuildProgress, RebuildResult } from "./face.ts";
import type { Rebuilding } from "./processor.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

/** How long to wait before taking over is tried again. */
const retryMs = 1_000;

export interface RebuildRunOptions {
  readonly rebuilding: Rebuilding;
  readonly core: StoreCore;
  readonly paused: boolean;
  /** As the processor's own, but for the target. */
  readonly worker: Omit<WorkerOptions, "target" | "onCaughtUp" | "wake" | "wakeAtMs">;
  /** The worker of the one that serves, if that goes on meanwhile. */
  readonly main: () => Worker | undefined;
  /** The new one serves; everything up to `position` is in it. */
  onFinished(position: number): void;
}

export class RebuildRun {
  readonly #options: RebuildRunOptions;
  readonly worker: Worker;
  readonly done: Promise<RebuildResult>;
  readonly #settle: (result: RebuildResult) => void;
  readonly #fail: (error: unknown) => void;
  /** Where and when this run of it began, to tell the pace. */
  #beganAt: { readonly position: number; readonly monotonicMs: number } | undefined;
  #ended = false;
  readonly #stopping = new AbortController();
  #finishing: Promise<void> | undefined;
  /** Who waits for the new one to come further. */
  #onChange: (() => void) | undefined;

  constructor(options: RebuildRunOptions) {
    this.#options = options;
    const { promise, resolve, reject } = Promise.withResolvers<RebuildResult>();
    this.done = promise;
    // Nobody may be waiting for it.
    promise.catch(() => {});
    this.#settle = resolve;
    this.#fail = reject;
    const onChange = (): void => {
      options.worker.onChange();
      this.#onChange?.();
    };
    const { target } = options.rebuilding;
    this.worker = new Worker(
      { ...options.worker, target, onChange, onCaughtUp: () => this.#caughtUp() },
      options.paused,
    );
  }

  start(): void {
    this.worker.start();
  }

  progress(): RebuildProgress {
    const { core, rebuilding } = this.#options;
    const lastPosition = core.lastPosition();
    const { position } = this.worker;
    if (this.worker.started) this.#beganAt ??= { position, monotonicMs: core.clock.monotonic() };
    return {
      version: rebuilding.version,
      startedAt: new Date(rebuilding.startedAtMs),
      position,
      lastPosition,
      done: lastPosition === 0 ? 1 : Math.min(1, position / lastPosition),
      leftMs: this.#leftMs(position, lastPosition),
      paused: this.worker.paused,
    };
  }

  /** To be called within a task of its worker. */
  async erase(subject: string): Promise<number> {
    return (await this.#options.rebuilding.target.erase?.(subject)) ?? 0;
  }

  /** Ends the run without a decision: the rebuild goes on when the store is opened again. */
  async stop(error: unknown): Promise<void> {
    this.#ended = true;
    this.#stopping.abort();
    await this.worker.stop();
    await this.#finishing?.catch(() => {});
    this.#fail(error);
  }

  async cancel(): Promise<void> {
    await this.#finishing?.catch(() => {});
    if (this.#ended) return;
    this.#ended = true;
    const { position } = this.worker;
    await this.worker.stop();
    await this.#options.rebuilding.discard();
    this.#settle(this.#result(position, true));
  }

  #leftMs(position: number, lastPosition: number): number | undefined {
    if (position >= lastPosition) return 0;
    if (this.#beganAt === undefined || this.worker.paused || this.worker.failed) return undefined;
    const handled = position - this.#beganAt.position;
    const tookMs = this.#options.core.clock.monotonic() - this.#beganAt.monotonicMs;
    return handled <= 0 ? undefined : Math.ceil((tookMs / handled) * (lastPosition - position));
  }

  #result(position: number, cancelled: boolean): RebuildResult {
    const { rebuilding, worker } = this.#options;
    return { name: worker.name, version: rebuilding.version, position, cancelled };
  }

  #caughtUp(): void {
    if (this.#ended || this.#finishing !== undefined) return;
    this.#finishing = this.#finish()
      .catch(async (error: unknown) => {
        if (this.#ended) return;
        // What is built stays. It is tried again at the next event, or after a while.
        this.#options.core.warn(error);
        await pause(retryMs, this.#stopping.signal);
      })
      .finally(() => {
        this.#finishing = undefined;
        if (!this.#ended && this.worker.isWaiting) this.worker.poke();
      });
  }

  /** Whether the new one gets to a position; not where it fails, is paused or stopped on the way. */
  async #reaches(position: number): Promise<boolean> {
    const { worker } = this;
    const hopeless = (): boolean => worker.failed || worker.paused || this.#ended;
    try {
      while (worker.position < position && !hopeless()) {
        await new Promise<void>((resolve) => {
          this.#onChange = resolve;
          this.#stopping.signal.addEventListener("abort", () => resolve(), { once: true });
        });
      }
    } finally {
      this.#onChange = undefined;
    }
    return !hopeless();
  }

  async #finish(): Promise<void> {
    const main = this.#options.main();
    const build = this.worker;
    const takeOver = async (): Promise<void> => {
      // The one that serves stands still, so the new one will be there in a moment, if it is not.
      if (main !== undefined && !(await this.#reaches(main.position))) return;
      await build.exclusively(async () => {
        const { position } = build;
        if (this.#ended || (main !== undefined && position < main.position)) return;
        await this.#options.rebuilding.finish(position);
        this.#ended = true;
        // From here on it is the processor itself that writes what this one has built.
        build.retire();
        main?.moveTo(position);
        this.#options.onFinished(position);
        this.#settle(this.#result(position, false));
      });
    };
    if (main === undefined) await takeOver();
    else await main.exclusively(takeOver);
    if (this.#ended) await build.stop();
  }
}
