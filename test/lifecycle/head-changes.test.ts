/** Changes of stream heads within commits: judged in order, atomic with events and rows, kept by later appends. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { decodeHeadExtension, encodeHeadExtension, type HeadExtension } from "../../src/format/head-extension.ts";
import { snapshotKey, streamHeadKey } from "../../src/format/key-families.ts";
import { decodeStreamHead, type StreamHead } from "../../src/format/stream-head.ts";
import { InternalError, InvalidArgumentError, StreamDeletedError } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { commitHeadsMax, type HeadView } from "../../src/log/commit-extras.ts";
import type { StoreCore } from "../../src/log/store-internals.ts";
import { lifecycleStreamName, systemAppend } from "../../src/log/system-events.ts";
import { openWithCore } from "../../src/store/open-event-store.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";

setDefaultTimeout(60_000);

const event = { type: "T", data: 1 };
const tombstone = { deletedAtMs: 1_000, undeletableUntilMs: 2_000, purged: false };
const headOf = async (core: StoreCore, name: string): Promise<StreamHead> =>
  decodeStreamHead(name, (await core.rows.get(streamHeadKey(name))) ?? new Uint8Array(0));

test("Extensions come back as they went in, with the fields of later versions", () => {
  const integer = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
  const extension = fc.record(
    {
      tombstone: fc.record({ deletedAtMs: time, undeletableUntilMs: time, purged: fc.boolean() }),
      droppedBefore: integer,
      reason: fc.constantFrom("expired" as const, "excess" as const, "truncated" as const),
      archive: fc.record({ from: integer, before: integer }),
      unknown: fc
        .uniqueArray(
          fc.record({ tag: fc.integer({ min: 100, max: 9_999 }), bytes: fc.uint8Array({ maxLength: 40 }) }),
          {
            minLength: 1,
            maxLength: 3,
            selector: ({ tag }) => tag,
          },
        )
        .map((list) => list.sort((one, other) => one.tag - other.tag)),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(extension, (given) => {
      expect(decodeHeadExtension(encodeHeadExtension(given as HeadExtension))).toEqual(given as HeadExtension);
    }),
  );
  expect(encodeHeadExtension({}).length).toBe(0);
});

test("A change sees what the commits before it in the group have made of the head, and the next append keeps it", async () => {
  const gate = createGatedKv();
  const { store, core } = await openWithCore(gate.kv, {});
  await store.append("a-1", [event, event], { expectedVersion: "no-stream" });
  gate.shut();
  const first = store.append("b-1", [event], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  const views: HeadView[] = [];
  const truncate = (truncatedBefore: number): Promise<unknown> =>
    core.submit({
      heads: [
        {
          streamName: "a-1",
          change: (head) => {
            views.push(head);
            return { truncatedBefore, extension: { droppedBefore: 1, reason: "truncated" } };
          },
        },
      ],
    });
  const settled = Promise.all([
    truncate(2),
    store.append("a-1", [event], { expectedVersion: 2 }),
    truncate(3),
    truncate(1),
  ]);
  gate.open();
  await Promise.all([first, settled]);
  expect(views.map(({ version, pagedTo, truncatedBefore }) => [version, pagedTo, truncatedBefore])).toEqual([
    [2, 0, 0],
    [3, 0, 2],
    [3, 0, 3],
  ]);
  expect(await headOf(core, "a-1")).toMatchObject({ version: 3, truncatedBefore: 3, lastPosition: 4 });
  await store.append("a-1", [event], { expectedVersion: 3 });
  const head = await headOf(core, "a-1");
  expect(head).toMatchObject({ version: 4, truncatedBefore: 3, firstPosition: 1 });
  expect(decodeHeadExtension(head.extension)).toEqual({ droppedBefore: 1, reason: "truncated" });
  await store.close();
});

test("What leaves the head does not come back in a page, and the rest stays where it was", async () => {
  const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), {});
  await store.append("a-1", [event, event, event], { expectedVersion: "no-stream" });
  const before = await headOf(core, "a-1");
  await core.submit({ heads: [{ streamName: "a-1", change: () => ({ truncatedBefore: 3, dropTailBefore: 3 }) }] });
  const head = await headOf(core, "a-1");
  expect(head).toEqual({ ...before, truncatedBefore: 3, tail: before.tail.slice(2) });
  expect(await store.lastPosition()).toBe(3);
  await store.close();
});

test("A change that is refused leaves the whole commit out, and a stream without events has no head to change", async () => {
  const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), {});
  await store.append("a-1", [event], { expectedVersion: "no-stream" });
  const key = snapshotKey("a-1", "test", 1);
  const refused = core.submit({
    rows: [{ kind: "put", key, value: Buffer.from("x") }],
    heads: [
      { streamName: "a-1", change: () => ({ truncatedBefore: 2 }) },
      { streamName: "none-1", change: () => ({ truncatedBefore: 2 }) },
    ],
  });
  expect(await errorOf(refused)).toBeInstanceOf(InternalError);
  expect(await core.rows.get(key)).toBeUndefined();
  expect(await headOf(core, "a-1")).toMatchObject({ truncatedBefore: 0 });
  const many = Array.from({ length: commitHeadsMax + 1 }, () => ({ streamName: "a-1", change: () => undefined }));
  expect(await errorOf(core.submit({ heads: many }))).toBeInstanceOf(InvalidArgumentError);
  await store.close();
});

test("A tombstone refuses appends and checks, whatever they expect, from the very next commit of its group on", async () => {
  const gate = createGatedKv();
  const { store, core } = await openWithCore(gate.kv, {});
  await store.append("a-1", [{ ...event, id: "one" }], { expectedVersion: "no-stream" });
  gate.shut();
  const first = store.append("b-1", [event], { expectedVersion: "any" });
  await until(() => gate.waiting() === 1);
  const outcomes = Promise.allSettled([
    core.submit({ heads: [{ streamName: "a-1", change: () => ({ extension: { tombstone } }) }] }),
    ...(["any", "no-stream", "stream-exists", 0, 1] as const).map((expectedVersion) =>
      store.append("a-1", [event], { expectedVersion }),
    ),
    core.submit({ checks: [{ streamName: "a-1", expectedVersion: "no-stream" }] }),
    store.append("a-1", [{ ...event, id: "one" }], { expectedVersion: "no-stream" }),
  ]);
  gate.open();
  await first;
  const [deletion, ...rest] = await outcomes;
  const retry = rest.pop();
  expect(deletion?.status).toBe("fulfilled");
  for (const one of rest) {
    expect(one).toMatchObject({ reason: { code: "stream-deleted", outcome: "not-applied", streamName: "a-1" } });
    expect(one.status === "rejected" && one.reason).toBeInstanceOf(StreamDeletedError);
  }
  // What was stored before is still told to whoever asks for it again.
  expect(retry).toMatchObject({ value: { replayed: true, streamVersion: 1 } });
  await store.close();
});

test("The store's own events go into their stream, and nobody else may use names like theirs", async () => {
  const { store, core } = await openWithCore(openMemoryKv(createMemoryStorage()), {});
  await core.submit({
    appends: [systemAppend({ type: "$stream-deleted", data: { streamName: "a-1" }, metadata: { actor: "kim" } })],
    system: true,
  });
  expect(await collect(store.readStream(lifecycleStreamName))).toMatchObject([
    { type: "$stream-deleted", data: { streamName: "a-1" }, metadata: { actor: "kim" }, version: 1 },
  ]);
  for (const [streamName, type] of [
    [lifecycleStreamName, "T"],
    ["$other-1", "T"],
    ["a-1", "$T"],
  ] as const) {
    const append = { streamName, events: [{ type, data: 1 }], expectedVersion: "any" as const };
    const tries = [
      () => store.append(streamName, append.events, { expectedVersion: "any" }),
      () => store.commit({ appends: [append] }),
      () => core.submit({ appends: [append] }),
    ];
    for (const attempt of tries) expect(await errorOf(attempt)).toBeInstanceOf(InvalidArgumentError);
  }
  await store.close();
});
