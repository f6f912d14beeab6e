/** Backups while the store is in use, broken off and gone on with; and stores that are made of them again. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openStoreSource } from "../../src/backup/copy-source.ts";
import { copyStore } from "../../src/backup/copy-store.ts";
import {
  backupStore,
  defineReactor,
  type EventStore,
  type EventStoreReader,
  openEventStore,
  openEventStoreReader,
  type Reactor,
  restoreStore,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import { openObjects } from "../../src/kv/objects.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { kinds, openReader, openWriter, type Place, stopServer } from "../replica/places.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { range } from "../support/dropping.ts";
import { createFaultyStorage, openFaultyKv } from "../support/faulty-kv.ts";
import { altered, edited, rowWith } from "../support/tampering.ts";
import type { BackupTask } from "./backup-child.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

/** Commits over streams, with tags. */
async function fill(store: EventStore, commits: number, from = 0): Promise<void> {
  await Promise.all(
    range(from, from + commits - 1).map((n) =>
      store.append(
        `order-${n % 2_000}`,
        range(1, 5).map((k) => ({ type: k === 1 ? "First" : "Other", data: { n, k }, tags: [`n:${n}`] })),
        { expectedVersion: "any" },
      ),
    ),
  );
}

const idsOf = async (store: EventStore | EventStoreReader): Promise<readonly string[]> =>
  (await collect(store.readAll())).map(({ id }) => id);

/** What both directions need of two places of one kind. */
function between(from: Place, to: Place): Pick<Parameters<typeof backupStore>[0], "from" | "to" | "fromS3" | "toS3"> {
  return { from: from.url, to: to.url, fromS3: from.s3, toS3: to.s3 };
}

async function runChild(task: BackupTask): Promise<number> {
  const script = join(import.meta.dir, "backup-child.ts");
  const child = Bun.spawn([process.execPath, script, JSON.stringify(task)], { stdout: "ignore", stderr: "inherit" });
  return await child.exited;
}

async function putObjects(place: Place, names: Readonly<Record<string, string>>): Promise<void> {
  await using objects = await openObjects(place.location, place.s3);
  for (const [name, text] of Object.entries(names)) await objects.put(name, Buffer.from(text));
}

async function objectsOf(place: Place): Promise<Record<string, string>> {
  await using objects = await openObjects(place.location, place.s3);
  const found: Record<string, string> = {};
  for (const prefix of ["keys/", "archive/", "other/"]) {
    for await (const { name } of objects.list(prefix)) {
      found[name] = Buffer.from((await objects.get(name))?.bytes ?? []).toString();
    }
  }
  return found;
}

