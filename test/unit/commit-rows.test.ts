/** Commits with rows of their own: atomic with the events, judged in order, bounded, and honest where storage fails. */

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  globalPageKey,
  globalPageSpan,
  snapshotKey,
  storeHeaderKey,
  streamHeadKey,
} from "../../src/format/key-families.ts";
import { decodeGlobalPage, encodeGlobalPage } from "../../src/format/pages.ts";
import { decodeStoreHeader } from "../../src/format/records.ts";
import { ConflictError, StorageUnavailableError } from "../../src/index.ts";
import type { KvOperation } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { commitBytesMax } from "../../src/log/commit.ts";
import { type AssignedCommit, commitRowsMax } from "../../src/log/commit-extras.ts";
import type { StoreCore } from "../../src/log/store-internals.ts";
import { type OpenedStore, openWithCore } from "../../src/store/open-event-store.ts";
import { errorOf, until } from "../support/collect.ts";
import { createGatedKv, type GatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const key = (name: string): Buffer => snapshotKey(name, "test", 1);
const put = (name: string, text: string): KvOperation => ({ kind: "put", key: key(name), value: Buffer.from(text) });
const append = (streamName: string, expectedVersion: number | "any" = "any") => ({
  streamName,
  events: [{ type: "T", data: 1 }],
  expectedVersion,
});
const textAt = async (core: StoreCore, name: string): Promise<string | undefined> => {
  const bytes = await core.rows.get(key(name));
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
};

async function gated(): Promise<OpenedStore & { gate: GatedKv }> {
  const gate = createGatedKv();
  const opened = await openWithCore(gate.kv, {});
  gate.batches.length = 0;
  return { gate, ...opened };
}

test("Rows go into the same batch as the commit's events, computed from the numbers these get", async () => {
  const { gate, store, core } = await gated();
  await store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  const seen: AssignedCommit[] = [];
  const compute = (assigned: AssignedCommit): readonly KvOperation[] => {
    seen.push(assigned);
    return [put("row", `at ${assigned.position}`)];
  };
  const { record, events, replayed } = await core.submit({
    appends: [append("a-1", 1), append("b-1", 0)],
    rows: { bytesMax: 100, compute },
  });
  expect(gate.batches.length).toBe(2);
  expect(gate.batches[1]?.some((row) => Buffer.compare(row.key, key("row")) === 0)).toBe(true);
  expect(record).toMatchObject({
    position: 3,
    eventCount: 2,
    streams: [
      { streamName: "a-1", streamVersion: 2 },
      { streamName: "b-1", streamVersion: 1 },
    ],
  });
  expect(replayed).toBe(false);
  expect(seen[0]?.events.map(({ position, version }) => [position, version])).toEqual([
    [2, 2],
    [3, 1],
  ]);
  const read: unknown[] = [];
  for await (const event of store.readAll({ fromPosition: 2 })) read.push(event);
  expect(events()).toEqual(read as ReturnType<typeof events>);
  expect(await textAt(core, "row")).toBe("at 3");
  await store.close();
});

test("A commit of rows alone takes no position, and writes nothing else", async () => {
  const { gate, store, core } = await gated();
  await store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  const { record } = await core.submit({
    rows: [put("row", "x")],
    checks: [{ streamName: "a-1", expectedVersion: 1 }],
  });
  expect(record).toMatchObject({ position: 1, eventCount: 0, streams: [{ streamName: "a-1", streamVersion: 1 }] });
  expect(gate.batches[1]?.map((row) => row.key[0])).toEqual([0x70]);
  expect((await store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: 1 })).position).toBe(2);
  await core.submit({ rows: [{ kind: "delete", key: key("row") }] });
  expect(await textAt(core, "row")).toBeUndefined();
  await store.close();
});

test("A commit with nothing to write is judged and writes nothing", async () => {
  const { gate, store, core } = await gated();
  await core.submit({ checks: [{ streamName: "a-1", expectedVersion: 0 }] });
  expect(gate.batches.length).toBe(0);
  const error = await errorOf(core.submit({ checks: [{ streamName: "a-1", expectedVersion: 3 }] }));
  expect(error).toBeInstanceOf(ConflictError);
  await store.close();
});

test("Rows of a rejected commit are not written, and those of its neighbours in the group are", async () => {
  const { gate, store, core } = await gated();
  gate.shut();
  const first = store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  const outcomes = Promise.allSettled([
    core.submit({ appends: [append("b-1", 0)], rows: [put("one", "1")] }),
    core.submit({ appends: [append("b-1", 0)], rows: [put("two", "2")] }),
    core.submit({
      appends: [append("b-1", 1)],
      rows: {
        bytesMax: 10,
        compute: () => {
          throw new RangeError("mine");
        },
      },
    }),
    core.submit({ appends: [append("b-1", 1)], rows: [put("four", "4")] }),
  ]);
  gate.open();
  await first;
  const [one, two, three, four] = await outcomes;
  expect([one?.status, two?.status, three?.status, four?.status]).toEqual([
    "fulfilled",
    "rejected",
    "rejected",
    "fulfilled",
  ]);
  expect(three).toMatchObject({ reason: new RangeError("mine") });
  expect(gate.batches.length).toBe(2);
  expect(await Promise.all(["one", "two", "four"].map((name) => textAt(core, name)))).toEqual(["1", undefined, "4"]);
  expect(await store.lastPosition()).toBe(3);
  await store.close();
});

