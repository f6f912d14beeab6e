/** What the engine's library keeps of each call that is done is given back, and nothing that anybody still holds. */

import { ptr } from "bun:ffi";
import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { nativeFunctions } from "../../src/kv/native-functions.ts";
import { FutureReleaser } from "../../src/kv/native-futures.ts";

setDefaultTimeout(60_000);

/** The process's own would meet the memory of these long after they are gone. */
let futures: FutureReleaser;

beforeEach(() => {
  futures = new FutureReleaser(nativeFunctions());
});

/** Counts as they stand before what a handle points to, and how many there were each time that it was freed. */
class FakeFuture {
  readonly #memory = new BigUint64Array(4);
  readonly freedWith: number[] = [];
  readonly #free = futures.releasing((handle) => {
    expect(handle).toBe(this.handle);
    this.freedWith.push(this.strong);
  });

  constructor(strong: number, weak = 1) {
    this.strong = strong;
    this.#memory[1] = BigInt(weak);
  }

  get strong(): number {
    return Number(this.#memory[0]);
  }

  set strong(count: number) {
    this.#memory[0] = BigInt(count);
  }

  get handle(): bigint {
    return BigInt(ptr(this.#memory)) + 16n;
  }

  free(): void {
    this.#free(this.handle);
  }
}

describe("A future of the library", () => {
  test("has its last reference taken before it is freed", () => {
    const future = new FakeFuture(1);
    future.free();
    expect(future.freedWith).toEqual([0]);
  });

  test("is freed at once, and once more without its last reference, where another thread had one as well", () => {
    const [held, other] = [new FakeFuture(2), new FakeFuture(1)];
    held.free();
    expect(held.freedWith).toEqual([2]);
    other.free();
    expect(held.freedWith).toEqual([2]);
    expect(held.strong).toBe(2);
    held.strong = 1;
    new FakeFuture(1).free();
    expect(held.freedWith).toEqual([2, 0]);
    new FakeFuture(1).free();
    expect(held.freedWith).toEqual([2, 0]);
  });

  test("is left alone for good where it does not look like one", () => {
    const [strange, large] = [new FakeFuture(1, 0), new FakeFuture(257)];
    strange.free();
    large.free();
    for (let other = 0; other < 10; other += 1) new FakeFuture(1).free();
    expect([strange.freedWith, strange.strong]).toEqual([[1], 1]);
    expect([large.freedWith, large.strong]).toEqual([[257], 257]);
  });

  test("is remembered up to a bound", () => {
    const held = Array.from({ length: 2_000 }, () => new FakeFuture(2));
    for (const future of held) future.free();
    for (const future of held) future.strong = 1;
    for (let other = 0; other < 2_000; other += 1) new FakeFuture(1).free();
    const released = held.filter(({ freedWith }) => freedWith.length === 2).length;
    expect(released).toBeGreaterThan(900);
    expect(released).toBeLessThanOrEqual(1_024);
  });
});

const hasMallocInfo = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"].some(
  (path) => existsSync(path),
);

test.skipIf(!hasMallocInfo)("Calls of the engine leave no native memory behind (with GNU's C library)", async () => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/native-growth.ts")], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const told = await child.stdout.text();
  expect(await child.exited).toBe(0);
  // The library alone keeps 112 bytes of each: of a get, and of a scan, its rows and its end.
  for (const bytesACall of JSON.parse(told) as number[]) expect(bytesACall).toBeLessThan(40);
});
