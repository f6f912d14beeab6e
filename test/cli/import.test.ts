/** `strata import`: what becomes of a CloudEvent, and that each is imported once. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { cloudEvent, line, manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

describe("An imported event", () => {
  test("keeps its id, type, data and time, and its subject names the stream", async () => {
    await using place = await Workplace.make();
    const file = await place.file(
      "in.jsonl",
      line({ id: "a-1", type: "OrderPlaced", time: "2011-10-01T00:38:44.546+02:00", data: { total: 10 } }),
    );
    expect((await place.import(file)).exitCode).toBe(0);
    expect(await place.events()).toMatchObject([
      {
        id: "a-1",
        type: "OrderPlaced",
        streamName: "order-1",
        version: 1,
        position: 1,
        data: { total: 10 },
        occurredAt: new Date("2011-09-30T22:38:44.546Z"),
        metadata: { source: "/test" },
        tags: [],
      },
    ]);
  });

  test("is put into a category where one is given", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", line({ subject: "a-1" }));
    await place.import(file, "--category", "loan");
    expect((await place.events()).map((event) => event.streamName)).toEqual(["loan-a-1"]);
  });

  test("has null for data that is missing, and bytes for data_base64", async () => {
    await using place = await Workplace.make();
    const lines = [
      line({ id: "1", data: undefined }),
      line({ id: "2", data: null }),
      line({ id: "3", data: undefined, data_base64: "AQID" }),
      line({ id: "4", data: "text" }),
    ];
    await place.import(await place.file("in.jsonl", lines.join("")));
    const [missing, none, bytes, text] = (await place.events()).map((event) => event.data);
    expect([missing, none, text]).toEqual([null, null, "text"]);
    expect(Uint8Array.from(bytes as Uint8Array)).toEqual(Uint8Array.of(1, 2, 3));
  });

  test("has its extensions as metadata, under the names that the store has for them", async () => {
    await using place = await Workplace.make();
    const extensions = {
      correlationid: "c-1",
      causationId: "c-0",
      actor: "kim",
      dataschema: "/s/1",
      region: null,
      n: 7,
    };
    await place.import(await place.file("in.jsonl", line({ ...extensions, recordedat: "2020-01-01T00:00:00Z" })));
    const [event] = await place.events();
    expect(event?.metadata).toEqual({
      source: "/test",
      correlationId: "c-1",
      causationId: "c-0",
      actor: "kim",
      dataschema: "/s/1",
      n: 7,
    });
    expect(event?.recordedAt.getTime()).toBeGreaterThan(Date.parse("2025-01-01T00:00:00Z"));
  });

  test("has tags where they are a list or text with commas; anything else stays metadata", async () => {
    await using place = await Workplace.make();
    const lines = [
      line({ id: "1", tags: ["a,b", "c"] }),
      line({ id: "2", tags: " a, b ,,a" }),
      line({ id: "3", tags: 7 }),
      line({ id: "4", tags: [1] }),
    ];
    await place.import(await place.file("in.jsonl", lines.join("")));
    const events = await place.events();
    expect(events.map((event) => event.tags)).toEqual([["a,b", "c"], ["a", "b"], [], []]);
    expect(events.map((event) => event.metadata.tags)).toEqual([undefined, undefined, 7, [1]]);
  });
});

describe("An import", () => {
  test("imports nothing twice when it is run again, and only what is new of a longer file", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", manyLines(3_000, 40));
    expect(await place.importCounts(file)).toMatchObject({ imported: 3_000, alreadyThere: 0, bad: 0 });
    expect(await place.importCounts(file)).toMatchObject({ imported: 0, alreadyThere: 3_000, bad: 0 });
    const longer = await place.file("longer.jsonl", manyLines(3_500, 40));
    expect(await place.importCounts(longer, "--batch", "300")).toMatchObject({ imported: 500, alreadyThere: 3_000 });
    const events = await place.events();
    expect(events.map((event) => event.position)).toEqual(Array.from({ length: 3_500 }, (_, index) => index + 1));
    expect(new Set(events.map((event) => event.id)).size).toBe(3_500);
  }, 60_000);

  test("keeps the order of the lines within each stream", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("in.jsonl", manyLines(2_000, 7)), "--batch", "150");
    const indexes = new Map<string, number[]>();
    for (const { streamName, data } of await place.events()) {
      const list = indexes.get(streamName) ?? [];
      indexes.set(streamName, [...list, (data as { index: number }).index]);
    }
    expect(indexes.size).toBe(7);
    for (const list of indexes.values()) expect(list).toEqual(list.toSorted((one, other) => one - other));
  });

  test("takes an id once a stream, within the file too, but in as many streams as have it", async () => {
    await using place = await Workplace.make();
    const lines = [
      line({ id: "1", subject: "a", data: 1 }),
      line({ id: "1", subject: "b", data: 2 }),
      line({ id: "1", subject: "a", data: 3 }),
      line({ id: "2", subject: "b", data: 4 }),
      line({ id: "2", subject: "a", data: 5 }),
    ];
    const counts = await place.importCounts(await place.file("in.jsonl", lines.join("")));
    expect(counts).toMatchObject({ imported: 4, alreadyThere: 1 });
    const found = (await place.events()).map(({ streamName, version, data }) => [streamName, version, data]);
    expect(found.toSorted()).toEqual([
      ["a", 1, 1],
      ["a", 2, 5],
      ["b", 1, 2],
      ["b", 2, 4],
    ]);
  });

  test("writes batches of more streams than a commit takes", async () => {
    await using place = await Workplace.make();
    const counts = await place.importCounts(await place.file("in.jsonl", manyLines(5_000, 2_500)));
    expect(counts).toMatchObject({ imported: 5_000 });
    await using store = await place.open();
    expect(await store.lastPosition()).toBe(5_000);
    expect((await store.streamInfo("order-2499"))?.version).toBe(2);
  });

  test("continues streams that somebody else has begun", async () => {
    await using place = await Workplace.make();
    {
      await using store = await place.open();
      await store.append("order-0", [{ type: "Earlier", data: null }], { expectedVersion: "no-stream" });
    }
    expect(await place.importCounts(await place.file("in.jsonl", manyLines(10, 2)))).toMatchObject({ imported: 10 });
    await using store = await place.open();
    expect((await store.streamInfo("order-0"))?.version).toBe(6);
  });

  test("reads compressed files, of several members too, whatever their names", async () => {
    await using place = await Workplace.make();
    const lines = [line({ id: "1" }), line({ id: "2" })];
    const content = Buffer.concat(lines.map((text) => gzipSync(text)));
    expect(await place.importCounts(await place.file("in.jsonl", content))).toMatchObject({ imported: 2 });
  });

  test("reads standard input, plain and compressed", async () => {
    await using place = await Workplace.make();
    const words = ["import", "-", "--url", place.url, "--json"];
    const plain = await strata(words, { stdin: manyLines(500, 3) });
    expect(JSON.parse(plain.stdout)).toMatchObject({ imported: 500 });
    const compressed = await strata(words, { stdin: gzipSync(manyLines(600, 3)) });
    expect(JSON.parse(compressed.stdout)).toMatchObject({ imported: 100, alreadyThere: 500 });
  });

  test("takes the store from the environment", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", line());
    const { exitCode } = await strata(["import", file], { environment: { STRATA_URL: place.url } });
    expect(exitCode).toBe(0);
    expect(await place.events()).toHaveLength(1);
  });

  test("copes with a byte order mark, blank lines, carriage returns and a last line without an end", async () => {
    await using place = await Workplace.make();
    const content = `\ufeff${line({ id: "1" })}\n  \r\n${line({ id: "2" }).trim()}\r\n${line({ id: "3" }).trim()}`;
    expect(await place.importCounts(await place.file("in.jsonl", content))).toMatchObject({ imported: 3, bad: 0 });
  });

  test("tells in one sentence what it did", async () => {
    await using place = await Workplace.make();
    const file = await place.file("in.jsonl", manyLines(1_200, 3));
    const { stdout } = await place.import(file);
    expect(stdout).toMatch(
      /^Imported 1,200 events in [\d.]+ s \([\d,]+ events\/s\); already there: 0, bad lines: 0\.\n$/,
    );
  });

  test("of nothing imports nothing", async () => {
    await using place = await Workplace.make();
    expect(await place.importCounts(await place.file("in.jsonl", ""))).toMatchObject({ imported: 0, bad: 0 });
    expect(await place.importCounts(await place.file("one.jsonl", "\n"))).toMatchObject({ imported: 0, bad: 0 });
  });

  test("gives back what JSON says, to the letter", async () => {
    await using place = await Workplace.make();
    const data = { text: 'ü€😀"\\\u0000\u2028', list: [1, -0.5, 1e21, true, null, {}], "": { deep: [[[]]] } };
    await place.import(await place.file("in.jsonl", `${JSON.stringify(cloudEvent({ data }))}`));
    expect((await place.events())[0]?.data).toEqual(data);
  });
});
