/** Reactors: at least once and in order behind the log, or once before `append` resolves; retries, parking, time-outs. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { defineReactor, type Reactor, type RecordedEvent } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf, until } from "../support/collect.ts";

setDefaultTimeout(60_000);

const any = { expectedVersion: "any" } as const;
const happened = (n: number) => ({ type: "T", data: { n } });

async function open(reactors: readonly Reactor[], storage = createMemoryStorage()) {
  const errors: unknown[] = [];
  const onError = (error: unknown): void => {
    errors.push(error);
  };
  const store = await openEventStoreOn(openMemoryKv(storage), { reactors, onError });
  return { store, errors };
}

describe("An async reactor", () => {
  test("handles every event once, in the order of each stream, and goes on behind its checkpoint", async () => {
    const storage = createMemoryStorage();
    const seen: (readonly [string, number])[] = [];
    const keys = new Set<string>();
    const reactor = defineReactor("r", {
      mode: "async",
      on: {
        T: async (e, context) => {
          await new Promise((resolve) => setImmediate(resolve));
          seen.push([e.streamName, e.version]);
          keys.add(context.idempotencyKey);
        },
      },
    });
    const one = await open([reactor], storage);
    for (let n = 0; n < 300; n += 1) await one.store.append(`s-${n % 7}`, [happened(n)], any);
    await one.store.waitFor("r", 300);
    await one.store.close();
    const two = await open([reactor], storage);
    await two.store.append("s-1", [happened(300)], any);
    await two.store.waitFor("r", 301);
    await two.store.close();
    expect([seen.length, keys.size]).toEqual([301, 301]);
    for (let n = 0; n < 7; n += 1) {
      const versions = seen.filter(([name]) => name === `s-${n}`).map(([, version]) => version);
      expect(versions).toEqual(versions.map((_, index) => index + 1));
    }
  });

  test("skips what it has parked and is gone from the log, handles what is archived, and goes on behind it", async () => {
    const errors: unknown[] = [];
    let broken = true;
    const seen: unknown[] = [];
    const reactor = defineReactor("r", {
      mode: "async",
      retries: { attempts: 1 },
      on: {
        T: (e) => {
          if (broken) throw new Error("no");
          seen.push([e.streamName, e.data.n]);
        },
      },
    });
    const onError = (error: unknown): void => {
      errors.push(error);
    };
    await using store = await openEventStoreOn(openMemoryKv(), { reactors: [reactor], onError, compaction: false });
    await store.append("s-1", [1, 2, 3].map(happened), any);
    const { position } = await store.append("s-2", [4, 5].map(happened), any);
    await store.waitFor("r", position);
    expect(await collect(store.parked("r"))).toHaveLength(5);
    await store.truncateStream("s-1", { beforeVersion: 3 });
    await store.archiveStream("s-2", { beforeVersion: 2 });
    expect((await store.compact()).eventsDropped).toBe(3);
    errors.length = 0;
    expect(await store.replayParked("r")).toEqual({ replayed: 0, parked: 3, skipped: 2 });
    expect(errors.map(String)).toEqual([
      'EventGone: A parked event is skipped, because it is gone from the log (truncated): "T" at position 1 of "s-1"',
      'EventGone: A parked event is skipped, because it is gone from the log (truncated): "T" at position 2 of "s-1"',
    ]);
    broken = false;
    expect(await store.replayParked("r")).toEqual({ replayed: 3, parked: 0 });
    expect(seen).toEqual([
      ["s-1", 3],
      ["s-2", 4],
      ["s-2", 5],
    ]);
    expect(store.processors()[0]?.parked).toBe(0);
    await store.append("s-1", [happened(6)], any);
    await until(() => seen.length === 4);
  });

  test("retries with the same key, then parks the event and what comes behind it, while others go on", async () => {
    const storage = createMemoryStorage();
    let broken = true;
    const tried: (readonly [string, number, number])[] = [];
    const handled: string[] = [];
    const keys = new Map<string, Set<string>>();
    const reactor = defineReactor("mail", {
      mode: "async",
      retries: { attempts: 3, delayMs: 1 },
      on: {
        T: (e, context) => {
          tried.push([e.streamName, e.version, context.attempt]);
          const known = keys.get(`${e.streamName}.${e.version}`) ?? new Set();
          keys.set(`${e.streamName}.${e.version}`, known.add(context.idempotencyKey));
          if (broken && e.streamName === "s-1" && e.version === 2) throw new Error("no such address");
          handled.push(`${e.streamName}.${e.version}`);
        },
      },
    });
    const one = await open([reactor], storage);
    for (let n = 0; n < 4; n += 1) await one.store.append("s-1", [happened(n)], any);
    for (let n = 0; n < 4; n += 1) await one.store.append("s-2", [happened(n)], any);
    await one.store.waitFor("mail", 8);
    expect(tried.filter(([name, version]) => name === "s-1" && version === 2).map(([, , attempt]) => attempt)).toEqual([
      1, 2, 3,
    ]);
    expect(handled.toSorted()).toEqual(["s-1.1", "s-2.1", "s-2.2", "s-2.3", "s-2.4"]);
    const parked = await collect(one.store.parked("mail"));
    expect(parked.map(({ position, key, waiting, attempts }) => [position, key, waiting, attempts])).toEqual([
      [2, "s-1", false, 3],
      [3, "s-1", true, 0],
      [4, "s-1", true, 0],
    ]);
    expect(parked[0]).toMatchObject({ processor: "mail", type: "T", streamName: "s-1", error: "no such address" });
    expect(one.store.processors()[0]).toMatchObject({ parked: 3, state: "running", health: "ok" });
    expect(one.errors.length).toBe(1);
    await one.store.close();

    const two = await open([reactor], storage);
    await two.store.append("s-1", [happened(4)], any);
    await two.store.waitFor("mail", 9);
    expect(two.store.processors()[0]?.parked).toBe(4);
    expect(await two.store.replayParked("mail")).toEqual({ replayed: 0, parked: 4 });
    expect((await collect(two.store.parked("mail")))[0]?.attempts).toBe(4);
    broken = false;
    expect(await two.store.replayParked(parked[0]?.id ?? "")).toEqual({ replayed: 4, parked: 0 });
    await two.store.append("s-1", [happened(5)], any);
    await two.store.waitFor("mail", 10);
    expect(handled.filter((one) => one.startsWith("s-1"))).toEqual([
      "s-1.1",
      "s-1.2",
      "s-1.3",
      "s-1.4",
      "s-1.5",
      "s-1.6",
    ]);
    expect([...keys.values()].every((set) => set.size === 1)).toBe(true);
    await two.store.close();
  });

  test("has what waited behind a skipped event handled at once", async () => {
    const handled: number[] = [];
    const reactor = defineReactor("r", {
      mode: "async",
      retries: { attempts: 1 },
      key: (e) => e.data.group,
      on: {
        T: (e) => {
          if (e.data.bad) throw new Error("never");
          handled.push(e.position);
        },
      },
    });
    const { store } = await open([reactor]);
    const of = (group: string, bad = false) => ({ type: "T", data: { group, bad } });
    await store.append("s-1", [of("a", true), of("b"), of("a"), of("a", true), of("a")], any);
    await store.waitFor("r", 5);
    expect(handled).toEqual([2]);
    const [first] = await collect(store.parked("r"));
    await store.skipParked(first?.id ?? "");
    expect(handled).toEqual([2, 3]);
    expect((await collect(store.parked("r"))).map(({ position, waiting }) => [position, waiting])).toEqual([
      [4, false],
      [5, true],
    ]);
    await store.close();
  });

  test("whose handler never returns is told so after its time, and holds up nobody else", async () => {
    const signals: AbortSignal[] = [];
    const handled: string[] = [];
    const reactor = defineReactor("r", {
      mode: "async",
      retries: { attempts: 2, delayMs: 1 },
      timeoutMs: 20,
      on: {
        T: async (e, { signal }) => {
          if (e.streamName === "s-1") {
            signals.push(signal);
            await new Promise(() => {});
          }
          handled.push(e.streamName);
        },
      },
    });
    const { store } = await open([reactor]);
    await store.append("s-1", [happened(1)], any);
    await store.append("s-2", [happened(1)], any);
    await store.waitFor("r", 2);
    expect(handled).toEqual(["s-2"]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect((await collect(store.parked("r")))[0]?.error).toContain("took longer than 20 ms");
    await store.close();
  });

  test("that appends says what caused it, and a repeat can be told by its key", async () => {
    const reactor = defineReactor("r", {
      mode: "async",
      on: {
        T: async (e, { idempotencyKey }) => {
          for (let n = 0; n < 2; n += 1)
            await store.append("out-1", [{ type: "Done", data: {} }], { ...any, idempotencyKey });
          await store.append("out-1", [{ type: "Also", data: { of: e.id } }], any);
        },
      },
    });
    const { store } = await open([reactor]);
    const metadata = { actor: "kim", correlationId: "c-1" };
    await store.append("s-1", [{ ...happened(1), id: "first", metadata }], any);
    await store.waitFor("r", 3);
    const out: RecordedEvent[] = await collect(store.readStream("out-1"));
    expect(out.map(({ type }) => type)).toEqual(["Done", "Also"]);
    expect(out[1]?.metadata).toEqual({ ...metadata, causationId: "first" });
    await store.close();
  });

  test("may begin at the end, and keeps to that", async () => {
    const storage = createMemoryStorage();
    const seen: number[] = [];
    const reactor = defineReactor("r", { mode: "async", from: "end", on: { T: (e) => seen.push(e.position) } });
    {
      const { store } = await open([], storage);
      await store.append("s-1", [happened(1)], any);
      await store.close();
    }
    const one = await open([reactor], storage);
    await one.store.close();
    const without = await open([], storage);
    await without.store.append("s-1", [happened(2)], any);
    await without.store.close();
    const two = await open([reactor], storage);
    await two.store.waitFor("r", 2);
    expect(seen).toEqual([2]);
    await two.store.close();
  });

  test("is not begun anew by a close in the middle of a batch, and handles again only what was not saved", async () => {
    const storage = createMemoryStorage();
    const seen: number[] = [];
    let release = (): void => {};
    let gate: Promise<void> | undefined = new Promise((resolve) => {
      release = resolve;
    });
    const reactor = defineReactor("r", {
      mode: "async",
      on: {
        T: async (e) => {
          if (e.position === 5) await gate;
          seen.push(e.position);
        },
      },
    });
    const one = await open([reactor], storage);
    await one.store.append(
      "s-1",
      Array.from({ length: 10 }, (_, n) => happened(n)),
      any,
    );
    await until(() => seen.length === 4);
    const closing = one.store.close();
    release();
    gate = undefined;
    await closing;
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    const two = await open([reactor], storage);
    await two.store.waitFor("r", 10);
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await two.store.close();
  });
});

describe("A sync reactor", () => {
  test("has handled the event when append resolves, and can append itself", async () => {
    const seen: number[] = [];
    const reactor = defineReactor("audit", {
      mode: "sync",
      on: {
        T: async (e) => {
          expect(await store.lastPosition()).toBeGreaterThanOrEqual(e.position);
          await store.append("audit-1", [{ type: "Seen", data: { position: e.position } }], any);
          seen.push(e.position);
        },
      },
    });
    const { store } = await open([reactor]);
    for (let n = 0; n < 20; n += 1) {
      const { position } = await store.append("s-1", [happened(n), { type: "Other", data: {} }], any);
      expect(seen.at(-1)).toBe(position - 1);
    }
    await Promise.all(Array.from({ length: 20 }, (_, n) => store.append(`s-${n}`, [happened(n)], any)));
    expect(seen.length).toBe(40);
    expect(store.processors()[0]).toMatchObject({ kind: "reactor", state: "running", lagEvents: 0 });
    await store.close();
  });

  test("that fails changes nothing about the commit, and is reported", async () => {
    const reactor = defineReactor("r", {
      mode: "sync",
      timeoutMs: 20,
      on: {
        T: async (e) => {
          if (e.data.n === 1) throw new RangeError("mine");
          if (e.data.n === 2) await new Promise(() => {});
        },
      },
    });
    const { store, errors } = await open([reactor]);
    expect((await store.append("s-1", [happened(1)], any)).position).toBe(1);
    expect(store.processors()[0]?.lastError).toMatchObject({ position: 1 });
    expect((await store.append("s-1", [happened(2)], any)).position).toBe(2);
    expect(errors.map((error) => (error as Error).message)).toEqual([
      expect.stringContaining("mine"),
      expect.stringContaining("took longer than 20 ms"),
    ]);
    expect((await store.append("s-1", [happened(3)], any)).position).toBe(3);
    expect(store.processors()[0]?.lastError).toBeUndefined();
    expect((await errorOf(store.replayParked("r"))).code).toBe("invalid-argument");
    await store.close();
  });
});
