/** Views as of a moment: documents then, and two times - what was known by one about what had happened by another. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import {
  type AsOf,
  defineDecider,
  defineEvents,
  defineProjection,
  event,
  openEventStore,
  openEventStoreReader,
  type RecordedEvent,
} from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { backends, temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

const person = defineEvents("person", {
  Moved: event({ schema: v.object({ to: v.string() }) }),
  Renamed: event({ schema: v.object({ name: v.string() }) }),
});

interface Person {
  readonly lives?: string;
  readonly name?: string;
}

const people = defineDecider("person", {
  events: person,
  commands: {},
  initialState: (): Person => ({}),
  evolve: {
    Moved: (state, { data }) => ({ ...state, lives: data.to }),
    Renamed: (state, { data }) => ({ ...state, name: data.name }),
  },
  decide: {},
  snapshots: { version: 1, everyEvents: 1 },
});

const directory = (mode: "async" | "inline" | "live" = "live") =>
  defineProjection("directory", {
    version: 1,
    mode,
    events: [person],
    document: v.object({ lives: v.optional(v.string()), name: v.optional(v.string()), changes: v.number() }),
    indexes: { place: ({ lives }) => lives },
    on: {
      Moved: ({ streamName, data }, docs) =>
        docs.update(streamName, (doc) => ({ ...doc, lives: data.to, changes: (doc?.changes ?? 0) + 1 })),
      Renamed: ({ streamName, data }, docs) =>
        docs.update(streamName, (doc) =>
          data.name === "nobody" ? undefined : { ...doc, name: data.name, changes: (doc?.changes ?? 0) + 1 },
        ),
    },
  });

const day = (n: number): Date => new Date(Date.UTC(2026, 0, n));

interface Recorded {
  readonly stream: number;
  readonly type: "Moved" | "Renamed";
  readonly text: string;
  readonly recorded: number;
  readonly occurred: number | undefined;
}

const recordings: fc.Arbitrary<readonly Recorded[]> = fc
  .array(
    fc.record({
      stream: fc.nat(2),
      type: fc.constantFrom("Moved" as const, "Renamed" as const),
      text: fc.constantFrom("nobody", "a", "b", "c"),
      wait: fc.nat(3),
      occurred: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
    }),
    { minLength: 1, maxLength: 25 },
  )
  .map((list) => {
    let recorded = 1;
    return list.map(({ wait, ...one }) => {
      recorded += wait;
      return { ...one, recorded };
    });
  });

/** The events that count, by their numbers from 1, worked out plainly. */
function countingThen(list: readonly Recorded[], upTo: number, happenedBy: number | undefined): number[] {
  return list.flatMap(({ recorded, occurred }, index) =>
    index < upTo && (happenedBy === undefined || (occurred ?? recorded) <= happenedBy) ? [index + 1] : [],
  );
}

function personOf(events: readonly Recorded[]): Person {
  const state: { lives?: string; name?: string } = {};
  for (const { type, text } of events) state[type === "Moved" ? "lives" : "name"] = text;
  return state;
}

function directoryOf(events: readonly Recorded[]): [string, unknown][] {
  const docs = new Map<string, { lives?: string; name?: string; changes: number }>();
  for (const { stream, type, text } of events) {
    const doc = docs.get(`person-${stream}`);
    const changes = (doc?.changes ?? 0) + 1;
    if (type === "Moved") docs.set(`person-${stream}`, { ...doc, lives: text, changes });
    else if (text === "nobody") docs.delete(`person-${stream}`);
    else docs.set(`person-${stream}`, { ...doc, name: text, changes });
  }
  return [...docs].sort();
}

async function opened(list: readonly Recorded[], kv = openMemoryKv()) {
  let now = 0;
  const clock = { now: () => now, monotonic: () => now };
  const store = await openEventStoreOn(kv, { clock, events: [person], projections: [directory("async")] });
  for (const { stream, type, text, recorded, occurred } of list) {
    now = day(recorded).getTime();
    const data = type === "Moved" ? { to: text } : { name: text };
    const one = { type, data, ...(occurred === undefined ? {} : { occurredAt: day(occurred) }) } as never;
    await store.append(`person-${stream}`, [one], { expectedVersion: "any" });
  }
  return store;
}

