/** The runner: batches, checkpoints, retries, pauses, failures of one that harm no other, and waiting for a position. */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { checkpointKey } from "../../src/format/processor-keys.ts";
import { decodeRecord, recordRow } from "../../src/format/processor-records.ts";
import { defineEvents, event } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import type { StoreCore } from "../../src/log/store-internals.ts";
import { batchBytesMax } from "../../src/processors/event-source.ts";
import type { Batch, Processor } from "../../src/processors/processor.ts";
import { ProcessorRunner } from "../../src/processors/runner.ts";
import { type OpenedStore, openWithCore } from "../../src/store/open-event-store.ts";
import { checkFilter } from "../../src/vocabulary/filter.ts";
import { errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const opened: OpenedStore[] = [];
afterEach(async () => {
  for (const { store } of opened.splice(0)) await store.close();
});

async function open(storage = createMemoryStorage()): Promise<OpenedStore> {
  const one = await openWithCore(openMemoryKv(storage), { onError: () => {} });
  opened.push(one);
  return one;
}

interface Recorder extends Processor {
  readonly seen: number[];
  readonly batches: Batch[];
}

/** Keeps its checkpoint in the store, and what it has seen in memory. */
function recorder(core: StoreCore, name: string, filter: unknown, more: Partial<Processor> = {}): Recorder {
  const key = checkpointKey(name, 0);
  const seen: number[] = [];
  const batches: Batch[] = [];
  return {
    name,
    kind: "projection",
    version: 1,
    filter: checkFilter(filter),
    retries: { attempts: 3, delayMs: 1 },
    seen,
    batches,
    loadCheckpoint: async () => {
      const value = await core.rows.get(key);
      return value === undefined ? 0 : (decodeRecord("checkpoint", { key, value }) as { position: number }).position;
    },
    handle: async (batch) => {
      await core.useFamilies(["checkpoints"]);
      await core.submit({ rows: [recordRow("checkpoint", key, { position: batch.toPosition })] });
      batches.push(batch);
      seen.push(...batch.events.map((event) => event.position));
    },
    ...more,
  };
}

async function run(core: StoreCore, ...processors: readonly Processor[]): Promise<ProcessorRunner> {
  const runner = new ProcessorRunner(core);
  for (const processor of processors) runner.add(processor);
  await runner.start();
  return runner;
}

async function append({ store }: OpenedStore, count: number, type = "T", streamName = "s-1"): Promise<number> {
  const events = Array.from({ length: count }, (_, n) => ({ type, data: { n } }));
  return (await store.append(streamName, events, { expectedVersion: "any" })).position;
}

describe("A processor", () => {
  test("gets everything that is there and everything that comes, once and in order", async () => {
    const one = await open();
    await append(one, 5_000);
    const processor = recorder(one.core, "all", undefined);
    const runner = await run(one.core, processor);
    for (let n = 0; n < 50; n += 1) await append(one, 1 + (n % 3));
    const last = await one.store.lastPosition();
    await runner.waitFor("all", last);
    expect(processor.seen).toEqual(Array.from({ length: last }, (_, index) => index + 1));
    expect(runner.processors()[0]).toMatchObject({
      name: "all",
      kind: "projection",
      version: 1,
      state: "running",
      position: last,
      lagEvents: 0,
      lagMs: 0,
      parked: 0,
      health: "ok",
    });
  });

  test("gets what matches its filter, from the index where it is far behind, and passes over the rest", async () => {
    const one = await open();
    for (let n = 0; n < 12; n += 1) {
      await append(one, 999);
      await append(one, 1, "Rare", "r-1");
    }
    const processor = recorder(one.core, "rare", { types: ["Rare"] });
    const idle = recorder(one.core, "idle", { types: ["Never"] });
    const runner = await run(one.core, processor, idle);
    await append(one, 1, "Rare", "r-1");
    const last = await append(one, 10);
    await runner.waitFor("rare", last);
    await runner.waitFor("idle", last);
    expect(processor.seen).toEqual([...Array.from({ length: 12 }, (_, n) => (n + 1) * 1_000), 12_001]);
    expect(idle.seen).toEqual([]);
  });

  test("goes on behind its checkpoint after a restart, also behind what did not concern it", async () => {
    const storage = createMemoryStorage();
    const one = await open(storage);
    const first = recorder(one.core, "again", { types: ["T"] });
    const runner = await run(one.core, first);
    await append(one, 3);
    const passed = await append(one, 7, "Other");
    await runner.waitFor("again", passed);
    await one.store.close();
    const two = await open(storage);
    const second = recorder(two.core, "again", { types: ["T"] });
    expect(await second.loadCheckpoint()).toBe(10);
    const runner2 = await run(two.core, second);
    const last = await append(two, 2);
    await runner2.waitFor("again", last);
    expect([first.seen, second.seen]).toEqual([
      [1, 2, 3],
      [11, 12],
    ]);
  });

  test("is given at most as many events as it wants at a time", async () => {
    const one = await open();
    await append(one, 100);
    const processor = recorder(one.core, "small", undefined, { batchEventsMax: 7 });
    const runner = await run(one.core, processor);
    await runner.waitFor("small", 100);
    const last = await append(one, 30);
    await runner.waitFor("small", last);
    expect(Math.max(...processor.batches.map(({ events }) => events.length))).toBe(7);
    expect(processor.seen.length).toBe(130);
    let next = 1;
    for (const batch of processor.batches) {
      expect(batch.fromPosition).toBe(next);
      next = batch.toPosition + 1;
    }
  });

  test("is given at most some megabytes at a time, however large events are, also out of the index", async () => {
    const one = await open();
    const text = "x".repeat(300_000);
    for (let n = 0; n < 40; n += 1)
      await one.store.append("b-1", [{ type: "Big", data: { n, text } }], { expectedVersion: "any" });
    for (let n = 0; n < 9; n += 1) await append(one, 1_000);
    const all = recorder(one.core, "all", undefined);
    const big = recorder(one.core, "big", { types: ["Big"] });
    const runner = await run(one.core, all, big);
    for (const { name } of [all, big]) await runner.waitFor(name, 9_040);
    expect([all.seen.length, big.seen.length]).toEqual([9_040, 40]);
    for (const { batches } of [all, big]) {
      const largest = Math.max(...batches.map(({ events }) => events.filter(({ type }) => type === "Big").length));
      expect(largest).toBeLessThanOrEqual(Math.ceil(batchBytesMax / text.length));
      expect(largest).toBeGreaterThan(1);
    }
  });

  test("has nothing decoded that it does not want", async () => {
    const storage = createMemoryStorage();
    const one = await open(storage);
    for (let n = 0; n < 20; n += 1) {
      await append(one, 9, "Old", "x-1");
      await append(one, 1, "Fine", "x-1");
    }
    await one.store.close();
    const schema = v.object({ n: v.number() });
    let upcast = 0;
    const counting = (old: { readonly n: number }): { readonly n: number } => {
      upcast += 1;
      return old;
    };
    const old = event({ schema, version: 2, upcast: { 1: counting } });
    const events = defineEvents("x", { Fine: event({ schema, version: 2, upcast: { 1: counting } }), Old: old });
    const two = await openWithCore(openMemoryKv(storage), { events: [events], onError: () => {} });
    opened.push(two);
    const fine = recorder(two.core, "fine", { types: ["Fine"] });
    const runner = await run(two.core, fine);
    await runner.waitFor("fine", 200);
    expect([fine.seen.length, upcast]).toEqual([20, 20]);
  });

  test("that fails is tried again, then stops with a reason, and harms no other; resuming tries again", async () => {
    const one = await open();
    let broken = true;
    const attempts: number[] = [];
    const good = recorder(one.core, "good", undefined);
    const bad = recorder(one.core, "bad", undefined);
    const failing: Processor = {
      ...bad,
      handle: async (batch, context) => {
        attempts.push(context.attempt);
        if (broken && batch.events.some((event) => event.position === 2)) throw new RangeError("mine");
        await bad.handle(batch, context);
      },
    };
    const runner = await run(one.core, good, failing);
    await append(one, 1);
    await runner.waitFor("bad", 1);
    await append(one, 2);
    const error = await errorOf(runner.waitFor("bad", 3));
    expect(error.code).toBe("overloaded");
    await runner.waitFor("good", 3);
    expect(attempts.slice(1)).toEqual([1, 2, 3]);
    expect(runner.processors()[1]).toMatchObject({ state: "failed", position: 1, lagEvents: 2, health: "failed" });
    expect(runner.processors()[1]?.lastError).toMatchObject({ message: "mine", position: 2, attempts: 3 });
    expect(runner.processors()[1]?.reason).toContain("mine");
    broken = false;
    await runner.resumeProcessor("bad");
    await runner.waitFor("bad", 3);
    expect(bad.seen).toEqual([1, 2, 3]);
    expect(runner.processors()[1]).toMatchObject({ state: "running", health: "ok", lastError: undefined });
  });

  test("that waits for a storage in trouble does not give up", async () => {
    const one = await open();
    let failures = 0;
    const processor = recorder(one.core, "patient", undefined);
    const runner = await run(one.core, {
      ...processor,
      isTransient: (error) => error instanceof RangeError,
      handle: async (batch, context) => {
        failures += 1;
        if (failures <= 7) throw new RangeError("the database is away");
        await processor.handle(batch, context);
      },
    });
    const last = await append(one, 1);
    await runner.waitFor("patient", last);
    expect([failures, processor.seen]).toEqual([8, [1]]);
  });

  test("stays paused across a restart, and goes on where it was", async () => {
    const storage = createMemoryStorage();
    const one = await open(storage);
    const first = recorder(one.core, "p", undefined);
    const runner = await run(one.core, first);
    await runner.waitFor("p", await append(one, 2));
    await runner.pauseProcessor("p");
    await append(one, 2);
    expect(runner.processors()[0]).toMatchObject({ state: "paused", position: 2 });
    expect((await errorOf(runner.waitFor("p", 4))).message).toContain("is paused at 2");
    await one.store.close();
    const two = await open(storage);
    const second = recorder(two.core, "p", undefined);
    const runner2 = await run(two.core, second);
    await append(two, 1);
    expect(runner2.processors()[0]?.state).toBe("paused");
    await runner2.resumeProcessor("p");
    await runner2.waitFor("p", 5);
    expect(second.seen).toEqual([3, 4, 5]);
  });

  test("is not cut off in the middle of a batch when the store closes", async () => {
    const one = await open();
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let entered = false;
    const inner = recorder(one.core, "slow", undefined);
    await run(one.core, {
      ...inner,
      handle: async (batch, context) => {
        entered = true;
        await gate;
        await inner.handle(batch, context);
      },
    });
    await append(one, 3);
    await until(() => entered);
    const closing = one.store.close();
    release();
    await closing;
    expect(inner.seen).toEqual([1, 2, 3]);
  });

  test("that cannot read an event stops there, and one that it does not concern goes on", async () => {
    const storage = createMemoryStorage();
    const one = await open(storage);
    await append(one, 2, "Fine", "x-1");
    await append(one, 1, "Old", "x-1");
    await append(one, 2, "Fine", "x-1");
    await one.store.close();
    const any = v.any();
    const unreadable = event({
      schema: any,
      version: 2,
      upcast: {
        1: () => {
          throw new Error("no way");
        },
      },
    });
    const events = defineEvents("x", { Fine: event({ schema: any }), Old: unreadable });
    const two = await openWithCore(openMemoryKv(storage), { events: [events], onError: () => {} });
    opened.push(two);
    const all = recorder(two.core, "all", undefined);
    const fine = recorder(two.core, "fine", { types: ["Fine"] });
    const runner = await run(two.core, all, fine);
    await runner.waitFor("fine", 5);
    expect((await errorOf(runner.waitFor("all", 5))).message).toContain("is failed at 2");
    expect([all.seen, fine.seen]).toEqual([
      [1, 2],
      [1, 2, 4, 5],
    ]);
    expect(runner.processors()[0]?.lastError?.position).toBe(3);
  });
});

describe("The runner", () => {
  test("refuses two of a name, a version that goes back, and a name of another kind", async () => {
    const storage = createMemoryStorage();
    const one = await open(storage);
    const runner = new ProcessorRunner(one.core);
    runner.add(recorder(one.core, "n", undefined, { version: 2 }));
    expect((await errorOf(() => runner.add(recorder(one.core, "n", undefined)))).code).toBe("invalid-argument");
    await runner.start();
    await one.store.close();
    const two = await open(storage);
    const back = run(two.core, recorder(two.core, "n", undefined, { version: 1 }));
    expect((await errorOf(back)).message).toContain("goes back");
    const three = await open(storage);
    const other = run(three.core, recorder(three.core, "n", undefined, { version: 2, kind: "reactor" }));
    expect((await errorOf(other)).message).toContain("was the name of a projection");
  });

  test("tells a wait that took too long, was given up, or was for nobody", async () => {
    const one = await open();
    const runner = await run(one.core, recorder(one.core, "n", undefined));
    expect((await errorOf(runner.waitFor("n", 9, { timeoutMs: 1 }))).code).toBe("overloaded");
    expect((await errorOf(runner.waitFor("m", 9))).code).toBe("invalid-argument");
    const stop = new AbortController();
    const waiting = runner.waitFor("n", 9, { signal: stop.signal });
    stop.abort(new Error("enough"));
    expect(await waiting.catch((error: Error) => error.message)).toBe("enough");
    const closing = runner.waitFor("n", 9);
    closing.catch(() => {});
    await one.store.close();
    expect((await errorOf(closing)).code).toBe("store-closed");
  });

  test("reads the log once for many processors that are at the same place", async () => {
    const gate = createGatedKv();
    const one = await openWithCore(gate.kv, { onError: () => {} });
    opened.push(one);
    for (let n = 0; n < 20; n += 1) await append(one, 500);
    const processors = Array.from({ length: 10 }, (_, n) => recorder(one.core, `p${n}`, undefined));
    const before = one.store.stats().storage.scans;
    const runner = await run(one.core, ...processors);
    for (const { name } of processors) await runner.waitFor(name, 10_000);
    // Five pieces of the log, read once each and not ten times.
    expect(one.store.stats().storage.scans - before).toBeLessThanOrEqual(10);
    expect(processors.map(({ seen }) => seen.length)).toEqual(processors.map(() => 10_000));
  });

  test("is not woken for events that concern nobody", async () => {
    const one = await open();
    const idle = Array.from({ length: 100 }, (_, n) => recorder(one.core, `idle${n}`, { types: [`Never${n}`] }));
    const runner = await run(one.core, ...idle);
    const last = await append(one, 1_000);
    for (const { name } of idle) await runner.waitFor(name, last);
    expect(idle.every(({ batches }) => batches.length === 0)).toBe(true);
  });
});
