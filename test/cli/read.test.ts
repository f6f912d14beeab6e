/** `strata read`, `streams` and `stats`: what they show, and that they make no store where there is none. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readdir } from "node:fs/promises";
import { manyLines, strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

function jsonLines(text: string): readonly Record<string, unknown>[] {
  return text.split("\n").flatMap((part) => (part === "" ? [] : [JSON.parse(part)]));
}

async function withEvents(place: Workplace): Promise<void> {
  await using store = await place.open();
  await store.append(
    "order-1",
    [
      {
        type: "OrderPlaced",
        data: { total: 10n, at: new Date(0) },
        id: "a",
        tags: ["big"],
        metadata: { actor: "kim" },
      },
      {
        type: "OrderPaid",
        data: new Map([["k", Uint8Array.of(1)]]),
        id: "b",
        occurredAt: new Date("2011-10-01T00:00:00Z"),
      },
      { type: "OrderSent", data: new Set([1]), id: "c" },
    ],
    { expectedVersion: "no-stream" },
  );
  await store.append("order-2", [{ type: "Odd\u001b[2J", data: null }], { expectedVersion: "no-stream" });
  await store.append("cart-1", [{ type: "Opened", data: {} }], { expectedVersion: "no-stream" });
  await store.append("order-1", [{ type: "OrderClosed", data: {}, id: "d" }], { expectedVersion: 3 });
}

describe("Reading a stream", () => {
  test("shows a line for each event, with what JSON cannot say made readable", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const { exitCode, stdout } = await strata(["read", "order-1", "--url", place.url]);
    expect(exitCode).toBe(0);
    const time = "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z";
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(
      new RegExp(
        `^1 {2}@1 {2}${time} {2}OrderPlaced {2}\\{"total":"10","at":"1970-01-01T00:00:00.000Z"\\} {2}tags=\\["big"\\] {2}metadata=\\{"actor":"kim"\\}$`,
      ),
    );
    expect(lines[1]).toMatch(/OrderPaid {2}\{"k":"AQ=="\} {2}occurredAt=2011-10-01T00:00:00\.000Z$/);
    expect(lines[2]).toMatch(/OrderSent {2}\[1\]$/);
    expect(lines).toHaveLength(4);
  });

  test("gives JSON lines with all of the event", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const { stdout } = await strata(["read", "order-1", "--url", place.url, "--json"]);
    expect(jsonLines(stdout)[0]).toEqual({
      id: "a",
      type: "OrderPlaced",
      schemaVersion: 1,
      streamName: "order-1",
      version: 1,
      position: 1,
      recordedAt: expect.any(String),
      data: { total: "10", at: "1970-01-01T00:00:00.000Z" },
      metadata: { actor: "kim" },
      tags: ["big"],
    });
  });

  test("begins, turns, ends and looks back where it is told to", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const versions = async (...words: readonly string[]): Promise<readonly unknown[]> => {
      const { stdout } = await strata(["read", "order-1", "--url", place.url, "--json", ...words]);
      return jsonLines(stdout).map((event) => event.version);
    };
    expect(await versions("--from-version", "2", "--limit", "2")).toEqual([2, 3]);
    expect(await versions("--backwards", "--limit", "3")).toEqual([4, 3, 2]);
    expect(await versions("--backwards", "--from-version", "2")).toEqual([2, 1]);
    expect(await versions("--as-of", "5")).toEqual([1, 2, 3]);
    expect(await versions("--as-of", "2999-01-01")).toEqual([1, 2, 3, 4]);
    expect(await versions("--occurred-by", "2012-01-01")).toEqual([2]);
    expect(await versions("--as-of", "2999-01-01T00:00:00+01:00", "--limit", "1")).toEqual([1]);
    expect(await versions("--from-version", "9")).toEqual([]);
  });

  test("that is not there is not found, and neither is one that was not there then", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const missing = await strata(["read", "order-9", "--url", place.url]);
    expect(missing).toEqual({ exitCode: 4, stdout: "", stderr: 'strata: There is no stream "order-9" (not-found)\n' });
    const early = await strata(["read", "cart-1", "--url", place.url, "--as-of", "4"]);
    expect(early.exitCode).toBe(4);
    expect((await strata(["read", "order-1", "--url", place.url, "--as-of", "2001-01-01"])).exitCode).toBe(4);
  });

  test("does not hand the terminal what events hold", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const { stdout } = await strata(["read", "order-2", "--url", place.url]);
    expect(stdout).toContain("Odd\\u001b[2J");
    expect(stdout).not.toContain("\u001b");
  });
});

describe("Listing streams", () => {
  test("shows them by name, as many and of the kind that was asked for", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const names = async (...words: readonly string[]): Promise<readonly unknown[]> => {
      const { stdout } = await strata(["streams", "--url", place.url, "--json", ...words]);
      return jsonLines(stdout).map((info) => info.streamName);
    };
    expect(await names()).toEqual(["cart-1", "order-1", "order-2"]);
    expect(await names("--category", "order")).toEqual(["order-1", "order-2"]);
    expect(await names("--prefix", "order-2")).toEqual(["order-2"]);
    expect(await names("--limit", "1")).toEqual(["cart-1"]);
    const { stdout } = await strata(["streams", "--url", place.url, "--prefix", "order-1"]);
    expect(stdout).toMatch(/^4 {2}@6 {2}\d{4}-\S+Z {2}order-1\n$/);
  });
});

describe("Statistics", () => {
  test("count streams and events by category, and what lies on disk", async () => {
    await using place = await Workplace.make();
    await withEvents(place);
    const { exitCode, stdout } = await strata(["stats", "--url", place.url]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^last position +6$/m);
    expect(stdout).toMatch(/^streams +3$/m);
    expect(stdout).toMatch(/^category order +2 streams, 5 events$/m);
    expect(stdout).toMatch(/^on disk +[\d.]+ \w+ in \d+ files$/m);
    const stats = JSON.parse((await strata(["stats", "--url", place.url, "--json"])).stdout);
    expect(stats).toMatchObject({
      url: place.url,
      format: 1,
      lastPosition: 6,
      streams: 3,
      categories: [
        { category: "cart", streams: 1, events: 1 },
        { category: "order", streams: 2, events: 5 },
      ],
      disk: { files: expect.any(Number), bytes: expect.any(Number) },
    });
  });

  test("tell a bounded number of categories apart", async () => {
    await using place = await Workplace.make();
    const text = manyLines(1_100, 1_100).replaceAll('"order-', '"c');
    await place.import(await place.file("in.jsonl", text));
    const stats = JSON.parse((await strata(["stats", "--url", place.url, "--json"])).stdout);
    expect(stats.streams).toBe(1_100);
    expect(stats.categories).toHaveLength(1_000);
    expect(stats.otherCategories).toEqual({ streams: 100, events: 100 });
  });
});

describe("A command that only reads", () => {
  const commands = ["read a", "streams", "stats", "export"];

  test.each(commands)("makes no store where the folder is missing or empty: %s", async (command) => {
    const words = command.split(" ");
    await using place = await Workplace.make();
    const missing = await strata([...words, "--url", place.url]);
    expect(missing).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: `strata: There is no store at ${place.url} (not-found)\n`,
    });
    expect(await readdir(place.folder)).toEqual([]);
    await mkdir(place.path("store"));
    expect((await strata([...words, "--url", place.url])).exitCode).toBe(4);
    expect(await readdir(place.path("store"))).toEqual([]);
  });

  test("works beside a service that writes to the store, which goes on", async () => {
    await using place = await Workplace.make();
    await using writer = await place.open();
    const append = (n: number): Promise<unknown> =>
      writer.append("order-1", [{ type: "Counted", data: { n } }], { expectedVersion: n - 1 });
    await append(1);
    for (const [index, command] of ["read order-1", "streams", "stats", "export"].entries()) {
      const words = [...command.split(" "), "--url", place.url];
      const { exitCode, stdout, stderr } = await strata(words);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      expect(stdout).toMatch(/Counted|order/);
      await append(index + 2);
    }
    expect((await strata(["read", "order-1", "--url", place.url])).stdout.trimEnd().split("\n")).toHaveLength(5);
    expect(writer.health()).toMatchObject({ state: "open", lastPosition: 5 });
  });

  test("finds no store in memory", async () => {
    expect(await strata(["stats", "--url", "memory:"])).toMatchObject({ exitCode: 4 });
  });

  test("refuses a folder that holds something else, and leaves it alone", async () => {
    await using place = await Workplace.make();
    await place.file("notes.txt", "mine");
    const { exitCode, stderr } = await strata(["stats", "--url", `file:${place.folder}`]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/holds no store: .* \(invalid-argument\)\n$/);
    expect(await readdir(place.folder)).toEqual(["notes.txt"]);
  });
});
