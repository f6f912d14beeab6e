/** `strata export`: what it writes, imports again to the same events. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { gunzipSync } from "node:zlib";
import type { NewEvent, RecordedEvent } from "../../src/index.ts";
import { environment, mainScript, manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

const bytes = Uint8Array.of(0, 1, 254, 255);

/** Events of all kinds, by stream. */
const samples: Readonly<Record<string, readonly NewEvent[]>> = {
  "order-1": [
    { type: "OrderPlaced", data: { total: 10, lines: [{ sku: "a" }] }, tags: ["customer:c1", "big"] },
    { type: "OrderPaid", data: null, occurredAt: new Date("2011-10-01T00:38:44.546Z"), tags: ["a,b", " c "] },
    {
      type: "Named",
      id: "my own id / 1",
      data: "text",
      metadata: { correlationId: "c", causationId: "d", actor: "kim" },
    },
  ],
  "order-2": [
    { type: "Bytes", data: bytes },
    { type: "NoBytes", data: new Uint8Array() },
    {
      type: "Extended",
      data: {
        when: new Date("2026-01-31T12:00:00.123Z"),
        amount: 123_456_789_012_345_678_901n,
        raw: bytes,
        set: new Set([1, "1", new Date(0)]),
        map: new Map<unknown, unknown>([
          ["b", 1n],
          ["a", new Map([[{ key: 1 }, new Set([2n])]])],
        ]),
        numbered: new Map([
          ["2", "two"],
          ["1", "one"],
        ]),
        "a/b~c": [new Date(1)],
      },
    },
    { type: "OnlyBigint", data: -7n, metadata: { at: new Date(5), "Mixed Case": 1.5, list: [1], none: null } },
  ],
  "Ünïcode-😀 \u0001": [
    {
      type: "Fälle",
      data: { "": "\u2028\u0000" },
      occurredAt: new Date(-62_198_755_200_000),
      tags: ["ü"],
      metadata: {
        source: "/shop",
        id: "mine",
        tags: "mine",
        recordedat: "mine",
        correlationid: "mine",
        stratatypes: "{}",
      },
    },
    { type: "Far", data: {}, occurredAt: new Date(8_640_000_000_000_000), metadata: { source: "", type: 1 } },
  ],
};

async function withSamples(place: Workplace): Promise<void> {
  await using store = await place.open();
  for (const [streamName, events] of Object.entries(samples)) {
    await store.append(streamName, events, { expectedVersion: "no-stream" });
  }
}

/** What a round trip must keep. */
function kept(events: readonly RecordedEvent[]): readonly unknown[] {
  return events.map(({ recordedAt, data, ...event }) => ({
    ...event,
    data: data instanceof Uint8Array ? Array.from(data) : data,
    isBytes: data instanceof Uint8Array,
  }));
}

