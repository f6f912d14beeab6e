/** The adaptive linger waits while load makes it pay, and never for a single appender. Time is turned, pauses are recorded. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { AdaptiveLinger, adaptiveLingerMsMax, fixedLinger } from "../../src/log/linger.ts";
import { TurnedClock } from "../kv/stores.ts";

setDefaultTimeout(60_000);

const never = new AbortController().signal;

/** A linger whose pauses turn the clock and let so many commits arrive in each millisecond. */
class Load {
  readonly clock = new TurnedClock();
  readonly linger: AdaptiveLinger;
  readonly waitsMs: number[] = [];
  queued = 0;
  #owed = 0;
  arrivalsPerMs = 0;

  constructor() {
    this.linger = new AdaptiveLinger(this.clock, async (ms) => this.pass(ms));
  }

  pass(ms: number): void {
    this.clock.advance(ms);
    this.#owed += ms * this.arrivalsPerMs;
    this.queued += Math.floor(this.#owed);
    this.#owed -= Math.floor(this.#owed);
  }

  /** One group: waits, is cut, and is stored in `flushMs`; answers how many commits shared it. */
  async group(flushMs: number, closedLoop = 0): Promise<number> {
    if (closedLoop > 0) this.queued = closedLoop;
    const before = this.clock.monotonic();
    await this.linger.wait(() => this.queued, never);
    this.waitsMs.push(this.clock.monotonic() - before);
    const taken = this.queued;
    this.queued = 0;
    this.linger.groupStarted(0);
    this.pass(flushMs);
    this.linger.groupStored(this.queued);
    return taken;
  }
}

async function groups(load: Load, count: number, flushMs: number, closedLoop = 0): Promise<number> {
  let commits = 0;
  for (let group = 0; group < count; group += 1) commits += await load.group(flushMs, closedLoop);
  return commits / count;
}

test("A single sequential appender, and a thousand that all wait for the same group, are never kept waiting", async () => {
  for (const appenders of [1, 1_000]) {
    const load = new Load();
    await groups(load, 100, 10, appenders);
    expect(load.waitsMs.every((ms) => ms === 0)).toBe(true);
  }
});

test("Where commits keep arriving it waits as long as the storage takes, and twice as many share a PUT", async () => {
  const load = new Load();
  load.arrivalsPerMs = 1;
  await groups(load, 20, 10);
  expect(load.waitsMs.at(-1)).toBeCloseTo(10, 0);
  expect(await groups(load, 20, 10)).toBeCloseTo(20, 0);
});

test("It stops waiting at the first quarter in which nobody came", async () => {
  const load = new Load();
  load.arrivalsPerMs = 1;
  await groups(load, 20, 10);
  load.arrivalsPerMs = 0;
  await load.group(10, 5);
  expect(load.waitsMs.at(-1)).toBeCloseTo(2.5, 1);
});

test("It stops altogether within a few groups after the load is gone", async () => {
  const load = new Load();
  load.arrivalsPerMs = 1;
  await groups(load, 20, 10);
  load.arrivalsPerMs = 0;
  await groups(load, 10, 10, 1);
  expect(load.waitsMs.slice(-3)).toEqual([0, 0, 0]);
});

test("A few arrivals are not enough: with less than two in a flush it does not wait", async () => {
  const load = new Load();
  load.arrivalsPerMs = 0.15;
  await groups(load, 100, 10);
  expect(Math.max(...load.waitsMs)).toBe(0);
});

test("It never waits where a flush is over before a timer fires, nor longer than its bound where the storage is slow", async () => {
  const fast = new Load();
  fast.arrivalsPerMs = 100;
  await groups(fast, 50, 1);
  expect(Math.max(...fast.waitsMs)).toBe(0);
  const slow = new Load();
  slow.arrivalsPerMs = 1;
  await groups(slow, 50, 400);
  expect(slow.waitsMs.at(-1)).toBeCloseTo(adaptiveLingerMsMax, 5);
});

test("It does not wait where the queue alone makes a big group", async () => {
  const load = new Load();
  load.arrivalsPerMs = 200;
  await groups(load, 50, 10);
  expect(load.waitsMs.at(-1)).toBe(0);
});

test("A store that is closing is not kept waiting, and a fixed linger waits as told", async () => {
  const load = new Load();
  load.arrivalsPerMs = 1;
  await groups(load, 20, 10);
  const before = load.clock.monotonic();
  await load.linger.wait(() => 1, AbortSignal.abort());
  expect(load.clock.monotonic()).toBe(before);
  await fixedLinger(10_000).wait(() => 1, AbortSignal.abort());
  await fixedLinger(0).wait(() => 1, never);
});