describe("A view of what was known about what had happened", () => {
  test("shows the events that were recorded and had happened by then, and tells of streams by them", async () => {
    await fc.assert(
      fc.asyncProperty(recordings, fc.nat(30), fc.nat(42), fc.nat(4), async (list, upTo, happenedBy, limit) => {
        await using store = await opened(list);
        const counting = countingThen(list, upTo, happenedBy);
        const view = store.asOf({ recordedAt: upTo, occurredAt: day(happenedBy) });
        const positions = (events: readonly RecordedEvent[]): number[] => events.map(({ position }) => position);
        expect(positions(await collect(view.readAll()))).toEqual(counting);
        const few = { limit: limit + 1, direction: "backwards" } as const;
        expect(positions(await collect(view.readAll(few)))).toEqual(counting.toReversed().slice(0, limit + 1));
        expect(await view.lastPosition()).toBe(Math.min(upTo, list.length));
        const infos = [];
        for (const stream of [0, 1, 2]) {
          const name = `person-${stream}` as const;
          const own = counting.filter((position) => list[position - 1]?.stream === stream);
          expect(positions(await collect(view.readStream(name)))).toEqual(own);
          expect(positions(await collect(view.readStream(name, few)))).toEqual(own.toReversed().slice(0, limit + 1));
          const info = await view.streamInfo(name);
          expect(info?.lastPosition).toBe(own.at(-1) as number);
          expect(info?.created).toEqual(
            own[0] === undefined ? (undefined as never) : day(list[own[0] - 1]?.recorded ?? 0),
          );
          if (info !== undefined) infos.push(info);
        }
        expect(await collect(view.listStreams())).toEqual(infos);
        expect(await collect(view.listStreams({ limit: 1 }))).toEqual(infos.slice(0, 1));
      }),
      { numRuns: 60 },
    );
  });

  test("folds states and documents in the order of happening, or of recording", async () => {
    const bounds = [fc.nat(30), fc.option(fc.nat(42), { nil: undefined })] as const;
    const orders = fc.constantFrom("occurred", "recorded", undefined);
    await fc.assert(
      fc.asyncProperty(recordings, ...bounds, orders, async (list, upTo, happenedBy, order) => {
        await using store = await opened(list);
        await store.snapshot(people, "0");
        const moment: AsOf = {
          recordedAt: upTo,
          ...(happenedBy === undefined ? {} : { occurredAt: day(happenedBy) }),
          ...(order === undefined ? {} : { order }),
        };
        const counting = countingThen(list, upTo, happenedBy).flatMap((position) => list[position - 1] ?? []);
        const sorts = order === undefined ? happenedBy !== undefined : order === "occurred";
        const time = ({ occurred, recorded }: Recorded): number => occurred ?? recorded;
        const folded = sorts ? counting.toSorted((one, other) => time(one) - time(other)) : counting;
        const view = store.asOf(moment);
        for (const stream of [0, 1, 2]) {
          const own = folded.filter((one) => one.stream === stream);
          const { state, version } = await view.load(people, String(stream));
          expect(state).toEqual(personOf(own));
          expect(version).toBe((await view.streamInfo(`person-${stream}`))?.version ?? 0);
          const told = await collect(view.history(`person-${stream}`, { decider: people }));
          expect(told.map(({ after }) => after)).toEqual(own.map((_, index) => personOf(own.slice(0, index + 1))));
          const back = view.history(`person-${stream}`, { decider: people, direction: "backwards" });
          expect(await collect(back)).toEqual(told.toReversed());
          const blamed = await view.blame(`person-${stream}`, { decider: people });
          if (own.length > 0) expect(blamed?.state).toEqual(personOf(own));
        }
        expect(await collect(view.documents(directory()).list())).toEqual(directoryOf(folded) as never);
      }),
      { numRuns: 60 },
    );
  });

  test("has a correction that came late where it belongs", async () => {
    const list: readonly Recorded[] = [
      { stream: 1, type: "Moved", text: "Aachen", recorded: 1, occurred: undefined },
      { stream: 1, type: "Moved", text: "Cottbus", recorded: 10, occurred: undefined },
      // On the 20th it becomes known: between the two there was another place.
      { stream: 1, type: "Moved", text: "Bonn", recorded: 20, occurred: 5 },
    ];
    await using store = await opened(list);
    const livesIn = async (when: AsOf): Promise<string | undefined> =>
      (await store.asOf(when).load(people, "1")).state.lives;
    expect(await livesIn({ occurredAt: day(7) })).toBe("Bonn");
    expect(await livesIn({ occurredAt: day(7), recordedAt: day(15) })).toBe("Aachen");
    expect(await livesIn({ occurredAt: day(25) })).toBe("Cottbus");
    expect(await livesIn({ occurredAt: day(25), order: "recorded" })).toBe("Bonn");
    expect(await livesIn({ order: "occurred" })).toBe("Cottbus");
    expect(await livesIn(day(15))).toBe("Cottbus");
    expect(await livesIn({})).toBe("Bonn");
  });
});