describe("An export", () => {
  test("imported into another store gives the same streams, ids, types, data, times, metadata and tags", async () => {
    await using place = await Workplace.make();
    await withSamples(place);
    const file = place.path("out.jsonl");
    expect(await strata(["export", "--url", place.url, "--output", file])).toMatchObject({ exitCode: 0, stdout: "" });
    const other = place.urlOf("other");
    const imported = await strata(["import", file, "--url", other]);
    expect(imported.exitCode).toBe(0);
    expect(kept(await place.events(other))).toEqual(kept(await place.events()));
  });

  test("is the same once more, but for the times of recording", async () => {
    await using place = await Workplace.make();
    await withSamples(place);
    const first = await strata(["export", "--url", place.url]);
    const other = place.urlOf("other");
    await strata(["import", "-", "--url", other], { stdin: first.stdout });
    const second = await strata(["export", "--url", other]);
    const plain = (text: string): string => text.replaceAll(/"recordedat":"[^"]*"/g, "");
    expect(plain(second.stdout)).toBe(plain(first.stdout));
  });

  test("is CloudEvents that others can read", async () => {
    await using place = await Workplace.make();
    await withSamples(place);
    const { stdout } = await strata(["export", "--url", place.url]);
    const [placed, paid] = stdout.split("\n").map((text) => (text === "" ? {} : JSON.parse(text)));
    expect(placed).toMatchObject({
      specversion: "1.0",
      source: "urn:strata:unknown",
      type: "OrderPlaced",
      subject: "order-1",
      datacontenttype: "application/json",
      data: { total: 10, lines: [{ sku: "a" }] },
      tags: "customer:c1,big",
      recordedat: expect.stringMatching(/^\d{4}-/),
    });
    expect(paid).toMatchObject({ time: "2011-10-01T00:38:44.546Z", tags: ["a,b", " c "], data: null });
    const readable = stdout.split("\n").find((text) => text.includes('"Extended"')) ?? "{}";
    expect(JSON.parse(readable).data).toMatchObject({
      when: "2026-01-31T12:00:00.123Z",
      amount: "123456789012345678901",
      raw: "AAH+/w==",
      map: { b: "1" },
      numbered: [
        ["2", "two"],
        ["1", "one"],
      ],
    });
    for (const text of stdout.trim().split("\n")) {
      for (const [name, value] of Object.entries(JSON.parse(text))) {
        expect(name).toMatch(/^[a-z0-9_]+$/);
        expect(value === null && name !== "data").toBe(false);
      }
    }
  });

  test("is compressed where the file's name ends in .gz", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("in.jsonl", manyLines(3_000, 5)));
    const file = place.path("out.jsonl.gz");
    const { exitCode, stderr } = await strata(["export", "--url", place.url, "--output", file]);
    expect(exitCode).toBe(0);
    expect(stderr).toBe(`Exported 3,000 events to ${file}.\n`);
    const text = gunzipSync(await Bun.file(file).bytes()).toString();
    expect(text.split("\n")).toHaveLength(3_001);
  });

  test("holds only what was asked for, by category, types, tags and position", async () => {
    await using place = await Workplace.make();
    await withSamples(place);
    const typesOf = async (...words: readonly string[]): Promise<readonly string[]> => {
      const { stdout } = await strata(["export", "--url", place.url, ...words]);
      return stdout.split("\n").flatMap((text) => (text === "" ? [] : [JSON.parse(text).type]));
    };
    expect(await typesOf("--category", "order")).toHaveLength(7);
    expect(await typesOf("--type", "Bytes", "--type", "OrderPaid")).toEqual(["OrderPaid", "Bytes"]);
    expect(await typesOf("--tag", "big", "--tag", "customer:c1")).toEqual(["OrderPlaced"]);
    expect(await typesOf("--tag", "big", "--tag", "ü")).toEqual([]);
    expect(await typesOf("--from-position", "8")).toEqual(["Fälle", "Far"]);
    expect(await typesOf("--from-position", "3", "--category", "order", "--type", "Named")).toEqual(["Named"]);
  });

  test("ends quietly when its reader goes away", async () => {
    await using place = await Workplace.make();
    await place.import(await place.file("in.jsonl", manyLines(20_000, 5)));
    const child = Bun.spawn([process.execPath, mainScript, "export", "--url", place.url], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: environment(),
    });
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    expect(await child.exited).toBe(0);
    expect(await new Response(child.stderr).text()).toBe("");
  }, 60_000);

  test("into a file that cannot be written fails, and says so", async () => {
    await using place = await Workplace.make();
    await withSamples(place);
    const { exitCode, stderr } = await strata(["export", "--url", place.url, "--output", place.path("no/such/file")]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^strata: The output cannot be written \(ENOENT\): .* \(output-failed\)\n$/);
  });

  test("of events with another schema version keeps it", async () => {
    await using place = await Workplace.make();
    const exported = `${JSON.stringify({ specversion: "1.0", id: "1", source: "s", type: "T", subject: "a-1", strataschemaversion: 2 })}\n`;
    const { exitCode } = await place.import(await place.file("in.jsonl", exported));
    expect(exitCode).toBe(0);
    expect((await place.events())[0]).toMatchObject({ schemaVersion: 2, metadata: { source: "s" } });
  });
});
