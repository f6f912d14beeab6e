/** What compaction stores keeps its bytes, and what is damaged is found: the compactor's progress, and merged rows of the index. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { decodeCompactionRecord, encodeCompactionRecord } from "../../src/format/compaction-record.ts";
import { compactionKey, indexKey, segmentOf } from "../../src/format/key-families.ts";
import {
  decodeMergedPostings,
  encodeMergedPostings,
  encodePostings,
  isMergedPostings,
} from "../../src/format/records.ts";

setDefaultTimeout(60_000);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("The rows have the bytes that they had when they were first released", () => {
  const progress = { logTo: 3, streamsTo: 5, indexTo: 0, paused: false };
  const record = encodeCompactionRecord(compactionKey("progress"), progress);
  expect([hex(record.key), hex(record.value)]).toEqual([
    "7970726f67726573730001",
    "7a91ea6deb00347b226c6f67546f223a332c2273747265616d73546f223a352c22696e646578546f223a302c22706175736564223a66616c73657d",
  ]);
  expect(decodeCompactionRecord(record)).toEqual(progress);
  const key = indexKey("tag", "a:1", 3);
  const value = encodeMergedPostings(key, [7, 1_030, 4_000]);
  expect([hex(key), hex(value)]).toEqual(["4003613a3100010000000000000003", "425f0686160307ff079a17"]);
  expect(decodeMergedPostings({ key, value })).toEqual([7, 1_030, 4_000]);
});

test("Merged rows come back as they were, are told from others, and are found out when a byte of them changes", () => {
  const list = fc.uniqueArray(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(list, fc.nat(), (numbers, place) => {
      const positions = numbers.toSorted((left, right) => left - right);
      const key = indexKey("type", "T", segmentOf(positions.at(-1) ?? 1));
      const value = encodeMergedPostings(key, positions);
      expect(isMergedPostings({ key, value })).toBe(true);
      expect(decodeMergedPostings({ key, value })).toEqual(positions);
      const other = segmentOf(positions[0] ?? 1);
      expect(isMergedPostings({ key, value: encodePostings(key, other, [positions[0] ?? 1]) })).toBe(false);
      const damaged = Buffer.from(value);
      damaged[place % damaged.length] = (damaged[place % damaged.length] ?? 0) ^ 1;
      expect(() => decodeMergedPostings({ key, value: damaged })).toThrow();
      expect(() => decodeMergedPostings({ key: indexKey("type", "U", 3), value })).toThrow();
    }),
  );
});
