/** The heartbeat on a clock that the test turns: what counts as having stood still, and that it is not forgotten. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { Heartbeat } from "../../src/kv/heartbeat.ts";
import { TurnedClock } from "./stores.ts";

setDefaultTimeout(60_000);

/** A heart that beats by itself only once in ten minutes, so that the test decides when it is looked at. */
function heartbeatOn(clock: TurnedClock, onBeat: () => void = () => {}, intervalMs = 600_000): Heartbeat {
  return new Heartbeat({ clock, limitMs: 1_000, intervalMs, onBeat });
}

test("A process whose beats follow one another within the limit has not stood still", () => {
  const clock = new TurnedClock();
  const heartbeat = heartbeatOn(clock);
  for (let beat = 0; beat < 100; beat += 1) {
    clock.advance(1_000);
    expect(heartbeat.check()).toBeUndefined();
  }
  heartbeat.stop();
});

test("A gap on the monotonic clock is noticed: the process was stopped", () => {
  const clock = new TurnedClock();
  const heartbeat = heartbeatOn(clock);
  clock.monotonicMs += 1_001;
  expect(heartbeat.check()).toBe(1_001);
  heartbeat.stop();
});

test("A gap on the wall clock alone is noticed: the machine was suspended, and its monotonic clock with it", () => {
  const clock = new TurnedClock();
  const heartbeat = heartbeatOn(clock);
  clock.wallMs += 60_000;
  expect(heartbeat.check()).toBe(60_000);
  heartbeat.stop();
});

test("A wall clock that is set back is no gap", () => {
  const clock = new TurnedClock();
  const heartbeat = heartbeatOn(clock);
  clock.wallMs -= 3_600_000;
  clock.monotonicMs += 10;
  expect(heartbeat.check()).toBeUndefined();
  heartbeat.stop();
});

test("What was noticed once is not forgotten by the beats after it", () => {
  const clock = new TurnedClock();
  const heartbeat = heartbeatOn(clock);
  clock.advance(5_000);
  expect(heartbeat.check()).toBe(5_000);
  for (let beat = 0; beat < 10; beat += 1) {
    clock.advance(1);
    expect(heartbeat.check()).toBe(5_000);
  }
  heartbeat.stop();
});

test("The timer's own beat notices the gap, so that a look right after it does as well", async () => {
  const clock = new TurnedClock();
  const { promise: beaten, resolve } = Promise.withResolvers<void>();
  clock.advance(0);
  const heartbeat = heartbeatOn(clock, resolve, 1);
  clock.advance(2_000);
  await beaten;
  expect(heartbeat.check()).toBe(2_000);
  heartbeat.stop();
});