describe.each(kinds)("Backups $name", ({ available, create }) => {
  test.skipIf(!available)(
    "are whole as of one moment while the store is written to, and restore to the same",
    async () => {
      await using place = await create();
      await using target = await create();
      await using again = await create();
      await using store = await openWriter(place);
      await fill(store, 600);
      await putObjects(place, { "keys/k1": "wrapped", "archive/a/1": "old events", "other/x": "not ours" });
      let writing = true;
      let appended = 600;
      const writer = (async () => {
        while (writing) {
          await fill(store, 5, appended);
          appended += 5;
        }
      })();
      const report = await backupStore(between(place, target));
      writing = false;
      await writer;
      expect(store.health().state).toBe("open");
      expect(report.position).toBeGreaterThanOrEqual(3_000);
      expect(report).toMatchObject({ resumed: false, objects: 2, pausedProcessors: [] });
      const all = await collect(store.readAll());
      const wanted = all.slice(0, report.position);
      // Groups are whole, and it is the same log as that of the store then.
      expect((await store.verify({ against: report.head?.text ?? "" })).holds).toBe(true);
      await using backup = await openReader(target);
      expect(await collect(backup.readAll())).toEqual(wanted);
      expect(await backup.verify()).toMatchObject({ holds: true, events: report.position });
      expect(backup.chainHead()).toEqual(report.head);
      const restored = await restoreStore(between(target, again));
      expect(restored).toMatchObject({ position: report.position, head: report.head, objects: 2 });
      expect(await objectsOf(again)).toEqual({ "keys/k1": "wrapped", "archive/a/1": "old events" });
      await using copy = await openWriter(again);
      expect(await collect(copy.readAll())).toEqual(wanted);
      const tagged = await collect(copy.readAll({ filter: { tags: ["n:77"] } }));
      expect(tagged.map(({ position }) => position)).toEqual(
        wanted.filter((event) => event.tags.includes("n:77")).map(({ position }) => position),
      );
      expect(
        (await copy.append("order-1", [{ type: "Next", data: {} }], { expectedVersion: "stream-exists" })).position,
      ).toBe(report.position + 1);
      expect(await copy.verify({ against: report.head?.text ?? "" })).toMatchObject({ holds: true });
    },
  );

  test.skipIf(!available)("go on after a kill, with what changed meanwhile, and cannot be opened before", async () => {
    await using place = await create();
    await using target = await create();
    await using again = await create();
    const { s3 } = place;
    await using store = await openWriter(place);
    await fill(store, 2_500);
    await putObjects(place, { "keys/k1": "one", "keys/k2": "two" });
    const backup = { what: "backup", from: place.url, to: target.url, s3 } as const;
    expect(await runChild({ ...backup, killAt: 3_000 })).not.toBe(0);
    expect((await errorOf(openReader(target))).message).toContain("unfinished backup");
    expect((await errorOf(openWriter(target))).message).toContain("unfinished backup");
    await fill(store, 50, 2_500);
    await putObjects(place, { "keys/k1": "another" });
    expect(await runChild({ ...backup, killAt: "verify" })).not.toBe(0);
    await (await openObjects(place.location, place.s3)).delete("keys/k2");
    await fill(store, 50, 2_550);
    const report = await backupStore(between(place, target));
    expect(report).toMatchObject({ resumed: true, position: 13_000, objects: 1 });
    expect(report.rowsWritten).toBeLessThan(report.rows / 2);
    expect(await objectsOf(target)).toEqual({ "keys/k1": "another" });
    await using reader = await openReader(target);
    expect(await idsOf(reader)).toEqual(await idsOf(store));
    const restore = { what: "restore", from: target.url, to: again.url, s3 } as const;
    expect(await runChild({ ...restore, killAt: 3_000 })).not.toBe(0);
    expect((await errorOf(openWriter(again))).message).toContain("unfinished restore");
    expect(await restoreStore(between(target, again))).toMatchObject({ resumed: true, position: 13_000 });
    await using copy = await openWriter(again);
    expect(await idsOf(copy)).toEqual(await idsOf(store));
  });

  test.skipIf(!available)("refuse a target that has anything else, and fence nobody there", async () => {
    await using place = await create();
    await using other = await create();
    await using target = await create();
    await using store = await openWriter(place);
    await using there = await openWriter(other);
    await fill(store, 3);
    await fill(there, 3);
    const refused = async (work: Promise<unknown>, words: string): Promise<void> => {
      const error = await errorOf(work);
      expect([error.code, error.message.includes(words)]).toEqual(["invalid-argument", true]);
    };
    await refused(backupStore(between(place, other)), "a store already");
    await backupStore(between(place, target));
    await refused(restoreStore(between(target, other)), "a store already");
    await refused(backupStore(between(place, target)), "a backup already");
    await refused(backupStore(between(other, target)), "a backup already");
    await refused(restoreStore(between(place, target)), "there is a store");
    await refused(openWriter(target), "a backup");
    await refused(backupStore({ ...between(place, place) }), "another place");
    // Both go on writing.
    await fill(store, 3, 10);
    await fill(there, 3, 10);
  });
});

test("An unfinished backup is gone on with by the store that began it alone", async () => {
  const folder = kinds[0];
  if (folder === undefined) throw new Error("There are no folders");
  await using place = await folder.create();
  await using other = await folder.create();
  await using target = await folder.create();
  await using store = await openWriter(place);
  await using there = await openWriter(other);
  await fill(store, 1_000);
  await fill(there, 3);
  const task = { from: place.url, to: target.url, s3: {} } as const;
  expect(await runChild({ ...task, what: "backup", killAt: 1_000 })).not.toBe(0);
  expect((await errorOf(backupStore(between(other, target)))).message).toContain("of another store");
  const controller = new AbortController();
  const broken = backupStore({
    ...between(place, target),
    signal: controller.signal,
    onProgress: ({ phase }) => phase === "verify" && controller.abort(new Error("enough")),
  });
  expect(await broken.catch((error: unknown) => (error as Error).message)).toBe("enough");
  expect((await backupStore(between(place, target))).resumed).toBe(true);
});

test("Options that make no sense are refused, and there must be a store to copy", async () => {
  const folder = kinds[0];
  if (folder === undefined) throw new Error("There are no folders");
  await using place = await folder.create();
  await using target = await folder.create();
  const good = { from: place.url, to: target.url };
  const wrong = [
    { ...good, to: "memory:" },
    { ...good, from: "memory:" },
    { ...good, from: 1 },
    { ...good, deep: 1 },
    { ...good, withKeys: 1 },
  ];
  for (const options of wrong) {
    expect((await errorOf(backupStore(options as typeof good))).code).toBe("invalid-argument");
  }
  expect((await errorOf(backupStore(good))).code).toBe("store-not-found");
});

