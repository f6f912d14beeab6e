/** Personal data through the life of a store: merged pages, archives, snapshots by the compactor, proof. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { snapshotSpan } from "../../src/format/key-families.ts";
import { defineDecider } from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { type PeopleStore, peopleStorage, registered } from "../support/people.ts";

setDefaultTimeout(60_000);

async function fill(store: PeopleStore, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    for (const id of ["1", "2"])
      await store.append(`person-${id}`, [registered(id), registered(id === "1" ? "2" : "3")], {
        expectedVersion: 2 * round,
      });
  }
}

async function namesIn(store: PeopleStore, streamName: "person-1" | "person-2"): Promise<readonly (string | null)[]> {
  return (await collect(store.readStream(streamName))).map(({ data }) => (data as { name: string | null }).name);
}

const alternating = <T>(one: T, other: T, count: number): T[] =>
  Array.from({ length: count }, (_, index) => (index % 2 === 0 ? one : other));

describe("Sealed events", () => {
  test("are merged and archived as they are, read from the archive, and forgotten there as everywhere", async () => {
    const storage = peopleStorage();
    const { store } = await storage.open();
    await fill(store, 40);
    const [first, second] = [registered("1").data.name, registered("2").data.name];
    await store.compact();
    expect(await namesIn(store, "person-1")).toEqual(alternating(first, second, 80));
    await store.archiveStream("person-1", { beforeVersion: 61 });
    await store.compact();
    expect(await namesIn(store, "person-1")).toEqual(alternating(first, second, 80));
    const receipt = await store.forget("person:1");
    // Those in the archive are no longer in the log, which is what is counted.
    expect(receipt).toMatchObject({ keys: 1, events: 10, streams: 1 });
    expect(await namesIn(store, "person-1")).toEqual(alternating<string | null>(null, second, 80));
    await store.compact();
    expect((await store.verify()).breaks).toEqual([]);
    await store.close();
    const again = await storage.open();
    expect(await namesIn(again.store, "person-1")).toEqual(alternating<string | null>(null, second, 80));
    expect(await namesIn(again.store, "person-2")).toEqual(
      alternating<string | null>(second, registered("3").data.name, 80),
    );
    await again.store.close();
  });

  test("make snapshots that go with their subject, also those that the compactor keeps", async () => {
    const storage = peopleStorage();
    const decider = defineDecider("person", {
      events: storage.events,
      commands: { Nothing: v.object({}) },
      initialState: (): { names: (string | null)[] } => ({ names: [] }),
      evolve: {
        Registered: ({ names }, { data }) => ({ names: [...names, data.name].slice(-2) }),
        Renamed: (state) => state,
        PlanChanged: (state) => state,
      },
      decide: { Nothing: () => [] },
      snapshots: { version: 1, everyEvents: 10 },
    });
    const { store, core } = await storage.open({ deciders: [decider] });
    await fill(store, 20);
    const kept = await store.compact();
    expect(kept.snapshotsWritten).toBe(2);
    expect((await store.forget("person:1")).snapshots).toBe(1);
    const cursor = await core.rows.scan(snapshotSpan("person-1"), "lookup");
    expect(await cursor.next(10)).toEqual([]);
    cursor.close();
    expect((await store.load(decider, "1")).state.names).toEqual([null, registered("2").data.name]);
    await store.close();
  });
});
