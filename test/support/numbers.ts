/** A projection that takes a while to be built, and a fold that says what it should be; for kills in the middle of it. */

import * as v from "valibot";
import { defineProjection, type Projection, type ProjectionMode } from "../../src/index.ts";

/** How long an event takes a handler, so that a rebuild can be met half-way. */
const handlingMs = 0.02;

export interface Sum {
  readonly events: number;
  readonly sum: number;
}

/** A document for each event, and one for each of a few groups; both say which version of the projection has made them. */
export function numbers(name: string, mode: ProjectionMode, version: number): Projection<Sum, "byEvents"> {
  return defineProjection(name, {
    version,
    mode,
    document: v.object({ events: v.number(), sum: v.number() }),
    indexes: { byEvents: ({ events }) => (events > 1 ? `n${events}` : undefined) },
    on: {
      Counted: ({ data: { n } }, docs) => {
        const untilMs = performance.now() + handlingMs;
        docs.set(`event-${n}`, { events: 1, sum: n * version });
        docs.update(`group-${n % 10}`, (d) => ({ events: (d?.events ?? 0) + 1, sum: (d?.sum ?? 0) + n * version }));
        while (performance.now() < untilMs);
      },
    },
  });
}

/** The same, written down once more without a store. */
export function numbersOf(events: Iterable<{ readonly data: unknown }>, version: number): ReadonlyMap<string, Sum> {
  const known = new Map<string, Sum>();
  for (const { data } of events) {
    const { n } = data as { n: number };
    known.set(`event-${n}`, { events: 1, sum: n * version });
    const group = known.get(`group-${n % 10}`);
    known.set(`group-${n % 10}`, { events: (group?.events ?? 0) + 1, sum: (group?.sum ?? 0) + n * version });
  }
  return known;
}
