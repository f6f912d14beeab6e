/** Decisions over several streams and over queries: what was read is what the commit is conditional on. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  type Decision,
  DomainRefusal,
  defineEvents,
  type EventStore,
  event,
  openEventStore,
  refuse,
} from "../../src/index.ts";
import { collect, errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

const course = defineEvents("course", {
  StudentEnrolled: event({
    schema: v.object({ course: v.string(), student: v.string() }),
    tags: (data) => [`course:${data.course}`, `student:${data.student}`],
  }),
});
const account = defineEvents("account", {
  Deposited: event({ schema: v.object({ amount: v.number() }) }),
  Withdrawn: event({ schema: v.object({ amount: v.number() }) }),
});
type Definitions = typeof course | typeof account;

async function opened(): Promise<EventStore<Definitions>> {
  return await openEventStore({ url: "memory:", events: [course, account] });
}

const seatsMax = 3;
const coursesMax = 2;

interface Enrolments {
  readonly inCourse: number;
  readonly ofStudent: number;
}

/** A course has three seats, and a student takes two courses: no stream holds both rules. */
function enrolment(courseName: string, student: string): Decision<Enrolments, Definitions> {
  return {
    filter: [
      { types: ["StudentEnrolled"], tags: [`course:${courseName}`] },
      { types: ["StudentEnrolled"], tags: [`student:${student}`] },
    ],
    initialState: () => ({ inCourse: 0, ofStudent: 0 }),
    evolve: {
      StudentEnrolled: (state, { data }) => ({
        inCourse: state.inCourse + (data.course === courseName ? 1 : 0),
        ofStudent: state.ofStudent + (data.student === student ? 1 : 0),
      }),
    },
    decide: (state) => {
      if (state.inCourse >= seatsMax) refuse("full");
      if (state.ofStudent >= coursesMax) refuse("too-many");
      return [
        {
          streamName: `course-${courseName}`,
          events: [{ type: "StudentEnrolled", data: { course: courseName, student } }],
        },
      ];
    },
  };
}

interface Balances {
  readonly [streamName: string]: number;
}

function transfer(from: string, to: string, amount: number): Decision<Balances, Definitions> {
  return {
    streams: [from, to],
    initialState: () => ({ [from]: 0, [to]: 0 }),
    evolve: {
      Deposited: (state, e) => ({ ...state, [e.streamName]: (state[e.streamName] ?? 0) + e.data.amount }),
      Withdrawn: (state, e) => ({ ...state, [e.streamName]: (state[e.streamName] ?? 0) - e.data.amount }),
    },
    decide: (state) => {
      if ((state[from] ?? 0) < amount) refuse("too-little", { has: state[from] });
      return [
        { streamName: from, events: [{ type: "Withdrawn", data: { amount } }] },
        { streamName: to, events: [{ type: "Deposited", data: { amount } }] },
      ];
    },
  };
}

async function settled(work: readonly Promise<unknown>[]): Promise<{ done: number; refused: string[] }> {
  const outcomes = await Promise.allSettled(work);
  const refused = outcomes.flatMap((one) => {
    if (one.status === "fulfilled") return [];
    if (one.reason instanceof DomainRefusal) return [one.reason.reason];
    throw one.reason;
  });
  return { done: outcomes.length - refused.length, refused };
}

test("Rules over a query hold, however many decide at once", async () => {
  await using store = await opened();
  const students = ["ann", "bob", "cem", "dee", "eve"];
  const first = await settled(students.map((student) => store.decide(enrolment("go", student))));
  expect(first.done).toBe(seatsMax);
  expect(first.refused).toEqual(["full", "full"]);
  const [someone] = (await collect(store.readStream("course-go"))).map((one) => one.data.student);
  const more = ["chess", "ping", "pong", "paint"].map((name) => store.decide(enrolment(name, someone ?? "")));
  expect(await settled(more)).toEqual({ done: coursesMax - 1, refused: ["too-many", "too-many", "too-many"] });
  expect(await store.lastPosition()).toBe(seatsMax + coursesMax - 1);
});

test("A decision over a query answers with its events and the state behind those that it rests on", async () => {
  await using store = await opened();
  await store.decide(enrolment("go", "ann"));
  const done = await store.decide(enrolment("go", "bob"), { metadata: { actor: "kim" } });
  expect(done).toMatchObject({
    state: { inCourse: 2, ofStudent: 1 },
    streams: [{ streamName: "course-go", streamVersion: 2 }],
    ...{ position: 2, replayed: false },
  });
  expect(done.events).toEqual(await collect(store.readAll({ fromPosition: 2 })));
  expect(done.events[0]?.metadata.actor).toBe("kim");
});

