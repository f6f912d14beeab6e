/** Commands: decided on the right state, written once, refused as the domain says, and wrong in ways that are named. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  ConflictError,
  DomainRefusal,
  defineDecider,
  defineEvents,
  type EventStore,
  EventStoreError,
  event,
  InvalidCommandError,
  openEventStore,
  refuse,
  StorageUnavailableError,
  split,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";
import { defineShow, type ShowEvents, show } from "../support/show.ts";

setDefaultTimeout(60_000);

const shows = defineShow();
const reserve = (seat: number, by: string) => ({ type: "Reserve", data: { seat, by } }) as const;

async function opened(): Promise<EventStore<ShowEvents>> {
  return await openEventStore({ url: "memory:", events: [show] });
}

/** What `work` is refused with, by the domain. */
async function refusalOf(work: Promise<unknown>): Promise<DomainRefusal> {
  try {
    await work;
  } catch (error) {
    expect(error).not.toBeInstanceOf(EventStoreError);
    if (error instanceof DomainRefusal) return error;
    throw error;
  }
  throw new Error("It was not refused");
}

test("A command is decided on the stream's state, and answers with state, events and places", async () => {
  await using store = await opened();
  const first = await store.execute(shows, "1", reserve(5, "ann"), { metadata: { actor: "kim" } });
  expect(first).toMatchObject({
    state: { seats: { 5: "ann" }, closed: false },
    streamName: "show-1",
    streamVersion: 1,
    position: 1,
    replayed: false,
  });
  const second = await store.execute(shows, "1", reserve(6, "bob"));
  expect(second).toMatchObject({ state: { seats: { 5: "ann", 6: "bob" } }, streamVersion: 2, position: 2 });
  const stored = await collect(store.readStream("show-1"));
  expect([...first.events, ...second.events]).toEqual(stored);
  expect(stored[0]?.metadata).toEqual({ actor: "kim" });
  const third = await store.execute(shows, "1", { type: "Close", data: { why: "rain" } });
  expect(third.events.map((one) => one.type)).toEqual(["SeatReleased", "SeatReleased", "ShowClosed"]);
  expect(third).toMatchObject({ state: { seats: {}, closed: true }, streamVersion: 5, position: 5 });
  expect(await store.load(shows, "1")).toEqual({ state: third.state, version: 5 });
});

test("A state is of any moment that the store is asked for", async () => {
  await using store = await opened();
  for (const seat of [1, 2, 3]) await store.execute(shows, "1", reserve(seat, "ann"));
  expect(await store.asOf(2).load(shows, "1")).toEqual({
    state: { seats: { 1: "ann", 2: "ann" }, closed: false },
    version: 2,
  });
  expect(await store.asOf(0).load(shows, "1")).toEqual({ state: { seats: {}, closed: false }, version: 0 });
  expect(await store.load(shows, "none")).toEqual({ state: { seats: {}, closed: false }, version: 0 });
});

test("A command may lead to nothing, which writes nothing", async () => {
  await using store = await opened();
  await store.execute(shows, "1", reserve(5, "ann"));
  const again = await store.execute(shows, "1", reserve(5, "ann"));
  expect(again).toMatchObject({ events: [], streamVersion: 1, position: 1, replayed: false });
  const none = await store.execute(shows, "2", { type: "Release", data: { seat: 1 } });
  expect(none).toMatchObject({ events: [], streamVersion: 0, state: { seats: {} } });
  expect(await store.lastPosition()).toBe(1);
});

test("A refusal reaches the caller as it is, and writes nothing", async () => {
  await using store = await opened();
  await store.execute(shows, "1", reserve(5, "ann"));
  const refusal = await refusalOf(store.execute(shows, "1", reserve(5, "bob")));
  expect(refusal).toMatchObject({ name: "DomainRefusal", reason: "taken", data: { by: "ann" } });
  expect(await store.lastPosition()).toBe(1);
  class SoldOut extends DomainRefusal<"sold-out"> {}
  const mine = new SoldOut("sold-out", undefined);
  const strict = defineDecider("show", {
    ...{ events: show, commands: { Ask: v.object({}) }, initialState: () => 0 },
    evolve: { SeatReserved: (n) => n, SeatReleased: (n) => n, ShowClosed: (n) => n },
    decide: {
      Ask: () => {
        throw mine;
      },
    },
  });
  expect(await refusalOf(store.execute(strict, "1", { type: "Ask", data: {} }))).toBe(mine);
});

