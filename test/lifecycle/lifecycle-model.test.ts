/**
 * Random lives of streams: appends, truncations, deletions, archives, rules, passes and openings. The store shows and holds what
 * the trivial model does, also where the storage under it fails and everything is repeated until it is done.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type EventStore, EventStoreError, isLogGap } from "../../src/index.ts";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import { openWithCore } from "../../src/store/open-event-store.ts";
import { type TestClock, testClock } from "../../src/testing/test-doubles.ts";
import { type Backend, memoryBackend, slateFolderBackend } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { createFaultyStorage, openFaultyKv } from "../support/faulty-kv.ts";
import { LifecycleModel, type ModelRule } from "../support/lifecycle-model.ts";

setDefaultTimeout(60_000);

const hour = 3_600_000;
const graceMs = 3 * hour;
const streams = ["a-1", "a-2", "b-1", "b"];

type Command =
  | { readonly kind: "append"; readonly name: string; readonly count: number; readonly noteBytes: number }
  | { readonly kind: "truncate" | "archive"; readonly name: string; readonly beforeVersion: number }
  | { readonly kind: "delete" | "undelete"; readonly name: string }
  | { readonly kind: "retention"; readonly name: string; readonly rule: ModelRule | undefined }
  | { readonly kind: "advance"; readonly hours: number }
  | { readonly kind: "compact" | "reopen" };

const name = fc.constantFrom(...streams);
const beforeVersion = fc.integer({ min: 1, max: 50 });
const rule = fc.oneof(
  fc.constant(undefined),
  fc.record({ maxCount: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ maxAgeMs: fc.integer({ min: 1, max: 4 }).map((hours) => hours * hour) }),
  fc.record({ maxCount: fc.integer({ min: 1, max: 20 }), maxAgeMs: fc.constant(2 * hour) }),
);
const append: fc.Arbitrary<Command> = fc.record({
  kind: fc.constant("append" as const),
  name,
  count: fc.integer({ min: 1, max: 30 }),
  noteBytes: fc.constantFrom(10, 200),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: append },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("truncate", "archive"), name, beforeVersion }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("delete", "undelete"), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("retention"), name: fc.constantFrom(...streams, "a"), rule }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("advance"), hours: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("compact" as const, "reopen" as const) }) },
) as fc.Arbitrary<Command>;

/** A store that is opened again whenever it has stopped. */
class Life {
  readonly model = new LifecycleModel(graceMs);
  readonly clock: TestClock = testClock(new Date("2026-01-01"));
  readonly #objects = openMemoryObjects(this.clock);
  readonly #openKv: () => Promise<KeyValueStore>;
  #store: EventStore | undefined;
  #ids = 0;

  constructor(openKv: () => Promise<KeyValueStore>) {
    this.#openKv = openKv;
  }

  async close(): Promise<void> {
    await this.#store?.close().catch(() => {});
    this.#store = undefined;
  }

