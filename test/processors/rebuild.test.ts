/** Rebuilds beside what serves: by a new version or on request, paused, resumed after a restart, cancelled, cleaned up behind. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { allDocumentKeysSpan, documentSpan } from "../../src/format/processor-keys.ts";
import { defineProjection, type EventStore, type Projection } from "../../src/index.ts";
import type { StoreCore } from "../../src/log/store-internals.ts";
import { openWithCore } from "../../src/store/open-event-store.ts";
import { type Backend, memoryBackend, type Storage, slateFolderBackend } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";

setDefaultTimeout(60_000);

type Mode = "async" | "inline";

interface Counter {
  readonly version: number;
  readonly mode?: Mode;
  readonly factor?: number;
  /** Throws at this position while it says so. */
  readonly stopsAt?: () => number | undefined;
}

function counter({ version, mode = "async", factor = version, stopsAt }: Counter): Projection<number, "parity"> {
  return defineProjection("counter", {
    version,
    mode,
    retries: { attempts: 1 },
    document: v.number(),
    indexes: { parity: (n) => (n % 2 === 0 ? "even" : "odd") },
    on: {
      T: (e, docs) => {
        if (e.position === stopsAt?.()) throw new Error("stopped here");
        docs.update(`k${e.data.n % 50}`, (d) => (d ?? 0) + factor);
      },
    },
  });
}

interface Opened {
  readonly store: EventStore;
  readonly core: StoreCore;
}

async function open(storage: Storage, projection?: Projection<number, "parity">): Promise<Opened> {
  const projections = projection === undefined ? [] : [projection];
  return await openWithCore(await storage.open(), { projections, onError: () => {} });
}

async function append({ store }: Opened, count: number): Promise<number> {
  let last = 0;
  for (let n = 0; n < count; n += 500) {
    const events = Array.from({ length: Math.min(500, count - n) }, (_, index) => ({
      type: "T",
      data: { n: n + index },
    }));
    last = (await store.append("s-1", events, { expectedVersion: "any" })).position;
  }
  return last;
}

async function rowsOf({ core }: Opened, generation: number): Promise<number> {
  let rows = 0;
  for (const span of [documentSpan("counter", generation, ""), allDocumentKeysSpan("counter", generation)]) {
    const cursor = await core.rows.scan(span, "lookup");
    for (let some = await cursor.next(1_000); some.length > 0; some = await cursor.next(1_000)) rows += some.length;
    cursor.close();
  }
  return rows;
}

const reopening: readonly Backend[] = [memoryBackend, slateFolderBackend];

