/** Verifying finds whatever is not as it was, names it, and goes on behind it; and finds nothing where nothing is wrong. */

import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ChainLink, encodeChainLink, firstLink } from "../../src/format/chain.ts";
import { type DropReason, decodeDroppedSegment, encodeDroppedSegment } from "../../src/format/dropped.ts";
import {
  chainLinkKey,
  droppedDigestsKey,
  droppedRunsKey,
  logEndKey,
  streamHeadKey,
  streamNameOfHeadKey,
} from "../../src/format/key-families.ts";
import { decodeGlobalPage } from "../../src/format/pages.ts";
import { decodeLogEnd, encodeLogEnd } from "../../src/format/records.ts";
import { decodeStreamHead, encodeStreamHead } from "../../src/format/stream-head.ts";
import type { EventStore, RecordedEvent } from "../../src/index.ts";
import type { KeyValueStore, KvRow } from "../../src/kv/kv.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import fixture from "../fixtures/store-1.json";
import { collect, errorOf } from "../support/collect.ts";
import { dropPositions, range } from "../support/dropping.ts";
import { altered, edited, eventsIn, families, flipped, rowsOf, rowWith, setRow } from "../support/tampering.ts";

setDefaultTimeout(60_000);

let storage: MemoryStorage;
let kv: KeyValueStore;
let store: EventStore;

/** Commits over a few streams, some of which outgrow their heads: `events` of them. */
async function fill(target: EventStore, events: number, streams = 13): Promise<void> {
  for (let next = 0; next < events; ) {
    const size = Math.min(events - next, 1 + ((next * 7) % 40));
    const named = Map.groupBy(range(next, next + size - 1), (n) => `cart-${(n * n) % streams}`);
    await target.commit({
      appends: [...named].map(([streamName, numbers]) => ({
        streamName,
        events: numbers.map((n) => ({ type: "Added", data: { n, text: "x".repeat(n % 60) } })),
        expectedVersion: "any" as const,
      })),
    });
    next += size;
  }
}

async function reopen(): Promise<void> {
  kv = openMemoryKv(storage);
  store = await openEventStoreOn(kv, {});
}

beforeEach(async () => {
  storage = createMemoryStorage();
  await reopen();
});

