/** Forgetting a subject: what goes with its key, what stays, and what happens beside it and after it. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { snapshotSpan } from "../../src/format/key-families.ts";
import { decodeKeyShard, keyShardName } from "../../src/format/key-shard.ts";
import { allDocumentKeysSpan, documentKey, documentSpan } from "../../src/format/processor-keys.ts";
import {
  type Decider,
  defineDecider,
  defineProjection,
  defineSqlProjection,
  openEventStore,
  openPartitionedEventStore,
  type Projection,
  StorageUnavailableError,
  type SubjectForgotten,
} from "../../src/index.ts";
import type { KvRange } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import type { StoreCore } from "../../src/log/store-internals.ts";
import type { ProjectionMode } from "../../src/processors/define-projection.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { forwardingKv } from "../support/forwarding-kv.ts";
import { encryption, people, peopleStorage, registered } from "../support/people.ts";
import { sqliteDatabase } from "../support/reporting.ts";

setDefaultTimeout(60_000);

const liveNames: Projection<{ readonly name: string | null }> = defineProjection("live-names", {
  version: 1,
  mode: "live",
  document: v.object({ name: v.nullable(v.string()) }),
  on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name }) },
});

interface PersonState {
  readonly name: string | null;
  readonly plan: string;
}

const commands = {
  Register: v.object({ id: v.string(), name: v.string() }),
  ChangePlan: v.object({ plan: v.string() }),
};

function personDecider(
  deciding: () => Promise<void> = async () => {},
): Decider<PersonState, typeof people, typeof commands> {
  return defineDecider("person", {
    events: people,
    commands,
    initialState: (): PersonState => ({ name: null, plan: "none" }),
    evolve: {
      Registered: (_, { data }) => ({ name: data.name, plan: data.plan }),
      PlanChanged: (state, { data }) => ({ ...state, plan: data.plan }),
      Renamed: (state, { data }) => ({ ...state, name: data.name }),
    },
    decide: {
      Register: ({ data }) => [{ type: "Registered", data: { ...data, plan: "basic" } }],
      ChangePlan: async ({ data }) => {
        await deciding();
        return [{ type: "PlanChanged", data }];
      },
    },
    snapshots: { version: 1, everyEvents: 2 },
  });
}

async function snapshotsOf(core: StoreCore, streamName: string): Promise<number> {
  const cursor = await core.rows.scan(snapshotSpan(streamName), "lookup");
  const rows = await cursor.next(100);
  cursor.close();
  return rows.length;
}

describe("Forgetting a subject", () => {
  test("takes it out of states and removes snapshots of its streams", async () => {
    const storage = peopleStorage();
    const { store, core } = await storage.open();
    const decider = personDecider();
    for (const id of ["1", "2"]) {
      await store.execute(decider, id, { type: "Register", data: { id, name: `Kim ${id}` } });
      await store.snapshot(decider, id);
    }
    expect((await store.load(decider, "1")).state.name).toBe("Kim 1");
    const { snapshots } = await store.forget("person:1");
    expect(snapshots).toBe(1);
    expect(await snapshotsOf(core, "person-1")).toBe(0);
    expect(await snapshotsOf(core, "person-2")).toBe(1);
    expect((await store.load(decider, "1")).state).toEqual({ name: null, plan: "basic" });
    expect((await store.load(decider, "2")).state.name).toBe("Kim 2");
    const done = await store.execute(decider, "1", { type: "ChangePlan", data: { plan: "gold" } });
    expect(done.state).toEqual({ name: null, plan: "gold" });
    await store.close();
  });

  test("is not undone by a command that was under way with the old state", async () => {
    const storage = peopleStorage();
    const { store } = await storage.open();
    const [entered, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const decider = personDecider(async () => {
      entered.resolve();
      await go.promise;
    });
    await store.execute(decider, "1", { type: "Register", data: { id: "1", name: "Kim" } });
    const command = store.execute(decider, "1", { type: "ChangePlan", data: { plan: "gold" } });
    await entered.promise;
    await store.forget("person:1");
    go.resolve();
    await command;
    expect((await store.load(decider, "1")).state).toEqual({ name: null, plan: "gold" });
    // What is written in the background is through when the store has closed.
    await store.close();
    const again = await storage.open();
    expect(await snapshotsOf(again.core, "person-1")).toBe(0);
    await again.store.close();
  });

  test("is not undone by a processor that had read ahead before and goes on after", async () => {
    const [cards, names] = [namesProjection("async", true), namesProjection("async", false)];
    await using store = await openEventStore({
      url: "memory:",
      events: [people],
      encryption,
      projections: [cards, names],
    });
    await store.pauseProcessor("cards");
    const { position } = await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
    await store.waitFor("names", position);
    await store.forget("person:1");
    await store.resumeProcessor("cards");
    expect(await store.documents(cards).get("1", { atLeast: position })).toEqual({ name: null, renamed: 0 });
  });

  test("seals anew what waits in the queue under a key that is destroyed meanwhile", async () => {
    const storage = createMemoryStorage();
    const inner = openMemoryObjects(systemClock);
    const [held, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let holding = false;
    let onPut: (() => Promise<void>) | undefined;
    const memory = openMemoryKv(storage);
    const gated = forwardingKv(memory, {
      write: async (operations) => {
        if (holding) {
          held.resolve();
          await go.promise;
        }
        await memory.write(operations);
      },
    });
    const objects: ObjectAccess = {
      ...inner,
      put: async (...given) => {
        await onPut?.();
        return await inner.put(...given);
      },
    };
    await using store = await openEventStoreOn(gated, { events: [people], encryption }, objects);
    await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
    const appends: Promise<unknown>[] = [];
    onPut = async () => {
      onPut = undefined;
      // One group is being written; the next one waits behind it, sealed under the key that is about to go.
      holding = true;
      appends.push(store.append("person-2", [{ type: "PlanChanged", data: { plan: "x" } }], { expectedVersion: 0 }));
      await held.promise;
      appends.push(
        store.append("person-1", [{ type: "Renamed", data: { id: "1", name: "Robin" } }], { expectedVersion: 1 }),
      );
    };
    const forgetting = store.forget("person:1");
    await until(
      async () => (await collect(inner.list("keys/"))).length === 2 && appends.length === 2 && onPut === undefined,
    );
    const { subject } = (await collect(store.readStream("person-1", { limit: 1 })))[0]?.personal ?? { subject: "" };
    const isDestroyed = async (): Promise<boolean> => {
      const stored = await inner.get(keyShardName(subject));
      return decodeKeyShard(keyShardName(subject), stored?.bytes ?? new Uint8Array()).forgotten.size === 1;
    };
    await until(isDestroyed);
    holding = false;
    go.resolve();
    await Promise.all(appends);
    await forgetting;
    const events = await collect(store.readStream("person-1"));
    expect(events.map(({ data }) => (data as { name: unknown }).name)).toEqual([null, "Robin"]);
  });

  for (const mode of ["inline", "async", "live"] satisfies ProjectionMode[]) {
    test(`takes it out of ${mode} documents that are declared to hold it`, async () => {
      const names = namesProjection(mode, false);
      const cards = namesProjection(mode, true);
      await using store = await openEventStore({
        url: "memory:",
        events: [people],
        encryption,
        projections: [names, cards],
      });
      await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
      const { position } = await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
      expect(await store.documents(names).get("1", { atLeast: position })).toEqual({ name: "Kim", renamed: 0 });
      expect(await store.documents(cards).get("1", { atLeast: position })).toEqual({ name: "Kim", renamed: 0 });
      expect(await collect(store.documents(names).find("name", "Kim"))).toHaveLength(1);
      const receipt = await store.forget("person:1");
      expect(receipt.documents).toBe(mode === "live" ? 0 : 2);
      expect(receipt.unreached).toEqual([]);
      const left = mode === "live" ? { name: null, renamed: 0 } : undefined;
      expect(await store.documents(names).get("1")).toEqual(left);
      expect(await store.documents(cards).get("1")).toEqual({ name: null, renamed: 0 });
      expect(await collect(store.documents(names).find("name", "Kim"))).toEqual([]);
      expect(await store.documents(names).get("2")).toEqual({ name: "Lee", renamed: 0 });
      // It goes on from what is left, caches included.
      const renamed = await store.append("person-1", [{ type: "Renamed", data: { id: "1", name: "Robin" } }], {
        expectedVersion: 1,
      });
      const after = await store.documents(cards).get("1", { atLeast: renamed.position });
      expect(after).toEqual({ name: "Robin", renamed: 1 });
    });
  }

  for (const mode of ["inline", "async"] satisfies ProjectionMode[]) {
    test(`removes ${mode} documents that cannot be read, and their secondary keys with them`, async () => {
      const storage = peopleStorage();
      const lax = defineProjection("names", {
        version: 1,
        mode,
        events: [people],
        document: v.any(),
        indexes: { name: (document: { name: string }) => [document.name, `the ${document.name}`] },
        on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name }) },
      });
      {
        const { store, core } = await storage.open({ projections: [lax] });
        for (const id of ["1", "2", "3"])
          await store.append(`person-${id}`, [registered(id, `Kim ${id}`)], { expectedVersion: 0 });
        await store.waitFor("names", 3);
        const rubbish = { key: documentKey("names", 1, "2"), value: Buffer.from("rubbish") };
        await core.submit({ rows: [{ kind: "put", ...rubbish }] });
        await store.close();
      }
      // All three are against this one's schema; the second is damaged.
      const { store, core } = await storage.open({ projections: [namesProjection(mode, false)], onError: () => {} });
      const rows = async (span: KvRange): Promise<number> => {
        const cursor = await core.rows.scan(span, "lookup");
        const found = await cursor.next(100);
        cursor.close();
        return found.length;
      };
      expect(await rows(allDocumentKeysSpan("names", 1))).toBe(6);
      for (const id of ["1", "2"]) expect((await store.forget(`person:${id}`)).documents).toBe(1);
      expect(await rows(documentSpan("names", 1, ""))).toBe(1);
      expect(await rows(allDocumentKeysSpan("names", 1))).toBe(2);
      await store.close();
    });

    test(`leaves nothing of ${mode} documents that were built anew and could not be removed yet`, async () => {
      const memory = openMemoryKv(createMemoryStorage());
      const old = [documentSpan("names", 1, ""), allDocumentKeysSpan("names", 1)];
      const isOld = (key: Uint8Array): boolean =>
        old.some(({ start, end }) => Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0);
      const [isFailing, warned] = [{ now: true }, Promise.withResolvers<unknown>()];
      const kv = forwardingKv(memory, {
        write: async (operations) => {
          if (isFailing.now && operations.some(({ kind, key }) => kind === "delete" && isOld(key)))
            throw new StorageUnavailableError("simulated", { outcome: "not-applied" });
          await memory.write(operations);
        },
      });
      const names = namesProjection(mode, false);
      const options = { events: [people], encryption, projections: [names], onError: warned.resolve };
      await using store = await openEventStoreOn(kv, options, openMemoryObjects(systemClock));
      const { position } = await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
      await store.waitFor("names", position);
      await store.rebuild("names");
      expect(await warned.promise).toMatchObject({ code: "storage-unavailable" });
      const rows = async (): Promise<number> => {
        const cursors = await Promise.all(old.map((span) => memory.scan(span, "lookup")));
        const found = await Promise.all(cursors.map((cursor) => cursor.next(100)));
        return found.flat().length;
      };
      expect(await rows()).toBe(2);
      // As long as they cannot be removed, it is not done; once they can, it is carried to its end.
      expect(await errorOf(store.forget("person:1"))).toMatchObject({ code: "storage-unavailable" });
      isFailing.now = false;
      await store.forget("person:1");
      expect(await rows()).toBe(0);
    });
  }

  test("takes it out of documents as of a moment that were folded before", async () => {
    const { store } = await peopleStorage().open();
    await store.append("person-1", [registered("1")], { expectedVersion: 0 });
    await store.append("person-2", [registered("2")], { expectedVersion: 0 });
    const recorded = store.asOf(2).documents(liveNames);
    const happened = store.asOf({ order: "occurred" }).documents(liveNames);
    const before = [{ name: registered("1").data.name }, { name: registered("2").data.name }];
    expect(await recorded.getMany(["1", "2"])).toEqual(before);
    expect(await happened.getMany(["1", "2"])).toEqual(before);
    await store.forget("person:1");
    expect<unknown>(await recorded.getMany(["1", "2"])).toEqual([{ name: null }, before[1]]);
    const [first] = await collect(happened.list());
    expect(first).toEqual(["1", { name: null }]);
    await store.close();
  });

  test("empties no live documents that are being read", async () => {
    const { store, core } = await peopleStorage().open({ projections: [liveNames] });
    await store.append("person-1", [registered("1")], { expectedVersion: 0 });
    const documents = store.documents(liveNames);
    // A read of what is folded already takes a few turns of the microtasks, and an erasure may come at any of them.
    for (let turns = 0; turns < 30; turns += 1) {
      const expected = await documents.get("1");
      const reading = documents.get("1");
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      core.erasures.note();
      expect(await reading).toEqual(expected);
      expect(expected).toEqual({ name: registered("1").data.name });
    }
    await store.close();
  });

  test("names projections that do not run here", async () => {
    const storage = peopleStorage();
    const names = namesProjection("async", false);
    {
      const { store } = await storage.open({ projections: [names] });
      const { position } = await store.append("person-1", [registered("1")], { expectedVersion: 0 });
      await store.waitFor("names", position);
      await store.close();
    }
    const { store } = await storage.open();
    expect((await store.forget("person:1")).unreached).toEqual(["names"]);
    await store.close();
    // Where they run, forgetting once more reaches them.
    const { store: again } = await storage.open({ projections: [names] });
    expect(JSON.stringify(await again.documents(names).get("1"))).toContain("Kim");
    expect(await again.forget("person:1")).toMatchObject({ replayed: true, documents: 1, unreached: [] });
    expect(JSON.stringify(await again.documents(names).get("1")) ?? "").not.toContain("Kim");
    await again.close();
  });

  test("reaches SQL projections through the log, by the subject's hash", async () => {
    await using database = await sqliteDatabase();
    const contacts = defineSqlProjection("contacts", {
      version: 1,
      database: database.url,
      events: [people],
      create: (sql, { table }) => sql`create table ${table("contacts")} (subject text, name text)`,
      on: {
        Registered: (e, sql, { table }) =>
          sql`insert into ${table("contacts")} (subject, name) values (${e.personal?.subject ?? ""}, ${e.data.name})`,
      },
      forget: (e, sql, { table }) => sql`update ${table("contacts")} set name = null where subject = ${e.data.subject}`,
    });
    await using store = await openEventStore({ url: "memory:", events: [people], encryption, projections: [contacts] });
    await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
    const last = await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
    await store.waitFor("contacts", last.position);
    const { position } = await store.forget("person:1");
    await store.waitFor("contacts", position);
    const rows: { name: string | null }[] = await database.sql`select name from contacts order by name`;
    expect(rows.map(({ name }) => name)).toEqual([null, "Lee"]);
  });

  test("leaves a receipt that names nobody, with the caller's metadata", async () => {
    await using store = await openEventStore({ url: "memory:", events: [people], encryption });
    await store.append("person-1", [registered("1"), registered("1", "Kim II")], { expectedVersion: 0 });
    const receipt = await store.forget("person:1", { metadata: { actor: "privacy office", ticket: 7 } });
    const [event] = await collect(store.readAll({ filter: { types: ["$SubjectForgotten"] } as never }));
    expect(event?.streamName as string).toBe("$strata-lifecycle");
    expect(event?.metadata).toMatchObject({ actor: "privacy office", ticket: 7 });
    expect(event?.position).toBe(receipt.position);
    const data = event?.data as unknown as SubjectForgotten;
    expect(data).toMatchObject({ subject: receipt.subject, events: 2, streams: 1, unreached: [] });
    expect(JSON.stringify(event)).not.toContain("person:1");
  });

  test("is harmless to repeat, and an error for a subject that nobody knows", async () => {
    await using store = await openEventStore({ url: "memory:", events: [people], encryption });
    await store.append("person-1", [registered("1")], { expectedVersion: 0 });
    const first = await store.forget("person:1");
    expect(await store.forget("person:1")).toEqual({ ...first, replayed: true });
    const both = await Promise.all([store.forget("person:1"), store.forget("person:1")]);
    expect(both.map(({ position }) => position)).toEqual([first.position, first.position]);
    const error = await errorOf(store.forget("person:2"));
    expect(error.code).toBe("invalid-argument");
    expect(error.message).toBe('subject is none whose personal data the store has: "person:2"');
    expect((await errorOf(store.forget(""))).code).toBe("invalid-argument");
  });

  test("does not keep it from coming back: with a new key, and the old events as they are", async () => {
    const storage = peopleStorage();
    const { store } = await storage.open();
    await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
    await store.forget("person:1");
    await store.append("person-1", [{ type: "Renamed", data: { id: "1", name: "Robin" } }], { expectedVersion: 1 });
    const names = async (): Promise<unknown[]> =>
      (await collect(store.readStream("person-1"))).map(({ data }) => (data as { name: unknown }).name);
    expect(await names()).toEqual([null, "Robin"]);
    const again = await store.forget("person:1");
    expect(again).toMatchObject({ keys: 2, events: 2, replayed: false });
    expect(await names()).toEqual([null, null]);
    await store.close();
  });

  test("ends what an append beside it would have left unreadable: what comes behind it has a new key", async () => {
    await using store = await openEventStore({ url: "memory:", events: [people], encryption });
    let version = (await store.append("person-1", [registered("1", "first")], { expectedVersion: 0 })).streamVersion;
    for (let round = 1; round <= 20; round += 1) {
      const forgetting = store.forget("person:1");
      const appends = Array.from({ length: 8 }, (_, index) =>
        store.append("person-1", [{ type: "Renamed", data: { id: "1", name: `${round}.${index}` } }], {
          expectedVersion: "any",
        }),
      );
      const receipt = await forgetting;
      const done = await Promise.all(appends);
      for (const { position, streamVersion } of done) {
        version = Math.max(version, streamVersion);
        const [event] = await collect(store.readAll({ fromPosition: position, limit: 1 }));
        const { name } = (event?.data ?? {}) as { name?: string | null };
        if (position > receipt.position) expect(name).not.toBeNull();
        // Whatever could not be read says why.
        if (name === null) expect(event?.personal?.erased).toBe("forgotten");
      }
    }
    expect(await collect(store.readStream("person-1"))).toHaveLength(version);
  });

  test("goes through all partitions of a store", async () => {
    await using store = await openPartitionedEventStore({
      url: "memory:",
      events: [people],
      encryption,
      partitions: 3,
      partitionOf: (name) => Number(name.split("-")[1]) % 3,
    });
    await store.append("person-0", [registered("7", "Kim")], { expectedVersion: 0 });
    await store.append("person-1", [registered("7", "Kim")], { expectedVersion: 0 });
    const receipts = await store.forget("person:7");
    expect(receipts.map(({ partition }) => partition)).toEqual([0, 1]);
    const events = await collect(store.readAll({ filter: { types: ["Registered"] } }));
    expect(events.map(({ event }) => (event.data as { name: unknown }).name)).toEqual([null, null]);
    expect((await errorOf(store.forget("person:8"))).code).toBe("invalid-argument");
  });

  test("takes no metadata that names the subject: the receipt keeps it", async () => {
    await using store = await openEventStore({ url: "memory:", events: [people], encryption });
    await store.append("person-1", [registered("7", "Kim")], { expectedVersion: 0 });
    for (const metadata of [{ actor: "person:7" }, { why: { asked: ["by", "person:7"] } }]) {
      const error = await errorOf(store.forget("person:7", { metadata }));
      expect([error.code, error.message]).toEqual(["invalid-argument", expect.stringContaining("must not name")]);
    }
    const [found] = await collect(store.readStream("person-1"));
    expect(found?.data).toMatchObject({ name: "Kim" });
    const receipt = await store.forget("person:7", { metadata: { actor: "office for person:7 and others" } });
    expect(receipt.events).toBe(1);
  });

  test("needs the keys: a store without encryption cannot", async () => {
    await using store = await openEventStore({ url: "memory:" });
    expect((await errorOf(store.forget("person:1"))).message).toContain("encryption must be given");
    expect((await errorOf(store.rotateKeys())).message).toContain("encryption must be given");
  });
});

interface NameCard {
  readonly name: string | null;
  readonly renamed: number;
}

/** `redacts`: keeps the document, without the name. */
function namesProjection(mode: ProjectionMode, redacts: boolean): Projection<NameCard, "name"> {
  return defineProjection(redacts ? "cards" : "names", {
    version: 1,
    mode,
    events: [people],
    document: v.object({ name: v.nullable(v.string()), renamed: v.number() }),
    indexes: { name: ({ name }) => name ?? undefined },
    on: {
      Registered: ({ data }, docs) => docs.set(data.id, { name: data.name, renamed: 0 }),
      Renamed: ({ data }, docs) =>
        docs.update(data.id, (card) => ({ name: data.name, renamed: (card?.renamed ?? 0) + 1 })),
    },
    personal: {
      keys: (subject) => [subject.slice("person:".length)],
      ...(redacts ? { erase: (card: NameCard) => ({ ...card, name: null }) } : {}),
    },
  });
}
