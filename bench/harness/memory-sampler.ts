/** Samples the resident memory of this process on a timer, and whenever it is asked: a busy loop starves timers. */

const sampleIntervalMs = 20;
const bytesPerMb = 1024 * 1024;
const finalizersMs = 20;

export interface MemoryNow {
  readonly rssMb: number;
  /** What the JavaScript heap holds, garbage included. */
  readonly heapMb: number;
}

export class MemorySampler implements Disposable {
  #timer: ReturnType<typeof setInterval> | undefined;
  #maxMb = 0;
  #maxSinceSettledMb = 0;

  constructor() {
    this.#timer = setInterval(() => this.sample(), sampleIntervalMs);
    this.#timer.unref();
    this.sample();
  }

  /** The most since the sampler began. */
  get maxMb(): number {
    return this.#maxMb;
  }

  sample(): MemoryNow {
    const { rss, heapUsed } = process.memoryUsage();
    const rssMb = rss / bytesPerMb;
    this.#maxMb = Math.max(this.#maxMb, rssMb);
    this.#maxSinceSettledMb = Math.max(this.#maxSinceSettledMb, rssMb);
    return { rssMb, heapMb: heapUsed / bytesPerMb };
  }

  /** Before a measurement: lets go of what earlier ones left behind, and begins a new maximum. */
  async settle(): Promise<void> {
    Bun.gc(true);
    // Native memory that hangs on collected objects is freed by their finalizers, a turn later.
    await Bun.sleep(finalizersMs);
    Bun.gc(true);
    this.#maxSinceSettledMb = 0;
    this.sample();
  }

  /** The most since the sampler last settled. */
  maxSinceSettledMb(): number {
    this.sample();
    return this.#maxSinceSettledMb;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
