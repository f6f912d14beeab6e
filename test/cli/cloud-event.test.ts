/** Any event as a line and back, and the parts that this rests on. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { parseCloudEvent } from "../../src/cli/cloud-event.ts";
import { cloudEventLine } from "../../src/cli/cloud-event-line.ts";
import { fromPlainData, toPlainData } from "../../src/cli/plain-data.ts";
import { parseTime } from "../../src/cli/time.ts";
import type { RecordedEvent } from "../../src/index.ts";

setDefaultTimeout(60_000);

const keys = fc.string({ maxLength: 5 }).filter((key) => key !== "__proto__");
const dates = fc.date({ noInvalidDate: true });

/** Whatever the store takes as data. Keys of maps are plain, so that equality means something. */
const { data } = fc.letrec<{ readonly data: unknown }>((tie) => ({
  data: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom(null, true, false),
    fc.string({ unit: "binary" }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
    fc.bigInt(),
    dates,
    fc.uint8Array({ maxLength: 8 }),
    fc.array(tie("data"), { maxLength: 4 }),
    fc.dictionary(keys, tie("data"), { maxKeys: 4, noNullPrototype: true }),
    fc.array(tie("data"), { maxLength: 3 }).map((items) => new Set(items)),
    fc
      .uniqueArray(fc.tuple(fc.oneof(keys, fc.integer(), fc.bigInt()), tie("data")), {
        maxLength: 3,
        selector: ([key]) => key,
      })
      .map((pairs) => new Map(pairs)),
  ),
}));

const names = fc.string({ minLength: 1, maxLength: 12, unit: "binary" });
const metadataKeys = fc.oneof(
  keys.filter((key) => !["correlationId", "causationId", "actor"].includes(key)),
  fc.constantFrom("source", "id", "type", "time", "data", "tags", "recordedat", "correlationid", "stratametadata"),
);

const events: fc.Arbitrary<RecordedEvent> = fc
  .record({
    id: names,
    type: names,
    streamName: names,
    recordedAt: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }),
    occurredAt: fc.option(dates, { nil: undefined }),
    data,
    metadata: fc.dictionary(metadataKeys, data, { maxKeys: 4, noNullPrototype: true }),
    known: fc.record(
      { correlationId: names, causationId: names, actor: names },
      { requiredKeys: [], noNullPrototype: true },
    ),
    tags: fc.uniqueArray(names, { maxLength: 4 }),
  })
  .map(({ occurredAt, metadata, known, ...event }) => ({
    ...event,
    schemaVersion: 1,
    version: 1,
    position: 1,
    metadata: { ...metadata, ...known },
    ...(occurredAt === undefined ? {} : { occurredAt }),
  }));

describe("A line", () => {
  test("gives back every event that was written as one", () => {
    fc.assert(
      fc.property(events, (event) => {
        const parsed = parseCloudEvent(cloudEventLine(event), undefined);
        if ("refused" in parsed) throw new Error(parsed.refused);
        const { id, type, data, metadata, occurredAt, tags } = event;
        expect(parsed.streamName).toBe(event.streamName);
        expect({ tags: [], ...parsed.event }).toEqual({
          id,
          type,
          data,
          metadata,
          tags,
          ...(occurredAt === undefined ? {} : { occurredAt }),
        });
      }),
      { numRuns: 500 },
    );
  });

  test("of any JSON is an event or a refusal, and never an exception", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        expect(typeof parseCloudEvent(text, undefined)).toBe("object");
      }),
    );
  });
});

describe("Plain data", () => {
  test("is JSON, and with its types the same data again", () => {
    fc.assert(
      fc.property(data, (value) => {
        const plain = toPlainData(value);
        const copy: unknown = JSON.parse(JSON.stringify(plain.value));
        expect(fromPlainData(copy, plain.types ?? {})).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  test("is handed on as it is where JSON says it all", () => {
    const value = { list: [1, "two", null] };
    expect(toPlainData(value)).toEqual({ value, types: undefined });
    expect(toPlainData(value).value).toBe(value);
  });
});

describe("A time", () => {
  test("is read as its own text says, whatever the zone", () => {
    fc.assert(
      fc.property(
        fc.date({
          noInvalidDate: true,
          min: new Date(-62_167_219_200_000 + 864e5),
          max: new Date(253_402_300_799_999 - 864e5),
        }),
        fc.integer({ min: -1_439, max: 1_439 }),
        (date, zone) => {
          const local = new Date(date.getTime() + zone * 60_000).toISOString().slice(0, -1);
          const two = (value: number): string => String(value).padStart(2, "0");
          const offset = `${zone < 0 ? "-" : "+"}${two(Math.floor(Math.abs(zone) / 60))}:${two(Math.abs(zone) % 60)}`;
          expect(parseTime(local + offset)).toEqual(date);
          expect(parseTime(date.toISOString())).toEqual(date);
        },
      ),
    );
  });

  test("may have no fraction, a long one, small letters and a leap second", () => {
    expect(parseTime("2026-01-01T00:00:00Z")).toEqual(new Date("2026-01-01T00:00:00.000Z"));
    expect(parseTime("2026-01-01t00:00:00.123999999z")).toEqual(new Date("2026-01-01T00:00:00.123Z"));
    expect(parseTime("2016-12-31T23:59:60Z")).toEqual(new Date("2017-01-01T00:00:00.000Z"));
  });

  test.each([
    "",
    "2026-01-01",
    "2026-01-01 00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:60:00Z",
    "2026-01-01T00:00:61Z",
    "2026-01-01T00:00:00+24:00",
    "2026-1-1T00:00:00Z",
    "+012026-01-01T00:00:00Z",
  ])("is not %p", (text) => {
    expect(parseTime(text)).toBeUndefined();
  });
});
