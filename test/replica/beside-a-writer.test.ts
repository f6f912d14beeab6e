/**
 * A replica beside a writer in another process, which commits to three streams at a time: it sees whole commits, in their
 * order, without a gap, and never goes back; through kills and takeovers of the writer, and replaced readers of its own.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { EventStoreReader, RecordedEvent } from "../../src/index.ts";
import { collect, take, until } from "../support/collect.ts";
import { kinds, openReader, openWriter, stopServer } from "./places.ts";
import { WriterChild } from "./writer.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const positionsOf = (events: readonly RecordedEvent[]): readonly number[] => events.map(({ position }) => position);

const from = (first: number, count: number): readonly number[] => Array.from({ length: count }, (_, at) => first + at);

/** Whatever it sees now must be whole commits, the same in the log and in each of the three streams. */
async function expectWholeCommits(reader: EventStoreReader): Promise<number> {
  const last = await reader.lastPosition();
  const view = reader.asOf(last);
  const log = await collect(view.readAll({ fromPosition: Math.max(1, last - 600) }));
  expect(log.at(-1)?.position ?? 0).toBe(last);
  const first = log[0]?.position ?? 1;
  expect(positionsOf(log)).toEqual(from(first, log.length));
  expect(last % 3).toBe(0);
  const newest = log.slice(log.length % 3);
  for (let at = 0; at < newest.length; at += 3) {
    const commits = newest.slice(at, at + 3).map(({ data }) => (data as { commit: string }).commit);
    expect(new Set(commits).size).toBe(1);
  }
  for (const pair of [0, 3]) {
    const [left, middle, right] = await Promise.all(
      ["left", "middle", "right"].map(async (side) => await collect(view.readStream(`${side}-${pair}`))),
    );
    const commitsOf = (events: readonly RecordedEvent[] = []): unknown[] =>
      events.map(({ data }) => (data as { commit: string }).commit);
    expect(commitsOf(middle)).toEqual(commitsOf(left));
    expect(commitsOf(right)).toEqual(commitsOf(left));
    expect((await view.streamInfo(`left-${pair}`))?.version ?? 0).toBe(left?.length ?? 0);
  }
  return last;
}

