/** Small things that several chapters need. */

import { DomainRefusal, EventStoreError, type RecordedEventOf } from "../index.ts";
import type { Shop, ShopEvents } from "./events.ts";

export type ShopEvent = RecordedEventOf<ShopEvents>;

/** How long the story waits for something that must come about by itself. */
const patienceMs = 20_000;

export function euros(cents: number): string {
  return `${(cents / 100).toFixed(2)} EUR`;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Runs what must fail, and answers with how. */
export async function failure(work: Promise<unknown>): Promise<EventStoreError | DomainRefusal> {
  try {
    await work;
  } catch (error) {
    if (error instanceof EventStoreError || error instanceof DomainRefusal) return error;
    throw error;
  }
  throw new Error("This should have been refused");
}

/** The first event of a type in a stream, behind a position; waits for it. */
export async function waitForEvent(
  store: Shop,
  type: ShopEvent["type"],
  streamName: string,
  after: number,
): Promise<ShopEvent> {
  const signal = AbortSignal.timeout(patienceMs);
  for await (const one of store.subscribe({ from: { after }, filter: { types: [type] }, signal }))
    if (one.streamName === streamName) return one;
  throw new Error(`The subscription ended without ${type}`);
}