for (const backend of backends) {
  describe(`Documents as of a moment, ${backend.name}`, () => {
    test("are those that there were: by key, in lists, by another key", async () => {
      await using storage = await backend.create();
      const list: readonly Recorded[] = ["a", "b", "a", "c"].flatMap((text, n) => [
        { stream: n % 3, type: "Moved" as const, text, recorded: n + 1, occurred: undefined },
        {
          stream: n % 2,
          type: "Renamed" as const,
          text: n === 3 ? "nobody" : text,
          recorded: n + 1,
          occurred: undefined,
        },
      ]);
      await using store = await opened(list, await storage.open());
      await store.waitFor("directory", list.length);
      for (let upTo = 0; upTo <= list.length; upTo += 1) {
        const expected = directoryOf(list.slice(0, upTo));
        const then = store.asOf(upTo).documents(directory("async"));
        expect(await collect(then.list())).toEqual(expected as never);
        expect(await collect(then.list({ prefix: "person-", after: "person-0", limit: 1 }))).toEqual(
          expected.filter(([key]) => key > "person-0").slice(0, 1) as never,
        );
        const keys = ["person-2", "person-9", "person-0"];
        expect(await then.getMany(keys)).toEqual(keys.map((key) => new Map(expected).get(key) as never));
        expect(await then.get("person-1")).toEqual(new Map(expected).get("person-1") as never);
        expect((await collect(then.find("place", "a"))).map(([key]) => key)).toEqual(
          expected.filter(([, document]) => (document as Person).lives === "a").map(([key]) => key),
        );
      }
      // What serves now is the same as a view of now.
      const now = await collect(store.asOf(list.length).documents(directory()).list());
      expect(now.length).toBe(directoryOf(list).length);
    });
  });
}

