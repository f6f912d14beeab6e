/** Bad input of every kind: a typed error that names what is wrong, and nothing is written. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type EventStore, EventStoreError, openEventStore } from "../../src/index.ts";
import { openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf } from "../support/collect.ts";

setDefaultTimeout(60_000);

let store: EventStore;
beforeAll(async () => {
  store = await openEventStoreOn(openMemoryKv(), {});
  await store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "no-stream" });
});
afterAll(() => store.close());

const any = { expectedVersion: "any" };
const good = { type: "T", data: 1 };
const loop: Record<string, unknown> = {};
loop.self = loop;
let deep: unknown = 1;
for (let depth = 0; depth < 80; depth += 1) deep = [deep];

/** Calls as from JavaScript, where the compiler does not help. */
const append = (streamName: unknown, events: unknown, options: unknown = any): Promise<unknown> =>
  store.append(streamName as string, events as [], options as { expectedVersion: "any" });
const one = (event: unknown): Promise<unknown> => append("a-1", [event]);
const data = (value: unknown): Promise<unknown> => one({ type: "T", data: value });
const commit = (request: unknown): Promise<unknown> => store.commit(request as { appends: [] });
const appends = [{ streamName: "a-1", events: [good], expectedVersion: "any" }];

const calls: Readonly<Record<string, () => unknown>> = {
  "an empty stream name": () => append("", [good]),
  "a stream name that is no string": () => append(42, [good]),
  "a stream name of 513 bytes": () => append("x".repeat(513), [good]),
  "a stream name of 513 bytes in fewer characters": () => append("ü".repeat(257), [good]),
  "a stream name with a lone surrogate": () => append("a-\ud800", [good]),
  "no events": () => append("a-1", []),
  "events that are no list": () => append("a-1", good),
  "an event that is no object": () => one("T"),
  "an event that is null": () => one(null),
  "an event without a type": () => one({ data: 1 }),
  "an event with an empty type": () => one({ type: "", data: 1 }),
  "an event with too long a type": () => one({ type: "t".repeat(600), data: 1 }),
  "an event without data": () => one({ type: "T" }),
  "an event with a part that none has": () => one({ ...good, payload: 1 }),
  "an event with an empty id": () => one({ ...good, id: "" }),
  "an event with an id that is no string": () => one({ ...good, id: 7 }),
  "an event with a lone surrogate in its id": () => one({ ...good, id: "\udfff" }),
  "an event that occurred at no time": () => one({ ...good, occurredAt: new Date(Number.NaN) }),
  "an event that occurred at a string": () => one({ ...good, occurredAt: "2020-01-01" }),
  "a schema version of 0": () => one({ ...good, schemaVersion: 0 }),
  "a schema version that is text": () => one({ ...good, schemaVersion: "1" }),
  "metadata that is a list": () => one({ ...good, metadata: [1] }),
  "metadata that is text": () => one({ ...good, metadata: "kim" }),
  "an actor that is no string": () => one({ ...good, metadata: { actor: 5 } }),
  "an empty correlation id": () => one({ ...good, metadata: { correlationId: "" } }),
  "metadata with a function": () => one({ ...good, metadata: { f: () => 1 } }),
  "tags that are no list": () => one({ ...good, tags: "x" }),
  "an empty tag": () => one({ ...good, tags: [""] }),
  "33 tags": () => one({ ...good, tags: Array.from({ length: 33 }, (_, index) => `t${index}`) }),
  "data with a function": () => data({ f: () => 1 }),
  "data with a symbol": () => data([Symbol("s")]),
  "data that is undefined in a list": () => data([undefined]),
  "data with NaN": () => data({ n: Number.NaN }),
  "data with infinity": () => data([1, Number.POSITIVE_INFINITY]),
  "data with an invalid date": () => data({ at: new Date(Number.NaN) }),
  "data with an instance of a class": () => data({ url: new URL("http://a") }),
  "data with a regular expression": () => data(/x/),
  "data that refers to itself": () => data(loop),
  "data that is nested too deeply": () => data(deep),
  "data that cannot be read": () =>
    data({
      get total() {
        throw new Error("no");
      },
    }),
  "data with a list that says itself what it is": () => data(Object.assign([1], { toJSON: () => "evil" })),
  "data that holds one thing too often": () => {
    let much: unknown = [];
    for (let level = 0; level < 30; level += 1) much = [much, much];
    return data(much);
  },
  "data with a map whose keys are objects that refer to themselves": () => data(new Map([[loop, 1]])),
  "metadata that is a map": () => one({ ...good, metadata: new Map([["actor", "kim"]]) }),
  "an unknown part of failIfMatch": () =>
    append("a-1", [good], { ...any, failIfMatch: { filter: {}, afterPositon: 1 } }),
  "failIfMatch with a filter that is none": () => append("a-1", [good], { ...any, failIfMatch: { filter: "T" } }),
  "an unknown part of an append": () => commit({ appends: [{ ...appends[0], expectVersion: 1 }] }),
  "an unknown part of a check": () =>
    commit({ appends, checks: [{ streamName: "a-1", expectedVersion: 1, version: 1 }] }),
  "data with a member named __proto__": () => data(JSON.parse('{"__proto__":{"admin":true}}')),
  "data of more than 1 MiB": () => data("x".repeat(1024 * 1024)),
  "data of more than 1 MiB in bytes": () => data(new Uint8Array(1024 * 1024 + 1)),
  "a lone surrogate beside a date": () => data({ at: new Date(), text: "\ud800" }),
  "two events with one id": () =>
    append("a-1", [
      { ...good, id: "i" },
      { ...good, id: "i" },
    ]),
  "10,001 events": () =>
    append(
      "a-1",
      Array.from({ length: 10_001 }, () => good),
    ),
  "no options": () => append("a-1", [good], null),
  "no expected version": () => append("a-1", [good], {}),
  "an expected version below 0": () => append("a-1", [good], { expectedVersion: -1 }),
  "an expected version that is no integer": () => append("a-1", [good], { expectedVersion: 1.5 }),
  "an expected version that is text": () => append("a-1", [good], { expectedVersion: "1" }),
  "an expected version that no integer can hold": () => append("a-1", [good], { expectedVersion: 2 ** 53 }),
  "an option that there is none of": () => append("a-1", [good], { ...any, expectVersion: 1 }),
  "an empty idempotency key": () => append("a-1", [good], { ...any, idempotencyKey: "" }),
  "a signal that is none": () => append("a-1", [good], { ...any, signal: {} }),
  "failIfMatch without a filter": () => append("a-1", [good], { ...any, failIfMatch: {} }),
  "failIfMatch after a position below 0": () =>
    append("a-1", [good], { ...any, failIfMatch: { filter: {}, afterPosition: -1 } }),
  "a commit of nothing": () => commit({ appends: [] }),
  "a commit that is no object": () => commit(undefined),
  "a commit with a stream twice": () => commit({ appends: [...appends, ...appends] }),
  "a commit with a part that none has": () => commit({ appends, check: [] }),
  "a commit with a check of nothing": () => commit({ appends, checks: [{}] }),
  "a commit with a check that is null": () => commit({ appends, checks: [null] }),
  "a read of a stream without a name": () => collect(store.readStream("")),
  "a read from version 0": () => collect(store.readStream("a-1", { fromVersion: 0 })),
  "a read in no direction": () => collect(store.readStream("a-1", { direction: "sideways" as "forwards" })),
  "a read of at most 0 events": () => collect(store.readAll({ limit: 0 })),
  "a read from half a position": () => collect(store.readAll({ fromPosition: 0.5 })),
  "a read with an option that there is none of": () => collect(store.readAll({ fromVersion: 1 } as object)),
  "a filter with an unknown part": () => collect(store.readAll({ filter: { type: ["T"] } as object })),
  "a filter with types that are no list": () =>
    collect(store.readAll({ filter: { types: "T" as unknown as string[] } })),
  "a filter with an empty name": () => collect(store.readAll({ filter: { tags: [""] } })),
  "a filter that is text": () => collect(store.readAll({ filter: "T" as unknown as object })),
  "a filter of 65 clauses": () =>
    collect(store.readAll({ filter: Array.from({ length: 65 }, () => ({ types: ["T"] })) })),
  "a filter of 513 names": () =>
    collect(store.readAll({ filter: { tags: Array.from({ length: 513 }, (_, index) => `t${index}`) } })),
  "a list of a category with a dash": () => collect(store.listStreams({ category: "a-1" })),
  "a subscription from nowhere": () => collect(store.subscribe({} as { from: "start" })),
  "a subscription from a place that is none": () => collect(store.subscribe({ from: "middle" as "start" })),
  "a subscription from two places": () =>
    collect(store.subscribe({ from: { position: 1, after: 1 } as { position: number } })),
  "a subscription from position 0": () => collect(store.subscribe({ from: { position: 0 } })),
  "a subscription without a signal's kind": () =>
    collect(store.subscribe({ from: "start", signal: 1 as unknown as AbortSignal })),
  "a handler that is none": () => store.on(undefined, 5 as unknown as () => void),
  "a view as of no time": () => store.asOf(new Date(Number.NaN)),
  "a view as of a position below 0": () => store.asOf(-1),
  "a view as of text": () => store.asOf("yesterday" as unknown as Date),
};