test("A command that is not valid is refused by path before anything is read", async () => {
  const storage = createMemoryStorage();
  await using store = await openEventStoreOn(openMemoryKv(storage), { events: [show] });
  const reads = store.stats().storage.gets;
  const wrong = { type: "Reserve", data: { seat: 5.5, by: "" } } as const;
  const error = await errorOf(store.execute(shows, "1", wrong));
  expect(error).toBeInstanceOf(InvalidCommandError);
  expect(error).toMatchObject({ code: "invalid-command", outcome: "not-applied", commandType: "Reserve" });
  expect((error as InvalidCommandError).issues.map((issue) => issue.path)).toEqual(["data.seat", "data.by"]);
  const unknown = await errorOf(store.execute(shows, "1", { type: "toString", data: {} } as never));
  expect(unknown).toMatchObject({ code: "invalid-command", issues: [{ path: "type" }] });
  expect(store.stats().storage.gets).toBe(reads);
});

test("Bad calls are refused and name what is wrong", async () => {
  await using store = await opened();
  const good = reserve(1, "ann");
  const other = defineEvents("other", { Done: event({ schema: v.object({}) }) });
  const stranger = defineDecider("other", {
    ...{ events: other, commands: {}, initialState: () => 0, decide: {} },
    evolve: { Done: (n: number) => n },
  });
  const calls: [Promise<unknown>, string][] = [
    [store.execute({ ...shows }, "1", good), "decider"],
    [store.execute(stranger as never, "1", good), "decider"],
    [store.load(stranger as never, "1"), "decider"],
    [store.execute(shows, 5 as never, good), "id"],
    [store.execute(shows, "", good), "id"],
    [store.execute(shows, "x".repeat(510), good), "id"],
    [store.execute(shows, "1", undefined as never), "command"],
    [store.execute(shows, "1", { ...good, more: 1 } as never), "command.more"],
    [store.execute(shows, "1", good, { expectedVersion: -1 }), "expectedVersion"],
    [store.execute(shows, "1", good, { idempotencyKey: "" }), "idempotencyKey"],
    [store.execute(shows, "1", good, { metadata: "kim" as never }), "metadata"],
    [store.execute(shows, "1", good, { retries: 1 } as never), "options.retries"],
    [store.execute(shows, "1", good, { signal: {} as never }), "signal"],
    [store.snapshot(shows, "1"), "decider"],
  ];
  for (const [call, argument] of calls)
    expect(await errorOf(call)).toMatchObject({ code: "invalid-argument", argument, outcome: "not-applied" });
  expect(await store.lastPosition()).toBe(0);
});

