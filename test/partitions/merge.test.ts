/** Merging sources: in one order, and live; whatever the others are doing, an error and an end get through. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { mergeLive, mergeOrdered } from "../../src/partitions/merge.ts";
import { collect, take } from "../support/collect.ts";

setDefaultTimeout(10_000);

async function* of<T>(...items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** Hands out nothing until the signal is aborted; some sources do not even notice that. */
async function* silent(signal: AbortSignal | undefined): AsyncGenerator<string> {
  await new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
}

async function* failing(): AsyncGenerator<string> {
  yield "before";
  throw new Error("it fails");
}

test("Ordered sources are merged in order, the earlier source first where nothing decides", async () => {
  const merged = await collect(mergeOrdered([of(1, 4, 4), of<number>(), of(2, 4, 9)], (left, right) => left - right));
  expect(merged).toEqual([
    [1, 0],
    [2, 2],
    [4, 0],
    [4, 0],
    [4, 2],
    [9, 2],
  ]);
});

for (const [what, quiet] of [
  ["is silent", silent],
  ["hangs", () => silent(undefined)],
] as const) {
  test(`An error of one source gets through while another ${what}`, async () => {
    const heard: string[] = [];
    const hearing = (async () => {
      for await (const [item] of mergeLive((signal) => [failing(), quiet(signal)], new AbortController().signal))
        heard.push(item);
    })();
    expect(await hearing.catch((error: Error) => error.message)).toBe("it fails");
    expect(heard).toEqual(["before"]);
  });

  test(`Leaving, and the signal, end it while a source ${what}`, async () => {
    const left = new AbortController();
    expect(
      await take(
        mergeLive((signal) => [of("a"), quiet(signal)], left.signal),
        1,
      ),
    ).toEqual([["a", 0]]);
    const following = collect(mergeLive((signal) => [quiet(signal), quiet(signal)], left.signal));
    left.abort();
    expect(await following).toEqual([]);
  });
}

test("Live sources end together", async () => {
  const merged = await collect(mergeLive(() => [of(1, 2), of(3)], new AbortController().signal));
  expect(merged.map(([item]) => item).sort()).toEqual([1, 2, 3]);
});
