/** Snapshots: they spare reading, and change nothing else. */

import { expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { snapshotKey, snapshotSpan } from "../../src/format/key-families.ts";
import { defineDecider, StorageUnavailableError } from "../../src/index.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import type { OpenOptions } from "../../src/store/open-options.ts";
import { errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";
import { defineShow, show } from "../support/show.ts";

setDefaultTimeout(60_000);

const everyEvents = 10;
const shows = defineShow({ snapshots: { version: 1, everyEvents } });
const reserve = (seat: number) => ({ type: "Reserve", data: { seat, by: "ann" } }) as const;
const keyText = (version = 1, name = "show"): string => snapshotKey("show-1", name, version).toString("latin1");

const open = (storage: MemoryStorage, options: Omit<OpenOptions<typeof show>, "url"> = {}) =>
  openEventStoreOn(openMemoryKv(storage), { events: [show], ...options });

/** A store with `count` seats reserved in one stream, by commands. */
async function filled(count: number): Promise<MemoryStorage> {
  const storage = createMemoryStorage();
  await using store = await open(storage);
  for (let seat = 1; seat <= count; seat += 1) await store.execute(shows, "1", reserve(seat));
  return storage;
}

/** How many events are folded to load the stream anew. */
async function foldedToLoad(storage: MemoryStorage, decider = shows): Promise<number> {
  let folded = 0;
  const counting = defineDecider(decider.name, {
    events: show,
    commands: {},
    initialState: decider.initialState,
    evolve: {
      SeatReserved: (state, e) => {
        folded += 1;
        return decider.evolve.SeatReserved(state, e);
      },
      SeatReleased: (state) => state,
      ShowClosed: (state) => state,
    },
    decide: {},
    ...(decider.snapshots === undefined ? {} : { snapshots: decider.snapshots }),
  });
  await using store = await open(storage);
  expect(await store.load(counting, "1")).toEqual(await store.load(decider, "1"));
  return folded;
}

test("A snapshot is written behind a command that passes a multiple of everyEvents, and loads begin there", async () => {
  const storage = await filled(25);
  expect(storage.rows.has(keyText())).toBe(true);
  expect(await foldedToLoad(storage)).toBe(5);
  await using store = await open(storage);
  expect(await store.execute(shows, "1", reserve(26))).toMatchObject({ streamVersion: 26 });
});

test("Views of the past use a snapshot only where it is not beyond them", async () => {
  const storage = await filled(25);
  const warnings: unknown[] = [];
  await using store = await open(storage, { onError: (error) => warnings.push(error) });
  for (const position of [5, 19, 20, 22]) {
    const { state, version } = await store.asOf(position).load(shows, "1");
    expect([version, Object.keys(state.seats).length]).toEqual([position, position]);
  }
  expect(warnings).toEqual([]);
});

test("A snapshot is written when it is asked for, and a stream without events has none", async () => {
  const storage = createMemoryStorage();
  const manual = defineShow({ snapshots: { version: 3 } });
  await using store = await open(storage);
  expect(await store.snapshot(manual, "1")).toEqual({ streamName: "show-1", version: 0 });
  await store.execute(manual, "1", reserve(1));
  expect(storage.rows.has(keyText(3))).toBe(false);
  expect(await store.snapshot(manual, "1")).toEqual({ streamName: "show-1", version: 1 });
  expect(storage.rows.has(keyText(3))).toBe(true);
});

test("A decider whose snapshots have another version never meets an old state", async () => {
  const storage = await filled(25);
  const changed = defineShow({ snapshots: { version: 2 } });
  expect(await foldedToLoad(storage, changed)).toBe(25);
  const renamed = defineShow({ name: "other", snapshots: { version: 1 } });
  expect(await foldedToLoad(storage, renamed)).toBe(25);
});

test("A damaged snapshot is told and ignored", async () => {
  const storage = await filled(25);
  const good = storage.rows.get(keyText());
  for (const spoil of [(bytes: Buffer) => bytes.fill(7, 20, 24), (bytes: Buffer) => bytes.subarray(0, 3)]) {
    storage.rows.set(keyText(), spoil(Buffer.from(good ?? [])));
    const warnings: unknown[] = [];
    await using store = await open(storage, { onError: (error) => warnings.push(error) });
    expect(await store.load(shows, "1")).toMatchObject({ version: 25 });
    expect(warnings.map(String)).toEqual(['Error: A snapshot of "show-1" for "show" is ignored: it is damaged']);
  }
});

test("A snapshot beyond its stream is told and ignored", async () => {
  const storage = await filled(25);
  const fresh = await filled(3);
  fresh.rows.set(keyText(), storage.rows.get(keyText()) ?? new Uint8Array());
  const warnings: unknown[] = [];
  await using store = await open(fresh, { onError: (error) => warnings.push(error) });
  expect(await store.load(shows, "1")).toMatchObject({ version: 3 });
  expect(warnings.length).toBe(1);
});

test("A snapshot that does not satisfy the decider's schema is told and ignored", async () => {
  const storage = await filled(25);
  const schema = v.object({ seats: v.record(v.string(), v.string()), closed: v.literal(true) });
  const strict = defineShow({ snapshots: { version: 1, schema: schema as never } });
  const warnings: unknown[] = [];
  await using store = await open(storage, { onError: (error) => warnings.push(error) });
  expect(await store.load(strict, "1")).toMatchObject({ version: 25, state: { closed: false } });
  expect(String(warnings[0])).toMatch(/is ignored: state.closed: /);
  const lenient = defineShow({
    snapshots: {
      version: 1,
      schema: v.pipe(
        v.any(),
        v.transform((state) => ({ ...state, closed: true })),
      ),
    },
  });
  expect((await store.load(lenient, "1")).state.closed).toBe(true);
});

test("A snapshot that cannot be written harms no command", async () => {
  const gate = createGatedKv();
  const warnings: unknown[] = [];
  const store = await openEventStoreOn(gate.kv, { events: [show], onError: (error) => warnings.push(error) });
  await store.execute(shows, "1", reserve(1));
  await store.snapshot(shows, "1");
  for (let seat = 2; seat < everyEvents; seat += 1) await store.execute(shows, "1", reserve(seat));
  const executing = store.execute(shows, "1", reserve(everyEvents)).then((done) => {
    gate.failNext(new StorageUnavailableError("simulated", { outcome: "not-applied" }));
    return done;
  });
  expect((await executing).streamVersion).toBe(everyEvents);
  await until(() => warnings.length === 1);
  expect(await store.execute(shows, "1", reserve(50))).toMatchObject({ streamVersion: everyEvents + 1 });
  await store.close();
});

test("A state that cannot be stored is said so by path, and commands go on", async () => {
  class Money {}
  const odd = defineDecider("show", {
    events: show,
    commands: { Reserve: v.object({}) },
    initialState: (): object => ({ purse: new Money() }),
    evolve: { SeatReserved: (state) => ({ ...state }), SeatReleased: (state) => state, ShowClosed: (state) => state },
    decide: { Reserve: () => [{ type: "SeatReserved", data: { seat: 1, by: "ann" } }] },
    snapshots: { version: 1, everyEvents: 1 },
  });
  const warnings: unknown[] = [];
  const storage = createMemoryStorage();
  await using store = await open(storage, { onError: (error) => warnings.push(error) });
  await store.execute(odd, "1", { type: "Reserve", data: {} });
  await until(() => warnings.length === 1);
  const error = await errorOf(store.snapshot(odd, "1"));
  expect(error).toMatchObject({ code: "invalid-argument", argument: "state" });
  expect(error.message).toMatch(/state.purse must be plain data/);
  const span = snapshotSpan("show-1");
  expect(
    [...storage.rows.keys()].filter((key) => key >= span.start.toString("latin1") && key < span.end.toString("latin1")),
  ).toEqual([]);
});