for (const kind of kinds) {
  describe.skipIf(!kind.available)(`A replica ${kind.name}`, () => {
    test("never shows a part of a commit, and never goes back, while a writer commits", async () => {
      await using place = await kind.create();
      await using writer = await WriterChild.start(place);
      await using reader = await openReader(place);
      let before = 0;
      for (let looks = 0; looks < 40 || before < 1_500; looks += 1) {
        const last = await expectWholeCommits(reader);
        expect(last).toBeGreaterThanOrEqual(before);
        before = last;
      }
      const { acknowledged } = writer;
      await reader.waitForPosition(acknowledged);
      expect(await reader.lastPosition()).toBeGreaterThanOrEqual(acknowledged);
    });

    test("hands a subscriber every event once, in order, from the first one into those to come", async () => {
      await using place = await kind.create();
      await using writer = await WriterChild.start(place, { workers: 2 });
      await writer.reaches(300);
      await using reader = await openReader(place);
      const heard: number[] = [];
      const off = reader.on(undefined, ({ position }) => heard.push(position));
      const begins = await reader.lastPosition();
      const all = await take(reader.subscribe({ from: "start" }), 1_500);
      expect(positionsOf(all)).toEqual(from(1, 1_500));
      const tagged = await take(reader.subscribe({ from: { after: 100 }, filter: { tags: ["pair:3"] } }), 100);
      const expected = all.filter(({ position, tags }) => position > 100 && tags.includes("pair:3"));
      expect(positionsOf(tagged)).toEqual(positionsOf(expected).slice(0, 100));
      const latest = await take(reader.subscribe({ from: "end" }), 50);
      const firstOfLatest = latest[0]?.position ?? 0;
      expect(positionsOf(latest)).toEqual(from(firstOfLatest, 50));
      off();
      expect(heard.length).toBeGreaterThan(0);
      expect(heard).toEqual([...from(begins + 1, heard.length)]);
    });

    test("goes on when its writer is killed, and with the one that takes over", async () => {
      await using place = await kind.create();
      const first = await WriterChild.start(place);
      await using reader = await openReader(place);
      const following = take(reader.subscribe({ from: "start" }), 3_000);
      await first.reaches(900);
      await first.kill();
      await reader.waitForPosition(first.acknowledged);
      await expectWholeCommits(reader);
      await using second = await WriterChild.start(place);
      await second.reaches(first.acknowledged + 300);
      // A third takes over while the second still runs, which is fenced by that.
      await using third = await WriterChild.start(place);
      await third.reaches(3_000);
      expect(positionsOf(await following)).toEqual(from(1, 3_000));
      await reader.waitForPosition(third.acknowledged);
      await expectWholeCommits(reader);
      expect(reader.health().state).toBe("open");
      await third.kill();
      await using writer = await openWriter(place);
      const last = await writer.lastPosition();
      await reader.waitForPosition(last);
      expect(await collect(reader.readAll())).toEqual(await collect(writer.readAll()));
    });

    test("never goes back, and misses nothing, while its own readers are replaced all the time", async () => {
      await using place = await kind.create();
      await using writer = await WriterChild.start(place, { workers: 2, pauseMs: 1 });
      await using reader = await openReader(place, { rotateMs: 100 });
      const following = take(reader.subscribe({ from: "start" }), 1_500);
      const listing = reader.readAll()[Symbol.asyncIterator]();
      let before = 0;
      while (reader.stats().storage.readersOpened < 8 || before < 1_500) {
        const last = await expectWholeCommits(reader);
        expect(last).toBeGreaterThanOrEqual(before);
        before = last;
      }
      await writer.reaches(1_500);
      expect(positionsOf(await following)).toEqual(from(1, 1_500));
      await listing.return?.();
      expect(reader.stats()).toMatchObject({ storage: { readersLost: 0 }, failures: 0 });
    });

    test("finishes a long scan that began before memtables were flushed, tables compacted and garbage collected", async () => {
      await using place = await kind.create();
      // An age so short that a writer could not rest: it does not, and nothing else opens the store.
      const garbageMinAgeMs = 3_000;
      const tuning = {
        garbageMinAgeMs,
        garbageIntervalMs: 100,
        heartbeat: false,
        memtableFlushGroups: 8,
        memtableFlushSpacingMs: 0,
        manifestPollMs: 100,
      };
      await using writer = await WriterChild.start(place, { tuning, workers: 2 });
      await writer.reaches(900);
      await using reader = await openReader(place, { rotateMs: 1_000 });
      await reader.waitForPosition(900);
      const last = await reader.lastPosition();
      const scan = reader.readAll({ filter: { types: ["Atleft", "Atmiddle", "Atright"] } });
      const streams = reader.listStreams();
      const seen: number[] = [];
      const named: string[] = [];
      let goal = last;
      const began = performance.now();
      for await (const { position } of scan) {
        seen.push(position);
        if (seen.length % 100 !== 0) continue;
        goal += 150;
        await writer.reaches(goal);
        const { value } = await streams.next();
        if (value !== undefined) named.push(value.streamName);
        // Until whatever was stored when the scan began is old enough to be collected.
        if (seen.length === 500) await until(() => performance.now() - began > 2 * garbageMinAgeMs);
      }
      expect(seen).toEqual([...from(1, last)]);
      named.push(...(await collect(streams)).map(({ streamName }) => streamName));
      expect(named).toEqual(["left", "middle", "right"].flatMap((side) => from(0, 7).map((pair) => `${side}-${pair}`)));
      await until(() => reader.stats().storage.readersOpened > 1, 30_000);
    });
  });
}