for (const backend of reopening) {
  for (const mode of ["async", "inline"] as const) {
    describe(`A rebuild (${mode}, ${backend.name})`, () => {
      test("starts by itself with a new version, while the old one serves; then the old rows go", async () => {
        await using storage = await backend.create();
        const one = await open(storage, counter({ version: 1, mode }));
        const last = await append(one, 1_000);
        await one.store.waitFor("counter", last);
        await one.store.close();
        let stop: number | undefined = 700;
        const projection = counter({ version: 2, mode, stopsAt: () => stop });
        const two = await open(storage, projection);
        const documents = two.store.documents(projection);
        await until(() => two.store.processors()[0]?.state === "failed");
        expect(await documents.get("k1")).toBe(20);
        const [info] = two.store.processors();
        expect(info?.rebuild).toMatchObject({ version: 2, lastPosition: last });
        expect(info?.version).toBe(2);
        expect((await errorOf(documents.get("k1", { atLeast: last }))).code).toBe("overloaded");
        stop = undefined;
        const done = two.store.rebuild("counter");
        await two.store.resumeProcessor("counter");
        expect(await done).toMatchObject({ name: "counter", version: 2, cancelled: false });
        expect(await documents.get("k1", { atLeast: last })).toBe(40);
        const further = await append(two, 50);
        expect(await documents.get("k1", { atLeast: further })).toBe(42);
        await until(async () => (await rowsOf(two, 1)) === 0);
        expect(await rowsOf(two, 2)).toBe(100);
        expect(two.store.processors()[0]).toMatchObject({ state: "running", rebuild: undefined, health: "ok" });
        await two.store.close();
        const three = await open(storage, counter({ version: 2, mode }));
        expect(three.store.processors()[0]?.rebuild).toBeUndefined();
        await three.store.close();
        expect((await errorOf(open(storage, counter({ version: 1, mode })))).message).toContain("goes back");
      });

      test("on request goes on beside what serves and is kept up, and switches at once", async () => {
        await using storage = await backend.create();
        const projection = counter({ version: 1, mode });
        const one = await open(storage, projection);
        const documents = one.store.documents(projection);
        await append(one, 3_000);
        const rebuilding = one.store.rebuild("counter");
        let appended = 3_000;
        let finished = false;
        rebuilding.then(
          () => {
            finished = true;
          },
          () => {},
        );
        while (!finished || appended < 4_000) {
          const atLeast = await append(one, 50);
          appended += 50;
          // Neither the old one nor the new one is ever behind what was waited for, and neither is ever seen half built.
          expect(await documents.get("k7", { atLeast })).toBe(appended / 50);
        }
        expect(await rebuilding).toMatchObject({ cancelled: false });
        expect((await collect(documents.find("parity", appended % 100 === 0 ? "even" : "odd"))).length).toBe(50);
        await until(async () => (await rowsOf(one, 1)) === 0);
        await one.store.close();
      });

      test("goes on after a restart where it was, and can be paused and cancelled", async () => {
        await using storage = await backend.create();
        const one = await open(storage, counter({ version: 1, mode }));
        const last = await append(one, 6_000);
        await one.store.waitFor("counter", last);
        await one.store.close();
        const slow = counter({ version: 2, mode, stopsAt: () => 5_000 });
        const two = await open(storage, slow);
        await until(() => two.store.processors()[0]?.state === "failed");
        const reached = two.store.processors()[0]?.rebuild?.position ?? 0;
        // Several commits behind the beginning, and right before the event that it stops at.
        expect(reached).toBe(4_999);
        await two.store.pauseProcessor("counter");
        await two.store.close();
        const again = counter({ version: 2, mode });
        const three = await open(storage, again);
        await until(() => (three.store.processors()[0]?.rebuild?.position ?? 0) >= 0);
        expect(three.store.processors()[0]?.rebuild).toMatchObject({ paused: true, version: 2 });
        expect(await three.store.documents(again).get("k1")).toBe(120);
        await three.store.resumeProcessor("counter");
        await three.store.waitFor("counter", last);
        expect(await three.store.documents(again).get("k1")).toBe(240);
        await three.store.pauseProcessor("counter");
        const rebuilding = three.store.rebuild("counter");
        await until(() => three.store.processors()[0]?.rebuild !== undefined);
        await three.store.cancelRebuild("counter");
        expect(await rebuilding).toMatchObject({ cancelled: true });
        await three.store.resumeProcessor("counter");
        expect(await three.store.documents(again).get("k1")).toBe(240);
        await until(async () => (await rowsOf(three, 3)) === 0);
        await three.store.close();
      });
    });
  }
}

describe("A rebuild", () => {
  test("of what was never told how is refused, and one that is under way is joined", async () => {
    await using storage = await memoryBackend.create();
    const one = await open(storage, counter({ version: 1 }));
    await append(one, 500);
    expect((await errorOf(one.store.rebuild("nobody"))).code).toBe("invalid-argument");
    const [first, second] = await Promise.all([one.store.rebuild("counter"), one.store.rebuild("counter")]);
    expect(first).toEqual(second);
    await until(async () => (await rowsOf(one, 1)) === 0);
    expect(await rowsOf(one, 2)).toBe(100);
    await one.store.close();
  });

  test("that was under way for a version that is no longer wanted is dropped", async () => {
    await using storage = await memoryBackend.create();
    const one = await open(storage, counter({ version: 1 }));
    const last = await append(one, 500);
    await one.store.waitFor("counter", last);
    await one.store.close();
    const two = await open(storage, counter({ version: 2, stopsAt: () => 400 }));
    await until(() => two.store.processors()[0]?.state === "failed");
    await two.store.close();
    const projection = counter({ version: 3 });
    const three = await open(storage, projection);
    await three.store.waitFor("counter", last);
    expect(await three.store.documents(projection).get("k1")).toBe(30);
    await until(async () => (await rowsOf(three, 1)) + (await rowsOf(three, 2)) === 0);
    await three.store.close();
  });

  test("says how far it is and how long it will take", async () => {
    await using storage = await memoryBackend.create();
    const one = await open(storage);
    const last = await append(one, 20_000);
    await one.store.close();
    let held: number | undefined = 12_000;
    const first = counter({ version: 1, stopsAt: () => held });
    const two = await open(storage, first);
    held = undefined;
    await two.store.waitFor("counter", last);
    held = 12_000;
    const rebuilding = two.store.rebuild("counter");
    rebuilding.catch(() => {});
    await until(() => two.store.processors()[0]?.state === "failed");
    const progress = two.store.processors()[0]?.rebuild;
    // All that comes before the event that it stops at is in it.
    expect(progress?.position).toBe(11_999);
    expect(progress?.done).toBeCloseTo((progress?.position ?? 0) / last, 5);
    expect(progress?.startedAt).toBeInstanceOf(Date);
    held = undefined;
    await two.store.resumeProcessor("counter");
    expect(await rebuilding).toMatchObject({ cancelled: false, position: last });
    await two.store.close();
  });
});