test("What a decider does wrong is named, and nothing is written", async () => {
  const thing = defineEvents("thing", { Made: event({ schema: v.object({ how: v.string() }) }) });
  const nonsense: readonly unknown[] = [undefined, "Made", { type: "Made" }, [undefined], [5]];
  const things = defineDecider("thing", {
    events: thing,
    commands: { Make: v.object({ how: v.string() }), Return: v.object({ index: v.number() }) },
    initialState: (): { readonly made: string[] } => ({ made: [] }),
    evolve: {
      Made: (state, { data }) => {
        if (data.how === "throw") throw new RangeError("no such way");
        if (data.how === "nothing") return undefined as never;
        if (data.how === "promise") return Promise.reject(new Error("late")) as never;
        if (data.how === "in place") state.made.push(data.how);
        return { made: [...state.made, data.how] };
      },
    },
    decide: {
      Make: ({ data }) => {
        if (data.how === "decide throws") throw new RangeError("undecided");
        if (data.how === "unheard") return [{ type: "Unheard", data: {} } as never];
        if (data.how === "invalid") return [{ type: "Made", data: { how: 5 } } as never];
        return [{ type: "Made", data }];
      },
      Return: ({ data }) => nonsense[data.index] as never,
    },
  });
  await using store = await openEventStore({ url: "memory:", events: [thing] });
  const make = (how: string) => store.execute(things, "1", { type: "Make", data: { how } });
  await make("well");
  const failures: [string, string, RegExp][] = [
    ["throw", "thing.evolve.Made", /threw: no such way$/],
    ["nothing", "thing.evolve.Made", /must return a state, not nothing$/],
    ["promise", "thing.evolve.Made", /must return a state, not a promise$/],
    ["in place", "thing.evolve.Made", /threw: /],
    ["decide throws", "thing.decide.Make", /threw: undecided$/],
  ];
  for (const [how, argument, message] of failures) {
    const error = await errorOf(make(how));
    expect(error).toMatchObject({ code: "invalid-argument", argument, outcome: "not-applied" });
    expect(error.message).toMatch(message);
  }
  for (const how of ["unheard", "invalid"]) expect((await errorOf(make(how))).code).toBe("invalid-event");
  for (const index of nonsense.keys()) {
    const error = await errorOf(store.execute(things, "1", { type: "Return", data: { index } }));
    expect(error).toMatchObject({ code: "invalid-argument", argument: "thing.decide.Return" });
  }
  expect(await store.lastPosition()).toBe(1);
  expect((await make("well again")).state).toEqual({ made: ["well", "well again"] });
});

test("A decision may take its time, but not for ever, and can be given up", async () => {
  const slow = defineEvents("slow", { Done: event({ schema: v.object({}) }) });
  const answer = Promise.withResolvers<void>();
  const deciders = (decideTimeoutMs: number) =>
    defineDecider("slow", {
      events: slow,
      commands: { Wait: v.object({}), Ask: v.object({}) },
      initialState: () => 0,
      evolve: { Done: (n: number) => n + 1 },
      decide: {
        Wait: () => new Promise<never>(() => {}),
        Ask: async (_command, state) => {
          await answer.promise;
          if (state > 0) refuse("done");
          return [{ type: "Done", data: {} }];
        },
      },
      decideTimeoutMs,
    });
  await using store = await openEventStore({ url: "memory:", events: [slow] });
  const error = await errorOf(store.execute(deciders(20), "1", { type: "Wait", data: {} }));
  expect(error).toMatchObject({ code: "invalid-argument", argument: "slow.decide.Wait", outcome: "not-applied" });
  expect(error.message).toMatch(/did not settle within 20 ms$/);

  const patient = deciders(50_000);
  const first = store.execute(patient, "1", { type: "Ask", data: {} });
  const second = refusalOf(store.execute(patient, "1", { type: "Ask", data: {} }));
  const givenUp = new AbortController();
  const third = store.execute(patient, "1", { type: "Ask", data: {} }, { signal: givenUp.signal });
  const hung = store.execute(patient, "2", { type: "Wait", data: {} }, { signal: givenUp.signal });
  const reason = new Error("too long for me");
  givenUp.abort(reason);
  for (const one of [third, hung]) expect(await one.catch((thrown: unknown) => thrown)).toBe(reason);
  answer.resolve();
  expect((await first).state).toBe(1);
  expect((await second).reason).toBe("done");
});

test("Commands of one process on one stream do not conflict, however many there are", async () => {
  await using store = await opened();
  const all = await Promise.all(
    Array.from({ length: 80 }, (_, index) => store.execute(shows, "1", reserve(index + 1, "ann"))),
  );
  expect(all.map((one) => one.streamVersion)).toEqual(Array.from({ length: 80 }, (_, index) => index + 1));
  expect(store.stats().commits.conflicts).toBe(0);
});