  async store(): Promise<EventStore> {
    if (this.#store?.health().state === "open") return this.#store;
    await this.close();
    const options = { clock: this.clock, deletionGraceMs: graceMs, compaction: false as const, onError: () => {} };
    this.#store = (await openWithCore(await this.#openKv(), options, this.#objects)).store;
    return this.#store;
  }

  /** Does it until it is done, or is refused for good. */
  async until<T>(work: (store: EventStore) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work(await this.store());
      } catch (error) {
        if (!(error instanceof EventStoreError)) throw error;
        if (error.code !== "storage-unavailable" && error.code !== "writer-fenced" && error.code !== "store-closed")
          throw error;
      }
    }
  }

  /** Does the command in both; what they say of it must agree. */
  async run(one: Command): Promise<void> {
    const { model, clock } = this;
    const nowMs = clock.now();
    switch (one.kind) {
      case "append": {
        const events = Array.from({ length: one.count }, () => {
          this.#ids += 1;
          return { id: `id-${this.#ids}`, type: "T", data: "x".repeat(one.noteBytes) + this.#ids };
        });
        const work = (store: EventStore) => store.append(one.name, events, { expectedVersion: "any" });
        return await this.#same(model.append(one.name, one.count, nowMs), work);
      }
      case "truncate": {
        const options = { beforeVersion: one.beforeVersion };
        const expected = model.truncate(one.name, one.beforeVersion, nowMs);
        return await this.#same(expected, (store) => store.truncateStream(one.name, options));
      }
      case "archive": {
        const options = { beforeVersion: one.beforeVersion };
        const expected = model.archive(one.name, one.beforeVersion, nowMs);
        return await this.#same(expected, (store) => store.archiveStream(one.name, options));
      }
      case "delete":
        return await this.#same(model.delete(one.name, nowMs), (store) =>
          store.deleteStream(one.name, { expectedVersion: "any" }),
        );
      case "undelete":
        return await this.#same(model.undelete(one.name, nowMs), (store) => store.undeleteStream(one.name));
      case "retention":
        return await this.#same(model.setRetention(one.name, one.rule, nowMs), (store) =>
          store.setRetention(one.name, one.rule ?? null),
        );
      case "advance":
        return clock.advance(one.hours * hour);
      case "compact":
        await this.until((store) => store.compact());
        model.compact(nowMs);
        return;
      case "reopen":
        return await this.close();
    }
  }

  async #same(expected: true | string, work: (store: EventStore) => Promise<unknown>): Promise<void> {
    const outcome: string | true = await this.until(work).then(
      () => true as const,
      (error: unknown) => (error instanceof EventStoreError ? error.code : Promise.reject(error)),
    );
    expect(outcome).toBe(expected);
  }

  /** Everything that can be seen. */
  async compare(): Promise<void> {
    const { model } = this;
    for (const streamName of [...streams, "$strata-lifecycle"]) {
      const seen = await this.until((store) => versionsOf(store, streamName, "forwards"));
      expect(seen).toEqual(model.read(streamName) as number[]);
      const back = await this.until((store) => versionsOf(store, streamName, "backwards"));
      expect(back?.toReversed()).toEqual(model.read(streamName) as number[]);
      const info = await this.until((store) => store.streamInfo(streamName));
      expect(info?.version ?? 0).toBe(model.streams.get(streamName)?.events.length ?? 0);
    }
    const items = await this.until((store) => collect(store.readAll({ gaps: "report" })));
    let next = 1;
    const positions: number[] = [];
    for (const item of items) {
      const from = isLogGap(item) ? item.fromPosition : item.position;
      expect(from).toBe(next);
      next = (isLogGap(item) ? item.toPosition : item.position) + 1;
      if (!isLogGap(item)) positions.push(item.position);
    }
    expect(positions).toEqual(model.log() as number[]);
    expect(next).toBe(model.events.length + 1);
    const filtered = await this.until((store) => collect(store.readAll({ filter: { categories: ["a"] } })));
    const wanted = model.events.filter((event) => event.streamName.startsWith("a-") && !event.dropped);
    expect(filtered.map(({ position }) => position)).toEqual(wanted.map(({ position }) => position));
  }
}

/** Log, streams and the digests of what is gone agree, at whatever moment it is asked. */
async function prove(life: Life): Promise<void> {
  const { breaks, dropped } = await life.until((store) => store.verify());
  expect(breaks).toEqual([]);
  expect(dropped).toBe(life.model.events.length - life.model.log().length);
}

async function versionsOf(
  store: EventStore,
  streamName: string,
  direction: "forwards" | "backwards",
): Promise<number[] | undefined> {
  try {
    return (await collect(store.readStream(streamName, { direction }))).map(({ version }) => version);
  } catch (error) {
    if (error instanceof EventStoreError && error.code === "stream-deleted") return undefined;
    throw error;
  }
}

/** `often`: everything is compared behind each command, and not only behind passes and openings. */
async function live(openKv: () => Promise<KeyValueStore>, commands: readonly Command[], often: boolean): Promise<void> {
  const life = new Life(openKv);
  for (const one of commands) {
    await life.run(one);
    if (often || one.kind === "compact" || one.kind === "reopen") await life.compare();
  }
  await prove(life);
  await life.run({ kind: "compact" });
  await life.compare();
  await prove(life);
  await life.close();
}

const scale: Record<string, number> = { memory: 120, "SlateDB on a folder": 4 };

for (const backend of [memoryBackend, slateFolderBackend] satisfies Backend[]) {
  test(`Streams live as they do in the model, on ${backend.name}`, async () => {
    const property = fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
      await using storage = await backend.create();
      await live(() => storage.open(), commands, true);
    });
    await fc.assert(property, { numRuns: scale[backend.name] ?? 10 });
  });
}

test("Streams live as they do in the model while the storage fails, by 100 seeds", async () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    const trace: string[] = [];
    const rates = { failBefore: 0.08, failAfter: 0.04, loseTail: 0.04, fence: 0.02, readFailure: 0.01, delay: 0 };
    const faults = createFaultyStorage(seed, rates, (line) => trace.push(line));
    const [commands = []] = fc.sample(fc.array(command, { minLength: 10, maxLength: 30 }), { seed, numRuns: 1 });
    try {
      await live(async () => openFaultyKv(faults), commands, false);
    } catch (cause) {
      throw new Error(`Seed ${seed}: ${JSON.stringify(commands)}`, { cause });
    }
  }
}, 240_000);
