/** Personal fields: encrypted in storage, there for readers, `null` once their subject is forgotten. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore, type RecordedEvent } from "../../src/index.ts";
import { collect, errorOf, take } from "../support/collect.ts";
import { encryption, people, peopleStorage, registered } from "../support/people.ts";

setDefaultTimeout(60_000);

async function only(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent> {
  const list = await collect(events);
  expect(list.length).toBe(1);
  const [event] = list;
  if (event === undefined) throw new Error("unreachable");
  return event;
}

describe("Personal fields", () => {
  test("are read as they were written, by every read", async () => {
    await using store = await openEventStore({ url: "memory:", events: [people], encryption });
    const heard = Promise.withResolvers<RecordedEvent>();
    store.on(undefined, (event) => heard.resolve(event));
    const { data } = registered("1");
    await store.append("person-1", [registered("1")], { expectedVersion: "no-stream" });
    const reads = [
      store.readStream("person-1"),
      store.readStream("person-1", { direction: "backwards" }),
      store.readAll(),
      store.readAll({ direction: "backwards" }),
      store.readAll({ filter: { tags: ["person:1"] } }),
      store.asOf(1).readStream("person-1"),
      store.asOf(1).readAll(),
    ];
    const found = await Promise.all(reads.map(only));
    found.push(...(await take(store.subscribe({ from: "start" }), 1)), await heard.promise);
    for (const event of found) {
      expect(event.data).toEqual(data);
      expect(event.tags).toEqual(["person:1"]);
      expect(event.personal?.fields).toEqual(["name", "address.street"]);
      expect(event.personal?.erased).toBeUndefined();
    }
  });

  test("survive a restart, and a definition that no longer calls them personal", async () => {
    const storage = peopleStorage();
    {
      await using store = (await storage.open()).store;
      await store.append("person-1", [registered("1")], { expectedVersion: 0 });
    }
    await using store = (await storage.open({ events: [] })).store;
    expect((await only(store.readStream("person-1"))).data).toEqual(registered("1").data);
  });

  test("read as null once the subject is forgotten, and say so; others stay", async () => {
    const storage = peopleStorage();
    const { store } = await storage.open();
    await store.append("person-1", [registered("1"), { type: "PlanChanged", data: { plan: "gold" } }], {
      expectedVersion: 0,
    });
    await store.append("person-2", [registered("2")], { expectedVersion: 0 });
    const receipt = await store.forget("person:1", { metadata: { actor: "privacy office" } });
    expect(receipt).toMatchObject({ keys: 1, events: 1, streams: 1, replayed: false, unreached: [], position: 4 });
    const check = async (): Promise<void> => {
      const [first, second] = await collect(store.readStream("person-1"));
      const erased: unknown = { ...registered("1").data, name: null, address: { street: null, city: "Berlin" } };
      expect<unknown>(first?.data).toEqual(erased);
      expect(first?.personal).toMatchObject({ erased: "forgotten", erasedAt: receipt.forgottenAt });
      expect(first?.personal?.subject).toBe(receipt.subject);
      expect(second?.data).toEqual({ plan: "gold" });
      expect(second?.personal).toBeUndefined();
      expect((await only(store.readStream("person-2"))).data).toEqual(registered("2").data);
      const all = await collect(store.readAll());
      expect(JSON.stringify(all)).not.toContain("Xylophon-1");
      expect((await take(store.subscribe({ from: "start" }), 1))[0]?.data).toEqual(first?.data);
    };
    await check();
    await store.close();
    const again = await storage.open();
    const [event] = await collect(again.store.readStream("person-1"));
    expect(event?.personal?.erased).toBe("forgotten");
    await again.store.close();
  });

  test("are an error at open without a master key", async () => {
    const error = await errorOf(() => openEventStore({ url: "memory:", events: [people] }));
    expect(error.code).toBe("invalid-argument");
    expect(error.message).toContain("encryption");
  });
});