test("A command whose cached state is stale decides again on the newer one", async () => {
  const seen: number[] = [];
  const watched = defineShow({ seen: (state) => seen.push(Object.keys(state.seats).length) });
  await using store = await opened();
  await store.execute(watched, "1", reserve(1, "ann"));
  const behind = (seat: number, version: number) =>
    store.append("show-1", [{ type: "SeatReserved", data: { seat, by: "bob" } }], { expectedVersion: version });
  await behind(2, 1);
  // Events, a refusal and an empty decision: none of them may rest on what was there before.
  expect(await store.execute(watched, "1", reserve(3, "ann"))).toMatchObject({
    streamVersion: 3,
    state: { seats: { 1: "ann", 2: "bob", 3: "ann" } },
  });
  await store.append("show-1", [{ type: "SeatReleased", data: { seat: 2 } }], { expectedVersion: 3 });
  expect(await store.execute(watched, "1", reserve(2, "ann"))).toMatchObject({ streamVersion: 5 });
  await behind(4, 5);
  expect(await store.execute(watched, "1", { type: "Release", data: { seat: 4 } })).toMatchObject({ streamVersion: 7 });
  expect(seen).toEqual([0, 1, 2, 3, 2, 3, 4]);
  expect(await store.load(watched, "1")).toMatchObject({ version: 7 });
});

test("A conflict that goes on is told after a bounded number of attempts", async () => {
  await using store = await opened();
  let decisions = 0;
  const unlucky = defineDecider("show", {
    ...{ events: show, commands: { Reserve: v.object({}) }, initialState: () => 0 },
    evolve: { SeatReserved: (n) => n + 1, SeatReleased: (n) => n, ShowClosed: (n) => n },
    decide: {
      Reserve: async (_command, seats) => {
        decisions += 1;
        // Somebody is always faster.
        const faster = { type: "SeatReserved", data: { seat: 1, by: "bob" } } as const;
        await store.append("show-1", [faster], { expectedVersion: seats });
        return [{ type: "SeatReserved", data: { seat: 2, by: "ann" } }];
      },
    },
  });
  const error = await errorOf(store.execute(unlucky, "1", { type: "Reserve", data: {} }));
  expect(error).toBeInstanceOf(ConflictError);
  expect(error).toMatchObject({ streamName: "show-1", expectedVersion: 9, actualVersion: 10 });
  expect(decisions).toBe(10);
});

test("A caller's own expectation is kept: it conflicts at once, unless only the cache was behind", async () => {
  await using store = await opened();
  await store.execute(shows, "1", reserve(1, "ann"), { expectedVersion: "no-stream" });
  const error = await errorOf(store.execute(shows, "1", reserve(2, "ann"), { expectedVersion: "no-stream" }));
  expect(error).toMatchObject({ code: "conflict", expectedVersion: "no-stream", actualVersion: 1 });
  expect((error as ConflictError).conflictingEvents.length).toBe(1);
  await store.append("show-1", [{ type: "SeatReserved", data: { seat: 2, by: "bob" } }], { expectedVersion: 1 });
  expect(await store.execute(shows, "1", reserve(3, "ann"), { expectedVersion: 2 })).toMatchObject({
    streamVersion: 3,
  });
  await store.append("show-1", [{ type: "SeatReserved", data: { seat: 4, by: "bob" } }], { expectedVersion: 3 });
  expect(await errorOf(store.execute(shows, "1", reserve(5, "ann"), { expectedVersion: 3 }))).toMatchObject({
    ...{ code: "conflict", expectedVersion: 3, actualVersion: 4 },
  });
  expect((await errorOf(store.execute(shows, "9", reserve(5, "ann"), { expectedVersion: "stream-exists" }))).code).toBe(
    "conflict",
  );
});

test("A key makes a command harmless to repeat, also where it would be decided otherwise now", async () => {
  const storage = createMemoryStorage();
  const key = { idempotencyKey: "once" };
  const empty = { idempotencyKey: "empty" };
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), { events: [show] });
    await store.execute(shows, "1", reserve(1, "ann"));
    const first = await store.execute(shows, "1", reserve(2, "ann"), key);
    expect(first.replayed).toBe(false);
    const release = { type: "Release", data: { seat: 9 } } as const;
    expect(await store.execute(shows, "1", release, empty)).toMatchObject({ events: [], replayed: false });
    await store.execute(shows, "1", reserve(9, "bob"));
    await store.execute(shows, "1", { type: "Close", data: { why: "rain" } });
    // Refused by now, and answered as it was then.
    const again = await store.execute(shows, "1", reserve(2, "ann"), key);
    expect(again).toEqual({ ...first, replayed: true });
    expect(await store.execute(shows, "1", release, empty)).toMatchObject({
      ...{ events: [], replayed: true, streamVersion: 2, state: { seats: { 1: "ann", 2: "ann" } } },
    });
    expect(await errorOf(store.execute(shows, "2", reserve(2, "ann"), key))).toMatchObject({
      ...{ code: "invalid-argument", argument: "idempotencyKey" },
    });
  }
  await using store = await openEventStoreOn(openMemoryKv(storage), { events: [show] });
  expect(await store.execute(shows, "1", reserve(2, "ann"), key)).toMatchObject({ streamVersion: 2, replayed: true });
});