describe("A store as it was written", () => {
  test("holds, empty or not, and counts what was looked at", async () => {
    expect(await store.verify()).toMatchObject({
      holds: true,
      fromPosition: 1,
      toPosition: 0,
      events: 0,
      chainedFrom: 1,
    });
    await fill(store, 11_000);
    const report = await store.verify();
    expect(report).toMatchObject({ holds: true, events: 11_000, dropped: 0, links: 11, chainedFrom: 1, breaks: [] });
    expect(report.streams).toBe((await collect(store.listStreams())).length);
    expect(report.head).toEqual(store.chainHead());
    const part = await store.verify({ fromPosition: 2_000, toPosition: 2_100 });
    expect(part).toMatchObject({ holds: true, fromPosition: 1_025, toPosition: 3_072, events: 2_048 });
  });

  test("has the head that another implementation comes to, group by group and over restarts", async () => {
    await fill(store, 700);
    await store.close();
    await reopen();
    await fill(store, 900);
    const link = new ChainLink(firstLink(1));
    for (const row of await rowsOf(kv, families.log)) for (const event of decodeGlobalPage(row)) link.add(event);
    expect(store.chainHead()?.link).toBe(link.value().toString("hex"));
    expect(store.chainHead()?.position).toBe(1_600);
  });

  test("holds while it is appended to", async () => {
    await fill(store, 9_500);
    const writing = fill(store, 4_000);
    const reports = await Promise.all([store.verify(), store.verify({ fromPosition: 9_000 }), store.verify()]);
    await writing;
    expect(reports.map(({ holds }) => holds)).toEqual([true, true, true]);
    expect(await store.verify()).toMatchObject({ holds: true, events: 13_500 });
  });

  test("tells how far it is, and ends by its signal", async () => {
    await fill(store, 10_000);
    const phases = new Map<string, number>();
    await store.verify({ onProgress: ({ phase, events }) => phases.set(phase, events) });
    expect(phases).toEqual(
      new Map([
        ["log", 10_000],
        ["streams", 10_000],
      ]),
    );
    const controller = new AbortController();
    const verifying = store.verify({
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    expect(verifying).rejects.toThrow("enough");
    await verifying.catch(() => {});
    await store.close();
    expect((await errorOf(store.verify())).code).toBe("store-closed");
  });

  test("refuses options that make no sense", async () => {
    const wrong = [
      { fromPosition: 0 },
      { toPosition: -1 },
      { against: "1024" },
      { against: `1:${"0".repeat(63)}` },
      { against: { position: 1.5, link: "0".repeat(64) } },
      { onProgress: 1 },
      { deep: true },
    ];
    for (const options of wrong) expect((await errorOf(store.verify(options as object))).code).toBe("invalid-argument");
    await fill(store, 3_000);
    const against = store.chainHead()?.text ?? "";
    expect((await errorOf(store.verify({ toPosition: 1_000, against }))).code).toBe("invalid-argument");
    // A range with nothing in it would hold whatever there is.
    for (const empty of [{ fromPosition: 3_001 }, { fromPosition: 30, toPosition: 2 }])
      expect((await errorOf(store.verify(empty))).code).toBe("invalid-argument");
  });
});

describe("A head that was kept elsewhere", () => {
  test("is led to, whatever came after it", async () => {
    const heads: string[] = [store.chainHead()?.text ?? ""];
    for (const events of [1, 500, 1_024, 3_000, 1]) {
      await fill(store, events);
      heads.push(store.chainHead()?.text ?? "");
    }
    for (const against of heads) expect(await store.verify({ against })).toMatchObject({ holds: true });
  });

  test("is not led to by a store that was rolled back, or is another one", async () => {
    await fill(store, 1_500);
    const before = storage.rows.clone();
    await fill(store, 100);
    const kept = store.chainHead()?.text ?? "";
    await store.close();
    storage.rows = before;
    await reopen();
    expect(await store.verify()).toMatchObject({ holds: true });
    const shorter = await store.verify({ against: kept });
    expect(shorter.breaks[0]).toMatchObject({ kind: "head", fromPosition: 1_600 });
    await fill(store, 101);
    const other = await store.verify({ against: kept });
    expect(other.breaks).toMatchObject([{ kind: "head", fromPosition: 1_600, toPosition: 1_600 }]);
    expect(other.breaks[0]?.reason).toContain("not those");
  });
});

describe("A store that is older than the chain", () => {
  test("is chained from where this version first wrote it", async () => {
    for (const [key, value] of fixture.rows) {
      setRow(storage, Buffer.from(key ?? "", "hex"), Buffer.from(value ?? "", "hex"));
    }
    const old = fixture.events.length;
    await reopen();
    expect(store.chainHead()).toMatchObject({ position: old, chainedFrom: old + 1 });
    const against = store.chainHead()?.text ?? "";
    expect(await store.verify({ against })).toMatchObject({ holds: true, chainedFrom: old + 1, events: old, links: 0 });
    await fill(store, 3_000);
    await store.close();
    await reopen();
    expect(await store.verify({ against })).toMatchObject({ holds: true, chainedFrom: old + 1, events: old + 3_000 });
    expect((await store.verify({ fromPosition: old + 1, toPosition: old + 1 })).fromPosition).toBe(old + 1);
    // What is older than the chain has a copy in its stream at least.
    const row = await rowWith(kv, families.log, 3);
    const forged = edited(row, (events) => events.map((one) => (one.position === 3 ? altered(one) : one)));
    setRow(storage, row.key, forged?.value);
    expect((await store.verify()).breaks).toMatchObject([{ kind: "altered", fromPosition: 3, toPosition: 3 }]);
    const early = { position: 2, link: "0".repeat(64) };
    expect((await store.verify({ against: early })).breaks.map(({ kind }) => kind)).toContain("head");
  });
});

describe("What is not as it was", () => {
  const position = 4_321;
  let event: RecordedEvent | undefined;

  beforeEach(async () => {
    await fill(store, 10_500);
    [event] = await collect(store.readAll({ fromPosition: position, limit: 1 }));
  });

  test("an event that was edited in the log is named, with its row", async () => {
    const row = await rowWith(kv, families.log, position);
    const forged = edited(row, (events) => events.map((one) => (one.position === position ? altered(one) : one)));
    setRow(storage, row.key, forged?.value);
    const report = await store.verify();
    expect(report.breaks).toMatchObject([
      {
        kind: "altered",
        fromPosition: position,
        toPosition: position,
        streamName: event?.streamName ?? "",
        version: event?.version ?? 0,
        row: Buffer.from(row.key).toString("hex"),
      },
      { kind: "chain", fromPosition: 4_097, toPosition: 5_120 },
    ]);
    expect(report.breaks[0]?.reason).toContain("does not hold");
    expect((await store.verify({ fromPosition: 4_000, toPosition: 5_000 })).breaks).toEqual(report.breaks);
    expect(await store.verify({ fromPosition: 6_000 })).toMatchObject({ holds: true });
  });

  test("an event that was edited in its stream is named, with its row", async () => {
    const family = await rowWith(kv, families.streamPages, position).then(
      () => families.streamPages,
      () => families.heads,
    );
    const row = await rowWith(kv, family, position);
    const forged = edited(row, (events) => events.map((one) => (one.position === position ? altered(one) : one)));
    setRow(storage, row.key, forged?.value);
    const { breaks } = await store.verify();
    expect(breaks).toMatchObject([
      { kind: "altered", fromPosition: position, row: Buffer.from(row.key).toString("hex") },
    ]);
    expect(breaks[0]?.reason).toContain("chain holds");
  });

  test("an event that was edited in both is known by the chain, to a thousand positions", async () => {
    for (const family of [families.log, families.streamPages, families.heads]) {
      for (const row of await rowsOf(kv, family)) {
        const forged = edited(row, (events) => events.map((one) => (one.position === position ? altered(one) : one)));
        setRow(storage, row.key, forged?.value);
      }
    }
    expect((await store.verify()).breaks).toMatchObject([{ kind: "chain", fromPosition: 4_097, toPosition: 5_120 }]);
  });

  test("events that changed places are named", async () => {
    const row = await rowWith(kv, families.log, position);
    const forged = edited(row, (events) => {
      const [one, other] = [events[0], events[1]];
      if (one === undefined || other === undefined) throw new Error("The page is too small");
      const swapped = [
        { ...one, bytes: other.bytes },
        { ...other, bytes: one.bytes },
      ];
      return [...swapped, ...events.slice(2)];
    });
    setRow(storage, row.key, forged?.value);
    const { breaks } = await store.verify();
    expect(breaks.map(({ kind }) => kind)).toEqual(["altered", "altered", "chain"]);
    expect((breaks[1]?.fromPosition ?? 0) - (breaks[0]?.fromPosition ?? 0)).toBe(1);
  });

  test("an event that was removed from the log is missing", async () => {
    const row = await rowWith(kv, families.log, position);
    const forged = edited(row, (events) => events.filter((one) => one.position !== position));
    setRow(storage, row.key, undefined);
    if (forged !== undefined) setRow(storage, forged.key, forged.value);
    const report = await store.verify();
    expect(report.breaks[0]).toMatchObject({ kind: "missing", fromPosition: position, toPosition: position });
    expect(report.breaks).toHaveLength(1);
    // What is behind it is looked at all the same.
    expect(report.events).toBe(10_499);
    expect(report.links).toBe(10);
  });

  test("an event that was removed from its stream is named by its version", async () => {
    const [row] = await rowsOf(kv, families.streamPages);
    if (row === undefined) throw new Error("No stream has pages");
    let version = 0;
    const forged = edited(row, (events) => {
      version = events[2]?.version ?? 0;
      return events.filter((_, index) => index !== 2);
    });
    setRow(storage, row.key, forged?.value);
    const { breaks } = await store.verify();
    expect(breaks.some((one) => one.kind === "stream" && one.version === version)).toBe(true);
    expect(breaks.some((one) => one.kind === "altered" && one.version === version)).toBe(true);
  });

  test("a stream that shows more than the log has is named", async () => {
    const streamName = event?.streamName ?? "";
    const key = streamHeadKey(streamName);
    const head = decodeStreamHead(streamName, (await kv.get(key)) ?? new Uint8Array(0));
    const last = head.tail.at(-1) ?? { streamName, version: head.version, position: 3, bytes: Buffer.from("x") };
    const more = { ...last, version: head.version + 1, position: 10_499 };
    const forged = { ...head, version: head.version + 1, lastPosition: more.position, tail: [...head.tail, more] };
    setRow(storage, key, encodeStreamHead(forged));
    expect((await store.verify()).breaks).toMatchObject([
      { streamName, version: head.version + 1, fromPosition: 10_499 },
    ]);
    setRow(storage, key, encodeStreamHead({ ...forged, lastPosition: 99_999 }));
    expect((await store.verify()).breaks.map((one) => one.streamName)).toContain(streamName);
  });

  test("a head that is gone, and a stream that is not the log's, are named", async () => {
    const streamName = event?.streamName ?? "";
    setRow(storage, streamHeadKey(streamName), undefined);
    const report = await store.verify();
    expect(report.holds).toBe(false);
    expect(report.breaks.every((one) => one.streamName === streamName)).toBe(true);
  });

  test("a link that was replaced, damaged or removed is named", async () => {
    const key = chainLinkKey(4_096);
    const value = await kv.get(key);
    setRow(storage, key, encodeChainLink(4_096, Buffer.alloc(32, 7)).value);
    expect((await store.verify()).breaks).toMatchObject([
      { kind: "chain", fromPosition: 3_073, toPosition: 4_096 },
      { kind: "chain", fromPosition: 4_097, toPosition: 5_120 },
    ]);
    setRow(storage, key, flipped(value ?? new Uint8Array(0), 9));
    expect((await store.verify()).breaks).toMatchObject([
      { kind: "record", fromPosition: 4_096, row: key.toString("hex") },
    ]);
    setRow(storage, key, undefined);
    expect((await store.verify()).breaks).toMatchObject([
      { kind: "record", fromPosition: 4_096, row: key.toString("hex") },
    ]);
  });

  test("a store that was made anew up to its head is known by the head that was kept", async () => {
    const kept = store.chainHead()?.text ?? "";
    const other = createMemoryStorage();
    const forged = await openEventStoreOn(openMemoryKv(other), {});
    await fill(forged, 10_500, 12);
    expect(await forged.verify()).toMatchObject({ holds: true });
    expect((await forged.verify({ against: kept })).breaks).toMatchObject([{ kind: "head", fromPosition: 10_500 }]);
  });

  test("several places are all named, the first one first", async () => {
    const rows = await Promise.all([9_000, 2_000, 6_000].map((at) => rowWith(kv, families.log, at)));
    for (const row of rows) setRow(storage, row.key, flipped(row.value, 12));
    const { breaks } = await store.verify();
    expect(breaks.map(({ kind }) => kind)).toEqual(["unreadable", "unreadable", "unreadable"]);
    for (const [index, at] of [2_000, 6_000, 9_000].entries()) {
      expect(breaks[index]?.fromPosition).toBeLessThanOrEqual(at);
      expect(breaks[index]?.toPosition).toBeGreaterThanOrEqual(at);
      expect(breaks[index]?.row).toMatch(/^30/);
    }
  });
});

describe("Dropped events", () => {
  /** Takes the first versions of every third stream away, as retention does, and all of some. */
  async function retain(): Promise<ReadonlyMap<number, DropReason>> {
    const reasons = new Map<number, DropReason>();
    for (const [index, row] of (await rowsOf(kv, families.heads)).entries()) {
      if (index % 3 === 0)
        for (const position of await truncated(row, index % 2 === 0 ? 4 : 1_000)) reasons.set(position, "truncated");
    }
    await store.close();
    await dropPositions(openMemoryKv(storage), reasons);
    await reopen();
    return reasons;
  }

  /** The positions of a stream's events before a version, which it shows no more. */
  async function truncated(row: KvRow, beforeVersion: number): Promise<readonly number[]> {
    const head = decodeStreamHead(streamNameOfHeadKey(row.key), row.value);
    const truncatedBefore = Math.min(beforeVersion, head.version + 1);
    const events = await collect(store.readStream(head.streamName, { limit: truncatedBefore - 1 || 1 }));
    const tail = head.tail.filter(({ version }) => version >= truncatedBefore);
    setRow(storage, row.key, encodeStreamHead({ ...head, truncatedBefore, tail }));
    return events.filter(({ version }) => version < truncatedBefore).map((event) => event.position);
  }

  test("are vouched for by their digests", async () => {
    await fill(store, 9_500, 2_000);
    const kept = store.chainHead()?.text ?? "";
    const reasons = await retain();
    expect(reasons.size).toBeGreaterThan(1_000);
    const whole = await store.verify({ against: kept });
    expect(whole).toMatchObject({ breaks: [], dropped: reasons.size, events: 9_500 - reasons.size, holds: true });
    await fill(store, 3_000);
    expect(await store.verify({ against: kept })).toMatchObject({ breaks: [], events: 12_500 - reasons.size });
  });

  test("are missed where their record is gone, and a digest that was changed is known", async () => {
    await fill(store, 9_500, 2_000);
    await retain();
    const segment = 3;
    const runsKey = droppedRunsKey(segment);
    const digestsKey = droppedDigestsKey(segment);
    const runsRow = { key: runsKey, value: (await kv.get(runsKey)) ?? new Uint8Array(0) };
    const digestsRow = { key: digestsKey, value: (await kv.get(digestsKey)) ?? new Uint8Array(0) };
    const record = decodeDroppedSegment(runsRow, digestsRow);
    const [, forged] = encodeDroppedSegment({ ...record, digests: flipped(record.digests, 100) });
    setRow(storage, digestsKey, forged.value);
    expect((await store.verify()).breaks).toMatchObject([{ kind: "chain", fromPosition: 3_073, toPosition: 4_096 }]);
    setRow(storage, digestsKey, flipped(digestsRow.value, 100));
    const damaged = await store.verify();
    expect(damaged.breaks[0]).toMatchObject({ kind: "record", row: runsKey.toString("hex") });
    const first = record.runs[0]?.fromPosition ?? 0;
    expect(damaged.breaks[1]).toMatchObject({ kind: "missing", fromPosition: first });
    setRow(storage, digestsKey, undefined);
    setRow(storage, runsKey, undefined);
    const lost = await store.verify();
    expect(lost.breaks[0]).toMatchObject({ kind: "missing", fromPosition: first });
    expect(lost.breaks.every(({ kind }) => kind === "missing")).toBe(true);
  });
});

describe("By chance", () => {
  test("every flipped bit and every removed row is found, in whatever row it is", async () => {
    await fill(store, 1_300, 60);
    const rows = await Promise.all([0x10, 0x20, 0x30, 0x31].map((family) => rowsOf(kv, family)));
    const all = rows.flat();
    expect(rows.every((some) => some.length > 0)).toBe(true);
    const places = fc.record({
      row: fc.nat(all.length - 1),
      at: fc.nat(),
      bit: fc.nat(7),
      whole: fc.integer({ min: 0, max: 9 }).map((chance) => chance === 0),
    });
    await fc.assert(
      fc.asyncProperty(places, async ({ row: index, at, bit, whole }) => {
        const row = all[index];
        if (row === undefined) throw new Error("There is no such row");
        setRow(storage, row.key, whole ? undefined : flipped(row.value, at % row.value.length, 1 << bit));
        const { holds } = await store.verify();
        setRow(storage, row.key, row.value);
        expect(holds).toBe(false);
      }),
      { numRuns: 120 },
    );
    expect(await store.verify()).toMatchObject({ holds: true });
  });

  test("whatever is done to one event, checksums made right again, is found at that event", async () => {
    const forgeries = fc.record({
      events: fc.integer({ min: 2, max: 1_400 }),
      at: fc.nat(),
      family: fc.constantFrom(families.log, families.streamPages, families.heads),
      how: fc.constantFrom("alter", "remove", "renumber", "swap"),
    });
    await fc.assert(
      fc.asyncProperty(forgeries, async ({ events: count, at, family, how }) => {
        storage = createMemoryStorage();
        await reopen();
        await fill(store, count, 7);
        const rows = (await rowsOf(kv, family)).filter((row) => eventsIn(row).length > 1);
        const row = rows[at % Math.max(1, rows.length)];
        if (row === undefined) return;
        // The versions of a head's events follow from its own.
        fc.pre(family !== families.heads || how !== "renumber");
        const forged = edited(row, (events) => forge(events, at % (events.length - 1), how));
        setRow(storage, row.key, undefined);
        if (forged !== undefined) setRow(storage, forged.key, forged.value);
        const report = await store.verify();
        expect(report.holds).toBe(false);
        expect(report.breaks.length).toBeGreaterThan(0);
      }),
      { numRuns: 60 },
    );
  });
});

function forge<T extends { readonly version: number; readonly bytes: Buffer }>(
  events: readonly T[],
  at: number,
  how: "alter" | "remove" | "renumber" | "swap",
): readonly T[] {
  const [one, next] = [events[at], events[at + 1]];
  if (one === undefined || next === undefined) throw new Error("There is no such event");
  switch (how) {
    case "alter":
      return events.map((event) =>
        event === one ? { ...one, bytes: flipped(one.bytes, one.bytes.length - 2, 4) } : event,
      );
    case "remove":
      return events.filter((event) => event !== one);
    case "renumber":
      return events.map((event) => (event === one ? { ...one, version: one.version + 1_000_000 } : event));
    case "swap":
      return events.map((event) => {
        if (event === one) return { ...one, bytes: flipped(next.bytes, next.bytes.length - 1, 64) };
        return event === next ? { ...next, bytes: one.bytes } : event;
      });
  }
}

test("An end of the log that does not fit its chain is not opened", async () => {
  await fill(store, 100);
  await store.close();
  const end = decodeLogEnd((await openMemoryKv(storage).get(logEndKey)) ?? new Uint8Array(0));
  setRow(storage, logEndKey, encodeLogEnd({ ...end, lastPosition: 99 }));
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).code).toBe("storage-corrupt");
});
