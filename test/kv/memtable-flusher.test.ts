/** When memtables are flushed: by groups, bytes and time, spaced, and never two at once. The flush is the test's to end. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { MemtableFlusher } from "../../src/kv/memtable-flusher.ts";
import { type SlateTuning, tuningFor } from "../../src/kv/slatedb-settings.ts";
import { TurnedClock, until } from "./stores.ts";

setDefaultTimeout(60_000);

const tuning: SlateTuning = {
  ...tuningFor({ kind: "memory", url: "memory:" }),
  memtableFlushGroups: 4,
  memtableFlushBytes: 1_000,
  memtableFlushMs: 60_000,
  memtableFlushSpacingMs: 0,
};

/** A flusher whose flushes end when the test says so. */
class Bench {
  readonly clock = new TurnedClock();
  readonly underWay: PromiseWithResolvers<void>[] = [];
  readonly failures: unknown[] = [];
  readonly flusher: MemtableFlusher;
  started = 0;
  mostAtOnce = 0;

  constructor(changes: Partial<SlateTuning> = {}) {
    this.flusher = new MemtableFlusher({
      tuning: { ...tuning, ...changes },
      clock: this.clock,
      flush: () => {
        const flush = Promise.withResolvers<void>();
        this.underWay.push(flush);
        this.started += 1;
        this.mostAtOnce = Math.max(this.mostAtOnce, this.underWay.length);
        return flush.promise;
      },
      onFailure: (error) => this.failures.push(error),
    });
  }

  record(groups: number, bytesEach = 10): void {
    for (let group = 0; group < groups; group += 1) this.flusher.recordGroup(bytesEach);
  }

  /** Ends the oldest flush, and lets what waits for it run. */
  async end(error?: Error): Promise<void> {
    const flush = this.underWay.shift();
    if (error === undefined) flush?.resolve();
    else flush?.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("The memtable is flushed when enough groups were written, and not before", () => {
  const bench = new Bench();
  bench.record(3);
  expect(bench.started).toBe(0);
  bench.record(1);
  expect(bench.started).toBe(1);
});

test("The memtable is flushed when enough bytes were written, however few the groups", () => {
  const bench = new Bench();
  bench.record(1, 999);
  expect(bench.started).toBe(0);
  bench.record(1, 1);
  expect(bench.started).toBe(1);
});

test("What was written stays in the memtable no longer than the set time", async () => {
  const bench = new Bench({ memtableFlushMs: 20 });
  bench.record(1);
  bench.clock.advance(19);
  bench.record(1);
  expect(bench.started).toBe(0);
  bench.clock.advance(1);
  await until("the flush by time has started", () => bench.started === 1);
});

test("The flush by time comes without a further write", async () => {
  const bench = new Bench({ memtableFlushMs: 5 });
  bench.record(1);
  bench.clock.advance(5);
  await until("the flush by time has started", () => bench.started === 1);
});

test("Only one flush is under way at a time; what gathers meanwhile goes with the next one", async () => {
  const bench = new Bench();
  bench.record(4);
  bench.record(40, 1_000);
  expect(bench.started).toBe(1);
  await bench.end();
  expect(bench.started).toBe(2);
  bench.record(1);
  await bench.end();
  expect(bench.started).toBe(2);
  expect(bench.mostAtOnce).toBe(1);
  expect(bench.flusher.flushes).toBe(2);
});

test("Two flushes keep their distance, unless the bytes press", async () => {
  const bench = new Bench({ memtableFlushSpacingMs: 5 });
  bench.record(4);
  await bench.end();
  bench.record(8);
  await new Promise((resolve) => setImmediate(resolve));
  expect(bench.started).toBe(1);
  bench.clock.advance(5);
  await until("the spaced flush has started", () => bench.started === 2);
  await bench.end();
  bench.record(1, 1_000);
  expect(bench.started).toBe(3);
});

test("Bytes count as unflushed until the flush that takes them has succeeded", async () => {
  const bench = new Bench();
  bench.record(4, 100);
  expect(bench.flusher.unflushedBytes).toBe(400);
  bench.record(1, 100);
  expect(bench.flusher.unflushedBytes).toBe(500);
  await bench.end();
  expect(bench.flusher.unflushedBytes).toBe(100);
});

test("A flush that fails is told, keeps its bytes as unflushed, and is the last", async () => {
  const bench = new Bench();
  const failure = new Error("no");
  bench.record(4, 100);
  await bench.end(failure);
  expect(bench.failures).toEqual([failure]);
  bench.record(100, 1_000);
  expect(bench.started).toBe(1);
  expect(bench.flusher.flushes).toBe(0);
  expect(bench.flusher.unflushedBytes).toBe(100_400);
});

test("A flush that was asked for waits for the one under way, and takes the rest", async () => {
  const bench = new Bench();
  bench.record(4);
  bench.record(8);
  let done = false;
  const asked = bench.flusher.flushNow().then(() => {
    done = true;
  });
  while (!done) await bench.end();
  await asked;
  expect(bench.mostAtOnce).toBe(1);
  expect(bench.flusher.unflushedBytes).toBe(0);
});

test("A stopped flusher starts nothing by itself, and still flushes when asked", async () => {
  const bench = new Bench();
  bench.record(3);
  bench.flusher.stop();
  bench.record(100, 1_000);
  expect(bench.started).toBe(0);
  const asked = bench.flusher.flushNow();
  await bench.end();
  await asked;
  expect(bench.flusher.flushes).toBe(1);
});

test("Waiting for the flush under way ends with it, with its time, or at once where there is none", async () => {
  const bench = new Bench();
  await bench.flusher.waitForFlush(60_000);
  bench.record(4);
  await bench.flusher.waitForFlush(1);
  expect(bench.flusher.unflushedBytes).toBe(40);
  const waiting = bench.flusher.waitForFlush(60_000);
  await bench.end();
  await waiting;
  expect(bench.flusher.unflushedBytes).toBe(0);
});