test("Events with ids of their own make a command harmless to repeat, too", async () => {
  const chosen = defineDecider("show", {
    events: show,
    commands: { Reserve: v.object({ id: v.string() }) },
    initialState: () => 0,
    evolve: { SeatReserved: (count) => count + 1, SeatReleased: (count) => count, ShowClosed: (count) => count },
    decide: { Reserve: ({ data }) => [{ type: "SeatReserved", id: data.id, data: { seat: 1, by: "ann" } }] },
  });
  await using store = await opened();
  const first = await store.execute(chosen, "1", { type: "Reserve", data: { id: "click-1" } });
  await store.execute(chosen, "1", { type: "Reserve", data: { id: "click-2" } });
  const again = await store.execute(chosen, "1", { type: "Reserve", data: { id: "click-1" } });
  expect(again).toEqual({ ...first, replayed: true });
  expect(await store.load(chosen, "1")).toEqual({ state: 2, version: 2 });
});

test("Commands with the same key at the same time are executed once", async () => {
  await using store = await opened();
  const results = await Promise.all(
    Array.from({ length: 20 }, () => store.execute(shows, "1", reserve(1, "ann"), { idempotencyKey: "once" })),
  );
  expect(results.filter((one) => !one.replayed).length).toBe(1);
  expect(new Set(results.map((one) => one.position))).toEqual(new Set([1]));
});

test("Nothing is answered before it is durable, and a failed write leaves no trace in the state", async () => {
  const gate = createGatedKv();
  const store = await openEventStoreOn(gate.kv, { events: [show] });
  await store.execute(shows, "1", reserve(1, "ann"));
  gate.shut();
  let answered = false;
  const executing = store.execute(shows, "1", reserve(2, "ann")).then((result) => {
    answered = true;
    return result;
  });
  await until(() => gate.waiting() === 1);
  expect([answered, (await store.load(shows, "1")).version]).toEqual([false, 1]);
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
  gate.open();
  expect(await errorOf(executing)).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  expect(await store.execute(shows, "1", reserve(3, "ann"))).toMatchObject({
    ...{ streamVersion: 2, state: { seats: { 1: "ann", 3: "ann" } } },
  });
  await store.close();
  expect((await errorOf(store.execute(shows, "1", reserve(4, "ann")))).code).toBe("store-closed");
});

test("A read that fails says what it means for the command", async () => {
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), { events: [show] });
    for (let seat = 1; seat <= 40; seat += 1) await store.execute(shows, "1", reserve(seat, "ann"));
  }
  const gate = createGatedKv(storage);
  await using store = await openEventStoreOn(gate.kv, { events: [show] });
  const failing = new StorageUnavailableError("simulated");
  gate.failNextScan(failing);
  expect(await errorOf(store.execute(shows, "1", reserve(41, "ann")))).toMatchObject({ outcome: "not-applied" });
  gate.failNextScan(failing);
  // Another call with this key may have been accepted: to repeat it is harmless, and tells.
  expect(await errorOf(store.execute(shows, "1", reserve(41, "ann"), { idempotencyKey: "k" }))).toMatchObject({
    ...{ code: "storage-unavailable", outcome: "unknown" },
  });
  expect(await store.execute(shows, "1", reserve(41, "ann"), { idempotencyKey: "k" })).toMatchObject({
    ...{ streamVersion: 41, replayed: false },
  });
});

