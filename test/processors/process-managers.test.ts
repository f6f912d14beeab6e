/** Process managers: states, commands once in effect, timers that outlive restarts, and what is parked. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  type Clock,
  defineDecider,
  defineEvents,
  defineProcessManager,
  event,
  type ProcessManager,
  refuse,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { backends, type Storage } from "../support/backends.ts";
import { collect, until } from "../support/collect.ts";

setDefaultTimeout(60_000);

const order = defineEvents("order", {
  OrderPlaced: event({ schema: v.object({ total: v.number() }) }),
  OrderClosed: event({ schema: v.object({ why: v.string() }) }),
});
const payment = defineEvents("payment", {
  PaymentAsked: event({ schema: v.object({ order: v.string(), amount: v.number() }) }),
  PaymentReceived: event({ schema: v.object({ order: v.string() }) }),
  Reminded: event({ schema: v.object({ times: v.number() }) }),
});
const events = [order, payment];

const payments = defineDecider("payments", {
  events: payment,
  commands: {
    Ask: v.object({ order: v.string(), amount: v.number() }),
    Remind: v.object({ times: v.number() }),
  },
  initialState: () => ({ asked: 0 }),
  evolve: {
    PaymentAsked: (state) => ({ asked: state.asked + 1 }),
    PaymentReceived: (state) => state,
    Reminded: (state) => state,
  },
  decide: {
    Ask: ({ data }) => (data.amount > 1_000 ? refuse("too-much", "No") : [{ type: "PaymentAsked", data }]),
    Remind: ({ data }) => [{ type: "Reminded", data }],
  },
});

interface Checkout {
  readonly status: "new" | "waiting" | "paid";
  readonly reminders: number;
}

const dayMs = 86_400_000;

function checkout(more: { breaksAt?: () => string | undefined } = {}): ProcessManager<Checkout> {
  return defineProcessManager("checkout", {
    events,
    correlate: { OrderPlaced: (e) => e.streamName, PaymentReceived: (e) => e.data.order },
    startedBy: ["OrderPlaced"],
    initialState: (): Checkout => ({ status: "new", reminders: 0 }),
    evolve: {
      OrderPlaced: (state) => ({ ...state, status: "waiting" }),
      PaymentReceived: (state) => ({ ...state, status: "paid" }),
    },
    retries: { attempts: 2, delayMs: 1 },
    react: {
      OrderPlaced: (e, state, context) => {
        expect(state.status).toBe("waiting");
        if (more.breaksAt?.() === e.streamName) throw new RangeError("broken");
        const data = { order: e.streamName, amount: e.data.total };
        context.execute(payments, e.streamName, { type: "Ask", data });
        context.schedule("PaymentOverdue", { afterMs: dayMs });
      },
      PaymentReceived: (e, _state, context) => {
        context.append(e.data.order, [{ type: "OrderClosed", data: { why: "paid" } }]);
        context.complete();
      },
    },
    timers: {
      PaymentOverdue: (timer, state, context) => {
        if (state.reminders === 2) {
          context.append(context.instance, [{ type: "OrderClosed", data: { why: "overdue" } }]);
          context.complete();
          return;
        }
        const times = state.reminders + 1;
        context.setState({ ...state, reminders: times });
        context.execute(payments, context.instance, { type: "Remind", data: { times } });
        context.schedule(timer.name, { afterMs: dayMs });
      },
    },
  });
}

interface TurnedClock extends Clock {
  turn(ms: number): void;
}

function turnedClock(): TurnedClock {
  let ms = 1_800_000_000_000;
  return {
    now: () => ms,
    monotonic: () => performance.now(),
    turn: (by) => {
      ms += by;
    },
  };
}

const any = { expectedVersion: "any" } as const;
const placed = (total: number) => [{ type: "OrderPlaced", data: { total } }] as const;
const received = (name: string) => [{ type: "PaymentReceived", data: { order: name } }] as const;

async function open(storage: Storage, manager: ProcessManager<Checkout>, clock?: Clock) {
  const processManagers = [manager];
  const options = { events, processManagers, onError: () => {}, ...(clock === undefined ? {} : { clock }) };
  return await openEventStoreOn(await storage.open(), options);
}

type Opened = Awaited<ReturnType<typeof open>>;

async function typesOf(store: Opened, streamName: string): Promise<string[]> {
  return (await collect(store.readStream(streamName))).map(({ type }) => type);
}

async function settled(store: Opened): Promise<void> {
  await store.waitFor("checkout", await store.lastPosition());
}

for (const backend of backends.filter(({ reopens }) => reopens)) {
  describe(`A process manager (${backend.name})`, () => {
    test("executes commands and appends once, ends, and says what caused what", async () => {
      await using storage = await backend.create();
      const store = await open(storage, checkout());
      await store.append("order-1", placed(10), { ...any });
      await until(async () => (await typesOf(store, "payment-order-1")).length === 1);
      await store.append("payment-x", received("order-1"), any);
      await until(async () => (await typesOf(store, "order-1")).length === 2);
      const [first] = await collect(store.readStream("order-1"));
      const [asked] = await collect(store.readStream("payment-order-1"));
      expect(asked).toMatchObject({
        type: "PaymentAsked",
        data: { order: "order-1", amount: 10 },
        metadata: { causationId: first?.id, correlationId: first?.id },
      });
      // It has ended, and this does not begin it anew.
      await store.append("payment-x", received("order-1"), any);
      await settled(store);
      await store.close();
      const again = await open(storage, checkout());
      await settled(again);
      expect(await typesOf(again, "order-1")).toEqual(["OrderPlaced", "OrderClosed"]);
      expect(again.processors()[0]).toMatchObject({
        kind: "process-manager",
        state: "running",
        parked: 0,
        health: "ok",
      });
      await again.close();
    });

    test("has timers that outlive restarts, are due once, and can be taken back", async () => {
      await using storage = await backend.create();
      const clock = turnedClock();
      const one = await open(storage, checkout(), clock);
      await one.append("order-1", placed(10), any);
      await one.append("order-2", placed(20), any);
      await settled(one);
      await until(async () => (await typesOf(one, "payment-order-2")).length === 1);
      await one.close();
      clock.turn(dayMs + 1);
      const two = await open(storage, checkout(), clock);
      await until(async () => (await typesOf(two, "payment-order-1")).length === 2);
      await until(async () => (await typesOf(two, "payment-order-2")).length === 2);
      await two.append("payment-x", received("order-2"), any);
      await until(async () => (await typesOf(two, "order-2")).length === 2);
      clock.turn(dayMs + 1);
      await until(async () => (await typesOf(two, "payment-order-1")).length === 3);
      clock.turn(dayMs + 1);
      await until(async () => (await typesOf(two, "order-1")).length === 2);
      clock.turn(10 * dayMs);
      await two.close();
      const three = await open(storage, checkout(), clock);
      await settled(three);
      expect(await typesOf(three, "payment-order-1")).toEqual(["PaymentAsked", "Reminded", "Reminded"]);
      expect(await typesOf(three, "payment-order-2")).toEqual(["PaymentAsked", "Reminded"]);
      expect((await collect(three.readStream("order-1"))).at(-1)?.data).toEqual({ why: "overdue" });
      expect((await collect(three.readStream("order-2"))).at(-1)?.data).toEqual({ why: "paid" });
      await three.close();
    });

    test("handles what was in the log before a timer that became due meanwhile", async () => {
      await using storage = await backend.create();
      const clock = turnedClock();
      const one = await open(storage, checkout(), clock);
      await one.append("order-1", placed(10), any);
      await until(async () => (await typesOf(one, "payment-order-1")).length === 1);
      await one.pauseProcessor("checkout");
      await one.append("payment-x", received("order-1"), any);
      await one.close();
      clock.turn(3 * dayMs);
      const two = await open(storage, checkout(), clock);
      await two.resumeProcessor("checkout");
      await until(async () => (await typesOf(two, "order-1")).length === 2);
      await settled(two);
      expect(await typesOf(two, "payment-order-1")).toEqual(["PaymentAsked"]);
      await two.close();
    });
  });
}

describe("A process manager", () => {
  test("parks an event that its functions throw at, and later ones of the instance behind it", async () => {
    const storage = createMemoryStorage();
    let broken: string | undefined = "order-1";
    const manager = checkout({ breaksAt: () => broken });
    const kv = () => openMemoryKv(storage);
    const store = await openEventStoreOn(kv(), { events, processManagers: [manager], onError: () => {} });
    await store.append("order-1", placed(10), any);
    await store.append("payment-x", received("order-1"), any);
    await store.append("order-2", placed(10), any);
    await until(async () => (await collect(store.readStream("payment-order-2"))).length === 1);
    expect((await collect(store.parked("checkout"))).map(({ key, waiting }) => [key, waiting])).toEqual([
      ["order-1", false],
      ["order-1", true],
    ]);
    broken = undefined;
    expect(await store.replayParked("checkout")).toEqual({ replayed: 2, parked: 0 });
    expect((await collect(store.readStream("order-1"))).map(({ type }) => type)).toEqual([
      "OrderPlaced",
      "OrderClosed",
    ]);
    expect((await collect(store.readStream("payment-order-1"))).map(({ type }) => type)).toEqual(["PaymentAsked"]);
    await store.close();
  });

  test("parks a command that is refused, with the command, and goes on", async () => {
    const kv = openMemoryKv();
    const store = await openEventStoreOn(kv, { events, processManagers: [checkout()], onError: () => {} });
    await store.append("order-1", placed(5_000), any);
    await until(async () => (await collect(store.parked("checkout"))).length === 1);
    const [parked] = await collect(store.parked("checkout"));
    expect(parked).toMatchObject({ type: "OrderPlaced", streamName: "order-1", waiting: false });
    expect(JSON.stringify(parked?.work)).toContain('"amount":5000');
    await store.append("payment-x", received("order-1"), any);
    await until(async () => (await collect(store.readStream("order-1"))).length === 2);
    expect(await store.replayParked(parked?.id ?? "")).toEqual({ replayed: 0, parked: 1 });
    await store.skipParked(parked?.id ?? "");
    expect(store.processors()[0]?.parked).toBe(0);
    await store.close();
  });

  test("takes a timer of another name in the same step, replaces one of the same, and parks one that throws", async () => {
    const clock = turnedClock();
    const seen: unknown[] = [];
    let broken = true;
    const manager = defineProcessManager("timers", {
      correlate: { Begun: (e) => e.streamName, Changed: (e) => e.streamName },
      initialState: () => ({ changes: 0 }),
      evolve: { Changed: (state) => ({ changes: state.changes + 1 }) },
      retries: { attempts: 2, delayMs: 1 },
      react: {
        Begun: (_e, _state, context) => {
          context.schedule("first", { afterMs: 1_000, data: { at: new Date(5) } });
          context.schedule("second", { afterMs: 1_000 });
          context.schedule("third", { at: new Date(context.now.getTime() + 2_000) });
        },
        Changed: (_e, _state, context) => {
          context.cancel("second");
          context.schedule("first", { afterMs: 1_500, data: "later" });
        },
      },
      timers: {
        first: (timer, state) => {
          seen.push([timer.name, timer.data, state]);
        },
        second: (timer) => {
          seen.push(timer.name);
        },
        third: (timer) => {
          if (broken) throw new RangeError("not yet");
          seen.push(timer.name);
        },
      },
    });
    const store = await openEventStoreOn(openMemoryKv(), { processManagers: [manager], clock, onError: () => {} });
    await store.append("s-1", [{ type: "Begun", data: {} }], any);
    await store.append("s-1", [{ type: "Changed", data: {} }], any);
    await store.append("s-2", [{ type: "Begun", data: {} }], any);
    await store.waitFor("timers", 3);
    clock.turn(1_000);
    await until(() => seen.length === 2);
    expect(seen).toEqual([["first", { at: new Date(5) }, { changes: 0 }], "second"]);
    clock.turn(1_000);
    await until(async () => (await collect(store.parked("timers"))).length === 2);
    // Functions are plain: the attempts that failed at the third have run this one, too, in vain.
    expect(seen.slice(2)).toContainEqual(["first", "later", { changes: 1 }]);
    seen.length = 0;
    broken = false;
    expect(await store.replayParked("timers")).toEqual({ replayed: 2, parked: 0 });
    expect(seen).toEqual(["third", "third"]);
    await store.close();
  });
});
