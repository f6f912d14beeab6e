/** Percentiles, medians, and a recorder of durations that costs next to nothing while a measurement runs. */

/** In milliseconds. */
export interface LatencySummary {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export class DurationRecorder {
  #values = new Float64Array(1_024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  record(ms: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count] = ms;
    this.#count += 1;
  }

  summary(): LatencySummary {
    return summarize(this.#values.subarray(0, this.#count));
  }
}

/** The smallest value that at least this share of the ascending values does not exceed. */
export function percentile(ascending: ArrayLike<number>, share: number): number {
  const index = Math.min(ascending.length - 1, Math.max(0, Math.ceil(ascending.length * share) - 1));
  return ascending[index] ?? Number.NaN;
}

export function summarize(durationsMs: ArrayLike<number>): LatencySummary {
  const ascending = Float64Array.from(durationsMs).sort();
  return {
    p50: percentile(ascending, 0.5),
    p95: percentile(ascending, 0.95),
    p99: percentile(ascending, 0.99),
    max: percentile(ascending, 1),
  };
}

export function median(values: readonly number[]): number {
  return percentile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}

/** The item whose `key` is the median: a whole run, so that its figures belong together. */
export function medianBy<Item>(items: readonly Item[], key: (item: Item) => number): Item {
  const ascending = items.toSorted((left, right) => key(left) - key(right));
  const middle = ascending[Math.ceil(items.length / 2) - 1];
  if (middle === undefined) throw new Error("There is no median of nothing");
  return middle;
}
