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

function batches(text: string, own: Partial<BatchOptions> = {}): AsyncIterable<Batch> {
  return batchesOf(linesOf(piecesOf(text)), { ...options, ...own });
}

async function importInto(
  store: EventStore,
  text: string,
  bounds?: LedgerBounds,
  own?: Partial<BatchOptions>,
): Promise<Importer> {
  const ledger = new StreamLedger(store, (await store.lastPosition()) === 0, bounds);
  const importer = new Importer(store, ledger, () => {});
  await importer.run(batches(text, own));
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

  for (const compacted of [false, true]) {
    const when = compacted ? "and dropped" : "and still in storage";
    test(`refuses what it cannot tell from events that are truncated ${when}, and what belongs to a deleted stream`, async () => {
      await using store = await openEventStore({ url: "memory:" });
      const event = (id: number, subject: string): string => line({ id: `e-${id}`, subject });
      const text = [1, 2, 3].map((id) => event(id, "s-1")).join("") + event(4, "s-2") + event(5, "s-3");
      await importInto(store, text);
      await store.truncateStream("s-1", { beforeVersion: 3 });
      await store.deleteStream("s-2", { expectedVersion: 1 });
      if (compacted) await store.compact();
      const again = text + event(6, "s-3") + event(7, "s-1");
      const truncated =
        'the versions before 3 of its stream are truncated, so that nobody can tell whether it was among them: "s-1"';
      const skipping = await importInto(store, again, undefined, { skipBad: true });
      expect(skipping.counts).toEqual({ imported: 1, alreadyThere: 2, bad: 4 });
      expect(skipping.refused).toEqual([
        { line: 1, reason: truncated },
        { line: 2, reason: truncated },
        { line: 4, reason: 'its stream is deleted: "s-2"' },
        { line: 7, reason: truncated },
      ]);
      expect(await idsOf(store, "s-1")).toEqual(["e-3"]);
      expect(await idsOf(store, "s-3")).toEqual(["e-5", "e-6"]);
      // Without that the first of them ends the import, and what stands before it is imported.
      const ending = await importInto(store, `${event(8, "s-3")}\n${again}{oops`);
      expect(ending.counts).toEqual({ imported: 1, alreadyThere: 0, bad: 1 });
      expect(ending.refused).toEqual([{ line: 3, reason: truncated }]);
      const reverse = await importInto(store, `{oops\n${again}`, undefined, { skipBad: true });
      expect(reverse.refused.map((refused) => refused.line)).toEqual([1, 2, 3, 5, 8]);
    });
  }

  test("takes up the end of a stream too long to be remembered that was truncated", async () => {
    await using store = await openEventStore({ url: "memory:" });
    const bounds = { idsMax: 10_000, idsPerStreamMax: 100 };
    const lines = manyLines(900, 1).trim().split("\n");
    await importInto(store, lines.join("\n"), bounds);
    await store.truncateStream("order-0", { beforeVersion: 301 });
    const rest = await importInto(store, lines.slice(300).join("\n"), bounds);
    expect(rest.counts).toEqual({ imported: 0, alreadyThere: 600, bad: 0 });
    expect(rest.refused).toEqual([]);
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