test("A decision over a query says that events were dropped up to where it has read, and only then", async () => {
  await using store = await openEventStore({ url: "memory:", events: [course, account], compaction: false });
  const told: (true | undefined)[] = [];
  const deciding = (name: string, student: string): Decision<Enrolments, Definitions> => {
    const decision = enrolment(name, student);
    return {
      ...decision,
      decide: (state, context) => {
        told.push(context.incomplete);
        return decision.decide(state, context);
      },
    };
  };
  const keyed = { idempotencyKey: "first" };
  const first = await store.decide(deciding("go", "ann"), keyed);
  await store.decide(deciding("go", "bob"));
  // Hidden from the stream, and in the log still.
  await store.truncateStream("course-go", { beforeVersion: 2 });
  const whole = await store.decide({ ...deciding("go", "cem"), decide: () => [] });
  expect(whole.state).toEqual({ inCourse: 2, ofStudent: 0 });
  for (const done of [first, whole, await store.decide(deciding("go", "ann"), keyed)])
    expect(done).not.toHaveProperty("incomplete");

  expect((await store.compact()).eventsDropped).toBe(1);
  const left = await store.decide(deciding("go", "cem"));
  expect(left).toMatchObject({ state: { inCourse: 2, ofStudent: 1 }, incomplete: true });
  expect(await store.decide({ ...deciding("go", "dee"), decide: () => [] })).toMatchObject({ incomplete: true });
  // Nobody knows that what is gone has nothing to do with this one.
  expect(await store.decide(deciding("chess", "eve"))).toMatchObject({ incomplete: true });
  const again = await store.decide(deciding("go", "ann"), keyed);
  expect(again).toMatchObject({ replayed: true, state: { inCourse: 0, ofStudent: 0 }, incomplete: true });
  expect(told).toEqual([undefined, undefined, true, true]);
  const { filter: _, ...parts } = deciding("chess", "fay");
  expect(await store.decide({ ...parts, streams: ["course-chess"] })).not.toHaveProperty("incomplete");
});

test("A decision that is made again counts what was dropped behind its first attempt", async () => {
  await using store = await openEventStore({ url: "memory:", events: [course, account], compaction: false });
  await store.decide(enrolment("go", "ann"));
  const told: unknown[] = [];
  const done = await store.decide(
    {
      ...enrolment("go", "bob"),
      decide: async ({ inCourse }, { incomplete }) => {
        told.push([inCourse, incomplete]);
        if (told.length === 1) {
          await store.decide(enrolment("go", "cem"));
          await store.decide(enrolment("go", "dee"));
          await store.truncateStream("course-go", { beforeVersion: 3 });
          await store.compact();
        }
        return [];
      },
    },
    { idempotencyKey: "bob" },
  );
  // The first event was read before it was dropped, the second was not.
  expect(told).toEqual([
    [1, undefined],
    [2, true],
  ]);
  expect(done).toMatchObject({ incomplete: true });
});

test("Decisions over streams see them in the order of what happened, and write all or nothing", async () => {
  await using store = await opened();
  await store.append("account-a", [{ type: "Deposited", data: { amount: 100 } }], { expectedVersion: "no-stream" });
  const order: number[] = [];
  const moved = transfer("account-a", "account-b", 60);
  const done = await store.decide(moved);
  expect(done).toMatchObject({ state: { "account-a": 40, "account-b": 60 }, position: 3 });
  await store.decide({
    ...moved,
    evolve: {
      Deposited: (state, e) => {
        order.push(e.position);
        return state;
      },
      Withdrawn: (state, e) => {
        order.push(e.position);
        return state;
      },
    },
    decide: () => [],
  });
  expect(order).toEqual([1, 2, 3]);
  const refused = await settled([store.decide(transfer("account-a", "account-b", 41))]);
  expect(refused.refused).toEqual(["too-little"]);
  expect(await store.lastPosition()).toBe(3);
});

test("No money is made or lost by transfers at the same time", async () => {
  await using store = await opened();
  const names = ["account-a", "account-b", "account-c"];
  for (const name of names)
    await store.append(name, [{ type: "Deposited", data: { amount: 10 } }], { expectedVersion: "no-stream" });
  let worked = 0;
  for (let round = 0; round < 6; round += 1) {
    const all = await settled(
      names.map((from, index) => store.decide(transfer(from, names[(index + 1) % 3] ?? "", 7 + round))),
    );
    worked += all.done;
    const balances = await Promise.all(
      names.map(async (name) =>
        (await collect(store.readStream(name))).reduce(
          (sum, one) => sum + (one.type === "Deposited" ? 1 : -1) * (one.data as { amount: number }).amount,
          0,
        ),
      ),
    );
    expect(balances.reduce((sum, one) => sum + one, 0)).toBe(30);
    expect(Math.min(...balances)).toBeGreaterThanOrEqual(0);
  }
  expect(worked).toBeGreaterThan(0);
});