describe("Bad input", () => {
  test("is tried in at least 40 kinds", () => {
    expect(Object.keys(calls).length).toBeGreaterThanOrEqual(40);
  });

  for (const [name, call] of Object.entries(calls)) {
    test(`is refused and writes nothing: ${name}`, async () => {
      const error = await errorOf(async () => await call());
      expect(["invalid-argument", "invalid-event"]).toContain(error.code);
      expect(error.message).not.toContain("\n");
      expect(error.message.length).toBeLessThan(1_000);
      const isWrite =
        /^(an? event|data|metadata|tags|no e|no o|events|two e|10,|an? exp|an op|an? emp|a signal that|failIf|a commit|a stream|a schema|an actor)/;
      if (isWrite.test(name)) expect(error.outcome).toBe("not-applied");
      expect(await store.lastPosition()).toBe(1);
      expect((await collect(store.readAll())).length).toBe(1);
    });
  }
});

describe("Opening", () => {
  const openings: Readonly<Record<string, unknown>> = {
    nothing: undefined,
    "no URL": {},
    "a URL that is no text": { url: 5 },
    "a URL of another kind": { url: "postgres://localhost" },
    "a folder without a name": { url: "file:" },
    "a bucket without a name": { url: "s3://" },
    "a bucket with capitals": { url: "s3://Bucket/x" },
    "an unknown option": { url: "memory:", folder: 1 },
    "an unknown S3 option": { url: "s3://bucket/x", s3: { key: 1 } },
    "half of the credentials": { url: "s3://bucket/x", s3: { accessKeyId: "a" } },
    "an endpoint that is no URL": { url: "s3://bucket/x", s3: { endpoint: "localhost" } },
    "events that are no list": { url: "memory:", events: {} },
    "events that are no definitions": { url: "memory:", events: [{}] },
    "a linger below 0": { url: "memory:", commitLingerMs: -1 },
    "too long a linger": { url: "memory:", commitLingerMs: 60_000 },
    "a linger that is no word": { url: "memory:", commitLingerMs: "adaptiv" },
    "a linger of nothing": { url: "memory:", commitLingerMs: null },
    "a storage profile that is none": { url: "memory:", storage: "cheap" },
    "a cache that is no object": { url: "memory:", cache: "/tmp/cache" },
    "a cache without a bound": { url: "memory:", cache: { folder: "/tmp/cache" } },
    "a cache in a relative folder": { url: "memory:", cache: { folder: "cache", maxBytes: 2 ** 30 } },
    "a cache with an option too many": {
      url: "memory:",
      cache: { folder: "/tmp/c", maxBytes: 2 ** 30, preload: true },
    },
    "a read cache that is no word": { url: "memory:", readCache: "Engine" },
    "a read cache below 0": { url: "memory:", readCache: -1 },
    "too large a read cache": { url: "memory:", readCache: 2 ** 40 },
    "a time-out of 0": { url: "memory:", commitTimeoutMs: 0 },
    "an error handler that is none": { url: "memory:", onError: 1 },
  };
  for (const [name, options] of Object.entries(openings)) {
    test(`is refused: ${name}`, async () => {
      expect((await errorOf(openEventStore(options as { url: string }))).code).toBe("invalid-argument");
    });
  }

  test("is refused for a folder that holds something else, and leaves it as it is", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "notes.txt"), "mine");
    expect((await errorOf(openEventStore({ url: `file:${folder.path}` }))).code).toBe("invalid-argument");
    const file = join(folder.path, "notes.txt");
    expect((await errorOf(openEventStore({ url: `file:${file}` }))).code).toBe("invalid-argument");
    await mkdir(join(folder.path, "other", "db", "things"), { recursive: true });
    expect((await errorOf(openEventStore({ url: `file:${join(folder.path, "other")}` }))).code).toBe(
      "invalid-argument",
    );
  });
});

test("Every error says what it is in one class", async () => {
  const error = await errorOf(one(undefined));
  expect(error).toBeInstanceOf(EventStoreError);
  expect(error.name).toBe("InvalidArgumentError");
});
