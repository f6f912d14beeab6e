/** What a reader asks of the storage, and what becomes of it when the storage fails, forgets it, or is somebody else's. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { EventStoreReader } from "../../src/index.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { openSlateReaderKv } from "../../src/kv/slatedb-reader-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { s3Error, startS3StandIn } from "../kv/s3-stand-in.ts";
import { bytes, drain, noise, put, standInCredentials } from "../kv/stores.ts";
import { collect, errorOf, take, until } from "../support/collect.ts";
import { folderPlace, openReader, openWriter, type Place } from "./places.ts";
import { ReaderChild } from "./reader.ts";

setDefaultTimeout(60_000);

const one = [{ type: "Happened", data: {} }];

async function away(place: Place, work: () => Promise<void>): Promise<void> {
  const manifests = join(place.location.kind === "folder" ? place.location.directory : "", "db", "manifest");
  await rename(manifests, `${manifests}-away`);
  try {
    await work();
  } finally {
    await rename(`${manifests}-away`, manifests);
  }
}

describe("A reader that lost the storage", () => {
  test("says that it is stalled, opens it again, and goes on where it was", async () => {
    await using place = await folderPlace();
    await using writer = await openWriter(place);
    await writer.append("a-1", one, { expectedVersion: "no-stream" });
    await using reader = await openReader(place, { retryMs: 20 });
    const following = take(reader.subscribe({ from: "start" }), 3);
    await reader.waitForPosition(1);
    await away(place, async () => {
      await until(() => reader.health().state === "stalled");
      expect(reader.health().error).toBeDefined();
      expect(await reader.lastPosition()).toBe(1);
    });
    await writer.append("a-1", [...one, ...one], { expectedVersion: 1 });
    await reader.waitForPosition(3);
    expect((await following).map(({ position }) => position)).toEqual([1, 2, 3]);
    await until(() => reader.health().state === "open");
    expect(reader.stats().storage.readersLost).toBeGreaterThan(0);
  });

  test("lets reads wait for the storage, and fails them where that takes too long", async () => {
    await using place = await folderPlace();
    await using writer = await openWriter(place);
    await writer.append("a-1", one, { expectedVersion: "no-stream" });
    await using reader = await openReader(place, { retryMs: 20, readTimeoutMs: 200 });
    let late: Promise<unknown> | undefined;
    await away(place, async () => {
      await until(() => reader.health().state === "stalled");
      expect((await errorOf(collect(reader.readStream("a-1")))).code).toBe("storage-unavailable");
      late = until(async () => (await collect(reader.readStream("a-1")).catch(() => [])).length === 1);
    });
    await late;
  });

  test("refuses to go on with another store that was put in the place of the first", async () => {
    await using place = await folderPlace();
    await using other = await folderPlace();
    for (const [count, at] of [place, other].entries()) {
      await using writer = await openWriter(at);
      for (let version = 0; version <= 3 * count; version += 1) {
        await writer.append("a-1", one, { expectedVersion: version });
      }
    }
    const [from, to] = [other, place].map(({ location }) =>
      join(location.kind === "folder" ? location.directory : "", "db"),
    );
    const reported: unknown[] = [];
    const onError = (error: unknown): number => reported.push(error);
    await using reader = await openTunedReader({ url: place.url, pollIntervalMs: 20, onError }, { retryMs: 20 });
    await rename(to ?? "", `${to}-away`);
    await rename(from ?? "", to ?? "");
    await until(() => reader.health().error?.code === "storage-corrupt");
    expect(reader.health().error?.message).toBe("There is another store now in the place of the one that was opened");
    expect(await reader.lastPosition()).toBe(1);
    await until(() => reported.length > 0);
    expect(reported).toEqual([reader.health().error]);
    await rm(`${to}-away`, { recursive: true });
  });
});

test("A reader that stood still until its checkpoint was collected is opened again, and goes on", async () => {
  await using place = await folderPlace();
  const tuning = { garbageMinAgeMs: 1_000_000, garbageIntervalMs: 100 };
  const kv = await openSlateKv({ location: place.location, s3: {}, clock: systemClock, tuning });
  await using writer = await openEventStoreOn(kv, {});
  await writer.append("a-1", one, { expectedVersion: "no-stream" });
  const options = { url: place.url, pollIntervalMs: 100 };
  await using child = await ReaderChild.start({ options, tuning: { checkpointLifetimeMs: 1_000, retryMs: 20 } });
  for (let lost = 0; lost === 0; lost = (await child.health()).readersLost) {
    child.signal("SIGSTOP");
    const stopped = performance.now();
    await until(() => performance.now() - stopped > 3_000);
    child.signal("SIGCONT");
    const resumed = performance.now();
    await until(async () => (await child.health()).readersLost > 0 || performance.now() - resumed > 1_000);
  }
  await writer.append("a-1", one, { expectedVersion: 1 });
  await until(async () => (await child.health()).lastPosition === 2);
  await until(async () => (await child.health()).state === "open");
});

describe("On a bucket that counts", () => {
  test("an idle reader asks for news with two listings and one GET, writes only when it opens and closes, deletes nothing", async () => {
    await using standIn = startS3StandIn();
    const place = { url: standIn.location.url, location: standIn.location };
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    const kv = await openSlateKv({ location: place.location, s3, clock: systemClock });
    const writer = await openEventStoreOn(kv, {});
    await writer.append("a-1", one, { expectedVersion: "no-stream" });
    await writer.close();
    const requestsOf = (from: number): readonly string[] =>
      standIn.requests.slice(from).map(({ method, key }) => (key === "" ? "LIST" : `${method} ${key.split("/")[2]}`));
    const opening = standIn.requests.length;
    const reader = await openReader({ ...place, s3, [Symbol.asyncDispose]: async () => {} });
    expect(requestsOf(opening).filter((one) => one.startsWith("PUT"))).toEqual(["PUT manifest"]);
    const polls = 50;
    const idle = standIn.requests.length;
    const countOf = (what: string): number => requestsOf(idle).filter((one) => one === what).length;
    await until(() => countOf("GET manifest") >= polls);
    const seen = requestsOf(idle);
    const asked = countOf("GET manifest");
    expect(new Set(seen)).toEqual(new Set(["LIST", "GET manifest"]));
    expect(Math.abs(seen.length - asked * 3)).toBeLessThanOrEqual(3);
    const closing = standIn.requests.length;
    await reader.close();
    expect(requestsOf(closing).filter((one) => one.startsWith("PUT"))).toEqual(["PUT manifest"]);
    expect(requestsOf(opening).some((one) => one.startsWith("DELETE"))).toBe(false);
  });

  test("readers that are replaced in time write a manifest when they open and one when they close, and no more", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    await (await openSlateKv({ location: standIn.location, s3, clock: systemClock })).close();
    const putsBefore = standIn.requests.filter(({ method }) => method === "PUT").length;
    // Past half of its life the engine would renew the checkpoint at each poll, fifty times a second.
    const tuning = { pollMs: 20, checkpointLifetimeMs: 4_000, rotateMs: 500 };
    const reader = await openSlateReaderKv({ location: standIn.location, s3, clock: systemClock, tuning });
    await until(() => reader.stats().readersOpened > 8, 30_000);
    await reader.close();
    const { readersOpened, readersLost } = reader.stats();
    expect(readersLost).toBe(0);
    const puts = standIn.requests.filter(({ method }) => method === "PUT").length - putsBefore;
    // One more may have been opened, and thrown away, while this closed.
    expect(puts).toBeLessThanOrEqual(2 * (readersOpened + 1));
  });

  test("a reader whose objects were collected meanwhile is opened again in the middle of a scan", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    const kv = await openSlateKv({ location: standIn.location, s3, clock: systemClock });
    const rows = Array.from({ length: 2_000 }, (_, row) =>
      put(`k${String(row).padStart(5, "0")}`, crypto.randomUUID()),
    );
    for (let from = 0; from < rows.length; from += 500) await kv.write(rows.slice(from, from + 500));
    await kv.close();
    await using reader = await openSlateReaderKv({
      location: standIn.location,
      s3,
      clock: systemClock,
      tuning: { pollMs: 60_000, freshMs: 0, retryMs: 20 },
    });
    const cursor = await reader.scan({ start: bytes("k") }, "lookup");
    const first = await cursor.next(10);
    // Gone, until the reader leaves a new checkpoint: what that one names is there.
    standIn.intercept(({ method, key }) => {
      if (method === "PUT" && key.includes("/manifest/")) standIn.intercept(undefined);
      return method === "GET" && key.includes("/compacted/") ? s3Error(404, "NoSuchKey") : undefined;
    });
    const all = [...first, ...(await drain(cursor))].map(({ key }) => Buffer.from(key).toString());
    expect(all).toEqual(Array.from({ length: 2_000 }, (_, row) => `k${String(row).padStart(5, "0")}`));
    expect(reader.stats()).toMatchObject({ readersOpened: 2, readersLost: 1 });
  });

  test("many reads at once all end, while the reader polls and is replaced", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    const kv = await openSlateKv({ location: standIn.location, s3, clock: systemClock });
    await using writer = await openEventStoreOn(kv, {});
    const pad = "x".repeat(2_000);
    const append = (n: number): Promise<unknown> => {
      const events = Array.from({ length: 20 }, () => ({
        type: "Padded",
        data: { n, pad: pad + crypto.randomUUID() },
      }));
      return writer.append(`s-${n}`, events, { expectedVersion: "no-stream" });
    };
    for (let n = 0; n < 60; n += 1) await append(n);
    await writer.close();
    const options = { url: standIn.location.url, s3, pollIntervalMs: 20 };
    await using child = await ReaderChild.start({ options, tuning: { rotateMs: 300 } });
    for (let round = 0; round < 5; round += 1) expect(await child.readAtOnce()).toBe(5 * 60 * 20);
    expect((await child.health()).state).toBe("open");
  });

  test("a read that is not answered fails in time, and works again when the bucket does", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    const kv = await openSlateKv({ location: standIn.location, s3, clock: systemClock });
    await kv.write([put("a", "1")]);
    await kv.close();
    const tuning = { pollMs: 60_000, readTimeoutMs: 200, closeTimeoutMs: 500 };
    await using reader = await openSlateReaderKv({ location: standIn.location, s3, clock: systemClock, tuning });
    standIn.freeze();
    expect((await errorOf(reader.get(bytes("a")))).code).toBe("storage-unavailable");
    standIn.thaw();
    await until(async () => (await reader.get(bytes("a")).catch(() => undefined)) !== undefined);
  });

  test("a reader without news says that it is stalled while the bucket does not answer, or refuses it", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    const kv = await openSlateKv({ location: standIn.location, s3, clock: systemClock });
    await (await openEventStoreOn(kv, {})).close();
    const tuning = { probeMs: 50, readTimeoutMs: 300, retryMs: 20, closeTimeoutMs: 500 };
    const options = { url: standIn.location.url, s3, pollIntervalMs: 20 };
    await using reader = await openTunedReader(options, tuning);
    standIn.freeze();
    await until(() => reader.health().state === "stalled");
    expect(reader.health().error?.code).toBe("storage-unavailable");
    standIn.thaw();
    await until(() => reader.health().state === "open", 30_000);
    standIn.intercept(() => s3Error(403, "AccessDenied"));
    await until(() => reader.health().state === "stalled");
    expect(reader.health().error?.message).toContain("may not list the bucket");
    standIn.intercept(undefined);
    await until(() => reader.health().state === "open", 30_000);
  });

  test("opening a reader fails in time where the bucket refuses its checkpoint", async () => {
    await using standIn = startS3StandIn();
    const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
    await (await openSlateKv({ location: standIn.location, s3, clock: systemClock })).close();
    standIn.intercept(({ method }) => (method === "PUT" ? s3Error(403, "AccessDenied") : undefined));
    const tuning = { openTimeoutMs: 500 };
    const opening = openSlateReaderKv({ location: standIn.location, s3, clock: systemClock, tuning });
    expect((await errorOf(opening)).code).toBe("storage-unavailable");
    standIn.intercept(undefined);
  });
});

test("A reader opens over more than it could replay into one table of the engine's usual size", async () => {
  await using place = await folderPlace();
  const never = Number.MAX_SAFE_INTEGER;
  const tuning = { memtableFlushGroups: never, memtableFlushBytes: never, memtablePaceBytes: never };
  await using writer = await openSlateKv({ location: place.location, s3: {}, clock: systemClock, tuning });
  const { memtableFlushes } = writer.stats();
  const groups = 12;
  for (let group = 0; group < groups; group += 1) {
    await writer.write(Array.from({ length: 128 }, (_, row) => put(`k${group}-${row}`, noise(65_536))));
  }
  await using reader = await openSlateReaderKv({ location: place.location, s3: {}, clock: systemClock });
  expect(await drain(await reader.scan({ start: bytes("k") }, "replay"))).toHaveLength(groups * 128);
  expect(writer.stats().memtableFlushes).toBe(memtableFlushes);
});

test("Many readers of one store each see everything, and leave nothing behind", async () => {
  await using place = await folderPlace();
  await using writer = await openWriter(place);
  const readers: EventStoreReader[] = await Promise.all([1, 2, 3, 4].map(() => openReader(place)));
  for (let n = 0; n < 20; n += 1) await writer.append("a-1", one, { expectedVersion: n });
  for (const reader of readers) await reader.waitForPosition(20);
  await Promise.all(readers.map((reader) => reader.close()));
  await writer.append("a-1", one, { expectedVersion: 20 });
  expect(writer.health()).toMatchObject({ state: "open", lastPosition: 21 });
});
