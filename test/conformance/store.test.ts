/** What a store promises, on every byte store it can stand on. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ConflictError, type EventStore, type NewEvent, type RecordedEvent } from "../../src/index.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { type Backend, backends } from "../support/backends.ts";
import { collect, errorOf, take } from "../support/collect.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";

setDefaultTimeout(60_000);

const placed = (total = 1, extra: Partial<NewEvent> = {}): NewEvent => ({ type: "Placed", data: { total }, ...extra });
const noStream = { expectedVersion: "no-stream" } as const;
const any = { expectedVersion: "any" } as const;

async function withStore(
  backend: Backend,
  work: (store: EventStore, reopen: () => Promise<EventStore>) => Promise<void>,
): Promise<void> {
  await using storage = await backend.create();
  const opened: EventStore[] = [];
  const open = async (): Promise<EventStore> => {
    const store = await openEventStoreOn(await storage.open(), {});
    opened.push(store);
    return store;
  };
  try {
    await work(await open(), open);
  } finally {
    for (const store of opened) await store.close();
  }
}

function versions(events: readonly RecordedEvent[]): number[] {
  return events.map((event) => event.version);
}

function positions(events: readonly RecordedEvent[]): number[] {
  return events.map((event) => event.position);
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

for (const backend of backends) testStore(backend);

describe.skipIf(!minioAvailable)("On a real server", () => {
  let minio: Minio | undefined;
  beforeAll(async () => {
    minio = await startMinio();
  });
  afterAll(() => minio?.[Symbol.asyncDispose]());

  testStore({
    name: "SlateDB on MinIO",
    reopens: true,
    create: async () => {
      if (minio === undefined) throw new Error("MinIO was not started");
      const { s3 } = minio;
      const bucket = await minio.createBucket();
      const location = { kind: "s3", url: `s3://${bucket}/store`, bucket, prefix: "store" } as const;
      return {
        open: () => openSlateKv({ location, s3, clock: systemClock }),
        [Symbol.asyncDispose]: async () => {},
      };
    },
  });
});

function testStore(backend: Backend): void {
  describe(`A store on ${backend.name}`, () => {
    test("gives back what was appended, with its place and its time", async () => {
      await withStore(backend, async (store) => {
        const before = Date.now();
        const occurredAt = new Date("2020-02-29T12:00:00Z");
        const id = "0197a1f0-0000-7000-8000-000000000001";
        const event = placed(7, { id, occurredAt, metadata: { actor: "kim", note: [1, null] }, tags: ["red", "blue"] });
        const result = await store.append("order-1", [event, placed(8)], noStream);
        expect(result).toEqual({ streamVersion: 2, position: 2, recordedAt: expect.any(Date), replayed: false });
        const [first, second] = await collect(store.readStream("order-1"));
        expect(first).toEqual({
          id,
          type: "Placed",
          schemaVersion: 1,
          streamName: "order-1",
          version: 1,
          position: 1,
          recordedAt: result.recordedAt,
          occurredAt,
          data: { total: 7 },
          metadata: { actor: "kim", note: [1, null] },
          tags: ["red", "blue"],
        });
        expect(second?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/);
        expect(second).not.toHaveProperty("occurredAt");
        expect(result.recordedAt.getTime()).toBeGreaterThanOrEqual(before);
      });
    });

    test("keeps every kind of data that an event may hold", async () => {
      await withStore(backend, async (store) => {
        const data = {
          text: 'Zoë 👍 \u0000 "quoted"',
          numbers: [0, -1, 1.5, 2 ** 53, 1e300, 5e-324],
          nothing: null,
          flags: [true, false],
          deep: { a: [{ b: {} }, []] },
          date: new Date("1999-12-31T23:59:59.999Z"),
          big: [0n, -1n, 2n ** 63n, -(2n ** 200n)],
          bytes: new Uint8Array([0, 255, 1]),
          map: new Map<unknown, unknown>([
            ["k", { v: 1 }],
            [2, "two"],
          ]),
          set: new Set([1, "a"]),
        };
        await store.append(
          "order-1",
          [
            { type: "Placed", data },
            { type: "Placed", data: "just text" },
            { type: "Placed", data: null },
          ],
          noStream,
        );
        const events = await collect(store.readStream("order-1"));
        expect(events[0]?.data).toEqual(data);
        expect(events[1]?.data).toBe("just text");
        expect(events[2]?.data).toBeNull();
      });
    });

    test("is not affected by what the caller does with the event afterwards", async () => {
      await withStore(backend, async (store) => {
        const data = { total: 1 };
        const appending = store.append("order-1", [{ type: "Placed", data }], noStream);
        data.total = 999;
        await appending;
        expect((await collect(store.readStream("order-1")))[0]?.data).toEqual({ total: 1 });
      });
    });

    test("judges every kind of expectation", async () => {
      await withStore(backend, async (store) => {
        await store.append("order-1", [placed(), placed()], { expectedVersion: 0 });
        await store.append("order-1", [placed()], { expectedVersion: 2 });
        await store.append("order-1", [placed()], { expectedVersion: "stream-exists" });
        await store.append("order-1", [placed()], any);
        await store.append("order-2", [placed()], any);
        expect((await errorOf(store.append("order-1", [placed()], noStream))).code).toBe("conflict");
        expect((await errorOf(store.append("order-1", [placed()], { expectedVersion: 4 }))).code).toBe("conflict");
        expect((await errorOf(store.append("order-1", [placed()], { expectedVersion: 6 }))).code).toBe("conflict");
        expect((await errorOf(store.append("order-3", [placed()], { expectedVersion: "stream-exists" }))).code).toBe(
          "conflict",
        );
        expect(await store.lastPosition()).toBe(6);
      });
    });

    test("says in a conflict what was expected, what is there and which events came between", async () => {
      await withStore(backend, async (store) => {
        await store.append(
          "order-1",
          upTo(40).map((n) => placed(n)),
          noStream,
        );
        const error = await errorOf(store.append("order-1", [placed()], { expectedVersion: 2 }));
        expect(error).toBeInstanceOf(ConflictError);
        expect(error).toMatchObject({
          streamName: "order-1",
          expectedVersion: 2,
          actualVersion: 40,
          outcome: "not-applied",
        });
        expect(versions((error as ConflictError).conflictingEvents)).toEqual(upTo(16).map((n) => n + 2));
      });
    });

    test("lets one of many concurrent appends with the same expectation win", async () => {
      await withStore(backend, async (store) => {
        const attempts = upTo(20).map((n) => store.append("order-1", [placed(n)], noStream));
        const results = await Promise.allSettled(attempts);
        expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
        expect(await collect(store.readStream("order-1"))).toHaveLength(1);
      });
    });

    test("numbers concurrent appends without holes, in the order in which they were made", async () => {
      await withStore(backend, async (store) => {
        const results = await Promise.all(upTo(300).map((n) => store.append(`order-${n % 7}`, [placed(n)], any)));
        expect(results.map((result) => result.position)).toEqual(upTo(300));
        const events = await collect(store.readAll());
        expect(positions(events)).toEqual(upTo(300));
        expect(events.map((event) => (event.data as { total: number }).total)).toEqual(upTo(300));
      });
    });

    test("reads a stream from any version, forwards and backwards, with a limit", async () => {
      await withStore(backend, async (store) => {
        for (let version = 0; version < 700; version += 70) {
          await store.append(
            "order-1",
            upTo(70).map((n) => placed(n)),
            { expectedVersion: version },
          );
          await store.append("order-2", [placed()], any);
        }
        for (const [from, limit] of [
          [1, 700],
          [1, 3],
          [350, 10],
          [699, 100],
          [700, 1],
          [701, 5],
        ] as const) {
          const expected = upTo(700).slice(from - 1, from - 1 + limit);
          expect(versions(await collect(store.readStream("order-1", { fromVersion: from, limit })))).toEqual(expected);
          const back = upTo(Math.min(from, 700)).reverse().slice(0, limit);
          const read = store.readStream("order-1", { fromVersion: from, limit, direction: "backwards" });
          expect(versions(await collect(read))).toEqual(back);
        }
        expect(versions(await collect(store.readStream("order-1", { direction: "backwards" })))).toEqual(
          upTo(700).reverse(),
        );
        expect(await collect(store.readStream("order-none"))).toEqual([]);
      });
    });

    test("reads the log from any position, forwards and backwards, with a limit", async () => {
      await withStore(backend, async (store) => {
        for (let n = 0; n < 12; n += 1) {
          await store.commit({
            appends: upTo(5).map((s) => ({
              streamName: `order-${s}`,
              events: upTo(20).map((n) => placed(n)),
              expectedVersion: "any" as const,
            })),
          });
        }
        const all = upTo(1_200);
        for (const [from, limit] of [
          [1, 1_200],
          [1, 2],
          [599, 300],
          [1_200, 9],
          [1_201, 9],
        ] as const) {
          const expected = all.slice(from - 1, from - 1 + limit);
          expect(positions(await collect(store.readAll({ fromPosition: from, limit })))).toEqual(expected);
          const back = all.slice(0, from).reverse().slice(0, limit);
          expect(
            positions(await collect(store.readAll({ fromPosition: from, limit, direction: "backwards" }))),
          ).toEqual(back);
        }
        expect(positions(await collect(store.readAll({ direction: "backwards", limit: 3 })))).toEqual([
          1_200, 1_199, 1_198,
        ]);
      });
    });

    test("finds events by types, categories and tags, whatever of it is indexed already", async () => {
      await withStore(backend, async (store) => {
        const expected: { position: number; type: string; category: string; tags: string[] }[] = [];
        for (let group = 0; group < 30; group += 1) {
          const appends = upTo(4).map((s) => {
            const category = ["order", "cart", "user", "item"][s - 1] ?? "";
            const events = upTo(35).map((n) => {
              const serial = expected.length + 1;
              const type = ["A", "B", "C"][n % 3] ?? "";
              const tags = [
                ...(serial % 2 === 0 ? ["even"] : []),
                ...(serial % 613 === 0 ? ["rare"] : []),
                `n:${serial % 50}`,
              ];
              expected.push({ position: serial, type, category, tags });
              return { type, data: { serial }, tags };
            });
            return { streamName: `${category}-${group}`, events, expectedVersion: "any" as const };
          });
          await store.commit({ appends });
        }
        expect(expected).toHaveLength(4_200);
        const cases = [
          { filter: { types: ["A"] }, holds: (e: (typeof expected)[0]) => e.type === "A" },
          {
            filter: { types: ["A", "C"], categories: ["cart"] },
            holds: (e: (typeof expected)[0]) => e.type !== "B" && e.category === "cart",
          },
          { filter: { tags: ["rare"] }, holds: (e: (typeof expected)[0]) => e.tags.includes("rare") },
          {
            filter: { tags: ["rare", "even"] },
            holds: (e: (typeof expected)[0]) => e.tags.includes("rare") && e.tags.includes("even"),
          },
          {
            filter: { tags: ["n:3"], types: ["B"] },
            holds: (e: (typeof expected)[0]) => e.tags.includes("n:3") && e.type === "B",
          },
          {
            filter: [{ tags: ["rare"] }, { categories: ["user"], types: ["C"], tags: ["even"] }],
            holds: (e: (typeof expected)[0]) =>
              e.tags.includes("rare") || (e.category === "user" && e.type === "C" && e.tags.includes("even")),
          },
          { filter: { tags: ["nowhere"] }, holds: () => false },
          { filter: {}, holds: () => true },
          { filter: [], holds: () => false },
          { filter: { types: [] }, holds: () => false },
        ];
        for (const { filter, holds } of cases) {
          const matching = expected.filter(holds).map((event) => event.position);
          expect(positions(await collect(store.readAll({ filter })))).toEqual(matching);
          expect(positions(await collect(store.readAll({ filter, direction: "backwards" })))).toEqual(
            matching.toReversed(),
          );
          expect(positions(await collect(store.readAll({ filter, fromPosition: 1_500, limit: 7 })))).toEqual(
            matching.filter((position) => position >= 1_500).slice(0, 7),
          );
          const past = store.asOf(2_100);
          expect(positions(await collect(past.readAll({ filter })))).toEqual(
            matching.filter((position) => position <= 2_100),
          );
        }
      });
    });

    test("commits to several streams in one step, or to none", async () => {
      await withStore(backend, async (store) => {
        const done = await store.commit({
          appends: [
            { streamName: "account-a", events: [placed(-5)], expectedVersion: "no-stream" },
            { streamName: "account-b", events: [placed(5), placed(6)], expectedVersion: 0 },
          ],
        });
        expect(done.streams).toEqual([
          { streamName: "account-a", streamVersion: 1 },
          { streamName: "account-b", streamVersion: 2 },
        ]);
        expect(done.position).toBe(3);
        const refused = await errorOf(
          store.commit({
            appends: [
              { streamName: "account-a", events: [placed()], expectedVersion: 1 },
              { streamName: "account-b", events: [placed()], expectedVersion: 1 },
            ],
          }),
        );
        expect(refused).toMatchObject({ code: "conflict", streamName: "account-b", actualVersion: 2 });
        expect(await store.lastPosition()).toBe(3);
      });
    });

    test("checks streams that a commit does not write", async () => {
      await withStore(backend, async (store) => {
        await store.append("user-1", [placed()], noStream);
        const order = { streamName: "order-1", events: [placed()], expectedVersion: "no-stream" } as const;
        const refused = await errorOf(
          store.commit({ appends: [order], checks: [{ streamName: "user-1", expectedVersion: 2 }] }),
        );
        expect(refused).toMatchObject({ code: "conflict", streamName: "user-1", expectedVersion: 2, actualVersion: 1 });
        await store.commit({ appends: [order], checks: [{ streamName: "user-1", expectedVersion: 1 }] });
        expect(await store.lastPosition()).toBe(2);
      });
    });

    test("refuses a commit when an event matches its query, in flight, recent or long stored", async () => {
      await withStore(backend, async (store) => {
        const claim = (name: string, afterPosition = 0): Promise<unknown> =>
          store.append(
            `account-${crypto.randomUUID()}`,
            [{ type: "Claimed", data: { name }, tags: [`name:${name}`] }],
            {
              expectedVersion: "no-stream",
              failIfMatch: { filter: { tags: [`name:${name}`] }, afterPosition },
            },
          );
        const attempts = await Promise.allSettled(upTo(10).map(() => claim("ann")));
        expect(attempts.filter((attempt) => attempt.status === "fulfilled")).toHaveLength(1);
        const filler = upTo(1_000).map((n) => placed(n));
        for (let n = 0; n < 14; n += 1) await store.append("order-1", filler, any);
        const late = await errorOf(claim("ann"));
        expect(late).toMatchObject({ code: "conflict", outcome: "not-applied" });
        expect((late as ConflictError).conflictingEvents.map((event) => event.data)).toEqual([{ name: "ann" }]);
        await claim("ann", 1);
        await claim("bob");
      });
    });

    test("answers a retry with the first result, by ids, for every expectation", async () => {
      await withStore(backend, async (store) => {
        const events = upTo(3).map((n) => placed(n, { id: `id-${n}` }));
        for (const [streamName, expectedVersion] of [
          ["a-1", "no-stream"],
          ["a-2", 0],
          ["a-3", "any"],
        ] as const) {
          const own = events.map((event) => ({ ...event, id: `${streamName}-${event.id}` }));
          const first = await store.append(streamName, own, { expectedVersion });
          await store.append(streamName, [placed()], any);
          expect(await store.append(streamName, own, { expectedVersion })).toEqual({ ...first, replayed: true });
          expect(await collect(store.readStream(streamName))).toHaveLength(4);
        }
        const twice = [placed(1, { id: "same" })];
        const [one, two] = await Promise.all([store.append("a-4", twice, any), store.append("a-4", twice, any)]);
        expect([one.replayed, two.replayed]).toEqual([false, true]);
        expect(two.position).toBe(one.position);
      });
    });

    test("answers a retried commit over several streams with the first result", async () => {
      await withStore(backend, async (store) => {
        const request = {
          appends: [
            { streamName: "a-1", events: [placed(1, { id: "x" })], expectedVersion: 0 },
            { streamName: "a-2", events: [placed(2, { id: "y" })], expectedVersion: "any" as const },
          ],
        };
        const first = await store.commit(request);
        expect(await store.commit(request)).toEqual({ ...first, replayed: true });
        expect(await store.lastPosition()).toBe(2);
      });
    });

    test("takes events with the same ids for a retry whatever is expected now, and refuses to mix them with new ones", async () => {
      await withStore(backend, async (store) => {
        const first = await store.append("a-1", [placed(1, { id: "one" }), placed(2, { id: "two" })], noStream);
        const reloaded = await store.append("a-1", [placed(1, { id: "one" }), placed(2, { id: "two" })], {
          expectedVersion: 2,
        });
        expect(reloaded).toEqual({ ...first, replayed: true });
        const partly = await errorOf(store.append("a-1", [placed(1, { id: "one" }), placed(3, { id: "three" })], any));
        expect(partly).toMatchObject({ code: "invalid-argument", outcome: "not-applied" });
        // Ids are those of a stream: another stream may use the same.
        expect((await store.append("a-2", [placed(1, { id: "one" })], any)).replayed).toBe(false);
        expect(await store.lastPosition()).toBe(3);
      });
    });

    test("refuses an idempotency key that was used for other streams", async () => {
      await withStore(backend, async (store) => {
        await store.append("a-1", [placed()], { expectedVersion: "any", idempotencyKey: "k" });
        const other = await errorOf(store.append("b-1", [placed()], { expectedVersion: "any", idempotencyKey: "k" }));
        expect(other).toMatchObject({ code: "invalid-argument", argument: "idempotencyKey", outcome: "not-applied" });
        expect(await store.streamInfo("b-1")).toBeUndefined();
      });
    });

    test("remembers ids for the newest 10,240 events, and for ever where the expectation is exact", async () => {
      await withStore(backend, async (store, reopen) => {
        const events = (from: number, count: number): NewEvent[] =>
          upTo(count).map((n) => placed(n, { id: `id-${from + n}` }));
        const exact = await store.append("b-1", [placed(0, { id: "exact" })], noStream);
        await store.append("a-1", events(0, 3), any);
        for (let from = 3; from < 10_240; from += 1_024) await store.append("a-1", events(from, 1_024), any);
        const reopened = backend.reopens ? await reopen() : store;
        expect((await reopened.append("a-1", events(3, 1), any)).replayed).toBe(true);
        for (let from = 20_000; from < 22_048; from += 1_024) await reopened.append("a-1", events(from, 1_024), any);
        expect(await reopened.append("b-1", [placed(0, { id: "exact" })], noStream)).toEqual({
          ...exact,
          replayed: true,
        });
      });
    });

    test("answers a repeated idempotency key with the first result, in one group and later", async () => {
      await withStore(backend, async (store) => {
        const pay = (): ReturnType<EventStore["append"]> =>
          store.append("payment-1", [placed()], { expectedVersion: "any", idempotencyKey: "pay-1" });
        const [first, second] = await Promise.all([pay(), pay()]);
        expect(first.replayed).toBe(false);
        expect(second).toEqual({ ...first, replayed: true });
        expect(await pay()).toEqual({ ...first, replayed: true });
        expect(await store.lastPosition()).toBe(1);
      });
    });

    test("lists streams by category and prefix, in order, page by page", async () => {
      await withStore(backend, async (store) => {
        const names = [
          "order-1",
          "order-10",
          "order-2",
          "orders-1",
          "order",
          "ordinal-1",
          "cart-1",
          "Ü-1",
          "order-\u0000z",
        ];
        for (const name of names) await store.append(name, [placed()], noStream);
        const list = async (options: Parameters<EventStore["listStreams"]>[0]): Promise<string[]> =>
          (await collect(store.listStreams(options))).map((info) => info.streamName);
        const sorted = names.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
        expect(await list({})).toEqual(sorted);
        expect(await list({ category: "order" })).toEqual(["order", "order-\u0000z", "order-1", "order-10", "order-2"]);
        expect(await list({ prefix: "order-1" })).toEqual(["order-1", "order-10"]);
        expect(await list({ category: "order", prefix: "order-1", limit: 1 })).toEqual(["order-1"]);
        expect(await list({ prefix: "or", after: "order-10", limit: 2 })).toEqual(["order-2", "orders-1"]);
        expect(await list({ category: "none" })).toEqual([]);
      });
    });

    test("tells about a stream", async () => {
      await withStore(backend, async (store) => {
        const first = await store.append("order-1", [placed()], noStream);
        await store.append("order-2", [placed()], noStream);
        const last = await store.append("order-1", [placed(), placed()], any);
        expect(await store.streamInfo("order-1")).toEqual({
          streamName: "order-1",
          version: 3,
          created: first.recordedAt,
          lastPosition: 4,
          lastRecordedAt: last.recordedAt,
          truncatedBefore: 1,
        });
        expect(await store.streamInfo("order-none")).toBeUndefined();
      });
    });

    test("reads as of a position: streams, all, infos and lists", async () => {
      await withStore(backend, async (store) => {
        for (let n = 1; n <= 90; n += 1) await store.append(`order-${n % 3}`, [placed(n)], any);
        const past = store.asOf(50);
        expect(await past.lastPosition()).toBe(50);
        expect(positions(await collect(past.readAll()))).toEqual(upTo(50));
        const expected = upTo(50).filter((n) => n % 3 === 1);
        expect(positions(await collect(past.readStream("order-1")))).toEqual(expected);
        expect(positions(await collect(past.readStream("order-1", { direction: "backwards", limit: 2 })))).toEqual([
          49, 46,
        ]);
        expect(await past.streamInfo("order-1")).toMatchObject({ version: 17, lastPosition: 49 });
        expect(await store.asOf(1).streamInfo("order-2")).toBeUndefined();
        expect((await collect(store.asOf(2).listStreams())).map((info) => info.streamName)).toEqual([
          "order-1",
          "order-2",
        ]);
        expect(await collect(store.asOf(0).readAll())).toEqual([]);
        const now = store.asOf(1_000_000);
        await store.append("order-9", [placed()], noStream);
        expect(await now.lastPosition()).toBe(90);
      });
    });

    test("passes events to a subscriber from the start, from a position, after one and from the end", async () => {
      await withStore(backend, async (store) => {
        await store.append(
          "order-1",
          upTo(5).map((n) => placed(n)),
          noStream,
        );
        const fromStart = take(store.subscribe({ from: "start" }), 7);
        const fromThree = take(store.subscribe({ from: { position: 3 } }), 5);
        const afterThree = take(store.subscribe({ from: { after: 3 } }), 4);
        const fromEnd = take(store.subscribe({ from: "end" }), 2);
        const future = take(store.subscribe({ from: { position: 7 } }), 1);
        // The iterations begin when they are first asked, which the calls above have done.
        await store.append("order-1", [placed(6), placed(7)], any);
        expect(positions(await fromStart)).toEqual(upTo(7));
        expect(positions(await fromThree)).toEqual([3, 4, 5, 6, 7]);
        expect(positions(await afterThree)).toEqual([4, 5, 6, 7]);
        expect(positions(await fromEnd)).toEqual([6, 7]);
        expect(positions(await future)).toEqual([7]);
      });
    });

    test("ends reads and subscriptions by their signal", async () => {
      await withStore(backend, async (store) => {
        await store.append(
          "order-1",
          upTo(5).map((n) => placed(n)),
          noStream,
        );
        const controller = new AbortController();
        const seen: number[] = [];
        for await (const event of store.subscribe({ from: "start", signal: controller.signal })) {
          seen.push(event.position);
          if (event.position === 2) controller.abort();
        }
        expect(seen).toEqual([1, 2]);
        const idle = new AbortController();
        const waiting = collect(store.subscribe({ from: "end", signal: idle.signal }));
        idle.abort();
        expect(await waiting).toEqual([]);
        const reading = collect(store.readAll({ signal: AbortSignal.abort(new Error("enough")) }));
        await expect(reading).rejects.toThrow("enough");
      });
    });

    test("takes back an append that waits when its signal is aborted", async () => {
      await withStore(backend, async (store) => {
        const controller = new AbortController();
        const waiting = store.append("order-1", [placed()], { ...noStream, signal: controller.signal });
        controller.abort(new Error("changed my mind"));
        await expect(waiting).rejects.toThrow("changed my mind");
        await store.append("order-2", [placed()], noStream);
        expect(positions(await collect(store.readAll()))).toEqual([1]);
        expect(await store.streamInfo("order-1")).toBeUndefined();
      });
    });

    test("refuses everything once it is closed, and ends its subscriptions", async () => {
      await withStore(backend, async (store) => {
        await store.append("order-1", [placed()], noStream);
        const following = collect(store.subscribe({ from: "start" }));
        const inFlight = store.append("order-1", [placed()], any);
        await store.close();
        await store.close();
        expect((await inFlight).streamVersion).toBe(2);
        expect((await following).length).toBeGreaterThanOrEqual(0);
        const attempts: (() => Promise<unknown>)[] = [
          () => store.append("order-1", [placed()], any),
          () => store.commit({ appends: [{ streamName: "order-1", events: [placed()], expectedVersion: "any" }] }),
          () => collect(store.readAll()),
          () => collect(store.readAll({ filter: { types: ["Placed"] } })),
          () => collect(store.listStreams()),
          () => store.streamInfo("order-1"),
          () => store.lastPosition(),
          () => collect(store.readStream("order-1")),
          () => collect(store.asOf(1).readStream("order-1")),
        ];
        for (const attempt of attempts) expect((await errorOf(attempt)).code).toBe("store-closed");
        expect(store.health().state).toBe("closed");
      });
    });

    if (!backend.reopens) return;

    test("has everything when it is opened again, and goes on from there", async () => {
      await withStore(backend, async (store, reopen) => {
        for (let n = 0; n < 5; n += 1) {
          await store.append(
            `order-${n}`,
            upTo(300).map((m) => placed(m, { id: `${n}-${m}`, tags: [`m:${m}`] })),
            any,
          );
        }
        const keyed = await store.append("payment-1", [placed()], { expectedVersion: "any", idempotencyKey: "pay-1" });
        const all = await collect(store.readAll());
        await store.close();
        const again = await reopen();
        expect(await collect(again.readAll())).toEqual(all);
        expect(positions(await collect(again.readAll({ filter: { tags: ["m:7"] } })))).toEqual([
          7, 307, 607, 907, 1_207,
        ]);
        expect((await again.append("order-4", [placed(300, { id: "4-300" })], any)).replayed).toBe(true);
        const repeated = await again.append("payment-1", [placed()], {
          expectedVersion: "any",
          idempotencyKey: "pay-1",
        });
        expect(repeated).toEqual({ ...keyed, replayed: true });
        expect((await again.append("order-0", [placed()], { expectedVersion: 300 })).position).toBe(1_502);
      });
    });

    test("stops and acknowledges nothing more when another writer has opened the same storage", async () => {
      await withStore(backend, async (store, reopen) => {
        await store.append("order-1", [placed()], noStream);
        const following = collect(store.subscribe({ from: "start" }));
        const other = await reopen();
        const refused = await errorOf(store.append("order-1", [placed()], { expectedVersion: 1 }));
        expect(refused.code).toBe("writer-fenced");
        expect(refused.outcome).toBeDefined();
        const later = await errorOf(store.append("order-1", [placed()], { expectedVersion: 1 }));
        expect(later).toMatchObject({ code: "writer-fenced", outcome: "not-applied" });
        expect(store.health().state).toBe("fenced");
        expect((await errorOf(following)).code).toBe("writer-fenced");
        expect((await other.append("order-1", [placed()], { expectedVersion: 1 })).position).toBe(2);
        expect(positions(await collect(other.readAll()))).toEqual([1, 2]);
      });
    });
  });
}
