/** Random histories: the store answers, and holds, exactly what the trivial model does. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type EventFilter, type EventStore, EventStoreError, type RecordedEvent } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { type Backend, memoryBackend, slateFolderBackend, slateMemoryBackend } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { type ModelCommit, type ModelEvent, modelMatches, StoreModel } from "../support/model.ts";

setDefaultTimeout(60_000);

const streamName = fc.constantFrom("a-1", "a-2", "b-1", "b", "c-\u0000", "c-9");
const tag = fc.constantFrom("x", "y", "z");
const type = fc.constantFrom("A", "B", "C");
const expectedVersion = fc.oneof(
  { weight: 4, arbitrary: fc.constant("any" as const) },
  { weight: 2, arbitrary: fc.constantFrom("no-stream" as const, "stream-exists" as const) },
  { weight: 4, arbitrary: fc.nat(12) },
);

const clause = fc.record(
  {
    types: fc.uniqueArray(type, { maxLength: 2 }),
    categories: fc.uniqueArray(fc.constantFrom("a", "b", "c")),
    tags: fc.uniqueArray(tag),
  },
  { requiredKeys: [] },
);
const filter = fc.oneof(clause, fc.array(clause, { maxLength: 3 })) as fc.Arbitrary<EventFilter>;

let serial = 0;
const event = fc.record({
  id: fc.option(
    fc.nat(14).map((n) => `id-${n}`),
    { nil: undefined },
  ),
  type,
  tags: fc.uniqueArray(tag),
  data: fc.constant(0).map(() => ({ serial: ++serial })),
});

const append = fc.record({ streamName, expectedVersion, events: fc.array(event, { minLength: 1, maxLength: 4 }) });

const commit = fc.record(
  {
    appends: fc.uniqueArray(append, { minLength: 1, maxLength: 3, selector: (one) => one.streamName }),
    checks: fc.array(fc.record({ streamName, expectedVersion }), { maxLength: 2 }),
    failIfMatch: fc.record({ filter, afterPosition: fc.nat(30) }, { requiredKeys: ["filter"] }),
    idempotencyKey: fc.constantFrom("k1", "k2", "k3"),
  },
  { requiredKeys: ["appends"] },
) as fc.Arbitrary<ModelCommit>;

type Command =
  | { readonly kind: "commits"; readonly commits: readonly ModelCommit[] }
  | { readonly kind: "retry"; readonly index: number }
  | {
      readonly kind: "read";
      readonly filter: EventFilter;
      readonly from: number;
      readonly limit: number;
      readonly asOf: number;
    }
  | { readonly kind: "reopen" };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("commits" as const),
      commits: fc.array(commit, { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("retry" as const), index: fc.nat(20) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      filter,
      from: fc.integer({ min: 1, max: 60 }),
      limit: fc.integer({ min: 1, max: 20 }),
      asOf: fc.nat(60),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

/** Two events for one stream may not share a given id; the store says so before anything is judged. */
function isWellFormed({ appends }: ModelCommit): boolean {
  return appends.every(({ events }) => {
    const ids = events.flatMap(({ id }) => id ?? []);
    return new Set(ids).size === ids.length;
  });
}

/** What a commit came to, in the model's words. */
async function outcomeOf(work: ReturnType<EventStore["commit"]>): Promise<unknown> {
  try {
    const { replayed, position, streams } = await work;
    return { kind: replayed ? "replayed" : "accepted", result: { position, streams } };
  } catch (error) {
    if (!(error instanceof EventStoreError) || error.outcome !== "not-applied") throw error;
    if (error.code === "conflict") return { kind: "conflict" };
    if (error.code === "invalid-argument") return { kind: "invalid" };
    throw error;
  }
}

function seen(event: RecordedEvent): unknown {
  const { streamName, version, position, type, tags } = event;
  return { streamName, version, position, type, tags, serial: (event.data as { serial: number }).serial };
}

function expected({ id: _, ...event }: ModelEvent): unknown {
  return event;
}

