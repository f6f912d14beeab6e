/** What is kept of errors with events that have personal data: what kind they were, and nothing that they say. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  defineDecider,
  defineProcessManager,
  defineProjection,
  defineReactor,
  defineSqlProjection,
  openEventStore,
  refuse,
} from "../../src/index.ts";
import { keptError } from "../../src/processors/kept-errors.ts";
import { collect } from "../support/collect.ts";
import { encryption, people, registered } from "../support/people.ts";
import { sqliteDatabase } from "../support/reporting.ts";

setDefaultTimeout(60_000);

const notKept = "; what it says is not kept, because the event has personal data";
const once = { attempts: 1, delayMs: 1 };

const mail = defineReactor("mail", {
  ...{ version: 1, mode: "async", events: [people], retries: once },
  on: {
    Registered: ({ data }) => {
      throw new RangeError(`no letter box of ${data.name}`);
    },
    PlanChanged: ({ data }) => {
      throw new RangeError(`no such plan: ${data.plan}`);
    },
  },
});

const cards = defineProjection("cards", {
  ...{ version: 1, mode: "async", events: [people], retries: once, onFailure: "park" },
  document: v.object({ name: v.pipe(v.string(), v.literal("nobody")) }),
  on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name as "nobody" }) },
});

const greetings = defineDecider("person", {
  events: people,
  commands: { Greet: v.object({ name: v.string() }) },
  initialState: () => ({}),
  evolve: { Registered: (state) => state, PlanChanged: (state) => state, Renamed: (state) => state },
  decide: { Greet: ({ data }) => refuse("rude", `Nobody greets ${data.name}`) },
});

const welcome = defineProcessManager("welcome", {
  events: [people],
  correlate: { Registered: (e) => e.streamName, Renamed: (e) => e.streamName },
  initialState: () => ({ seen: 0 }),
  evolve: { Registered: (state) => state, Renamed: (state) => state },
  retries: once,
  react: {
    Registered: (_, __, context) =>
      context.execute(greetings, context.instance, { type: "Greet", data: { name: "Kim Xylophon" } }),
    Renamed: ({ data }) => {
      throw new TypeError(`cannot be: ${data.name}`);
    },
  },
});

describe("Parked events with personal data", () => {
  test("keep what kind of error it was, and not what it says, also when they are tried again", async () => {
    await using database = await sqliteDatabase();
    const table = defineSqlProjection("table", {
      ...{ version: 1, database: database.url, events: [people], retries: once, onFailure: "park" },
      create: (sql, { table: named }) => sql`create table ${named("people")} (name text)`,
      on: {
        Registered: ({ data }) => {
          throw new RangeError(`no row for ${data.name}`);
        },
      },
    });
    const names = ["mail", "cards", "welcome", "table"];
    await using store = await openEventStore({
      ...{ url: "memory:", events: [people], encryption, onError: () => {} },
      ...{ deciders: [greetings], reactors: [mail], projections: [cards, table], processManagers: [welcome] },
    });
    const errorsOf = async (name: string): Promise<string[]> =>
      (await collect(store.parked(name))).map(({ error }) => error);
    await store.append("person-1", [registered("1", "Kim Xylophon")], { expectedVersion: 0 });
    await store.append("person-2", [{ type: "Renamed", data: { id: "2", name: "Lee Xylophon" } }], {
      expectedVersion: 0,
    });
    const { position } = await store.append("person-3", [{ type: "PlanChanged", data: { plan: "gold" } }], {
      expectedVersion: 0,
    });
    for (const name of names) await store.waitFor(name, position);
    const expectKinds = async (): Promise<void> => {
      // Of an event without personal data it is all there.
      expect(await errorsOf("mail")).toEqual([`RangeError${notKept}`, "no such plan: gold"]);
      expect(await errorsOf("cards")).toEqual([`InvalidDocumentError (invalid-document)${notKept}`]);
      expect(await errorsOf("welcome")).toEqual([
        `DomainRefusal${notKept}`,
        `InvalidArgumentError (invalid-argument), caused by TypeError${notKept}`,
      ]);
      expect(await errorsOf("table")).toEqual([`RangeError${notKept}`]);
    };
    await expectKinds();
    for (const name of names) expect(await store.replayParked(name)).toMatchObject({ replayed: 0 });
    await expectKinds();
    for (const name of names)
      for (const one of await collect(store.parked(name))) expect(one).not.toHaveProperty("personal");
  });

  test("keep of a thrown value its type, and no code that is a text", () => {
    expect(keptError("Kim", true)).toBe(`a thrown string${notKept}`);
    expect(keptError(Object.assign(new Error("Kim"), { code: "Kim Xylophon" }), true)).toBe(`Error${notKept}`);
    expect(keptError(new Error("Kim", { cause: 7 }), true)).toBe(`Error, caused by a thrown number${notKept}`);
    expect(keptError("x".repeat(5_000), false)).toBe("x".repeat(2_000));
  });
});