test("A guard sees what the commits before it in the group have made, and rejects with an error of its own", async () => {
  const { gate, store, core } = await gated();
  gate.shut();
  const first = store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  class Stale extends Error {}
  const views: [number, number][] = [];
  const guarded = (limit: number): Promise<unknown> =>
    core.submit({
      appends: [append("b-1")],
      guard: ({ versionOf, lastPosition }) => {
        views.push([versionOf("b-1"), lastPosition]);
        return versionOf("b-1") > limit ? new Stale() : undefined;
      },
    });
  const outcomes = Promise.allSettled([guarded(0), guarded(0), guarded(5)]);
  gate.open();
  await first;
  const settled = await outcomes;
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(settled[1]).toMatchObject({ reason: expect.any(Stale) });
  expect(views).toEqual([
    [0, 1],
    [1, 2],
    [1, 2],
  ]);
  await store.close();
});

test("Storage that fails says of rows what it says of events", async () => {
  const { gate, store, core } = await gated();
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
  expect(await errorOf(core.submit({ rows: [put("row", "1")] }))).toMatchObject({ outcome: "not-applied" });
  await core.submit({ rows: [put("row", "2")] });
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "unknown" }));
  expect(await errorOf(core.submit({ rows: [put("row", "3")] }))).toMatchObject({ outcome: "unknown" });
  expect(await errorOf(core.submit({ rows: [put("row", "4")] }))).toMatchObject({ outcome: "not-applied" });
  expect(store.health().state).toBe("failed");
  await store.close();
});

test("Rows are bounded, and cannot touch what the log keeps", async () => {
  const { gate, store, core } = await gated();
  const many = Array.from({ length: commitRowsMax + 1 }, (_, index) => put(`${index}`, ""));
  const wrong: Parameters<StoreCore["submit"]>[0][] = [
    { rows: many },
    { rows: { bytesMax: 3, compute: () => [put("row", "more than was said")] } },
    { rows: { bytesMax: 999, rowsMax: 1, compute: () => [put("row", "1"), put("row", "2")] } },
    { rows: [{ kind: "delete", key: streamHeadKey("a-1") }] },
    { rows: { bytesMax: commitBytesMax + 1, compute: () => [] } },
  ];
  for (const commit of wrong) expect((await errorOf(core.submit(commit))).outcome).toBe("not-applied");
  expect(gate.batches.length).toBe(0);
  await store.close();
});

test("Keys of commits without events are remembered, and each is swept in its time", async () => {
  const storage = createMemoryStorage();
  const time = { nowMs: 1_790_000_000_000 };
  const clock = { now: () => time.nowMs, monotonic: () => time.nowMs };
  const { store, core } = await openWithCore(openMemoryKv(storage), { clock, idempotencyWindowMs: 60_000 });
  for (const idempotencyKey of ["k-1", "k-2", "k-3"]) {
    await core.submit({ idempotencyKey, rows: [put("row", idempotencyKey)] });
    expect(await core.submit({ idempotencyKey, rows: [put("row", "again")] })).toMatchObject({ replayed: true });
  }
  expect(await textAt(core, "row")).toBe("k-3");
  expect(await core.findByKey("k-2")).toMatchObject({ position: 0, eventCount: 0 });
  const rowsOfFamily = (tag: number): number =>
    [...storage.rows.keys()].filter((one) => one.charCodeAt(0) === tag).length;
  expect([rowsOfFamily(0x60), rowsOfFamily(0x61)]).toEqual([3, 3]);
  time.nowMs += 3_600_000;
  await core.submit({ idempotencyKey: "k-4", rows: [put("row", "x")] });
  expect([rowsOfFamily(0x60), rowsOfFamily(0x61)]).toEqual([1, 1]);
  await store.close();
});

test("The header lists a family once it is used, and goes on listing it", async () => {
  const storage = createMemoryStorage();
  const header = () =>
    decodeStoreHeader(storage.rows.get(Buffer.from(storeHeaderKey).toString("latin1")) ?? new Uint8Array());
  const first = await openWithCore(openMemoryKv(storage), {});
  expect(header().cacheFamilies).toBeUndefined();
  await Promise.all([first.core.useFamilies(["snapshots"]), first.core.useFamilies(["snapshots"])]);
  expect(header().cacheFamilies).toEqual(["snapshots"]);
  expect(header().families).not.toContain("snapshots");
  await first.store.close();
  const second = await openWithCore(openMemoryKv(storage), {});
  await second.core.useFamilies(["snapshots"]);
  expect(second.store.stats().commits.groups).toBe(0);
  await second.store.close();
});

