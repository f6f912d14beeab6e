/** Random histories: whatever its writer reads, a replica reads the same, of the present and of the past. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { EventFilter, EventReader, EventStore } from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { kinds, openReader, openWriter, stopServer } from "./places.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const streamName = fc.constantFrom("a-1", "a-2", "b-1", "b", "c-\u0000", "c-9");
const event = fc.record({
  type: fc.constantFrom("A", "B", "C"),
  tags: fc.uniqueArray(fc.constantFrom("x", "y", "z")),
  // Sizes around that at which a head sheds its events into a page.
  data: fc.record({ pad: fc.integer({ min: 0, max: 900 }).map((length) => "x".repeat(length)) }),
});
const append = fc.record({
  streamName,
  expectedVersion: fc.constant("any" as const),
  events: fc.array(event, { minLength: 1, maxLength: 6 }),
});
const commit = fc.uniqueArray(append, { minLength: 1, maxLength: 3, selector: (one) => one.streamName });
const clause = fc.record(
  {
    types: fc.uniqueArray(fc.constantFrom("A", "B"), { maxLength: 2 }),
    categories: fc.uniqueArray(fc.constantFrom("a", "b", "c")),
    tags: fc.uniqueArray(fc.constantFrom("x", "y")),
  },
  { requiredKeys: [] },
);
const step = fc.record({
  commits: fc.array(commit, { minLength: 1, maxLength: 6 }),
  filter: fc.oneof(clause, fc.array(clause, { maxLength: 3 })) as fc.Arbitrary<EventFilter>,
  from: fc.integer({ min: 1, max: 80 }),
  limit: fc.integer({ min: 1, max: 20 }),
  asOf: fc.nat(80),
});

type Question = Pick<typeof step extends fc.Arbitrary<infer Step> ? Step : never, "filter" | "from" | "limit">;

/** Everything that can be asked, with the answers. */
async function answers(reader: EventReader, { filter, from, limit }: Question): Promise<unknown> {
  const streams = await collect(reader.listStreams());
  return {
    last: await reader.lastPosition(),
    all: await collect(reader.readAll()),
    filtered: await collect(reader.readAll({ filter, fromPosition: from, limit })),
    backwards: await collect(reader.readAll({ filter, direction: "backwards", limit })),
    streams,
    infos: await Promise.all(streams.map((info) => reader.streamInfo(info.streamName))),
    events: await Promise.all(streams.map((info) => collect(reader.readStream(info.streamName)))),
    newest: await Promise.all(
      streams.map((info) => collect(reader.readStream(info.streamName, { direction: "backwards", limit }))),
    ),
  };
}

for (const kind of kinds) {
  describe.skipIf(!kind.available)(`A replica ${kind.name}`, () => {
    test("reads what its writer reads, after any history, now and as of any position", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 4 }), async (steps) => {
          await using place = await kind.create();
          await using writer = await openWriter(place);
          await using reader = await openReader(place);
          for (const { commits, asOf, ...question } of steps) {
            let last = 0;
            for (const appends of commits) last = (await writer.commit({ appends })).position;
            await reader.waitForPosition(last);
            expect(await answers(reader, question)).toEqual(await answers(writer, question));
            expect(await answers(reader.asOf(asOf), question)).toEqual(await answers(writer.asOf(asOf), question));
          }
        }),
        { numRuns: 15 },
      );
    });

    test("finds by filters what its writer finds, where more came at once than it keeps in memory", async () => {
      await using place = await kind.create();
      await using writer = await openWriter(place);
      await appendMany(writer, 3_000);
      await using reader = await openReader(place);
      const questions: readonly EventFilter[] = [
        { tags: ["rare"] },
        { types: ["Odd"], tags: ["rare"] },
        { categories: ["s"], types: ["Even"] },
        [{ tags: ["rare"] }, { types: ["Odd"] }],
      ];
      // Followed step by step, then far ahead of it, then step by step from there.
      for (const count of [0, 500, 25_000, 700, 2_000]) {
        await appendMany(writer, count);
        await reader.waitForPosition(await writer.lastPosition());
        for (const filter of questions) {
          const positionsOf = async (from: EventReader, backwards: boolean): Promise<readonly number[]> => {
            const direction = backwards ? "backwards" : "forwards";
            return (await collect(from.readAll({ filter, direction }))).map(({ position }) => position);
          };
          const forwards = await positionsOf(reader, false);
          expect(forwards.length).toBeGreaterThan(0);
          expect(forwards).toEqual([...(await positionsOf(writer, false))]);
          expect(await positionsOf(reader, true)).toEqual(forwards.toReversed());
        }
      }
      expect(reader.stats().failures).toBe(0);
    });
  });
}

async function appendMany(store: EventStore, count: number): Promise<void> {
  for (let written = 0; written < count; written += 500) {
    const first = await store.lastPosition();
    const events = Array.from({ length: Math.min(500, count - written) }, (_, at) => ({
      type: at % 2 === 0 ? "Even" : "Odd",
      data: { at },
      tags: (first + at) % 997 === 0 ? ["rare"] : [],
    }));
    await store.append(`s-${first % 3}`, events, { expectedVersion: "any" });
  }
}
