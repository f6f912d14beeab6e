/** The compactor: what it merges, when it works, what it costs, and that nothing of it shows to a reader. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { compactionKey, globalPageSpan, streamPageSpan } from "../../src/format/key-families.ts";
import { type EventStore, StorageUnavailableError } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { gatheredRowsMax } from "../../src/lifecycle/compaction-pass.ts";
import { openEventStoreOn, openWithCore } from "../../src/store/open-event-store.ts";
import { backends } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";
import { answersOf, familiesOf } from "./support.ts";

setDefaultTimeout(60_000);

const off = { compaction: false } as const;
const eager = { compaction: { everyEvents: 64, share: 1 } } as const;
const name = "$compactor";

/** Appends one event at a time, so that the log gets as many pages; two of three go to one stream. */
async function appendSingly(store: EventStore, count: number, from = 0): Promise<void> {
  for (let serial = from; serial < from + count; serial += 1) {
    const streamName = serial % 3 === 0 ? `small-${serial % 9}` : "long-1";
    const event = {
      type: `T${serial % 4}`,
      data: { serial, pad: "x".repeat(serial % 150) },
      tags: [`n:${serial % 5}`],
    };
    await store.append(streamName, [event], { expectedVersion: "any" });
  }
}

const infoOf = (store: EventStore) => store.processors().find((processor) => processor.name === name);

for (const backend of backends) {
  describe(`On ${backend.name} the compactor`, () => {
    test("makes large pages of small ones, and everything reads as before", async () => {
      await using storage = await backend.create();
      const { store, core } = await openWithCore(await storage.open(), off);
      await appendSingly(store, 700);
      const before = await answersOf(store, ["n:1", "n:4"]);
      const past = await answersOf(store.asOf(333), ["n:1"]);
      const familiesBefore = await familiesOf(core.rows);
      const report = await store.compact();
      const families = await familiesOf(core.rows);
      expect(familiesBefore["30"]?.rows).toBe(700);
      expect(families["30"]?.rows).toBe(3);
      expect(families["20"]?.rows ?? 0).toBeLessThan((familiesBefore["20"]?.rows ?? 0) / 4);
      expect(report).toMatchObject({ logPagesMerged: 700, logPagesWritten: 3, fromPosition: 1, toPosition: 700 });
      expect(report.streamPagesMerged).toBeGreaterThan(report.streamPagesWritten);
      const bytes = (all: typeof families): number => (all["20"]?.bytes ?? 0) + (all["30"]?.bytes ?? 0);
      expect(report.bytesFreed).toBe(bytes(familiesBefore) - bytes(families));
      expect(await answersOf(store, ["n:1", "n:4"])).toEqual(before);
      expect(await answersOf(store.asOf(333), ["n:1"])).toEqual(past);
      expect(await store.verify()).toMatchObject({ holds: true, breaks: [] });
      await store.close();
      if (!backend.reopens) return;
      await using again = await openEventStoreOn(await storage.open(), off);
      expect(await answersOf(again, ["n:1", "n:4"])).toEqual(before);
      expect(await again.compact()).toMatchObject({ logPagesMerged: 0, streamPagesMerged: 0, fromPosition: 701 });
    });

    test("goes on where it was, and merges what came since with what was left over", async () => {
      await using storage = await backend.create();
      const { store, core } = await openWithCore(await storage.open(), off);
      for (let round = 0; round < 6; round += 1) {
        await appendSingly(store, 100, round * 100);
        expect(await store.compact()).toMatchObject({ fromPosition: round * 100 + 1, toPosition: round * 100 + 100 });
        expect((await familiesOf(core.rows))["30"]?.rows).toBe(Math.ceil(((round + 1) * 100) / 256));
      }
      expect((await collect(store.readAll())).length).toBe(600);
      expect((await collect(store.readStream("long-1"))).map(({ version }) => version)).toEqual(
        Array.from({ length: 400 }, (_, index) => index + 1),
      );
      await store.close();
    });

    test("changes nothing for reads that have begun", async () => {
      await using storage = await backend.create();
      const { store } = await openWithCore(await storage.open(), off);
      await appendSingly(store, 900);
      const reads = [
        () => store.readAll(),
        () => store.readAll({ direction: "backwards" }),
        () => store.readAll({ filter: { tags: ["n:1"] } }),
        () => store.readAll({ filter: { types: ["T2"] }, direction: "backwards" }),
        () => store.readStream("long-1"),
        () => store.readStream("long-1", { direction: "backwards" }),
        () => store.asOf(500).readAll({ fromPosition: 100 }),
      ];
      const expected = await Promise.all(reads.map((read) => collect(read())));
      const begun = reads.map((read) => read()[Symbol.asyncIterator]());
      const seen: unknown[][] = [];
      for (const iterator of begun) {
        const first: unknown[] = [];
        for (let taken = 0; taken < 30; taken += 1) first.push((await iterator.next()).value);
        seen.push(first);
      }
      await store.compact();
      await appendSingly(store, 300, 900);
      await store.compact();
      for (const [index, iterator] of begun.entries()) {
        for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) {
          seen[index]?.push(step.value);
        }
      }
      expect(seen).toEqual(expected);
      await store.close();
    });
  });
}