test("Stored events that are read as none, or as several, count as what they are in the stream", async () => {
  const storage = createMemoryStorage();
  {
    await using store = await openEventStoreOn(openMemoryKv(storage), {});
    const old = [1, 2, 0].map((parts) => ({ type: "Counted", data: { parts } }));
    await store.append("count-1", old, { expectedVersion: "no-stream" });
  }
  const count = defineEvents("count", {
    Counted: event({
      ...{ version: 2, schema: v.object({ by: v.number() }), splitsInto: ["Counted"] },
      upcast: {
        1: (stored) => split(Array.from({ length: stored.parts }, () => ({ type: "Counted", data: { by: 1 } }))),
      },
    }),
  });
  const counts = defineDecider("count", {
    events: count,
    commands: { Count: v.object({ by: v.number() }) },
    initialState: () => 0,
    evolve: { Counted: (sum, e) => sum + e.data.by },
    decide: { Count: ({ data }) => [{ type: "Counted", data }] },
    snapshots: { version: 1 },
  });
  await using store = await openEventStoreOn(openMemoryKv(storage), { events: [count] });
  expect(await store.load(counts, "1")).toEqual({ state: 3, version: 3 });
  expect(await store.asOf(2).load(counts, "1")).toEqual({ state: 3, version: 2 });
  expect(await store.snapshot(counts, "1")).toEqual({ streamName: "count-1", version: 3 });
  expect(await store.execute(counts, "1", { type: "Count", data: { by: 5 } })).toMatchObject({
    ...{ state: 8, streamVersion: 4 },
  });
  expect(store.stats().commits.conflicts).toBe(0);
});

test("Who caused it flows by itself through handlers that execute commands", async () => {
  await using store = await opened();
  store.on({ types: ["ShowClosed"] }, () => store.execute(shows, "2", reserve(1, "ann")));
  const { events } = await store.execute(
    shows,
    "1",
    { type: "Close", data: { why: "rain" } },
    {
      metadata: { actor: "kim", correlationId: "c-1" },
    },
  );
  await until(async () => (await store.streamInfo("show-2")) !== undefined);
  const [caused] = await collect(store.readStream("show-2"));
  expect(caused?.metadata).toEqual({ actor: "kim", correlationId: "c-1", causationId: events[0]?.id ?? "" });
});

test("States are frozen, because others share them", async () => {
  await using store = await opened();
  const { state } = await store.execute(shows, "1", reserve(1, "ann"));
  expect(() => {
    (state.seats as Record<number, string>)[1] = "bob";
  }).toThrow(TypeError);
  expect((await store.load(shows, "1")).state).toBe(state);
});

test("A definition that is not whole is refused when it is made", () => {
  const base = {
    events: show,
    commands: { Reserve: v.object({}) },
    initialState: () => 0,
    evolve: { SeatReserved: (n: number) => n, SeatReleased: (n: number) => n, ShowClosed: (n: number) => n },
    decide: { Reserve: () => [] },
  };
  const wrong: [Record<string, unknown>, string][] = [
    [{ events: {} }, "events"],
    [{ evolve: { ...base.evolve, ShowClosed: undefined } }, "evolve.ShowClosed"],
    [{ evolve: { ...base.evolve, Unheard: () => 0 } }, "evolve.Unheard"],
    [{ decide: {} }, "decide.Reserve"],
    [{ decide: { ...base.decide, Other: () => [] } }, "decide.Other"],
    [{ commands: { Reserve: {} } }, "commands.Reserve"],
    [{ initialState: {} }, "initialState"],
    [{ snapshots: { everyEvents: 5 } }, "snapshots.version"],
    [{ snapshots: { version: 1, everyEvents: 0 } }, "snapshots.everyEvents"],
    [{ decideTimeoutMs: 0 }, "decideTimeoutMs"],
    [{ retries: 5 }, "options.retries"],
  ];
  for (const [part, argument] of wrong) {
    try {
      defineDecider("show", { ...base, ...part } as typeof base);
      expect(argument).toBe("refused");
    } catch (error) {
      expect(error).toMatchObject({ code: "invalid-argument", argument });
    }
  }
});
