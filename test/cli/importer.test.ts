/** The importer by itself: its bounds made small, so that streams are forgotten and met again all the time. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Batch, type BatchOptions, batchesOf } from "../../src/cli/import-batches.ts";
import { Importer } from "../../src/cli/importer.ts";
import { linesOf } from "../../src/cli/lines.ts";
import { type LedgerBounds, StreamLedger } from "../../src/cli/stream-ledger.ts";
import { type EventStore, OverloadedError, openEventStore } from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { line, manyLines } from "./support.ts";

setDefaultTimeout(60_000);

const options: BatchOptions = { category: undefined, eventsMax: 50, skipBad: false };

/** The text in pieces whose ends have nothing to do with lines. */
async function* piecesOf(text: string, bytes = 777): AsyncGenerator<Buffer> {
  const whole = Buffer.from(text);
  for (let from = 0; from < whole.length; from += bytes) yield whole.subarray(from, from + bytes);
}

function batches(text: string): AsyncIterable<Batch> {
  return batchesOf(linesOf(piecesOf(text)), options);
}

async function importInto(store: EventStore, text: string, bounds?: LedgerBounds): Promise<Importer> {
  const ledger = new StreamLedger(store, (await store.lastPosition()) === 0, bounds);
  const importer = new Importer(store, ledger, () => {});
  await importer.run(batches(text));
  return importer;
}

async function idsOf(store: EventStore, streamName: string): Promise<readonly string[]> {
  return (await collect(store.readStream(streamName))).map((event) => event.id);
}

describe("An importer", () => {
  test("forgets streams when there are many, and asks the store again", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const bounds = { idsMax: 100, idsPerStreamMax: 1_000 };
    const text = manyLines(3_000, 300);
    const twice = text + text;
    expect((await importInto(store, twice, bounds)).counts).toMatchObject({ imported: 3_000, alreadyThere: 3_000 });
    expect((await importInto(store, twice, bounds)).counts).toMatchObject({ imported: 0, alreadyThere: 6_000 });
    expect(await store.lastPosition()).toBe(3_000);
    expect((await idsOf(store, "order-7"))[9]).toBe("e-2707");
  });

  test("takes up a stream that is longer than what it remembers of one", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const bounds = { idsMax: 10_000, idsPerStreamMax: 100 };
    const text = manyLines(4_000, 2);
    const half = text.slice(0, text.indexOf("e-2000"));
    const part = half.slice(0, half.lastIndexOf("\n") + 1);
    expect((await importInto(store, part, bounds)).counts).toMatchObject({ imported: 2_000 });
    expect((await importInto(store, text, bounds)).counts).toMatchObject({ imported: 2_000, alreadyThere: 2_000 });
    expect((await importInto(store, text, bounds)).counts).toMatchObject({ imported: 0, alreadyThere: 4_000 });
    const expected = Array.from({ length: 2_000 }, (_, index) => `e-${index * 2}`);
    expect(await idsOf(store, "order-0")).toEqual(expected);
  });

  test("takes up the end of a long stream from an input that holds no more", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const bounds = { idsMax: 10_000, idsPerStreamMax: 100 };
    const lines = manyLines(1_000, 1).trim().split("\n");
    await importInto(store, lines.slice(0, 900).join("\n"), bounds);
    const rest = await importInto(store, lines.slice(870).join("\n"), bounds);
    expect(rest.counts).toMatchObject({ imported: 100, alreadyThere: 30 });
  });

  test("backs off while the store is overloaded, and writes everything once and in order", async () => {
    await using store = await openEventStore({ url: "memory:" });
    let calls = 0;
    const overloaded: EventStore = {
      ...store,
      commit: async (request) => {
        calls += 1;
        if (calls >= 3 && calls <= 6) throw new OverloadedError("Too much waits to be written");
        return await store.commit(request);
      },
    };
    const importer = await importInto(overloaded, manyLines(400, 3));
    expect(importer.counts).toMatchObject({ imported: 400, alreadyThere: 0 });
    const expected = Array.from({ length: 134 }, (_, index) => `e-${index * 3}`);
    expect(await idsOf(store, "order-0")).toEqual(expected);
  });

  test("counts what was acknowledged when the store fails", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const ledger = new StreamLedger(store, true);
    const importer: Importer = new Importer(store, ledger, () => {
      if (importer.counts.imported >= 200) store.close();
    });
    await expect(importer.run(batches(manyLines(1_000, 3)))).rejects.toMatchObject({ code: "store-closed" });
    expect(importer.counts.imported).toBeGreaterThanOrEqual(200);
    expect(importer.counts.imported).toBeLessThan(1_000);
  });
});

describe("Lines", () => {
  const textsOf = async (content: string, bytes: number, bytesMax?: number): Promise<readonly unknown[]> =>
    (await collect(linesOf(piecesOf(content, bytes), bytesMax)))
      .flat()
      .map(({ number, text, problem }) => [number, text ?? problem]);

  test.each([1, 2, 3, 7, 1_000])("are the same whatever pieces of %p bytes they come in", async (bytes) => {
    expect(await textsOf("\ufeffä\n\n€uro\r\n😀", bytes)).toEqual([
      [1, "ä"],
      [3, "€uro\r"],
      [4, "😀"],
    ]);
  });

  test.each([1, 4, 100])("that are too long are told by number, in pieces of %p bytes", async (bytes) => {
    expect(await textsOf("123\n12345\n123456\n1\n1234567", bytes, 5)).toEqual([
      [1, "123"],
      [2, "12345"],
      [3, "longer than 5 bytes"],
      [4, "1"],
      [5, "longer than 5 bytes"],
    ]);
  });

  test("of one event each are parsed into batches of the size that was asked for", async () => {
    const sizes = (await collect(batches(manyLines(120, 2) + line({ id: "last" })))).map(
      (batch) => batch.events.length,
    );
    expect(sizes).toEqual([50, 50, 21]);
  });
});
