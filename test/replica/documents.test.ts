/** Documents on a replica: the same as the writer's, as fresh as asked for, and never of a generation that is half there. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  defineProjection,
  defineReactor,
  defineSqlProjection,
  type EventStore,
  type EventStoreReader,
  openEventStore,
  type Projection,
  type ProjectionMode,
} from "../../src/index.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { shopEvents, totals, totalsOf } from "../support/shop.ts";
import { folderPlace, kinds, type Place, stopServer } from "./places.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

type Any = Projection<unknown, never>;

function write({ url, s3 }: Place, projections: readonly Any[], events = shopEvents): Promise<EventStore> {
  return openEventStore({ url, s3, events, projections, onError: () => {} });
}

function read({ url, s3 }: Place, projections: readonly Any[], events = shopEvents): Promise<EventStoreReader> {
  return openTunedReader({ url, s3, events, projections, pollIntervalMs: 20 }, {});
}

async function place(store: EventStore, count: number, from = 0): Promise<number> {
  let position = 0;
  for (let n = from; n < from + count; n += 1) {
    const data = { customer: `c${n % 17}`, total: n };
    ({ position } = await store.append(`order-${n}`, [{ type: "OrderPlaced", data }], {
      expectedVersion: "no-stream",
    }));
  }
  return position;
}

/** A document for each number, of the number times the version. */
function numbers(version: number, mode: ProjectionMode = "async"): Projection<number, "parity"> {
  return defineProjection("numbers", {
    version,
    mode,
    document: v.number(),
    indexes: { parity: (n) => (n % (2 * version) === 0 ? "even" : "odd") },
    on: { Counted: (e, docs) => docs.set(`k${e.data.n}`, e.data.n * version) },
  });
}

async function count(store: EventStore, to: number): Promise<number> {
  const events = Array.from({ length: to }, (_, n) => ({ type: "Counted", data: { n } }));
  return (await store.append("n-1", events, { expectedVersion: "any" })).position;
}

for (const kind of kinds) {
  describe.skipIf(!kind.available)(`A replica ${kind.name}`, () => {
    test.each(["async", "inline", "live"] as const)("reads %s documents as the writer does", async (mode) => {
      await using where = await kind.create();
      const projection = totals("totals", mode);
      await using store = await write(where, [projection]);
      await place(store, 40);
      await using replica = await read(where, [projection]);
      for (let round = 1; round <= 3; round += 1) {
        const atLeast = await place(store, 10, round * 100);
        const ours = replica.documents(projection);
        const theirs = store.documents(projection);
        const expected = totalsOf(await collect(store.readAll()));
        expect(await ours.get("c3", { atLeast })).toEqual(expected.get("c3"));
        expect(await ours.getMany(["c1", "nobody", "c2"])).toEqual([expected.get("c1"), undefined, expected.get("c2")]);
        expect(new Map(await collect(ours.list()))).toEqual(new Map(expected));
        for (const options of [{ prefix: "c1" }, { from: "c12", to: "c3" }, { after: "c12", limit: 2 }, { limit: 0 }])
          expect(await collect(ours.list(options))).toEqual(await collect(theirs.list(options)));
        for (const value of ["n2", "n3", "n4"])
          expect(await collect(ours.find("byOrders", value))).toEqual(await collect(theirs.find("byOrders", value)));
      }
    });
  });
}

