/** Filters over thousands of events: whatever is asked, from wherever, the index finds what a plain scan finds. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { EventFilter, EventStore } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";
import { type ModelEvent, modelMatches } from "../support/model.ts";

setDefaultTimeout(60_000);

const total = 9_000;
const events: ModelEvent[] = [];
let store: EventStore;

/** Names from common to rare, some of them only in a part of the log, so that whole segments can be leapt over. */
function tagsFor(position: number, random: () => number): string[] {
  const tags = [];
  if (random() < 0.5) tags.push("half");
  if (random() < 0.02) tags.push("seldom");
  if (random() < 0.0005) tags.push("rare");
  if (position > 2_500 && position < 2_600) tags.push("early");
  if (position > 7_000) tags.push("late");
  return tags;
}

beforeAll(async () => {
  const storage = createMemoryStorage();
  const random = seededRandom(42);
  const filling = await openEventStoreOn(openMemoryKv(storage), {});
  while (events.length < total) {
    const size = 1 + Math.floor(random() * 400);
    const streamName = `${["a", "b", "c"][Math.floor(random() * 3)]}-${Math.floor(random() * 5)}`;
    const batch = Array.from({ length: size }, () => {
      const position = events.length + 1;
      const event = {
        type: random() < 0.9 ? "Common" : random() < 0.9 ? "Other" : "Odd",
        tags: tagsFor(position, random),
        data: { serial: position },
      };
      events.push({
        id: undefined,
        streamName,
        version: 0,
        position,
        serial: position,
        type: event.type,
        tags: event.tags,
      });
      return event;
    });
    await filling.append(streamName, batch, { expectedVersion: "any" });
  }
  await filling.close();
  // Opened again, so that part of what was in memory comes from the index, and part is rebuilt.
  store = await openEventStoreOn(openMemoryKv(storage), {});
});
afterAll(() => store.close());

const clause = fc.record(
  {
    types: fc.uniqueArray(fc.constantFrom("Common", "Other", "Odd", "None"), { maxLength: 2 }),
    categories: fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { maxLength: 2 }),
    tags: fc.uniqueArray(fc.constantFrom("half", "seldom", "rare", "early", "late"), { maxLength: 3 }),
  },
  { requiredKeys: [] },
);
const filter = fc.oneof(clause, fc.array(clause, { minLength: 1, maxLength: 3 })) as fc.Arbitrary<EventFilter>;
const place = fc.integer({ min: 1, max: total + 500 });

test("A filter finds what a scan finds, in both directions, from any place, as of any position", async () => {
  await fc.assert(
    fc.asyncProperty(filter, place, fc.integer({ min: 1, max: 400 }), place, async (wanted, from, limit, asOf) => {
      const matching = events.filter((event) => modelMatches(wanted, event)).map((event) => event.position);
      const read = async (
        options: Parameters<EventStore["readAll"]>[0],
        view: Pick<EventStore, "readAll"> = store,
      ): Promise<number[]> =>
        (await collect(view.readAll({ ...options, filter: wanted }))).map((event) => event.position);
      expect(await read({ fromPosition: from, limit })).toEqual(
        matching.filter((position) => position >= from).slice(0, limit),
      );
      const downwards = matching.filter((position) => position <= from).toReversed();
      expect(await read({ fromPosition: from, limit, direction: "backwards" })).toEqual(downwards.slice(0, limit));
      const then = matching.filter((position) => position <= asOf);
      expect(await read({}, store.asOf(asOf))).toEqual(then);
      const backThen = await read({ direction: "backwards", limit }, store.asOf(asOf));
      expect(backThen).toEqual(then.toReversed().slice(0, limit));
    }),
    { numRuns: 300 },
  );
}, 120_000);

test("A query that finds little reads little", async () => {
  const storage = createMemoryStorage();
  const kv = openMemoryKv(storage);
  await using big = await openEventStoreOn(kv, {});
  for (let n = 0; n < 50; n += 1) {
    const batch = Array.from({ length: 1_000 }, (_, index) => ({
      type: "T",
      data: index,
      tags: index === 7 && n % 10 === 3 ? ["rare"] : ["common"],
    }));
    await big.append(`a-${n}`, batch, { expectedVersion: "any" });
  }
  const before = kv.stats().rowsScanned;
  expect((await collect(big.readAll({ filter: { tags: ["rare"], types: ["T"] } }))).map((event) => event.data)).toEqual(
    [7, 7, 7, 7, 7],
  );
  const rows = kv.stats().rowsScanned - before;
  // 50,000 events are some 200 pages and 49 segments; five matches cost their pages and some entries of the index.
  expect(rows).toBeLessThan(100);
});
