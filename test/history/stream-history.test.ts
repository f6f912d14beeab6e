/** `history`, `diff` and `blame` of streams: against plain folds, on each storage, and through a replica. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import * as v from "valibot";
import {
  defineEvents,
  type EventStore,
  event,
  type HistoryEntry,
  openEventStore,
  openEventStoreReader,
  split,
} from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { backends, temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";
import { defineShow, foldShow, type ShowEvents, show } from "../support/show.ts";
import { applyChanges } from "../support/state-values.ts";

setDefaultTimeout(60_000);

const shows = defineShow({ snapshots: { version: 1, everyEvents: 40 } });

type Seen = { readonly type: "SeatReserved" | "SeatReleased" | "ShowClosed"; readonly data: never };

const reserved = (seat: number, by: string): Seen => ({ type: "SeatReserved", data: { seat, by } as never });
const released = (seat: number): Seen => ({ type: "SeatReleased", data: { seat } as never });

async function withShow(store: EventStore<ShowEvents>, events: readonly Seen[]): Promise<void> {
  for (const [index, one] of events.entries())
    await store.append("show-1", [{ ...one, metadata: { actor: `actor-${index + 1}` } }], { expectedVersion: index });
}

/** What must hold of any history: states follow one another, and the changes lead from the one to the next. */
function checkEntries(entries: readonly HistoryEntry<{ version: number }, unknown>[]): void {
  for (const [index, { before, after, changes, changesOmitted }] of entries.entries()) {
    expect(changesOmitted).toBe(0);
    expect(isDeepStrictEqual(applyChanges(before, changes), after)).toBe(true);
    if (index > 0) expect(before).toEqual(entries[index - 1]?.after);
  }
}

for (const backend of backends) {
  describe(`The history of a stream, ${backend.name}`, () => {
    test("says who, when and what, and what it changed, in either direction and in parts", async () => {
      await using storage = await backend.create();
      await using store = await openEventStoreOn(await storage.open(), { events: [show] });
      const events = [reserved(1, "ann"), reserved(2, "bob"), released(1), reserved(1, "cem")];
      await withShow(store, events);
      const entries = await collect(store.history("show-1", { decider: shows }));
      checkEntries(entries);
      expect(entries.map(({ event, actor, changes }) => [event.version, event.type, actor, changes])).toEqual([
        [1, "SeatReserved", "actor-1", [{ kind: "added", path: "/seats/1", after: "ann" }]],
        [2, "SeatReserved", "actor-2", [{ kind: "added", path: "/seats/2", after: "bob" }]],
        [3, "SeatReleased", "actor-3", [{ kind: "removed", path: "/seats/1", before: "ann" }]],
        [4, "SeatReserved", "actor-4", [{ kind: "added", path: "/seats/1", after: "cem" }]],
      ]);
      expect(entries[0]?.before).toEqual({ seats: {}, closed: false });
      expect(entries.every(({ event, correlationId }) => correlationId === event.id)).toBe(true);
      const backwards = await collect(store.history("show-1", { decider: shows, direction: "backwards" }));
      expect(backwards).toEqual(entries.toReversed());
      const some = await collect(store.history("show-1", { decider: shows, fromVersion: 2, limit: 2 }));
      expect(some).toEqual(entries.slice(1, 3));
      const back = await collect(
        store.history("show-1", { decider: shows, fromVersion: 3, limit: 2, direction: "backwards" }),
      );
      expect(back).toEqual([entries[2], entries[1]] as typeof back);
      const then = await collect(store.asOf(2).history("show-1", { decider: shows }));
      expect(then).toEqual(entries.slice(0, 2));
      const few = await collect(store.history("show-1", { decider: shows, changesMax: 0 }));
      expect(few.map(({ changes, changesOmitted }) => [changes, changesOmitted])).toEqual(few.map(() => [[], 1]));
    });

    test("tells of differences between versions, and of who set what", async () => {
      await using storage = await backend.create();
      await using store = await openEventStoreOn(await storage.open(), { events: [show] });
      await withShow(store, [reserved(1, "ann"), reserved(2, "bob"), released(1), reserved(1, "cem")]);
      const diff = await store.diff("show-1", { fromVersion: 2, toVersion: 4, decider: shows });
      expect(diff).toEqual({
        streamName: "show-1",
        fromVersion: 2,
        toVersion: 4,
        before: { seats: { 1: "ann", 2: "bob" }, closed: false },
        after: { seats: { 1: "cem", 2: "bob" }, closed: false },
        changes: [{ kind: "changed", path: "/seats/1", before: "ann", after: "cem" }],
        changesOmitted: 0,
      });
      expect((await store.diff("show-1", { decider: shows }))?.changes).toHaveLength(2);
      expect((await store.diff("show-1", { fromVersion: 3, toVersion: 3 }))?.changes).toEqual([]);
      const blame = await store.blame("show-1", { decider: shows });
      expect(blame?.version).toBe(4);
      expect(blame?.lines.map(({ path, value, event }) => [path, value, event?.version, event?.type])).toEqual([
        ["/seats/1", "cem", 4, "SeatReserved"],
        ["/seats/2", "bob", 2, "SeatReserved"],
        ["/closed", false, undefined, undefined],
      ]);
      const earlier = await store.blame("show-1", { decider: shows, toVersion: 2, linesMax: 1 });
      expect(earlier?.lines.map(({ value, event }) => [value, event?.version])).toEqual([["ann", 1]]);
      expect(earlier?.linesOmitted).toBe(2);
    });
  });
}