function clean(commit: ModelCommit): Parameters<EventStore["commit"]>[0] {
  const appends = commit.appends.map(({ events, ...rest }) => ({
    ...rest,
    events: events.map(({ id, ...event }) => (id === undefined ? event : { ...event, id })),
  }));
  return { ...commit, appends };
}

async function checkRead(store: EventStore, model: StoreModel, command: Command & { kind: "read" }): Promise<void> {
  const { filter, from, limit, asOf } = command;
  const matching = model.events.filter((event) => modelMatches(filter, event));
  const forwards = matching.filter((event) => event.position >= from).slice(0, limit);
  expect((await collect(store.readAll({ filter, fromPosition: from, limit }))).map(seen)).toEqual(
    forwards.map(expected),
  );
  const backwards = matching
    .filter((event) => event.position <= from)
    .toReversed()
    .slice(0, limit);
  const read = store.readAll({ filter, fromPosition: from, limit, direction: "backwards" });
  expect((await collect(read)).map(seen)).toEqual(backwards.map(expected));
  const past = store.asOf(asOf);
  const then = matching.filter((event) => event.position <= asOf);
  expect((await collect(past.readAll({ filter }))).map(seen)).toEqual(then.map(expected));
  for (const name of ["a-1", "c-\u0000"]) {
    const stream = model.stream(name).filter((event) => event.position <= asOf);
    expect((await collect(past.readStream(name))).map(seen)).toEqual(stream.map(expected));
    expect((await past.streamInfo(name))?.version ?? 0).toBe(stream.length);
  }
}

async function checkWhole(store: EventStore, model: StoreModel): Promise<void> {
  expect((await collect(store.readAll())).map(seen)).toEqual(model.events.map(expected));
  const names = [...new Set(model.events.map((event) => event.streamName))];
  const sorted = names.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
  const infos = await collect(store.listStreams());
  expect(infos.map((info) => [info.streamName, info.version])).toEqual(
    sorted.map((name) => [name, model.stream(name).length]),
  );
  for (const name of names) {
    const stream = model.stream(name).map(expected);
    expect((await collect(store.readStream(name))).map(seen)).toEqual(stream);
    expect((await collect(store.readStream(name, { direction: "backwards" }))).map(seen)).toEqual(stream.toReversed());
  }
}

async function runHistory(backend: Backend, commands: readonly Command[]): Promise<void> {
  await using storage = await backend.create();
  const model = new StoreModel();
  let store = await openEventStoreOn(await storage.open(), {});
  const past: ModelCommit[] = [];
  const follower = new AbortController();
  const followed: unknown[] = [];
  const follow = (async () => {
    for await (const event of store.subscribe({ from: "start", signal: follower.signal })) followed.push(seen(event));
  })();
  try {
    for (const command of commands) {
      switch (command.kind) {
        case "commits": {
          const commits = command.commits.filter(isWellFormed);
          past.push(...commits);
          const outcomes = await Promise.all(commits.map((one) => outcomeOf(store.commit(clean(one)))));
          expect(outcomes).toEqual(commits.map((one) => model.commit(one)));
          break;
        }
        case "retry": {
          const again = past[command.index];
          if (again !== undefined) expect(await outcomeOf(store.commit(clean(again)))).toEqual(model.commit(again));
          break;
        }
        case "read":
          await checkRead(store, model, command);
          break;
        case "reopen":
          if (!backend.reopens) break;
          follower.abort();
          await store.close();
          store = await openEventStoreOn(await storage.open(), {});
      }
    }
    await checkWhole(store, model);
  } finally {
    follower.abort();
    await store.close();
    await follow;
  }
  expect(followed).toEqual(model.events.slice(0, followed.length).map(expected));
}

const history = fc.array(command, { minLength: 1, maxLength: 14 });

for (const [backend, runs] of [
  [memoryBackend, 1_000],
  [slateMemoryBackend, 60],
  [slateFolderBackend, 30],
] as const) {
  test(`The store on ${backend.name} agrees with the model over ${runs} random histories`, async () => {
    await fc.assert(
      fc.asyncProperty(history, (commands) => runHistory(backend, commands)),
      { numRuns: runs },
    );
  }, 300_000);
}