test("Subscribers in the middle of the log miss nothing and see nothing twice", async () => {
  await using store = await openEventStoreOn(openMemoryKv(), eager);
  await appendSingly(store, 500);
  const seen: number[] = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const { position } of store.subscribe({ from: "start", signal: stop.signal })) {
      seen.push(position);
      if (position % 40 === 0) await store.compact();
      if (position === 1_200) break;
    }
  })();
  await appendSingly(store, 700, 500);
  await following;
  expect(seen).toEqual(Array.from({ length: 1_200 }, (_, index) => index + 1));
});

test("In the background it begins when enough was appended, rewrites each page of the log once, and shows itself", async () => {
  const gate = createGatedKv();
  await using store = await openEventStoreOn(gate.kv, eager);
  await appendSingly(store, 1_000);
  await until(() => (infoOf(store)?.lagEvents ?? 1_000) < 64);
  const info = infoOf(store);
  expect(info).toMatchObject({ kind: "compactor", state: "running", health: "ok", parked: 0 });
  expect(info?.counts).toMatchObject({ logPagesMerged: 768, logPagesWritten: 3 });
  expect(info?.position).toBeGreaterThan(936);
  expect(store.processors().at(-1)).toEqual(info as NonNullable<typeof info>);
});

test("On an idle store it costs nothing: no commit, no request", async () => {
  const gate = createGatedKv();
  await using store = await openEventStoreOn(gate.kv, eager);
  await appendSingly(store, 200);
  await until(() => (infoOf(store)?.lagEvents ?? 200) < 64);
  const batches = gate.batches.length;
  const reads = store.stats().storage;
  for (let turn = 0; turn < 500; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(gate.batches.length).toBe(batches);
  expect(store.stats().storage).toEqual(reads);
});

test("No commit of it is larger than its bound, and only one at a time is in the pipeline", async () => {
  const gate = createGatedKv();
  await using store = await openEventStoreOn(gate.kv, off);
  await appendSingly(store, 1_500);
  gate.batches.length = 0;
  await store.compact();
  const rows = gate.batches.map((batch) => batch.length);
  expect(rows.length).toBeGreaterThan(5);
  expect(Math.max(...rows)).toBeLessThan(gatheredRowsMax * 2 + 4);
});

test("Paused it rests, also after a restart, and resumed it goes on; it can be called all the same", async () => {
  const storage = createMemoryStorage();
  const first = await openEventStoreOn(openMemoryKv(storage), eager);
  await first.pauseProcessor(name);
  await appendSingly(first, 300);
  expect(infoOf(first)).toMatchObject({ state: "paused", position: 0, lagEvents: 300 });
  await first.close();
  await using second = await openEventStoreOn(openMemoryKv(storage), eager);
  await until(() => infoOf(second)?.state === "paused");
  await appendSingly(second, 200, 300);
  expect(infoOf(second)).toMatchObject({ position: 0, counts: { logPagesMerged: 0 } });
  expect(await second.compact()).toMatchObject({ toPosition: 500, logPagesMerged: 500 });
  await appendSingly(second, 200, 500);
  expect(infoOf(second)).toMatchObject({ state: "paused", position: 500 });
  await second.resumeProcessor(name);
  await until(() => infoOf(second)?.position === 700);
  expect(await errorOf(second.rebuild(name))).toMatchObject({ code: "invalid-argument" });
});

test("Switched off it is not among the processors, and works only when it is called", async () => {
  const gate = createGatedKv();
  await using store = await openEventStoreOn(gate.kv, off);
  await appendSingly(store, 50);
  expect(store.processors()).toEqual([]);
  expect((await answersOf(store)) as object).toMatchObject({ last: 50 });
  expect(gate.batches.some((batch) => batch.some(({ key }) => key[0] === 0x79))).toBe(false);
  expect(await errorOf(store.pauseProcessor(name))).toMatchObject({ code: "invalid-argument" });
  expect(await store.compact()).toMatchObject({ logPagesMerged: 50, logPagesWritten: 1 });
});

test("Options that cannot be are refused", async () => {
  const wrong = [{ everyEvents: 0 }, { share: 0 }, { share: 1.5 }, { share: "much" }, { other: 1 }, true, "off"];
  for (const compaction of wrong) {
    const opening = openEventStoreOn(openMemoryKv(), { compaction: compaction as never });
    expect(await errorOf(opening)).toMatchObject({ code: "invalid-argument" });
  }
  expect(await errorOf(openEventStoreOn(openMemoryKv(), { deciders: {} as never }))).toMatchObject({
    code: "invalid-argument",
  });
  await using store = await openEventStoreOn(openMemoryKv(), {});
  expect(await errorOf(store.compact({ all: true } as never))).toMatchObject({ code: "invalid-argument" });
  expect(await errorOf(store.compact({ signal: 1 } as never))).toMatchObject({ code: "invalid-argument" });
});

test("A pass that is aborted ends between two commits, and the next one goes on", async () => {
  const gate = createGatedKv();
  const { store, core } = await openWithCore(gate.kv, off);
  await appendSingly(store, 2_000);
  const stop = new AbortController();
  gate.shut();
  const aborted = store.compact({ signal: stop.signal }).catch((error: unknown) => error);
  await until(() => gate.waiting() === 1);
  stop.abort(new RangeError("enough"));
  gate.open();
  expect(await aborted).toEqual(new RangeError("enough"));
  const left = (await familiesOf(core.rows))["30"]?.rows ?? 0;
  expect(left).toBeGreaterThan(8);
  expect(left).toBeLessThan(2_000);
  await store.compact();
  expect((await familiesOf(core.rows))["30"]?.rows).toBe(8);
  expect((await collect(store.readAll())).length).toBe(2_000);
  await store.close();
  expect(await errorOf(store.compact())).toMatchObject({ code: "store-closed" });
});

test("Closing the store ends a pass under way, and who waits for it is told", async () => {
  const gate = createGatedKv();
  const store = await openEventStoreOn(gate.kv, off);
  await appendSingly(store, 600);
  gate.shut();
  const compacting = errorOf(store.compact());
  await until(() => gate.waiting() === 1);
  const closing = store.close();
  gate.open();
  await closing;
  expect(await compacting).toMatchObject({ code: "store-closed" });
});

test("Storage that fails for a while is waited out in the background, and told to who has called", async () => {
  const gate = createGatedKv();
  const warnings: unknown[] = [];
  await using store = await openEventStoreOn(gate.kv, { ...eager, onError: (error) => warnings.push(error) });
  await store.pauseProcessor(name);
  await appendSingly(store, 300);
  gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
  expect(await errorOf(store.compact())).toMatchObject({ code: "storage-unavailable", outcome: "not-applied" });
  gate.failNextScan(new StorageUnavailableError("simulated"));
  await store.resumeProcessor(name);
  await until(() => infoOf(store)?.lastError !== undefined);
  expect(infoOf(store)).toMatchObject({ health: "stuck", lastError: { message: "simulated", attempts: 1 } });
  await until(() => infoOf(store)?.lagEvents === 0);
  expect(infoOf(store)).toMatchObject({ health: "ok", lastError: undefined, position: 300 });
  expect(warnings).toEqual([]);
});

test("Damaged pages are told of and left alone, and the rest is looked after", async () => {
  const storage = createMemoryStorage();
  const warnings: Error[] = [];
  const options = { ...off, onError: (error: unknown) => warnings.push(error as Error) };
  const { store, core } = await openWithCore(openMemoryKv(storage), options);
  await appendSingly(store, 600);
  const damage = async (span: { start: Buffer; end: Buffer }): Promise<void> => {
    const cursor = await core.rows.scan(span, "lookup");
    const [row] = await cursor.next(1);
    cursor.close();
    const key = Buffer.from(row?.key ?? []).toString("latin1");
    const value = Buffer.from(row?.value ?? []);
    value[value.length - 1] = (value.at(-1) ?? 0) ^ 1;
    storage.rows = storage.rows.clone();
    storage.rows.set(key, value);
  };
  await damage(globalPageSpan(300));
  await damage(streamPageSpan("long-1", 200));
  const report = await store.compact();
  expect(report).toMatchObject({ toPosition: 600, logPagesMerged: 599 });
  expect(warnings.map((warning) => Reflect.get(warning, "code"))).toEqual(["storage-corrupt", "storage-corrupt"]);
  expect((await collect(store.readAll({ fromPosition: 301 }))).length).toBe(300);
  expect(await errorOf(collect(store.readAll()))).toMatchObject({ code: "storage-corrupt" });
  expect((await collect(store.readStream("small-0"))).length).toBeGreaterThan(50);
  await store.close();
});

test("Progress that is damaged costs a walk over the log, and nothing else", async () => {
  const storage = createMemoryStorage();
  const first = await openEventStoreOn(openMemoryKv(storage), off);
  await appendSingly(first, 400);
  await first.compact();
  const before = await answersOf(first);
  await first.close();
  const key = compactionKey("progress").toString("latin1");
  expect(storage.rows.has(key)).toBe(true);
  storage.rows = storage.rows.clone();
  storage.rows.set(key, Buffer.from("nonsense"));
  const warnings: unknown[] = [];
  await using second = await openEventStoreOn(openMemoryKv(storage), { ...off, onError: (e) => warnings.push(e) });
  expect(await second.compact()).toMatchObject({ fromPosition: 1, toPosition: 400, logPagesMerged: 0 });
  expect(warnings.length).toBe(1);
  expect(await answersOf(second)).toEqual(before);
});
