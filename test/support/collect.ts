/** Small helpers to look at streams of events and at errors. */

import { expect } from "bun:test";
import { EventStoreError } from "../../src/index.ts";

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** The first `count` items; leaves the iteration then. */
export async function take<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const list: T[] = [];
  if (count === 0) return list;
  for await (const item of items) {
    list.push(item);
    if (list.length >= count) break;
  }
  return list;
}

/** The error that `work` fails with; it must be one of ours. */
export async function errorOf(work: (() => unknown) | Promise<unknown>): Promise<EventStoreError> {
  let outcome: unknown;
  try {
    outcome = await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (error instanceof EventStoreError) return error;
    throw error;
  }
  expect(outcome).toBe("an error");
  throw new Error("unreachable");
}

/** Waits until `condition` holds, at most `timeoutMs`. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`Nothing of the kind happened within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
