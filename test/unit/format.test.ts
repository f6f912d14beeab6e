/** What stays on storage: keys sort as their values do, codecs round-trip, damage is found, old bytes are still read. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { StorageCorruptError } from "../../src/errors.ts";
import { ByteReader, ByteWriter } from "../../src/format/bytes.ts";
import {
  decodeEvent,
  type EventToEncode,
  encodeEvent,
  readHeader,
  readSummary,
  type StoredEvent,
  stampRecordedAt,
} from "../../src/format/envelope.ts";
import {
  globalPageKey,
  idempotencyKeyKey,
  indexKey,
  indexSegmentSize,
  lastPositionOfGlobalPageKey,
  segmentOf,
  segmentOfIndexKey,
  streamHeadKey,
  streamHeadSpan,
  streamNameOfHeadKey,
  streamPageKey,
  streamPageSpan,
} from "../../src/format/key-families.ts";
import { afterPrefix, OrderedReader, orderedInteger, orderedString } from "../../src/format/ordered-bytes.ts";
import {
  decodeGlobalPage,
  decodeStreamPage,
  encodeGlobalPage,
  encodeStreamPage,
  pageBytesMax,
  pageEventsMax,
  splitIntoPages,
} from "../../src/format/pages.ts";
import {
  decodeCommitRecord,
  decodeLogEnd,
  decodePostings,
  encodeCommitRecord,
  encodeLogEnd,
  encodePostings,
} from "../../src/format/records.ts";
import { decodeStreamHead, encodeStreamHead } from "../../src/format/stream-head.ts";

setDefaultTimeout(60_000);

const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("", "\0", "\0\0", "a\0", "a\0b", "ÿ", "\uffff", "😀"),
);
const name = text.filter((value) => value.length > 0 && value.isWellFormed());
const integer = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.constantFrom(0, 1, 255, 256, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);

const sign = (value: number): number => Math.sign(value);
const byBytes = (left: string, right: string): number => sign(Buffer.compare(Buffer.from(left), Buffer.from(right)));

describe("Keys", () => {
  test("of strings and integers sort as their values do, field by field", () => {
    fc.assert(
      fc.property(name, integer, name, integer, (oneName, oneNumber, otherName, otherNumber) => {
        const one = streamPageKey(oneName, oneNumber);
        const other = streamPageKey(otherName, otherNumber);
        expect(sign(Buffer.compare(one, other))).toBe(byBytes(oneName, otherName) || sign(oneNumber - otherNumber));
      }),
      { numRuns: 2_000 },
    );
  });

  test("give back the fields that they were made of", () => {
    fc.assert(
      fc.property(name, integer, (one, number) => {
        const reader = new OrderedReader(
          Buffer.concat([orderedString(one), orderedInteger(number), orderedString(one)]),
        );
        expect([reader.string(), reader.integer(), reader.string()]).toEqual([one, number, one]);
        expect(streamNameOfHeadKey(streamHeadKey(one))).toBe(one);
        expect(lastPositionOfGlobalPageKey(globalPageKey(number))).toBe(number);
        expect(segmentOfIndexKey(indexKey("tag", one, number))).toBe(number);
      }),
    );
  });

  test("of one stream, prefix or name are a range of their own", () => {
    fc.assert(
      fc.property(name, name, integer, (own, other, version) => {
        const span = streamPageSpan(own, 0);
        const inside = (key: Buffer): boolean =>
          Buffer.compare(key, span.start) >= 0 && Buffer.compare(key, span.end) < 0;
        expect(inside(streamPageKey(own, version))).toBe(true);
        expect(inside(streamPageKey(other, version))).toBe(own === other);
        const heads = streamHeadSpan(own);
        const key = streamHeadKey(other);
        const found = Buffer.compare(key, heads.start) >= 0 && Buffer.compare(key, heads.end) < 0;
        expect(found).toBe(Buffer.from(other).subarray(0, Buffer.byteLength(own)).equals(Buffer.from(own)));
      }),
      { numRuns: 1_000 },
    );
  });

  test("end behind their prefix", () => {
    expect(afterPrefix(Buffer.from([1, 0xff, 0xff]))).toEqual(Buffer.from([2]));
    expect(afterPrefix(Buffer.from([0xff]))).toBeUndefined();
    expect(Buffer.compare(idempotencyKeyKey("a"), idempotencyKeyKey("b"))).toBe(-1);
  });

  test("count segments from position 1", () => {
    expect([segmentOf(1), segmentOf(indexSegmentSize), segmentOf(indexSegmentSize + 1)]).toEqual([0, 0, 1]);
  });
});

test("Bytes that are written are read back", () => {
  fc.assert(
    fc.property(fc.array(integer), name, fc.double(), fc.uint8Array(), (numbers, word, real, bytes) => {
      const writer = new ByteWriter(8);
      for (const number of numbers) writer.varint(number);
      writer.text(word);
      writer.float64(real);
      writer.uint48(281_474_976_710_655);
      writer.block(bytes);
      const reader = new ByteReader(writer.finish());
      expect(numbers.map(() => reader.varint())).toEqual(numbers);
      expect(reader.text()).toBe(word);
      expect(reader.float64()).toBe(real);
      expect(reader.uint48()).toBe(281_474_976_710_655);
      expect(new Uint8Array(reader.block())).toEqual(bytes);
      expect(reader.remaining).toBe(0);
      expect(() => reader.byte()).toThrow(StorageCorruptError);
    }),
  );
});

const leaf = fc.oneof(
  text.filter((value) => value.isWellFormed()),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
  fc.boolean(),
  fc.constant(null),
);
const extendedLeaf = fc.oneof(leaf, fc.date({ noInvalidDate: true }), fc.bigInt(), fc.uint8Array());
const plainKey = name.filter((key) => key !== "__proto__");
const tree = (leaves: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      leaves,
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(plainKey, tie("value"), { maxKeys: 5, noNullPrototype: true }),
    ),
  })).value;
const extended = fc.oneof(
  tree(extendedLeaf),
  fc.array(fc.tuple(name, tree(extendedLeaf)), { maxLength: 4 }).map((entries) => new Map(entries)),
  fc.array(leaf, { maxLength: 4 }).map((items) => new Set(items)),
);

const eventToEncode = fc.record({
  id: fc.oneof(fc.uuid(), name),
  idGiven: fc.boolean(),
  type: name,
  schemaVersion: fc.integer({ min: 1, max: 1_000 }),
  tags: fc.uniqueArray(name, { maxLength: 4 }),
  occurredAtMs: fc.option(fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 }), { nil: undefined }),
  metadata: fc.dictionary(plainKey, tree(extendedLeaf), { maxKeys: 3, noNullPrototype: true }),
  data: fc.oneof(tree(leaf), extended),
});

function encoded(event: EventToEncode): Buffer {
  const bytes = encodeEvent(event);
  if ("issues" in bytes) throw new Error(JSON.stringify(bytes.issues));
  return bytes;
}

test("An event is read back as it was encoded", () => {
  fc.assert(
    fc.property(eventToEncode, fc.nat({ max: 2 ** 47 }), (event, recordedAtMs) => {
      const bytes = encoded(event);
      stampRecordedAt(bytes, recordedAtMs);
      const decoded = decodeEvent({ streamName: "s", version: 1, position: 1, bytes });
      expect(decoded).toEqual({ ...event, recordedAtMs });
      expect(readSummary(bytes)).toEqual({ type: event.type, tags: event.tags });
      expect(readHeader(bytes)).toMatchObject({
        id: event.id,
        idGiven: event.idGiven,
        schemaVersion: event.schemaVersion,
      });
    }),
    { numRuns: 500 },
  );
});

const events = fc
  .array(fc.record({ streamName: name, bytes: fc.uint8Array({ minLength: 1, maxLength: 50 }), gap: fc.nat(3) }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((items) => {
    let position = 0;
    return items.map(({ streamName, bytes, gap }, index): StoredEvent => {
      position += 1 + gap;
      return { streamName, version: index + 1 + gap, position, bytes: Buffer.from(bytes) };
    });
  });

describe("Pages", () => {
  test("give back their events, with gaps and all", () => {
    fc.assert(
      fc.property(events, (list) => {
        expect(decodeGlobalPage(encodeGlobalPage(list))).toEqual(list);
        const own = list.map((event, index) => ({ ...event, streamName: "one", version: index * 2 + 1 }));
        expect(decodeStreamPage("one", encodeStreamPage(own))).toEqual(own);
        const tail = own.map((event, index) => ({ ...event, version: 100 - own.length + 1 + index }));
        const head = {
          streamName: "one",
          version: 100,
          firstPosition: 1,
          createdAtMs: 5,
          lastPosition: 9,
          lastRecordedAtMs: 7,
          truncatedBefore: 0,
          extension: new Uint8Array([7]),
          tail,
        };
        expect(decodeStreamHead("one", encodeStreamHead(head))).toEqual(head);
      }),
    );
  });

  test("find a flipped bit, and bytes that are missing or too many", () => {
    fc.assert(
      fc.property(events, fc.nat(), fc.nat({ max: 7 }), (list, at, bit) => {
        const { key, value } = encodeGlobalPage(list);
        const damaged = Buffer.from(value);
        const index = at % value.length;
        damaged[index] = (damaged[index] ?? 0) ^ (1 << bit);
        expect(() => decodeGlobalPage({ key, value: damaged })).toThrow(StorageCorruptError);
        expect(() => decodeGlobalPage({ key, value: value.subarray(0, at % value.length) })).toThrow(
          StorageCorruptError,
        );
        expect(() => decodeGlobalPage({ key: globalPageKey(2 ** 50), value })).toThrow(StorageCorruptError);
        expect(() => decodeGlobalPage({ key, value: Buffer.concat([value, Buffer.of(0)]) })).toThrow(
          StorageCorruptError,
        );
      }),
    );
  });

  test("are bounded in events and bytes, and keep order", () => {
    const make = (count: number, bytes: number): StoredEvent[] =>
      Array.from({ length: count }, (_, index) => ({
        streamName: "s",
        version: index + 1,
        position: index + 1,
        bytes: Buffer.alloc(bytes),
      }));
    for (const [count, bytes] of [
      [1_000, 10],
      [100, 5_000],
      [3, pageBytesMax * 2],
    ] as const) {
      const pages = splitIntoPages(make(count, bytes));
      expect(pages.flat().map((event) => event.version)).toEqual(make(count, bytes).map((event) => event.version));
      for (const page of pages) {
        expect(page.length).toBeLessThanOrEqual(pageEventsMax);
        if (page.length > 1) expect(page.length * bytes).toBeLessThanOrEqual(pageBytesMax);
      }
    }
    expect(splitIntoPages([])).toEqual([]);
  });
});

test("Small rows are read back", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 1, max: indexSegmentSize })),
      fc.nat({ max: 1_000_000 }),
      integer,
      (offsets, segment, position) => {
        const positions = offsets
          .map((offset) => segment * indexSegmentSize + offset)
          .sort((left, right) => left - right);
        const key = Buffer.of(1, 2, 3);
        expect(decodePostings(segment, { key, value: encodePostings(key, segment, positions) })).toEqual(positions);
        const extension = new Uint8Array([1]);
        const end = {
          lastPosition: position,
          lastRecordedAtMs: 1_700_000_000_000,
          indexedTo: segment * indexSegmentSize,
          extension,
        };
        expect(decodeLogEnd(encodeLogEnd(end))).toEqual(end);
        const record = { position, recordedAtMs: 5, streams: [{ streamName: "a-1", streamVersion: position }] };
        expect(decodeCommitRecord({ key, value: encodeCommitRecord(key, record) })).toEqual(record);
      },
    ),
  );
});
