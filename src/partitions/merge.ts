/** Merges several ordered sources into one ordered source, and several live ones into one as they come. */

/**
 * What the sources hold, in one order: always the first of what they have next, the earlier source where `compare` sees no
 * difference. Each source must be in that order itself.
 */
export async function* mergeOrdered<T>(
  sources: readonly AsyncIterator<T>[],
  compare: (left: T, right: T) => number,
): AsyncGenerator<readonly [T, number]> {
  try {
    const heads: (T | undefined)[] = (await Promise.all(sources.map((source) => source.next()))).map(headOf);
    for (;;) {
      let first = -1;
      let best: T | undefined;
      for (const [index, head] of heads.entries()) {
        if (head === undefined || (best !== undefined && compare(head, best) >= 0)) continue;
        best = head;
        first = index;
      }
      const source = sources[first];
      if (best === undefined || source === undefined) return;
      yield [best, first];
      heads[first] = headOf(await source.next());
    }
  } finally {
    await Promise.allSettled(sources.map((source) => source.return?.()));
  }
}

function headOf<T>(result: IteratorResult<T, unknown>): T | undefined {
  return result.done === true ? undefined : result.value;
}

/**
 * What the sources hand out, as it comes, at most one value of each ahead of the consumer. Ends when all have ended, or when
 * `signal` is aborted; fails as soon as one fails.
 */
export async function* mergeLive<T>(
  sources: readonly AsyncIterator<T>[],
  signal: AbortSignal,
): AsyncGenerator<readonly [T, number]> {
  const ready: (readonly [T, number])[] = [];
  let live = sources.length;
  let failure: { readonly error: unknown } | undefined;
  let wake: () => void = () => {};
  const pull = (index: number): void => {
    sources[index]?.next().then(
      (result) => {
        if (result.done === true) live -= 1;
        else ready.push([result.value, index]);
        wake();
      },
      (error: unknown) => {
        failure ??= { error };
        wake();
      },
    );
  };
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  try {
    for (const index of sources.keys()) pull(index);
    while (!signal.aborted) {
      if (failure !== undefined) throw failure.error;
      const next = ready.shift();
      if (next !== undefined) {
        yield next;
        pull(next[1]);
        continue;
      }
      if (live === 0) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    await Promise.allSettled(sources.map((source) => source.return?.()));
  }
}
