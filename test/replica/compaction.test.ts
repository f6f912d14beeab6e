/** A replica while its writer compacts: reads that have begun, subscriptions and later reads see no change, however far it lags. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type EventStore, type LogGap, openEventStore, type RecordedEvent } from "../../src/index.ts";
import { collect, take, until } from "../support/collect.ts";
import { kinds, openReader, type Place, stopServer } from "./places.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const openWriter = ({ url, s3 }: Place): Promise<EventStore> => openEventStore({ url, s3, compaction: false });

/** Small pages: a group of eight events each, of which most go to one stream. */
async function appendSmall(store: EventStore, groups: number): Promise<void> {
  for (let group = 0; group < groups; group += 1) {
    const events = Array.from({ length: 6 }, (_, index) => ({
      type: "T",
      data: { group, pad: "x".repeat(index * 40) },
      tags: [`n:${index % 3}`],
    }));
    await store.commit({
      appends: [
        { streamName: "long-1", events, expectedVersion: "any" },
        { streamName: `short-${group % 7}`, events: events.slice(0, 2), expectedVersion: "any" },
      ],
    });
  }
}

/** What comes up to the event at a position. */
async function takeTo<T extends RecordedEvent | LogGap>(items: AsyncIterable<T>, position: number): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) {
    list.push(item);
    if ("position" in item && item.position === position) break;
  }
  return list;
}

for (const kind of kinds) {
  describe.skipIf(!kind.available)(`A replica ${kind.name}`, () => {
    test("goes on in the middle of its reads while pages are merged under it, its own readers replaced all the time", async () => {
      await using place = await kind.create();
      await using writer = await openWriter(place);
      await appendSmall(writer, 100);
      await using reader = await openReader(place, { rotateMs: 100 });
      await reader.waitForPosition(800);
      const reads = [
        () => reader.readAll(),
        () => reader.readAll({ direction: "backwards" }),
        () => reader.readAll({ filter: { tags: ["n:1"] } }),
        () => reader.readStream("long-1"),
        () => reader.readStream("long-1", { direction: "backwards" }),
      ];
      const expected = await Promise.all(reads.map((read) => collect(read())));
      const begun = reads.map((read) => read()[Symbol.asyncIterator]());
      const seen = await Promise.all(begun.map(async (iterator) => [(await iterator.next()).value]));
      const { logPagesMerged, streamPagesMerged } = await writer.compact();
      expect(logPagesMerged).toBe(100);
      expect(streamPagesMerged).toBeGreaterThan(10);
      // Behind it the replica sees the merged pages, in reads that have begun before.
      await appendSmall(writer, 5);
      await reader.waitForPosition(840);
      for (const [index, iterator] of begun.entries()) {
        for (let step = await iterator.next(); step.done !== true; step = await iterator.next())
          seen[index]?.push(step.value);
      }
      expect(seen).toEqual(expected);
      expect(await collect(reader.readAll())).toEqual(await collect(writer.readAll()));
      expect(await collect(reader.readStream("long-1"))).toEqual(await collect(writer.readStream("long-1")));
    });

    test("no longer hands out of its memory what the writer has dropped, though nothing is appended behind it", async () => {
      await using place = await kind.create();
      await using writer = await openWriter(place);
      await appendSmall(writer, 3);
      await using reader = await openReader(place);
      await appendSmall(writer, 1);
      await writer.truncateStream("long-1", { beforeVersion: 7 });
      const last = await writer.lastPosition();
      await reader.waitForPosition(last);
      // What is in memory was there before it was dropped.
      const following = async (): Promise<number[]> =>
        (await takeTo(reader.subscribe({ from: "start" }), last)).map(({ position }) => position);
      expect((await following()).length).toBe(33);
      const handed: number[] = [];
      const stop = reader.on(undefined, ({ position }) => handed.push(position));
      expect((await writer.compact()).eventsDropped).toBe(6);
      const kept = (await collect(writer.readAll())).map(({ position }) => position);
      expect(kept.length).toBe(27);
      await until(async () => (await following()).length === kept.length);
      expect(await following()).toEqual(kept);
      const gapsOf = async (events: AsyncIterable<RecordedEvent | LogGap>): Promise<readonly LogGap[]> =>
        (await takeTo(events, last)).flatMap((one) => ("gap" in one ? [one] : []));
      expect(await gapsOf(reader.subscribe({ from: "start", gaps: "report" }))).toEqual(
        await gapsOf(writer.subscribe({ from: "start", gaps: "report" })),
      );
      await appendSmall(writer, 1);
      await until(() => handed.length === 8);
      stop();
    });

    test("hands its subscribers every event once while the writer compacts after each few commits", async () => {
      await using place = await kind.create();
      await using writer = await openWriter(place);
      await appendSmall(writer, 5);
      await using reader = await openReader(place, { rotateMs: 200 });
      const following = take(reader.subscribe({ from: "start" }), 1_000);
      for (let round = 0; round < 12; round += 1) {
        await appendSmall(writer, 10);
        await writer.compact();
      }
      expect((await following).map(({ position }) => position)).toEqual(
        Array.from({ length: 1_000 }, (_, index) => index + 1),
      );
      expect(reader.stats()).toMatchObject({ failures: 0 });
    });
  });
}