describe("The history of a long stream", () => {
  test("is the same backwards, over many stretches, with snapshots and without, as a plain fold", async () => {
    const step = fc.record({ seat: fc.integer({ min: 1, max: 9 }), by: fc.constantFrom("ann", "bob") });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 900 }),
        fc.integer({ min: 1, max: 900 }),
        fc.integer({ min: 1, max: 600 }),
        async (steps, from, limit) => {
          await using store = await openEventStoreOn(openMemoryKv(), { events: [show] });
          const events = steps.map(({ seat, by }, index) => (index % 3 === 2 ? released(seat) : reserved(seat, by)));
          await store.append("show-1", events, { expectedVersion: "no-stream" });
          if (from % 2 === 0) await store.snapshot(shows, "1");
          const expected = events.map((one, index) => ({
            version: index + 1,
            type: one.type,
            before: foldShow(events.slice(0, index)),
            after: foldShow(events.slice(0, index + 1)),
          }));
          const told = async (options: object): Promise<unknown[]> =>
            (await collect(store.history("show-1", { decider: shows, ...options }))).map(
              ({ event, before, after }) => ({ version: event.version, type: event.type, before, after }),
            );
          const start = Math.min(from, events.length);
          expect(await told({ fromVersion: start, limit })).toEqual(expected.slice(start - 1, start - 1 + limit));
          const down = expected.slice(0, start).toReversed();
          expect(await told({ direction: "backwards", fromVersion: start, limit })).toEqual(down.slice(0, limit));
          expect(await told({ direction: "backwards" })).toEqual(expected.toReversed());
          const diff = await store.diff("show-1", { decider: shows, fromVersion: start - 1, toVersion: start });
          expect([diff?.before, diff?.after]).toEqual([expected[start - 1]?.before, expected[start - 1]?.after]);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe("Without a decider", () => {
  test("a state is the data of the events merged", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const data = [{ a: 1, b: { c: 1 } }, { b: { c: 1 }, d: 2n }, ["no", "object"], { a: 2 }];
    for (const one of data) await store.append("any-1", [{ type: "T", data: one }], { expectedVersion: "any" });
    const entries = await collect(store.history("any-1"));
    checkEntries(entries);
    expect(entries.map(({ changes }) => changes.map(({ kind, path }) => `${kind} ${path}`))).toEqual([
      ["added /a", "added /b"],
      ["added /d"],
      [],
      ["changed /a"],
    ]);
    expect(entries.at(-1)?.after).toEqual({ a: 2, b: { c: 1 }, d: 2n });
    const blame = await store.blame("any-1");
    expect(blame?.lines.map(({ path, event }) => [path, event?.version])).toEqual([
      ["/a", 4],
      ["/b/c", 1],
      ["/d", 2],
    ]);
  });

  test("an entry stands for each part of a split event, and a limit tears none apart", async () => {
    const before = defineEvents("cart", { Filled: event({ schema: v.object({ skus: v.array(v.string()) }) }) });
    const now = defineEvents("cart", {
      Filled: event({
        version: 2,
        schema: v.object({}),
        splitsInto: ["Added"],
        upcast: { 1: (old) => split(old.skus.map((sku: string) => ({ type: "Added", data: { [sku]: true } }))) },
      }),
      Added: event({ schema: v.record(v.string(), v.boolean()) }),
    });
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}/cart`;
    await using written = await openEventStore({ url, events: [before] });
    for (const skus of [["a", "b"], [], ["c", "d", "e"]])
      await written.append("cart-1", [{ type: "Filled", data: { skus } }], { expectedVersion: "any" });
    await written.close();
    await using store = await openEventStore({ url, events: [now] });
    const told = async (options: object): Promise<string[]> =>
      (await collect(store.history("cart-1", options))).map(
        ({ event, changes }) => `${event.version}${changes[0]?.path}`,
      );
    expect(await told({})).toEqual(["1/a", "1/b", "3/c", "3/d", "3/e"]);
    expect(await told({ limit: 1 })).toEqual(["1/a", "1/b"]);
    expect(await told({ limit: 1, direction: "backwards" })).toEqual(["3/e", "3/d", "3/c"]);
    expect(await told({ fromVersion: 2 })).toEqual(["3/c", "3/d", "3/e"]);
  });
});

describe("Why an event came about", () => {
  test("is told by the chain of causes across streams, as far as it was asked for", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const one = (type: string, id: string, causationId?: string) => ({
      type,
      id,
      data: {},
      metadata: causationId === undefined ? {} : { causationId, correlationId: "c-1" },
    });
    await store.append("order-1", [one("Placed", "p")], { expectedVersion: "any" });
    for (let n = 0; n < 700; n += 1) await store.append("noise-1", [one("Noise", `n${n}`)], { expectedVersion: "any" });
    await store.append("bill-1", [one("Billed", "b", "p")], { expectedVersion: "any" });
    await store.append("mail-1", [one("Mailed", "m", "b"), one("Asked", "q", "a command")], { expectedVersion: "any" });
    const causesOf = async (options: object): Promise<unknown> =>
      (await collect(store.history("mail-1", options))).map(({ causes, correlationId }) => [
        correlationId,
        ...causes.map(({ id, event }) => `${id}:${event?.streamName} ${event?.type}`),
      ]);
    expect(await causesOf({})).toEqual([
      ["c-1", "b:bill-1 Billed", "p:order-1 Placed"],
      ["c-1", "a command:undefined undefined"],
    ]);
    expect(await causesOf({ causesMax: 1, limit: 1 })).toEqual([["c-1", "b:bill-1 Billed"]]);
    expect(await causesOf({ causesMax: 0, limit: 1 })).toEqual([["c-1"]]);
  });

  test("is found by the time in an id of ours, however far back it lies", async () => {
    await using store = await openEventStore({ url: "memory:" });
    await store.append("order-1", [{ type: "Placed", data: {} }], { expectedVersion: "any" });
    const [placed] = await collect(store.readStream("order-1"));
    const noise = Array.from({ length: 5_000 }, (_, n) => ({ type: "Noise", data: { n } }));
    for (let n = 0; n < 4; n += 1) await store.append("noise-1", noise, { expectedVersion: "any" });
    const metadata = { causationId: placed?.id ?? "" };
    await store.append("bill-1", [{ type: "Billed", data: {}, metadata }], { expectedVersion: "any" });
    const [entry] = await collect(store.history("bill-1"));
    expect(entry?.causes.map(({ event }) => event?.type)).toEqual(["Placed"]);
  });
});

describe("Causes", () => {
  test("are those of a plain search, whatever points to what, in either direction", async () => {
    const cause = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.constantFrom("request" as const, "none" as const));
    const step = fc.record({ stream: fc.nat(2), own: fc.boolean(), noise: fc.constantFrom(0, 0, 0, 300, 700), cause });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), fc.nat(4), async (steps, causesMax) => {
        await using store = await openEventStoreOn(openMemoryKv(), {});
        const events: { id: string; causationId: string | undefined }[] = [];
        for (const [index, { stream, own, noise, cause: given }] of steps.entries()) {
          const some = Array.from({ length: noise }, (_, n) => ({ type: "Noise", data: n }));
          if (noise > 0) await store.append("noise-1", some, { expectedVersion: "any" });
          const earlier = typeof given === "number" ? events.at(-given)?.id : undefined;
          const causationId = given === "request" ? Bun.randomUUIDv7() : earlier;
          const id = own ? { id: `own ${index}` } : {};
          const one = { type: "T", data: index, ...id, metadata: causationId === undefined ? {} : { causationId } };
          await store.append(`s-${stream}`, [one], { expectedVersion: "any" });
          const [last] = await collect(store.readStream(`s-${stream}`, { direction: "backwards", limit: 1 }));
          events.push({ id: last?.id ?? "", causationId });
        }
        const chainOf = (id: string): string[] => {
          const chain: string[] = [];
          for (let at = events.find((one) => one.id === id); chain.length < causesMax; ) {
            if (at?.causationId === undefined) break;
            const { causationId } = at;
            at = events.find((one) => one.id === causationId);
            chain.push(`${causationId} ${at !== undefined}`);
          }
          return chain;
        };
        for (const stream of ["s-0", "s-1", "s-2"])
          for (const direction of ["forwards", "backwards"] as const)
            for (const { event, causes } of await collect(store.history(stream, { causesMax, direction })))
              expect(causes.map((one) => `${one.id} ${one.event?.id === one.id}`)).toEqual(chainOf(event.id));
      }),
      { numRuns: 40 },
    );
  });

  test("with ids that say no time are looked for in the nearest 16,384 positions", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const noise = Array.from({ length: 8_000 }, (_, n) => ({ type: "Noise", data: n }));
    for (const id of ["far", "near"]) {
      await store.append("order-1", [{ type: "Placed", data: {}, id }], { expectedVersion: "any" });
      await store.append("noise-1", noise, { expectedVersion: "any" });
    }
    await store.append("noise-1", noise.slice(0, 4_000), { expectedVersion: "any" });
    for (const causationId of ["far", "near"])
      await store.append("bill-1", [{ type: "Billed", data: {}, metadata: { causationId } }], {
        expectedVersion: "any",
      });
    const told = await collect(store.history("bill-1"));
    expect(told.map(({ causes }) => [causes[0]?.id, causes[0]?.event?.type])).toEqual([
      ["far", undefined],
      ["near", "Placed"],
    ]);
  });
});

describe("A replica", () => {
  test("tells the same history, states and documents as the writer", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}/show`;
    await using store = await openEventStore({ url, events: [show] });
    await withShow(store, [reserved(1, "ann"), reserved(2, "bob"), released(1)]);
    await store.snapshot(shows, "1");
    await using replica = await openEventStoreReader({ url, events: [show], pollIntervalMs: 50 });
    await replica.waitForPosition(3);
    expect(await replica.load(shows, "1")).toEqual(await store.load(shows, "1"));
    expect(await replica.asOf(2).load(shows, "1")).toEqual(await store.asOf(2).load(shows, "1"));
    const decider = shows;
    expect(await collect(replica.history("show-1", { decider }))).toEqual(
      await collect(store.history("show-1", { decider })),
    );
    expect(await replica.blame("show-1", { decider })).toEqual(await store.blame("show-1", { decider }));
    expect(await replica.diff("show-1", { decider, fromVersion: 1 })).toEqual(
      await store.diff("show-1", { decider, fromVersion: 1 }),
    );
    const [first] = await collect(replica.readStream("show-1"));
    expect((await replica.trace(first?.id ?? "")).events).toBe(1);
  });
});

describe("What is asked wrongly", () => {
  test("is refused, and what is not there is nothing", async () => {
    await using store = await openEventStore({ url: "memory:", events: [show] });
    await withShow(store, [reserved(1, "ann"), reserved(2, "bob")]);
    const decider = shows;
    expect(await collect(store.history("show-9", { decider }))).toEqual([]);
    expect(await collect(store.history("show-9", { decider, direction: "backwards" }))).toEqual([]);
    expect(await store.diff("show-9", { decider })).toBeUndefined();
    expect(await store.blame("show-9")).toBeUndefined();
    expect(await collect(store.history("show-1", { fromVersion: 3 }))).toEqual([]);
    const wrong: readonly (() => unknown)[] = [
      () => store.history("" as never),
      () => store.history("show-1", { fromVersion: 0 }),
      () => store.history("show-1", { limit: 0 }),
      () => store.history("show-1", { direction: "sideways" as never }),
      () => store.history("show-1", { changesMax: -1 }),
      () => store.history("show-1", { causesMax: 1.5 }),
      () => store.history("show-1", { depth: 1 } as never),
      () => store.history("show-1", { decider: {} as never }),
      () => store.history("cart-1" as never, { decider }),
      () => store.diff("show-1", { fromVersion: 2, toVersion: 1 }),
      () => store.diff("show-1", { toVersion: 3 }),
      () => store.diff("show-1", { fromVersion: 3 }),
      () => store.diff("show-1", { fromVersion: -1 }),
      () => store.diff("show-9", { fromVersion: 2, toVersion: 1 }),
      () => store.blame("show-1", { toVersion: 3 }),
      () => store.blame("show-1", { linesMax: -1 }),
      () => store.blame("cart-1" as never, { decider }),
    ];
    for (const [index, ask] of wrong.entries())
      expect({ index, code: (await errorOf(ask)).code }).toEqual({ index, code: "invalid-argument" });
  });

  test("ends with the signal's reason", async () => {
    await using store = await openEventStore({ url: "memory:", events: [show] });
    await withShow(store, [reserved(1, "ann")]);
    const signal = AbortSignal.abort(new Error("enough"));
    const asks: readonly (() => Promise<unknown>)[] = [
      () => collect(store.history("show-1", { signal })),
      () => store.diff("show-1", { signal }),
      () => store.blame("show-1", { signal }),
      () => store.trace("an id", { signal }),
    ];
    for (const ask of asks) expect(await Promise.try(ask).catch((error: Error) => error.message)).toBe("enough");
  });
});