test("What a decision read and does not write is part of its condition", async () => {
  await using store = await opened();
  await store.append("account-a", [{ type: "Deposited", data: { amount: 5 } }], { expectedVersion: "no-stream" });
  const seen: number[] = [];
  const done = await store.decide({
    streams: ["account-a", "account-b"],
    initialState: () => 0,
    evolve: { Deposited: (sum: number, e) => sum + e.data.amount },
    decide: async (sum) => {
      seen.push(sum);
      // Somebody changes the stream that is only read, the first time.
      if (seen.length === 1)
        await store.append("account-a", [{ type: "Deposited", data: { amount: 1 } }], { expectedVersion: 1 });
      return [{ streamName: "account-b", events: [{ type: "Deposited", data: { amount: sum } }] }];
    },
  });
  expect(seen).toEqual([5, 6]);
  expect(done.state).toBe(12);
});

test("An expectation of its own that fails is told at once", async () => {
  await using store = await opened();
  await store.append("account-x", [{ type: "Deposited", data: { amount: 5 } }], { expectedVersion: "no-stream" });
  let decisions = 0;
  const open: Decision<number, Definitions> = {
    filter: { types: ["Withdrawn"] },
    initialState: () => 0,
    evolve: {},
    decide: () => {
      decisions += 1;
      return [
        {
          streamName: "account-x",
          events: [{ type: "Deposited", data: { amount: 1 } }],
          expectedVersion: "no-stream",
        },
      ];
    },
  };
  expect(await errorOf(store.decide(open))).toMatchObject({ code: "conflict", streamName: "account-x" });
  expect(decisions).toBe(1);
});

test("A key makes a decision harmless to repeat", async () => {
  await using store = await opened();
  const key = { idempotencyKey: "once" };
  const first = await store.decide(enrolment("go", "ann"), key);
  for (const student of ["bob", "cem"]) await store.decide(enrolment("go", student));
  expect(await store.decide(enrolment("go", "ann"), key)).toEqual({ ...first, replayed: true });
  const nothing: Decision<number, Definitions> = {
    ...{ streams: ["account-a"], initialState: () => 0, evolve: {}, decide: () => [] },
  };
  expect((await store.decide(nothing)).replayed).toBe(false);
  expect((await store.decide(nothing, { idempotencyKey: "empty" })).replayed).toBe(false);
  expect(await store.decide(nothing, { idempotencyKey: "empty" })).toMatchObject({ events: [], replayed: true });
});

test("Bad decisions are refused and name what is wrong", async () => {
  await using store = await opened();
  const good = enrolment("go", "ann");
  const wrong: [unknown, string][] = [
    [undefined, "decision"],
    [{ ...good, streams: ["account-a"] }, "decision"],
    [{ ...good, filter: undefined }, "decision"],
    [{ ...good, filter: { type: "x" } }, "decision.filter.type"],
    [{ ...good, filter: undefined, streams: [] }, "decision.streams"],
    [{ ...good, evolve: { StudentEnrolled: 5 } }, "decision.evolve.StudentEnrolled"],
    [{ ...good, initialState: 0 }, "decision.initialState"],
    [{ ...good, initialState: () => undefined }, "decision.initialState"],
    [{ ...good, decide: () => "x" }, "decision.decide"],
    [{ ...good, decide: () => [{ events: [] }] }, "decided[0].streamName"],
    [{ ...good, decide: () => [{ streamName: "course-go", events: [] }] }, "decided[0].events"],
    [{ ...good, other: 1 }, "decision.other"],
    [{ ...good, decideTimeoutMs: 0.5 }, "decision.decideTimeoutMs"],
    [
      { ...good, filter: undefined, streams: ["account-a"], decide: () => [{ streamName: "account-b", events: [{}] }] },
      "decided[0].expectedVersion",
    ],
  ];
  for (const [decision, argument] of wrong) {
    const error = await errorOf(store.decide(decision as typeof good));
    expect(error).toMatchObject({ code: "invalid-argument", argument, outcome: "not-applied" });
  }
  expect(await store.lastPosition()).toBe(0);
});
