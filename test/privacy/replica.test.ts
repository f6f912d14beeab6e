/** Readers beside the writer: they decrypt, they stop when a subject is forgotten, and some must not see personal data at all. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  defineEvents,
  defineProjection,
  type EventDefinition,
  type EventDefinitions,
  event,
  openEventStore,
  openEventStoreReader,
  type Projection,
  type RecordedEvent,
} from "../../src/index.ts";
import { kinds, stopServer } from "../replica/places.ts";
import { collect, errorOf, take } from "../support/collect.ts";
import { encryption, otherMasterKey, people, registered } from "../support/people.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

function namesOf(events: readonly RecordedEvent[]): unknown[] {
  return events.map(({ data }) => (data as { name?: unknown }).name);
}

const noise: EventDefinitions<"noise", { readonly Noise: EventDefinition<v.StringSchema<undefined>> }> = defineEvents(
  "noise",
  { Noise: event({ schema: v.string() }) },
);

const liveNames: Projection<{ readonly name: string | null }> = defineProjection("live-names", {
  version: 1,
  mode: "live",
  document: v.object({ name: v.nullable(v.string()) }),
  on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name }) },
});

describe("A replica", () => {
  for (const { name, available, create } of kinds) {
    test.skipIf(!available)(`reads personal fields, and no longer once it has seen the receipt, ${name}`, async () => {
      await using place = await create();
      const { url, s3 } = place;
      await using store = await openEventStore({ url, s3, events: [people], encryption });
      await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
      await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
      await using reader = await openEventStoreReader({ url, s3, events: [people], encryption, pollIntervalMs: 50 });
      expect(namesOf(await collect(reader.readAll()))).toEqual(["Kim", "Lee"]);
      expect(namesOf(await take(reader.subscribe({ from: "start" }), 2))).toEqual(["Kim", "Lee"]);
      const then = reader.asOf(2).documents(liveNames);
      expect(await then.getMany(["1", "2"])).toEqual([{ name: "Kim" }, { name: "Lee" }]);
      const { position } = await store.forget("person:1");
      await reader.waitForPosition(position);
      expect(namesOf(await collect(reader.readAll({ filter: { types: ["Registered"] } })))).toEqual([null, "Lee"]);
      expect(namesOf(await take(reader.subscribe({ from: "start" }), 2))).toEqual([null, "Lee"]);
      expect(await then.getMany(["1", "2"])).toEqual([{ name: null }, { name: "Lee" }]);
      const [event] = await collect(reader.asOf(1).readStream("person-1"));
      expect(event?.personal?.erased).toBe("forgotten");
    });
  }

  for (const [why, commits, events, bytes] of [
    ["many events", 11, 1_000, 1],
    ["many bytes", 10, 1, 900_000],
  ] as const) {
    test(`reads personal fields no longer though it is ${why} behind the receipt`, async () => {
      await using place = await (kinds[0]?.create() ?? Promise.reject(new Error("unreachable")));
      const { url } = place;
      const projections = [liveNames];
      await using store = await openEventStore({
        url,
        events: [people, noise],
        encryption,
        projections,
        compaction: false,
      });
      await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
      await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
      await using reader = await openEventStoreReader({
        ...{ url, events: [people, noise], encryption, projections },
        // Longer than what it misses takes to write.
        pollIntervalMs: 4_000,
      });
      const names = async (): Promise<unknown> => [
        namesOf(await collect(reader.readAll({ filter: { types: ["Registered"] } }))),
        await reader.documents(liveNames).getMany(["1", "2"]),
      ];
      expect(await names()).toEqual([
        ["Kim", "Lee"],
        [{ name: "Kim" }, { name: "Lee" }],
      ]);
      await store.forget("person:1");
      let position = 0;
      for (let commit = 1; commit <= commits; commit += 1) {
        const noise = Array.from({ length: events }, () => ({ type: "Noise" as const, data: "n".repeat(bytes) }));
        position = (await store.append("noise-1", noise, { expectedVersion: "any" })).position;
      }
      await reader.waitForPosition(position);
      expect(await names()).toEqual([
        [null, "Lee"],
        [{ name: null }, { name: "Lee" }],
      ]);
    });
  }

  test("that may not see personal data hides it, and says so", async () => {
    await using place = await (kinds[0]?.create() ?? Promise.reject(new Error("unreachable")));
    await using store = await openEventStore({ url: place.url, events: [people], encryption });
    await store.append("person-1", [registered("1", "Kim"), { type: "PlanChanged", data: { plan: "gold" } }], {
      expectedVersion: 0,
    });
    await using reader = await openEventStoreReader({ url: place.url, events: [people], encryption: "hide" });
    const [first, second] = await collect(reader.readAll());
    expect<unknown>(first?.data).toEqual({
      ...registered("1").data,
      name: null,
      address: { street: null, city: "Berlin" },
    });
    expect(first?.personal).toMatchObject({ erased: "hidden", fields: ["name", "address.street"] });
    expect(second?.data).toEqual({ plan: "gold" });
  });

  test("is refused a wrong master key, and events with personal fields without one", async () => {
    await using place = await (kinds[0]?.create() ?? Promise.reject(new Error("unreachable")));
    await using store = await openEventStore({ url: place.url, events: [people], encryption });
    await store.append("person-1", [registered("1")], { expectedVersion: 0 });
    const wrong = { url: place.url, encryption: { masterKey: otherMasterKey } };
    expect((await errorOf(openEventStoreReader(wrong))).code).toBe("encryption-key");
    expect((await errorOf(openEventStoreReader({ url: place.url, events: [people] }))).code).toBe("invalid-argument");
    await using untyped = await openEventStoreReader({ url: place.url });
    expect((await errorOf(collect(untyped.readAll()))).code).toBe("unreadable-event");
  });
});
