/** What a writer keeps of its reads is what the storage would answer, whatever is written meanwhile, and it has a bound. */

import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { StorageUnavailableError } from "../../src/errors.ts";
import { type CachedStore, CachingKv } from "../../src/kv/caching-kv.ts";
import type { KvCursor, KvOperation, KvRow } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { RowCache, toBinary } from "../../src/kv/row-cache.ts";
import { forwardingKv } from "../support/forwarding-kv.ts";
import { bytes, drain, failureOf, put, text, until } from "./stores.ts";

setDefaultTimeout(60_000);

const bytesMax = 1024 * 1024;

/** A store whose reads can be held back with what they have seen, and which counts them. */
class HeldStore {
  readonly kv: CachedStore;
  reads = 0;
  failNext: Error | undefined;
  #held: Promise<void> | undefined;
  #release: () => void = () => {};

  constructor() {
    const inner = openMemoryKv(createMemoryStorage());
    const late = async <T>(work: Promise<T>): Promise<T> => {
      this.reads += 1;
      const seen = await work;
      await this.#held;
      return seen;
    };
    const cursor = (stored: KvCursor): KvCursor => ({
      next: (rowsMax) => late(stored.next(rowsMax)),
      seek: (key) => stored.seek(key),
      close: () => stored.close(),
    });
    const forwarded = forwardingKv(inner, {
      write: async (operations) => {
        const failure = this.failNext;
        this.failNext = undefined;
        if (failure !== undefined) throw failure;
        await inner.write(operations);
      },
      get: (key) => late(inner.get(key)),
      getMany: (keys) => late(inner.getMany(keys)),
      scan: async (range, purpose) => cursor(await inner.scan(range, purpose)),
    });
    this.kv = {
      ...forwarded,
      reclaim: () => Promise.reject(new Error("There is nothing to give back")),
      objectStoreStats: () => {
        throw new Error("It has none");
      },
      assertUsable: () => {
        if (inner.status().state === "closed") throw new Error("It is closed");
      },
      breathe: () => undefined,
    };
  }

  hold(): void {
    this.#release();
    this.#held = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  release(): void {
    this.#release();
    this.#held = undefined;
  }
}

let below: HeldStore;
let kv: CachingKv;

beforeEach(() => {
  below = new HeldStore();
  kv = new CachingKv(below.kv, bytesMax);
});

async function settled(start: string, end: string): Promise<string> {
  const rows = await drain(await kv.scan({ start: bytes(start), end: bytes(end) }, "settled"));
  return rows.map(({ key, value }) => `${text(key)}=${text(value)}`).join(" ");
}

