/**
 * How many requests in a row the first read of a cold stream waits for, once the store has looked at its tables, and what that
 * look costs. Requests of parts of tables are counted by what they could only be begun after: a request's depth is one more than
 * that of the deepest that had been answered.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import type { S3Options } from "../../src/kv/object-store.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { openTables, warmTables } from "../../src/log/table-warmer.ts";
import { pause } from "../../src/runtime/deadline.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openEventStore, openEventStoreOn } from "../../src/store/open-event-store.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { type S3StandIn, startS3StandIn } from "../kv/s3-stand-in.ts";
import { noise, openOnStandIn, standInCredentials, until } from "../kv/stores.ts";

setDefaultTimeout(60_000);

/** Each group leaves a table, and nothing merges them. */
const unmerged: Partial<SlateTuning> = {
  compactorPollMs: 3_600_000,
  manifestPollMs: 3_600_000,
  memtableFlushGroups: 1,
  memtableFlushSpacingMs: 0,
};
const tables = 10;
const streamsPerTable = 200;
const eventsPerTable = 10;
const answerMs = 5;
/** How often `until` looks. */
const untilMs = 5;

const shortStream = (table: number, stream: number): string => `short-${table}-${stream}`;
const longStream = (stream: number): string => `long-${stream}`;

/** Text that does not become smaller. */
function text(bytes: number): string {
  return Buffer.from(noise(bytes)).toString("base64");
}

/**
 * A store whose short streams are in one table each, and whose long ones have pages in all of them. Answers how many tables there
 * are: a flush may come in the midst of the appends for one.
 */
async function fill(standIn: S3StandIn): Promise<number> {
  const kv = await openOnStandIn(standIn, unmerged);
  // The compactor's commits would make a table of their own.
  await using store = await openEventStoreOn(kv, { compaction: false });
  for (let table = 0; table < tables; table += 1) {
    const appends: Promise<unknown>[] = [];
    for (let stream = 0; stream < streamsPerTable; stream += 1) {
      const event = (bytes: number): { type: string; data: unknown } => ({
        type: "Noted",
        data: { note: text(bytes) },
      });
      const some = Array.from({ length: eventsPerTable }, () => event(150));
      appends.push(store.append(shortStream(table, stream), [event(300)], { expectedVersion: "no-stream" }));
      appends.push(store.append(longStream(stream), some, { expectedVersion: "any" }));
    }
    await Promise.all(appends);
    await until("the table is there", () => kv.stats().memtableFlushes > table);
  }
  await store.close();
  return kv.stats().memtableFlushes;
}

/** Requests of parts of tables since `begin` was called, and how many of them waited for one another. */
class Counted {
  requests = 0;
  inARow = 0;
  #answered = 0;

  begin(): void {
    this.requests = 0;
    this.inARow = 0;
    this.#answered = 0;
  }

  async count(): Promise<void> {
    const depth = this.#answered + 1;
    this.requests += 1;
    this.inARow = Math.max(this.inARow, depth);
    await pause(answerMs);
    this.#answered = Math.max(this.#answered, depth);
  }
}

function countParts(standIn: S3StandIn): Counted {
  const counted = new Counted();
  standIn.intercept(async ({ method, key }) => {
    if (method === "GET" && key.includes("/compacted/")) await counted.count();
    return undefined;
  });
  return counted;
}

function s3Of({ endpoint }: S3StandIn): S3Options {
  return { endpoint, ...standInCredentials };
}

async function countOf(events: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of events) count += 1;
  return count;
}

const shortName = shortStream(3, 70);
const longName = longStream(70);

async function expectFew(store: Pick<EventStore, "readStream">, counted: Counted, ofShort: number): Promise<void> {
  expect(await countOf(store.readStream(shortName))).toBe(1);
  expect(counted.inARow).toBeLessThanOrEqual(ofShort);
  counted.begin();
  expect(await countOf(store.readStream(longName))).toBe(tables * eventsPerTable);
  expect(counted.inARow).toBeLessThanOrEqual(4);
}

/** Nobody is told when a look is through, but it asks for no more then. */
async function untilQuiet(counted: Counted): Promise<void> {
  let before = -1;
  let unchanged = 0;
  await until("the tables are open", () => {
    unchanged = counted.requests === before ? unchanged + 1 : 0;
    before = counted.requests;
    return unchanged * untilMs > 20 * answerMs;
  });
}

test("Without a look at the tables, the first read of a short stream asks the filter of each, one after another", async () => {
  await using standIn = startS3StandIn();
  await fill(standIn);
  const kv = await openOnStandIn(standIn, unmerged);
  await using store = await openEventStoreOn(kv, {});
  const counted = countParts(standIn);
  expect(await countOf(store.readStream(shortName))).toBe(1);
  expect(counted.inARow).toBeGreaterThan(4);
});

test("After one it waits for one request, and that of a long stream for four at most", async () => {
  await using standIn = startS3StandIn();
  const made = await fill(standIn);
  const kv = await openOnStandIn(standIn, unmerged);
  await using store = await openEventStoreOn(kv, {});
  const counted = countParts(standIn);
  await openTables(kv, longStream(1));
  // A filter, an index and a block of each at most; opening may have made one more, of what it recovered.
  expect(counted.requests).toBeLessThanOrEqual(3 * (made + 1));
  counted.begin();
  await expectFew(store, counted, 1);
  counted.begin();
  await openTables(kv, longStream(1));
  expect(counted.requests).toBe(0);
});

test("A store on a bucket looks by itself when it was opened", async () => {
  await using standIn = startS3StandIn();
  await fill(standIn);
  const counted = countParts(standIn);
  await using store = await openEventStore({ url: standIn.location.url, s3: s3Of(standIn) });
  await untilQuiet(counted);
  counted.begin();
  // It merges tables as soon as it is open, and what was merged is new to it.
  await expectFew(store, counted, 4);
});

test("So does a replica, and each reader that takes over in it before it is put in service", async () => {
  await using standIn = startS3StandIn();
  await fill(standIn);
  const counted = countParts(standIn);
  const options = { url: standIn.location.url, s3: s3Of(standIn), pollIntervalMs: 600_000 };
  await using reader = await openTunedReader(options, { rotateMs: 2_000 });
  await untilQuiet(counted);
  counted.begin();
  await expectFew(reader, counted, 1);
  await until("another reader is in service", () => reader.stats().storage.readersOpened > 1);
  counted.begin();
  await expectFew(reader, counted, 1);
});

test("An idle store is looked at once more, and then not until something has changed", async () => {
  const kv = openMemoryKv();
  let changes = 0;
  const looks = (): number => kv.stats().gets;
  let closed = false;
  warmTables({ kv, changes: () => changes, newest: () => "order-1", isClosed: () => closed, intervalMs: 5 });
  await until("it has looked again", () => looks() === 2);
  changes += 1;
  await until("it has looked for what is new, and for what was merged since", () => looks() === 4);
  closed = true;
  await kv.close();
});