test("A decorator adds rows to the group from what its commits come to, and can refuse one alone", async () => {
  const { gate, store, core } = await gated();
  let durable = "";
  core.addDecorator({
    begin: async () => {
      // A counter of events, as an inline projection would keep it: read once a group, changed commit by commit.
      let count = Number((await textAt(core, "count")) ?? 0);
      return {
        accept: ({ events }) => {
          if (events.some(({ streamName }) => streamName === "refused-1")) throw new RangeError("refused");
          count += events.length;
          return () => {
            count -= events.length;
          };
        },
        rows: () => [put("count", String(count))],
        durable: () => {
          durable = String(count);
        },
      };
    },
  });
  core.addDecorator({
    begin: async () => ({
      accept: ({ events }) => {
        if (events.some(({ streamName }) => streamName === "refused-2")) throw new RangeError("refused, too");
        return undefined;
      },
      rows: () => [],
      durable: () => {},
    }),
  });
  gate.shut();
  const first = store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  const names = ["a-1", "refused-1", "a-2", "refused-2", "a-1"];
  const outcomes = Promise.allSettled(names.map((name) => core.submit({ appends: [append(name)] })));
  expect(durable).toBe("");
  gate.open();
  await first;
  expect((await outcomes).map(({ status }) => status)).toEqual([
    "fulfilled",
    "rejected",
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  expect([await textAt(core, "count"), durable, await store.lastPosition()]).toEqual(["4", "4", 4]);
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
  await errorOf(core.submit({ appends: [append("a-1")] }));
  expect([await textAt(core, "count"), durable]).toEqual(["4", "4"]);
  await store.close();
});

test("What must be done before the store closes is done while commits are still taken", async () => {
  const storage = createMemoryStorage();
  const warnings: unknown[] = [];
  const { store, core } = await openWithCore(openMemoryKv(storage), { onError: (error) => warnings.push(error) });
  core.onClose(async () => {
    await core.submit({ rows: [put("row", "last words")] });
  });
  core.onClose(() => {
    throw new RangeError("mine");
  });
  await store.close();
  expect(warnings).toEqual([new RangeError("mine")]);
  const again = await openWithCore(openMemoryKv(storage), {});
  expect(await textAt(again.core, "row")).toBe("last words");
  await again.store.close();
});

test("Many rows do not pile up in one group: each counts for the time that it takes", async () => {
  const { gate, store, core } = await gated();
  gate.shut();
  const first = store.append("a-1", [{ type: "T", data: 0 }], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  const rows = Array.from({ length: 3_000 }, (_, index) => put(`${index}`, ""));
  const commits = Array.from({ length: 6 }, () => core.submit({ rows }));
  gate.open();
  await Promise.all([first, ...commits]);
  expect(gate.batches.slice(1).map((batch) => batch.length)).toEqual([6_000, 6_000, 6_000]);
  await store.close();
});

test("Maintenance rearranges pages of the log under a scan and behind it, takes no position, and touches nothing else", async () => {
  const { gate, store, core } = await gated();
  for (let count = 0; count < 4; count += 1)
    await store.append("a-1", [{ type: "T", data: count }], { expectedVersion: count });
  const cursor = await core.rows.scan(globalPageSpan(1), "lookup");
  const rows = await cursor.next(10);
  cursor.close();
  const reading = store.readAll();
  expect((await reading.next()).value?.position).toBe(1);
  const merged = encodeGlobalPage(rows.flatMap(decodeGlobalPage));
  const { record } = await core.inMaintenance(() =>
    core.submit({
      maintenance: [
        ...rows.map(({ key: old }): KvOperation => ({ kind: "delete", key: old })),
        { kind: "put", ...merged },
      ],
      checks: [{ streamName: "a-1", expectedVersion: 4 }],
    }),
  );
  expect([record.position, record.eventCount]).toEqual([4, 0]);
  const positions: number[] = [];
  for await (const { position } of reading) positions.push(position);
  expect(positions).toEqual([2, 3, 4]);
  expect(await core.rows.get(globalPageKey(1))).toBeUndefined();
  expect((await Array.fromAsync(store.readAll({ fromPosition: 3 }))).map((event) => event.data)).toEqual([2, 3]);
  expect(gate.batches.at(-1)?.map((row) => row.key[0])).toEqual([0x30, 0x30, 0x30, 0x30, 0x30]);
  expect(await errorOf(core.submit({ maintenance: [put("row", "x")] }))).toMatchObject({ code: "internal" });
  const head: KvOperation = { kind: "delete", key: streamHeadKey("a-1") };
  expect(await errorOf(core.submit({ maintenance: [head] }))).toMatchObject({ code: "internal" });
  await store.close();
});

test("Turns of maintenance come one after another, also behind one that failed", async () => {
  const { store, core } = await gated();
  const told: string[] = [];
  const turn = async (name: string): Promise<void> => {
    told.push(`${name} begins`);
    await core.submit({ rows: [put(name, "x")] });
    told.push(`${name} ends`);
    if (name === "one") throw new RangeError("mine");
  };
  const turns = await Promise.allSettled(["one", "two"].map((name) => core.inMaintenance(() => turn(name))));
  expect(turns.map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  expect(told).toEqual(["one begins", "one ends", "two begins", "two ends"]);
  await store.close();
});
