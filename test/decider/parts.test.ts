/** What deciders are made of: the bounds of the cache, and the order and bounds of the lanes. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { checkDecider } from "../../src/decider/define-decider.ts";
import { freezeDeeply, weigh } from "../../src/decider/freeze.ts";
import { Lanes, laneWaitersMax } from "../../src/decider/lanes.ts";
import { cachedStateBytesMax, cachedStatesMax, StateCache } from "../../src/decider/state-cache.ts";
import { errorOf } from "../support/collect.ts";
import { defineShow } from "../support/show.ts";

setDefaultTimeout(60_000);

const decider = checkDecider(defineShow());

test("The cache keeps the states that were used last, within its count", () => {
  const cache = new StateCache();
  for (let index = 0; index < cachedStatesMax; index += 1)
    cache.put(decider, `s-${index}`, { state: index, version: 1 });
  expect(cache.get(decider, "s-0")).toMatchObject({ state: 0 });
  cache.put(decider, "one-more", { state: 1, version: 1 });
  expect(cache.size).toBeLessThanOrEqual(cachedStatesMax);
  expect(cache.get(decider, "s-0")).toMatchObject({ state: 0 });
  expect(cache.get(decider, "s-1")).toBeUndefined();
  cache.clear();
  expect([cache.size, cache.bytes]).toEqual([0, 0]);
});

test("The cache keeps within its bytes, and leaves out what is too large for it", () => {
  const cache = new StateCache();
  const megabyte = "x".repeat(512 * 1024);
  for (let index = 0; index < 100; index += 1) cache.put(decider, `s-${index}`, { state: { megabyte }, version: 1 });
  expect(cache.bytes).toBeLessThanOrEqual(cachedStateBytesMax);
  expect(cache.size).toBeGreaterThan(20);
  cache.put(decider, "s-99", { state: { huge: megabyte.repeat(8) }, version: 2 });
  expect(cache.get(decider, "s-99")).toBeUndefined();
  cache.put(decider, "wide", { state: Array.from({ length: 60_000 }, () => 0), version: 1 });
  expect(cache.get(decider, "wide")).toBeUndefined();
});

test("The cache goes on counting as states grow, and tells deciders of one name apart", () => {
  const cache = new StateCache();
  for (let version = 1; version <= 400; version += 1) {
    cache.put(decider, "s-1", { state: { text: "x".repeat(version * 1_000) }, version });
  }
  const weighed = weigh({ text: "x".repeat(400_000) }) ?? 0;
  expect(cache.bytes).toBeGreaterThan(weighed / 2);
  expect(cache.bytes).toBeLessThan(weighed * 2);
  expect(cache.get(checkDecider(defineShow()), "s-1")).toBeUndefined();
  cache.drop(decider, "s-1");
  expect(cache.bytes).toBe(0);
});

test("Freezing reaches plain data, and leaves long lists as they are", () => {
  const state = {
    list: [{ a: 1 }],
    map: new Map(),
    long: Array.from({ length: 33 }, () => ({})),
    deep: { date: new Date(0) },
  };
  freezeDeeply(state);
  const frozen = [state, state.list, state.list[0], state.deep].map((part) => Object.isFrozen(part));
  expect(frozen).toEqual([true, true, true, true]);
  expect([Object.isFrozen(state.long), Object.isFrozen(state.long[0])]).toEqual([false, false]);
  state.map.set(1, 1);
});

test("Work on one stream goes one after another, in order, and that on others at once", async () => {
  const lanes = new Lanes();
  const log: string[] = [];
  const gates = new Map<string, () => void>();
  const work = (stream: string, name: string): Promise<string> =>
    lanes.run(stream, undefined, async () => {
      log.push(`${name} begins`);
      await new Promise<void>((resolve) => gates.set(name, resolve));
      log.push(`${name} ends`);
      if (name === "a2") throw new Error("failed");
      return name;
    });
  const all = Promise.allSettled([work("a", "a1"), work("a", "a2"), work("b", "b1"), work("a", "a3")]);
  const pass = async (name: string): Promise<void> => {
    while (!gates.has(name)) await Promise.resolve();
    gates.get(name)?.();
  };
  for (const name of ["b1", "a1", "a2", "a3"]) await pass(name);
  expect((await all).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  expect(log.filter((line) => line.startsWith("a"))).toEqual([
    ...["a1 begins", "a1 ends", "a2 begins", "a2 ends", "a3 begins", "a3 ends"],
  ]);
  expect(log.indexOf("b1 begins")).toBeLessThan(log.indexOf("a1 ends"));
});

test("Who gives up waiting does not let those behind pass the one in front", async () => {
  const lanes = new Lanes();
  const first = Promise.withResolvers<void>();
  const log: string[] = [];
  const working = lanes.run("a", undefined, async () => {
    await first.promise;
    log.push("first");
  });
  const stop = new AbortController();
  const given = lanes.run("a", stop.signal, async () => log.push("given up"));
  const third = lanes.run("a", undefined, async () => log.push("third"));
  stop.abort(new RangeError("enough"));
  expect(await given.catch((error: unknown) => error)).toEqual(new RangeError("enough"));
  expect(log).toEqual([]);
  first.resolve();
  await Promise.all([working, third]);
  expect(log).toEqual(["first", "third"]);
});

test("Those who wait are bounded", async () => {
  const lanes = new Lanes();
  const first = Promise.withResolvers<void>();
  const waiting = [lanes.run("a", undefined, () => first.promise)];
  for (let index = 0; index < laneWaitersMax; index += 1) waiting.push(lanes.run("a", undefined, async () => {}));
  const error = await errorOf(lanes.run("a", undefined, async () => {}));
  expect(error).toMatchObject({ code: "overloaded", outcome: "not-applied" });
  await lanes.run("b", undefined, async () => {});
  first.resolve();
  await Promise.all(waiting);
  await lanes.run("a", undefined, async () => {});
});
