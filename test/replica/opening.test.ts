/** Opening a reader, waiting for positions, and closing: what is refused, and with which error. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openEventStore, openEventStoreReader, type ReaderOptions } from "../../src/index.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf, take } from "../support/collect.ts";
import { folderPlace, openReader, openWriter } from "./places.ts";

setDefaultTimeout(60_000);

const one = [{ type: "Happened", data: {} }];

describe("Opening a reader", () => {
  test("finds no store where there is nothing, and makes none", async () => {
    await using folder = await temporaryFolder();
    for (const url of [`file:${folder.path}`, `file:${join(folder.path, "deeper")}`]) {
      const error = await errorOf(openEventStoreReader({ url }));
      expect(error).toMatchObject({ code: "store-not-found", message: `There is no store at ${url}` });
    }
    expect(await readdir(folder.path)).toEqual([]);
  });

  test("finds the store once a writer has made it, and reads it when the writer is gone", async () => {
    await using place = await folderPlace();
    expect((await errorOf(openReader(place))).code).toBe("store-not-found");
    const writer = await openWriter(place);
    await using beside = await openReader(place);
    expect(await beside.lastPosition()).toBe(0);
    await writer.append("a-1", one, { expectedVersion: "no-stream" });
    await writer.close();
    await using after = await openReader(place);
    expect(await collect(after.readStream("a-1"))).toHaveLength(1);
    await beside.waitForPosition(1);
  });

  test("tells a database that is empty from one that is something else", async () => {
    await using place = await folderPlace();
    const kv = await openSlateKv({ location: place.location, s3: {}, clock: systemClock });
    expect((await errorOf(openReader(place))).code).toBe("store-not-found");
    await kv.write([{ kind: "put", key: Buffer.from("mine"), value: Buffer.from("1") }]);
    expect((await errorOf(openReader(place))).code).toBe("storage-corrupt");
    await kv.close();
  });

  test("refuses a folder with something else, a file, a store in memory, and options that are wrong", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "notes.txt"), "mine");
    await mkdir(join(folder.path, "other", "db"), { recursive: true });
    await writeFile(join(folder.path, "other", "db", "x"), "");
    const url = `file:${folder.path}`;
    const wrong: readonly (readonly [ReaderOptions, string])[] = [
      [{ url }, "url"],
      [{ url: `${url}/other` }, "url"],
      [{ url: `${url}/notes.txt` }, "url"],
      [{ url: "memory:" }, "url"],
      [{ url: "shop" }, "url"],
      [{ url, pollIntervalMs: 9 }, "pollIntervalMs"],
      [{ url, pollIntervalMs: 600_001 }, "pollIntervalMs"],
      [{ url, onError: 1 as unknown as () => void }, "onError"],
      [{ url, s3: { createBucket: true } as ReaderOptions["s3"] & object }, "s3.createBucket"],
      [{ url, commitLingerMs: 1 } as ReaderOptions, "options.commitLingerMs"],
    ];
    for (const [options, argument] of wrong) {
      expect(await errorOf(openEventStoreReader(options))).toMatchObject({ code: "invalid-argument", argument });
    }
  });

  test("does not disturb the writer, nor the writer's opening the readers", async () => {
    await using place = await folderPlace();
    await using writer = await openEventStore({ url: place.url });
    await using first = await openReader(place);
    await using second = await openReader(place);
    const { position } = await writer.append("a-1", one, { expectedVersion: "no-stream" });
    await Promise.all([first, second].map((reader) => reader.waitForPosition(position)));
    await second.close();
    await writer.append("a-1", one, { expectedVersion: 1 });
    await first.waitForPosition(2);
    expect(writer.health().state).toBe("open");
  });
});

describe("Waiting for a position", () => {
  test("ends at once where it is reached, when it is reached, and with an error after the time-out", async () => {
    await using place = await folderPlace();
    await using writer = await openWriter(place);
    await using reader = await openReader(place);
    await reader.waitForPosition(0, { timeoutMs: 1 });
    const waiting = reader.waitForPosition(2);
    await writer.append("a-1", [...one, ...one], { expectedVersion: "no-stream" });
    await waiting;
    expect(await collect(reader.readStream("a-1"))).toHaveLength(2);
    const late = await errorOf(reader.waitForPosition(3, { timeoutMs: 30 }));
    expect(late.code).toBe("storage-unavailable");
    expect(late.message).toBe("This reader has not seen position 3 within 30 ms, but position 2");
  });

  test("ends with the signal's reason, and when the reader closes", async () => {
    await using place = await folderPlace();
    await using writer = await openWriter(place);
    const reader = await openReader(place);
    const reason = new Error("changed my mind");
    const controller = new AbortController();
    const aborted = reader.waitForPosition(1, { signal: controller.signal });
    controller.abort(reason);
    expect(aborted).rejects.toBe(reason);
    expect(reader.waitForPosition(1, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const closed = errorOf(reader.waitForPosition(1));
    await reader.close();
    expect((await closed).code).toBe("store-closed");
    expect(writer.health().state).toBe("open");
  });

  test("refuses what is no position, and options that it does not know", async () => {
    await using place = await folderPlace();
    await using _writer = await openWriter(place);
    await using reader = await openReader(place);
    for (const position of [-1, 1.5, "1", undefined, Number.NaN]) {
      expect((await errorOf(reader.waitForPosition(position as number))).code).toBe("invalid-argument");
    }
    expect((await errorOf(reader.waitForPosition(1, { timeoutMs: 0 }))).code).toBe("invalid-argument");
    expect((await errorOf(reader.waitForPosition(1, { for: 1 } as object))).code).toBe("invalid-argument");
  });
});

describe("A closed reader", () => {
  test("ends its subscriptions, answers store-closed, and says that it is closed", async () => {
    await using place = await folderPlace();
    await using writer = await openWriter(place);
    await writer.append("a-1", one, { expectedVersion: "no-stream" });
    const reader = await openReader(place);
    const ended = take(reader.subscribe({ from: "start" }), 5);
    const past = reader.asOf(1);
    await Promise.all([reader.close(), reader.close()]);
    expect((await ended).length).toBeLessThanOrEqual(1);
    const calls: readonly (() => Promise<unknown>)[] = [
      () => collect(reader.readAll()),
      () => collect(reader.readStream("a-1")),
      () => collect(reader.listStreams()),
      () => reader.streamInfo("a-1"),
      () => reader.lastPosition(),
      () => reader.waitForPosition(2),
      () => collect(past.readAll()),
      async () => reader.subscribe({ from: "start" }),
      async () => reader.on(undefined, () => {}),
    ];
    for (const call of calls) expect((await errorOf(call())).code).toBe("store-closed");
    expect(reader.health()).toMatchObject({ state: "closed", lastPosition: 1 });
    await reader.close();
  });
});
