/** Merges the events of several streams into the order in which they happened, one event of each in hand at a time. */

import type { RecordedEvent } from "../vocabulary/event.ts";

export async function* inPositionOrder(
  streams: readonly AsyncIterableIterator<RecordedEvent>[],
): AsyncGenerator<RecordedEvent> {
  const heads = await Promise.all(streams.map(async (events) => ({ events, next: await events.next() })));
  try {
    for (;;) {
      let first: (typeof heads)[number] | undefined;
      for (const head of heads) {
        if (head.next.done === true) continue;
        if (first === undefined || head.next.value.position < first.next.value.position) first = head;
      }
      if (first === undefined) return;
      yield first.next.value;
      first.next = await first.events.next();
    }
  } finally {
    await Promise.all(heads.map(({ events }) => events.return?.()));
  }
}