describe("Documents as of a moment", () => {
  test("are folded on a replica, too", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}/people`;
    await using store = await openEventStore({ url, events: [person] });
    for (const to of ["a", "b"])
      await store.append("person-1", [{ type: "Moved", data: { to } }], { expectedVersion: "any" });
    await using replica = await openEventStoreReader({ url, events: [person], pollIntervalMs: 50 });
    await replica.waitForPosition(2);
    const documents = replica.asOf(1).documents(directory());
    expect(await documents.get("person-1")).toEqual({ lives: "a", changes: 1 });
    expect(await replica.asOf({ order: "occurred" }).documents(directory()).get("person-1")).toEqual({
      lives: "b",
      changes: 2,
    });
  });

  test("are refused where they take more than a bound, and what fails is tried again", async () => {
    const list: readonly Recorded[] = Array.from({ length: 5 }, (_, n) => ({
      ...{ stream: 1, type: "Moved", text: `t${n}`, recorded: 1, occurred: undefined },
    }));
    await using store = await opened(list);
    const refused = async (when: AsOf, eventsMax: number): Promise<unknown> => {
      const documents = store.asOf(when).documents(directory(), { eventsMax });
      const { code } = await errorOf(() => documents.get("person-1"));
      expect((await errorOf(() => collect(documents.list()))).code).toBe(code);
      return code;
    };
    expect(await refused(5, 4)).toBe("overloaded");
    expect(await refused({ order: "occurred" }, 4)).toBe("overloaded");
    expect(await store.asOf(4).documents(directory(), { eventsMax: 4 }).get("person-1")).toEqual({
      lives: "t3",
      changes: 4,
    });
    let fails = true;
    const moody = defineProjection("moody", {
      version: 1,
      mode: "live",
      events: [person],
      document: v.object({ n: v.number() }),
      on: {
        Moved: (_, docs) => {
          if (fails) throw new Error("not now");
          docs.update("all", (doc) => ({ n: (doc?.n ?? 0) + 1 }));
        },
      },
    });
    const documents = store.asOf(3).documents(moody);
    expect((await errorOf(() => documents.get("all"))).code).toBe("invalid-argument");
    fails = false;
    expect(await documents.get("all")).toEqual({ n: 3 });
  });
});

describe("Documents that are large", () => {
  test("are refused where together they take more than the bound", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const text = "x".repeat(1_000_000);
    const large = defineProjection("large", {
      ...{ version: 1, mode: "live", document: v.object({ text: v.string() }) },
      on: { Noted: ({ data, position }, docs) => docs.set(data.keep ? `${position}` : "one", { text: data.text }) },
    });
    const note = (keep: boolean) => ({ type: "Noted", data: { text, keep } });
    for (let n = 0; n < 70; n += 1) await store.append("a-1", [note(false)], { expectedVersion: "any" });
    for (let n = 0; n < 70; n += 1) await store.append("a-1", [note(true)], { expectedVersion: "any" });
    expect((await store.asOf(120).documents(large).getMany(["one", "71"])).map((doc) => doc?.text.length)).toEqual([
      1_000_000, 1_000_000,
    ]);
    const { code, message } = await errorOf(() => store.asOf(140).documents(large).get("one"));
    expect({ code, message }).toEqual({
      code: "overloaded",
      message: 'Documents of "large" as of then take more than 134217728 bytes',
    });
  });
});

describe("A moment", () => {
  test("before the store was born shows nothing, and one in the future shows what there is now", async () => {
    const list: readonly Recorded[] = [{ stream: 1, type: "Moved", text: "a", recorded: 9, occurred: 2 }];
    await using store = await opened(list);
    const before: readonly AsOf[] = [0, day(1), { recordedAt: day(8) }, { occurredAt: day(1) }, { recordedAt: 0 }];
    for (const when of before) {
      const view = store.asOf(when);
      expect(await collect(view.readAll())).toEqual([]);
      expect(await view.streamInfo("person-1")).toBeUndefined();
      expect(await view.load(people, "1")).toEqual({ state: {}, version: 0 });
      expect(await collect(view.history("person-1"))).toEqual([]);
      expect(await view.diff("person-1")).toBeUndefined();
      expect(await collect(view.documents(directory()).list())).toEqual([]);
      expect((await view.trace("any id")).events).toBe(0);
    }
    const after: readonly AsOf[] = [
      7,
      day(900),
      { occurredAt: day(900), recordedAt: day(900) },
      { occurredAt: day(2) },
      {},
    ];
    for (const when of after) {
      expect(await collect(store.asOf(when).readAll())).toHaveLength(1);
      expect((await store.asOf(when).load(people, "1")).state).toEqual({ lives: "a" });
    }
  });

  test("that makes no sense is refused, and so are documents of what is no projection", async () => {
    await using store = await opened([]);
    const foreign = defineEvents("person", { Moved: event({ schema: v.object({}) }) });
    const strange = defineProjection("strange", {
      ...{ version: 1, mode: "live", events: [foreign], document: v.object({}) },
      on: { Moved: () => {} },
    });
    const wrong: readonly (() => unknown)[] = [
      () => store.asOf("2026-01-01" as never),
      () => store.asOf(new Date(Number.NaN)),
      () => store.asOf(-1),
      () => store.asOf(null as never),
      () => store.asOf([] as never),
      () => store.asOf({ recordedAt: "now" } as never),
      () => store.asOf({ recordedAt: -1 }),
      () => store.asOf({ occurredAt: 5 } as never),
      () => store.asOf({ occurredAt: new Date(Number.NaN) }),
      () => store.asOf({ order: "backwards" } as never),
      () => store.asOf({ happenedAt: day(1) } as never),
      () => store.asOf(0).documents({} as never),
      () => store.asOf(0).documents(strange),
      () => store.asOf(0).documents(directory(), { eventsMax: 0 }),
      () => store.asOf(0).documents(directory()).get(""),
      () =>
        store
          .asOf(0)
          .documents(directory())
          .getMany("a" as never),
      () =>
        collect(
          store
            .asOf(0)
            .documents(directory())
            .find("city" as never, "a"),
        ),
      () =>
        collect(
          store
            .asOf(0)
            .documents(directory())
            .list({ atLeast: 1 } as never),
        ),
      () => store.asOf(0).load({} as never, "1"),
    ];
    for (const [index, ask] of wrong.entries())
      expect({ index, code: (await errorOf(ask)).code }).toEqual({ index, code: "invalid-argument" });
  });
});

describe("The past of a stream that was truncated", () => {
  const renamed = (name: string) => ({ type: "Renamed", data: { name } }) as const;
  const { events, initialState, evolve } = people;
  const parts = { events, commands: {}, initialState, evolve, decide: {} };
  const whole = defineDecider("whole person", { ...parts, snapshots: { version: 1, everyEvents: 1_000 } });
  const left = defineDecider("what is left of a person", { ...parts, truncated: "fold" });

  async function truncated(compacted: boolean) {
    const store = await openEventStoreOn(openMemoryKv(), { events: [person] });
    await store.append("person-2", [renamed("other")], { expectedVersion: "any" });
    for (const name of ["a", "b", "c", "d", "e"])
      await store.append("person-1", [renamed(name)], { expectedVersion: "any" });
    await store.snapshot(whole, "1");
    await store.truncateStream("person-1", { beforeVersion: 4 });
    if (compacted) await store.compact();
    return store;
  }

  for (const compacted of [false, true]) {
    test(`has no states before what is kept, ${compacted ? "the rest dropped" : "the rest still in storage"}`, async () => {
      await using store = await truncated(compacted);
      const error = await errorOf(store.asOf(3).load(whole, "1"));
      expect(error).toMatchObject({ code: "stream-truncated", truncatedBefore: 4 });
      // Before its first event there was no such stream, and what is left is enough for who says so.
      expect(await store.asOf(1).load(whole, "1")).toEqual({ state: {}, version: 0 });
      expect(await store.asOf(3).load(left, "1")).toEqual({ state: {}, version: 0 });
      expect(await store.asOf(6).load(whole, "1")).toEqual({ state: { name: "e" }, version: 5 });
      await store.deleteStream("person-1", { expectedVersion: 5 });
      expect((await errorOf(store.asOf(3).load(whole, "1"))).code).toBe("stream-deleted");
    });

    test(`has no differences from versions that are gone, ${compacted ? "dropped" : "or still in storage"}`, async () => {
      await using store = await truncated(compacted);
      const between = (fromVersion: number, toVersion: number) => ({ fromVersion, toVersion });
      const gone = { code: "stream-truncated", truncatedBefore: 4 };
      expect(await errorOf(store.diff("person-1", between(2, 5)))).toMatchObject(gone);
      expect(await errorOf(store.diff("person-1", between(0, 2)))).toMatchObject(gone);
      expect(await errorOf(store.blame("person-1", { toVersion: 2 }))).toMatchObject(gone);
      const occurred = store.asOf({
        recordedAt: new Date(Date.now() + 1_000),
        occurredAt: new Date(Date.now() + 1_000),
      });
      expect(await errorOf(occurred.diff("person-1", between(2, 5)))).toMatchObject(gone);
      expect(await store.diff("person-1", { ...between(2, 5), decider: left })).toMatchObject({
        ...{ before: {}, after: { name: "e" } },
      });
      expect(await store.diff("person-1", between(3, 5))).toMatchObject({ before: {}, after: { name: "e" } });
      expect(await store.diff("person-1", between(0, 5))).toMatchObject({ before: {}, after: { name: "e" } });
    });
  }
});
