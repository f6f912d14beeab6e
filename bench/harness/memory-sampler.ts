/** Samples the resident memory of this process on a timer, and whenever it is asked: a busy loop starves timers. */

const sampleIntervalMs = 20;
const bytesPerMb = 1024 * 1024;

export interface MemoryNow {
  readonly rssMb: number;
  /** What the JavaScript heap holds, garbage included. */
  readonly heapMb: number;
}

export class MemorySampler implements Disposable {
  #timer: ReturnType<typeof setInterval> | undefined;
  #maxMb = 0;
  #maxSinceTakenMb = 0;

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
    this.#maxSinceTakenMb = Math.max(this.#maxSinceTakenMb, rssMb);
    return { rssMb, heapMb: heapUsed / bytesPerMb };
  }

  /** The most since this was last asked. */
  takeMaxMb(): number {
    this.sample();
    const max = this.#maxSinceTakenMb;
    this.#maxSinceTakenMb = 0;
    return max;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