describe("Documents on a replica", () => {
  test("are waited for as far as the projection is concerned, and no longer than asked", async () => {
    await using where = await folderPlace();
    const projection = numbers(1);
    await using store = await write(where, [projection], []);
    await count(store, 5);
    await using replica = await read(where, [projection], []);
    const ours = replica.documents(projection);
    // The checkpoint is not moved by what does not concern the projection.
    const { position } = await store.append("x-1", [{ type: "Other", data: {} }], { expectedVersion: "any" });
    expect(await ours.get("k3", { atLeast: position, timeoutMs: 20_000 })).toBe(3);
    await store.pauseProcessor("numbers");
    const behind = await count(store, 8);
    const late = await errorOf(ours.get("k7", { atLeast: behind, timeoutMs: 200 }));
    expect(late.code).toBe("overloaded");
    expect(late.message).toContain(`has not come to position ${behind}`);
    const never = await errorOf(ours.get("k7", { atLeast: behind + 1_000, timeoutMs: 50 }));
    expect(never.code).toBe("storage-unavailable");
    const waiting = ours.get("k7", { atLeast: behind });
    await store.resumeProcessor("numbers");
    expect(await waiting).toBe(7);
    const signal = AbortSignal.abort(new RangeError("mine"));
    await expect(ours.get("k7", { atLeast: behind, signal })).rejects.toThrow("mine");
  });

  test("are those of one whole generation, whatever is built and switched meanwhile", async () => {
    await using where = await folderPlace();
    const keys = Array.from({ length: 250 }, (_, n) => `k${n}`);
    let last: number;
    {
      await using store = await write(where, [numbers(1)], []);
      last = await count(store, keys.length);
      await store.waitFor("numbers", last);
    }
    // It is of version 6, and sees what the versions before have made.
    const projection = numbers(6);
    await using replica = await read(where, [projection], []);
    const ours = replica.documents(projection);
    const factors = new Set<number>();
    let reads = 0;
    let done = false;
    const look = async (): Promise<void> => {
      while (!done) {
        const many = await ours.getMany(keys);
        const factor = many[1] ?? Number.NaN;
        expect(many).toEqual(keys.map((_, n) => n * factor));
        factors.add(factor);
        expect((await collect(ours.list())).length).toBe(keys.length);
        expect((await collect(ours.find("parity", "even"))).length).toBe(keys.length / 2);
        reads += 1;
      }
    };
    const looking = look();
    looking.catch(() => {});
    for (let version = 2; version <= 6; version += 1) {
      await using store = await write(where, [numbers(version)], []);
      await store.waitFor("numbers", last);
      await store.rebuild("numbers");
      const before = reads;
      await until(() => reads > before + 1 || done);
      await Promise.race([looking, until(() => factors.has(version))]);
    }
    done = true;
    await looking;
    expect([...factors].toSorted()).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("of an older version are read until a newer one serves, and are refused from then on", async () => {
    await using where = await folderPlace();
    {
      await using store = await write(where, [numbers(1)], []);
      await store.waitFor("numbers", await count(store, 10));
      await store.pauseProcessor("numbers");
    }
    const projection = numbers(1);
    await using former = await read(where, [projection], []);
    const documents = former.documents(projection);
    const newer = numbers(2);
    await using store = await write(where, [newer], []);
    // What is paused is not built either.
    const last = await count(store, 3);
    await former.waitForPosition(last);
    expect([await documents.get("k7"), (await collect(documents.list())).length]).toEqual([7, 10]);
    await store.resumeProcessor("numbers");
    await store.waitFor("numbers", last);
    await until(async () => (await store.documents(newer).get("k7")) === 14);
    const problem =
      'version of "numbers" goes back: the store serves version 2, which a replica with version 1 cannot read';
    const reads = [
      () => documents.get("k7"),
      () => documents.get("k7", { atLeast: last }),
      () => documents.getMany(["k1"]),
      () => collect(documents.list()),
      () => collect(documents.find("parity", "even")),
    ];
    const isRefused = (): Promise<boolean> =>
      documents.get("k7").then(
        () => false,
        () => true,
      );
    await until(isRefused);
    for (const look of reads)
      expect(await errorOf(look)).toMatchObject({ code: "invalid-argument", argument: "version", message: problem });
    // Whoever is as new, or newer, reads them.
    for (const version of [2, 3]) {
      const own = numbers(version);
      await using other = await read(where, [own], []);
      expect(await other.documents(own).get("k7", { atLeast: last })).toBe(14);
    }
  });

  test("of what nobody has run are not there; of what is no projection there are none", async () => {
    await using where = await folderPlace();
    const mail = defineReactor("mail", { mode: "async", on: { Counted: () => {} } });
    await using store = await openEventStore({ url: where.url, reactors: [mail] });
    const position = await count(store, 3);
    const projection = numbers(1);
    const misnamed = defineProjection("mail", { version: 1, mode: "async", document: v.number(), on: {} });
    await using replica = await read(where, [projection, misnamed], []);
    const ours = replica.documents(projection);
    expect([await ours.get("k1"), await collect(ours.list()), await collect(ours.find("parity", "odd"))]).toEqual([
      undefined,
      [],
      [],
    ]);
    expect((await errorOf(ours.get("k1", { atLeast: position, timeoutMs: 50 }))).code).toBe("overloaded");
    await until(async () => (await errorOf(replica.documents(misnamed).get("k1"))).message.includes("of a reactor"));
    expect((await errorOf(() => replica.documents(numbers(1)))).message).toContain("opened with");
    expect((await errorOf(ours.get("", {}))).code).toBe("invalid-argument");
    const on = { Counted: () => {} };
    const report = defineSqlProjection("report", { version: 1, database: "sqlite::memory:", create: () => {}, on });
    const refusals: [unknown, string][] = [
      ["all", "must be a list"],
      [[report], "runSqlProjections"],
      [[projection, numbers(2)], "two projections"],
      [[totals("totals", "async")], "are not among those"],
    ];
    for (const [projections, problem] of refusals) {
      const error = await errorOf(read(where, projections as readonly Any[], []));
      expect([error.code, error.message.includes(problem)]).toEqual(["invalid-argument", true]);
    }
    await replica.close();
    expect((await errorOf(ours.get("k1"))).code).toBe("store-closed");
  });
});
