/** The chain survives what the life cycle does: after retention, deletion, archives, merging and forgetting a store verifies. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { backupStore, openEventStore, openEventStoreReader, restoreStore } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { encryption, people, registered } from "../support/people.ts";

setDefaultTimeout(120_000);

const any = { expectedVersion: "any" } as const;

/** Everything that a reader of the store sees, but for what was set aside. */
async function seen(store: Awaited<ReturnType<typeof openEventStore>>): Promise<unknown> {
  const streams = await collect(store.listStreams());
  return {
    all: await collect(store.readAll()),
    streams: await Promise.all(
      streams.map(({ streamName }) => collect(store.readStream(streamName)).catch((error: Error) => error.message)),
    ),
  };
}

test.each(["memory:", "file:"])(
  "A store on %s verifies after each step of its life, and so do its copies",
  async (kind) => {
    await using folder = await temporaryFolder();
    const url = kind === "memory:" ? kind : `file:${folder.path}/store`;
    await using store = await openEventStore({ url, deletionGraceMs: 0 });
    let deleted = false;
    const fill = async (): Promise<void> => {
      for (const n of range(0, 59)) {
        if (n % 20 === 2 && deleted) continue;
        const events = range(1, 60).map((k) => ({ type: "Noted", data: { n, k, text: "x".repeat(k) } }));
        await store.append(`cart-${n % 20}`, events, any);
        await store.append(`order-${n % 3}`, events.slice(0, 7), any);
      }
    };
    await fill();
    const heads = [store.chainHead()?.text ?? ""];
    const step = async (): Promise<void> => {
      for (const against of [heads[0], heads.at(-1)]) {
        if (against !== undefined) expect((await store.verify({ against })).breaks).toEqual([]);
      }
      heads.push(store.chainHead()?.text ?? "");
    };
    await step();
    await store.compact();
    await step();
    await store.truncateStream("cart-1", { beforeVersion: 100 });
    await step();
    await store.setRetention("order", { maxCount: 10 });
    await store.deleteStream("cart-2", { expectedVersion: 180 });
    deleted = true;
    await step();
    await store.archiveStream("cart-3");
    await step();
    await store.compact();
    await store.compact();
    await step();
    const { dropped } = await store.verify();
    expect(dropped).toBeGreaterThan(400);
    await fill();
    await store.compact();
    await step();
    await using fork = await store.fork("memory:");
    expect(await seen(fork)).toEqual(await seen(store));
    expect(await fork.verify({ against: heads[0] ?? "" })).toMatchObject({ holds: true });
    if (kind === "memory:") return;
    const [to, again] = [`file:${folder.path}/backup`, `file:${folder.path}/again`];
    await backupStore({ from: url, to });
    await restoreStore({ from: to, to: again });
    await using restored = await openEventStore({ url: again });
    expect(await seen(restored)).toEqual(await seen(store));
    expect(await restored.verify({ against: heads[0] ?? "" })).toMatchObject({ holds: true });
  },
);

test("Personal data is read in copies, and whoever is forgotten in one is not forgotten in the other", async () => {
  await using folder = await temporaryFolder();
  const [url, to, again] = ["store", "backup", "again"].map((name) => `file:${folder.path}/${name}`);
  if (url === undefined || to === undefined || again === undefined) throw new Error("There are no places");
  await using store = await openEventStore({ url, events: [people], encryption });
  for (const n of range(1, 5)) await store.append(`person-${n}`, [registered(`p${n}`)], any);
  const plain = await collect(store.readAll());
  await using fork = await store.fork("memory:");
  expect(await collect(fork.readAll())).toEqual(plain);
  await backupStore({ from: url, to });
  await restoreStore({ from: to, to: again });
  const head = store.chainHead()?.text ?? "";
  await store.forget("person:p2");
  await store.compact();
  expect(await store.verify({ against: head })).toMatchObject({ breaks: [] });
  expect(await collect(store.readAll())).not.toEqual(plain);
  expect(await collect(fork.readAll())).toEqual(plain);
  await using restored = await openEventStore({ url: again, events: [people], encryption });
  expect(await collect(restored.readAll())).toEqual(plain);
  await using backup = await openEventStoreReader({ url: to, events: [people], encryption });
  expect(await collect(backup.readAll())).toEqual(plain);
});