describe("A cached store", () => {
  test("asks the storage once for a row, and again once it was written", async () => {
    await kv.write([put("a", "1")]);
    expect(text(await kv.get(bytes("a")))).toBe("1");
    expect(text(await kv.get(bytes("a")))).toBe("1");
    expect(below.reads).toBe(1);
    await kv.write([put("a", "2")]);
    expect(text(await kv.get(bytes("a")))).toBe("2");
    expect(below.reads).toBe(2);
  });

  test("asks the storage once for a range, and again once a row in it was written, removed or added", async () => {
    await kv.write(["a", "c", "e"].map((key) => put(`k${key}`, "1")));
    expect(await settled("k", "l")).toBe("ka=1 kc=1 ke=1");
    const once = below.reads;
    expect(await settled("k", "l")).toBe("ka=1 kc=1 ke=1");
    expect(await settled("kb", "kd")).toBe("kc=1");
    expect(below.reads).toBe(once);
    await kv.write([put("kb", "2")]);
    expect(await settled("k", "l")).toBe("ka=1 kb=2 kc=1 ke=1");
    await kv.write([{ kind: "delete", key: bytes("ka") }]);
    expect(await settled("k", "l")).toBe("kb=2 kc=1 ke=1");
    await kv.write([put("kz", "3")]);
    expect(await settled("k", "l")).toBe("kb=2 kc=1 ke=1 kz=3");
    const reads = below.reads;
    await kv.write([put("j", "elsewhere"), put("m", "elsewhere")]);
    expect(await settled("k", "l")).toBe("kb=2 kc=1 ke=1 kz=3");
    expect(below.reads).toBe(reads);
  });

  test("knows no more than a reader has seen who stopped early", async () => {
    await kv.write(["a", "b", "c"].map((key) => put(`k${key}`, "1")));
    const cursor = await kv.scan({ start: bytes("k"), end: bytes("l") }, "settled");
    await cursor.next(1);
    cursor.close();
    await kv.write([put("kd", "2")]);
    expect(await settled("k", "l")).toBe("ka=1 kb=1 kc=1 kd=2");
  });

  test("does not keep what was read while it was being written", async () => {
    await kv.write([put("ka", "old"), put("kb", "same")]);
    below.hold();
    const reading = Promise.all([kv.get(bytes("ka")), settled("k", "l"), kv.get(bytes("kb"))]);
    await until("the reads have seen the old row", () => below.reads === 3);
    await kv.write([put("ka", "new")]);
    below.release();
    await reading;
    expect(text(await kv.get(bytes("ka")))).toBe("new");
    expect(await settled("k", "l")).toBe("ka=new kb=same");
    const { reads } = below;
    expect(text(await kv.get(bytes("kb")))).toBe("same");
    expect(below.reads).toBe(reads);
  });

  test("does not keep what was read before more writes than it remembers", async () => {
    await kv.write([put("ka", "1")]);
    below.hold();
    const reading = kv.get(bytes("ka"));
    await until("the read has seen the row", () => below.reads === 1);
    for (let write = 0; write < 20; write += 1) await kv.write([put("kb", String(write))]);
    below.release();
    await reading;
    const { reads } = below;
    await kv.get(bytes("ka"));
    expect(below.reads).toBe(reads + 1);
  });

  test("keeps nothing of what a write may have changed whose fate is unknown, and all where it was not applied", async () => {
    await kv.write([put("ka", "1")]);
    below.failNext = new StorageUnavailableError("Full", { outcome: "not-applied" });
    expect((await failureOf(kv.write([put("ka", "2")]))).outcome).toBe("not-applied");
    await kv.get(bytes("ka"));
    const { reads } = below;
    expect(text(await kv.get(bytes("ka")))).toBe("1");
    expect(below.reads).toBe(reads);
    below.failNext = new StorageUnavailableError("Late", { outcome: "unknown" });
    expect((await failureOf(kv.write([put("ka", "2")]))).outcome).toBe("unknown");
    await kv.get(bytes("ka"));
    await kv.get(bytes("ka"));
    expect(below.reads).toBe(reads + 2);
  });

  test("answers nothing once it is closed", async () => {
    await kv.write([put("ka", "1")]);
    await kv.get(bytes("ka"));
    await settled("k", "l");
    const cursor = await kv.scan({ start: bytes("k") }, "settled");
    await kv.close();
    expect(kv.get(bytes("ka"))).rejects.toThrow("closed");
    expect(kv.scan({ start: bytes("k") }, "settled")).rejects.toThrow("closed");
    expect(cursor.next(1)).rejects.toThrow("closed");
  });

  test("has the rows of its storage after any writes, reads in part, leaps and scans that stop early", async () => {
    const key = fc.integer({ min: 0, max: 40 }).map((number) => `${number < 20 ? "k" : "l"}${number % 20}`);
    const write = fc.record({
      kind: fc.constant("write" as const),
      keys: fc.array(key, { minLength: 1, maxLength: 4 }),
    });
    const get = fc.record({ kind: fc.constant("get" as const), keys: fc.array(key, { minLength: 1, maxLength: 4 }) });
    const scan = fc.record({
      kind: fc.constant("scan" as const),
      start: key,
      end: fc.option(key, { nil: undefined }),
      batch: fc.integer({ min: 1, max: 5 }),
      rowsMax: fc.integer({ min: 1, max: 30 }),
      leap: fc.option(key, { nil: undefined }),
    });
    const steps = fc.array(fc.oneof(write, get, scan), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(steps, fc.constantFrom(2_000, bytesMax), async (all, size) => {
        const cached = new CachingKv(new HeldStore().kv, size);
        const model = new Map<string, string>();
        let writes = 0;
        for (const step of all) {
          if (step.kind === "write") {
            writes += 1;
            const operations = step.keys.map((name, index): KvOperation => {
              if (index % 3 === 2) return { kind: "delete", key: bytes(name) };
              return put(name, `${writes}`);
            });
            await cached.write(operations);
            for (const [index, name] of step.keys.entries()) {
              if (index % 3 === 2) model.delete(name);
              else model.set(name, `${writes}`);
            }
          } else if (step.kind === "get") {
            const found = await cached.getMany(step.keys.map(bytes));
            expect(found.map(text)).toEqual(step.keys.map((name) => model.get(name)));
          } else {
            const end = step.end === undefined ? {} : { end: bytes(step.end) };
            const cursor = await cached.scan({ start: bytes(step.start), ...end }, "settled");
            const inRange = (from: string, name: string): boolean =>
              name >= from && (step.end === undefined || name < step.end);
            const rows: KvRow[] = [];
            let from = step.start;
            const leap = step.leap ?? "";
            const leaps = leap > from && inRange(from, leap);
            while (rows.length < step.rowsMax) {
              const some = await cursor.next(step.batch);
              if (some.length === 0) break;
              rows.push(...some);
              const [last] = rows.slice(-1).map((row) => text(row.key) ?? "");
              if (!leaps || rows.length > step.batch || last === undefined || last >= leap) continue;
              await cursor.seek(bytes(leap));
              from = leap;
              rows.length = 0;
            }
            cursor.close();
            const expected = [...model].filter(([name]) => inRange(from, name)).sort(([a], [b]) => (a < b ? -1 : 1));
            const seen = rows.map((row): [string, string] => [text(row.key) ?? "", text(row.value) ?? ""]);
            expect(seen).toEqual(expected.slice(0, seen.length));
            if (seen.length < step.rowsMax) expect(seen.length).toBe(expected.length);
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

test("A cached store has the rows of its storage in the end, in whatever order reads and writes overlapped", async () => {
  const key = fc.integer({ min: 0, max: 5 }).map((number) => `k${number}`);
  const step = fc.record({ kind: fc.constantFrom("write", "get", "scan", "hold", "release", "turn"), key });
  const all = Array.from({ length: 6 }, (_, number) => `k${number}`);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      below = new HeldStore();
      kv = new CachingKv(below.kv, bytesMax);
      const model = new Map<string, string>();
      const reading: Promise<unknown>[] = [];
      for (const [index, { kind, key: name }] of steps.entries()) {
        if (kind === "get") reading.push(kv.get(bytes(name)));
        else if (kind === "scan") reading.push(settled(name, "l"));
        else if (kind === "hold") below.hold();
        else if (kind === "release") below.release();
        else if (kind === "turn") await new Promise((resolve) => setImmediate(resolve));
        else {
          await kv.write([put(name, `${index}`)]);
          model.set(name, `${index}`);
        }
      }
      below.release();
      await Promise.all(reading);
      const rows = all.filter((name) => model.has(name)).map((name) => `${name}=${model.get(name)}`);
      expect(await settled("k", "l")).toBe(rows.join(" "));
      for (const name of all) expect(text(await kv.get(bytes(name)))).toBe(model.get(name));
    }),
    { numRuns: 500 },
  );
});

describe("The cache of rows", () => {
  test("stays below its bound, and forgets what was used least recently", () => {
    const cache = new RowCache(64 * 1024);
    const fill = cache.beginFill();
    const value = new Uint8Array(1_000);
    for (let number = 0; number < 200; number += 1) {
      const name = `k${String(number).padStart(4, "0")}`;
      cache.keepRow(name, value, fill);
      cache.keepRun({ start: name, rows: [{ name, value }], coveredTo: `${name}\0` }, fill);
      expect(cache.bytes).toBeLessThanOrEqual(64 * 1024);
      expect(cache.row("k0000")).toBe(value);
      expect(cache.run("k0000")?.start).toBe("k0000");
    }
    expect(cache.row("k0001")).toBe(undefined);
    expect(cache.run("k0001")).toBe(undefined);
    expect(cache.row("k0199")).toBe(value);
    expect(cache.bytes).toBeGreaterThan(40_000);
  });

  test("keeps no large row", () => {
    const cache = new RowCache(bytesMax);
    cache.keepRow("a", new Uint8Array(64 * 1024 + 1), cache.beginFill());
    expect(cache.row("a")).toBe(undefined);
    expect(cache.bytes).toBe(0);
  });

  test("keeps nothing that was read beside a write, though another one has ended", () => {
    const cache = new RowCache(bytesMax);
    const first = cache.writeBegins([put("ka", "2")]);
    const second = cache.writeBegins([put("kb", "2")]);
    cache.writeEnds(first);
    const fill = cache.beginFill();
    cache.writeEnds(second);
    cache.keepRow("kb", bytes("1"), fill);
    cache.keepRow("kc", bytes("1"), fill);
    expect([cache.row("kb"), cache.row("kc")]).toEqual([undefined, bytes("1")]);
  });

  test("counts nothing for what it has forgotten", () => {
    const cache = new RowCache(bytesMax);
    const fill = cache.beginFill();
    const rows = ["ka", "kb"].map((name) => ({ name, value: bytes("1") }));
    cache.keepRow("ka", bytes("1"), fill);
    cache.keepRun({ start: "k", rows, coveredTo: "l" }, fill);
    cache.keepRun({ start: "j", rows: [], coveredTo: "kaa" }, fill);
    cache.writeEnds(cache.writeBegins([put("ka", "2"), put("j", "2"), put("kb", "2")]));
    expect(cache.bytes).toBe(0);
    expect(toBinary(Uint8Array.of(0xff, 0))).toBe("\u00ff\0");
  });
});