test("Keys stay behind where they are told to", async () => {
  const folder = kinds[0];
  if (folder === undefined) throw new Error("There are no folders");
  await using place = await folder.create();
  await using target = await folder.create();
  await using store = await openWriter(place);
  await fill(store, 3);
  await putObjects(place, { "keys/k1": "wrapped", "archive/a/1": "old" });
  await backupStore({ ...between(place, target), withKeys: false });
  expect(await objectsOf(target)).toEqual({ "archive/a/1": "old" });
});

test("What acts on the world stands still in a restored store, until it is resumed", async () => {
  const folder = kinds[0];
  if (folder === undefined) throw new Error("There are no folders");
  await using place = await folder.create();
  await using target = await folder.create();
  await using again = await folder.create();
  await using third = await folder.create();
  const sent: string[] = [];
  const send = (who: string) => async (event: { readonly position: number }) => {
    sent.push(`${who} ${event.position}`);
  };
  const mailer = (who: string): Reactor =>
    defineReactor("mailer", { mode: "async", on: { First: send(who), Other: send(who) } });
  {
    await using store = await openEventStore({ url: place.url, reactors: [mailer("first")] });
    await fill(store, 2);
    await store.waitFor("mailer", 10, { timeoutMs: 10_000 });
    await store.pauseProcessor("mailer");
    await fill(store, 2, 2);
    await store.resumeProcessor("mailer");
    await store.waitFor("mailer", 20, { timeoutMs: 10_000 });
    await store.pauseProcessor("mailer");
    await fill(store, 1, 4);
    await store.resumeProcessor("mailer");
    await store.waitFor("mailer", 25, { timeoutMs: 10_000 });
  }
  expect(sent).toHaveLength(25);
  await backupStore(between(place, target));
  expect((await restoreStore(between(target, again))).pausedProcessors).toEqual(["mailer"]);
  await using copy = await openEventStore({ url: again.url, reactors: [mailer("copy")] });
  await fill(copy, 1, 5);
  const [info] = await copy.processors();
  expect(info?.state).toBe("paused");
  expect(sent.filter((one) => one.startsWith("copy"))).toEqual([]);
  await copy.resumeProcessor("mailer");
  await until(() => sent.length === 30);
  await restoreStore({ ...between(target, third), resumeProcessors: true });
  await using resumed = await openEventStore({ url: third.url, reactors: [mailer("third")] });
  await fill(resumed, 1, 6);
  await until(() => sent.some((one) => one === "third 30"));
});

test("A damaged source makes no backup that is called complete", async () => {
  const folder = kinds[0];
  if (folder === undefined) throw new Error("There are no folders");
  await using place = await folder.create();
  await using target = await folder.create();
  {
    await using store = await openWriter(place);
    await fill(store, 300);
  }
  {
    await using kv = await openSlateKv({ location: place.location, s3: {}, clock: systemClock });
    const row = await rowWith(kv, 0x30, 700);
    const forged = edited(row, (events) => events.map((one) => (one.position === 700 ? altered(one) : one)));
    if (forged === undefined) throw new Error("There is no such row");
    await kv.write([{ kind: "put", key: forged.key, value: forged.value }]);
  }
  const error = await errorOf(backupStore(between(place, target)));
  expect([error.code, error.message.includes("does not verify")]).toEqual(["storage-corrupt", true]);
  expect((await errorOf(openEventStoreReader({ url: target.url }))).message).toContain("unfinished backup");
});

test("A target that takes no row is closed again, and so is the view of the source", async () => {
  const kv = openMemoryKv(createMemoryStorage());
  await using store = await openEventStoreOn(kv, {});
  await store.append("order-1", [{ type: "Placed", data: {} }], { expectedVersion: 0 });
  await using objects = openMemoryObjects(systemClock);
  const rates = { failBefore: 1, failAfter: 0, loseTail: 0, fence: 0, readFailure: 0, delay: 0 };
  const target = openFaultyKv(createFaultyStorage(1, rates, () => {}));
  const copying = copyStore({
    source: openStoreSource(kv, objects),
    openTarget: async () => ({ kv: target, resumes: false }),
    targetObjects: objects,
    objectPrefixes: [],
    purpose: "fork",
    pausesProcessors: false,
    clock: systemClock,
    signal: undefined,
    onProgress: () => {},
    checkSource: () => {},
  });
  expect(await errorOf(copying)).toMatchObject({ code: "storage-unavailable" });
  expect(target.status().state).toBe("closed");
});
