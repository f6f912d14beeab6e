/** One sample of everything that the format writes, from fixed values: what `test/fixtures/format-1.json` holds the bytes of. */

import { type EventToEncode, encodeEvent, type StoredEvent, stampRecordedAt } from "../../src/format/envelope.ts";
import {
  globalPageKey,
  idempotencyAgeKey,
  idempotencyKeyKey,
  indexKey,
  logEndKey,
  nameDirectoryKey,
  nameSegmentKey,
  snapshotKey,
  storeHeaderKey,
  streamHeadKey,
  streamPageKey,
  timeKey,
} from "../../src/format/key-families.ts";
import { encodeNameDirectory, hashName, NameSegment } from "../../src/format/name-filter.ts";
import { encodeGlobalPage, encodeStreamPage } from "../../src/format/pages.ts";
import {
  type CommitRecord,
  encodeCommitRecord,
  encodeIdempotencyAge,
  encodeLogEnd,
  encodePostings,
  encodeStoreHeader,
  encodeTimeEntry,
  type LogEnd,
  type StoreHeader,
} from "../../src/format/records.ts";
import { encodeSnapshot, type Snapshot } from "../../src/format/snapshot.ts";
import { encodeStreamHead, type StreamHead } from "../../src/format/stream-head.ts";

export const recordedAtMs = 1_790_000_000_123;

export const sampleEvents: readonly EventToEncode[] = [
  {
    id: "0197a1f0-1234-7abc-8def-0123456789ab",
    idGiven: false,
    type: "OrderPlaced",
    schemaVersion: 2,
    tags: ["customer:c1", "zoë"],
    occurredAtMs: -86_400_000,
    metadata: { actor: "kim", correlationId: "c-1" },
    data: { customerId: "c1", total: 12.5, lines: [{ sku: "a\u0000b", quantity: 3 }], note: null },
  },
  {
    id: "loan-1",
    idGiven: true,
    type: "Größe",
    schemaVersion: 1,
    tags: [],
    occurredAtMs: undefined,
    metadata: {},
    data: "text",
  },
  {
    id: "loan-2",
    idGiven: true,
    type: "Extended",
    schemaVersion: 1,
    tags: [],
    occurredAtMs: 0,
    metadata: { at: new Date(recordedAtMs) },
    data: {
      at: new Date(1),
      big: [1n, -(2n ** 70n)],
      bytes: new Uint8Array([0, 255]),
      map: new Map<unknown, unknown>([
        [1, { a: [] }],
        ["k", null],
      ]),
      set: new Set(["x", 2]),
    },
  },
];

export function sampleStored(): readonly StoredEvent[] {
  return sampleEvents.map((event, index) => {
    const bytes = encodeEvent(event);
    if ("issues" in bytes) throw new Error("A sample is not valid");
    stampRecordedAt(bytes, recordedAtMs + index);
    return { streamName: "order-é", version: 7 + index, position: 1_000 + index * 2, bytes };
  });
}

export const sampleHead: Omit<StreamHead, "tail"> = {
  streamName: "order-é",
  version: 9,
  firstPosition: 3,
  createdAtMs: recordedAtMs - 5,
  lastPosition: 1_004,
  lastRecordedAtMs: recordedAtMs + 2,
  truncatedBefore: 0,
  extension: new Uint8Array([3]),
};

export const sampleHeader: StoreHeader = {
  formatVersion: 1,
  storeId: "s-1",
  createdAtMs: recordedAtMs,
  families: ["streamHeads"],
};
export const sampleEnd: LogEnd = {
  lastPosition: 2 ** 40,
  lastRecordedAtMs: recordedAtMs,
  indexedTo: 1_024,
  extension: new Uint8Array([1, 2]),
};
export const sampleRecord: CommitRecord = {
  position: 1_004,
  recordedAtMs,
  streams: [
    { streamName: "order-é", streamVersion: 9 },
    { streamName: "b", streamVersion: 2 ** 33 },
  ],
};
export const samplePostings: { readonly segment: number; readonly positions: readonly number[] } = {
  segment: 3,
  positions: [3_073, 3_074, 4_000, 4_096],
};

/** A key that rows of several kinds stand under here. */
export const sampleKey: Uint8Array = timeKey(29_833_333);

/** 32 KiB, of which the fixture holds the hash. */
export function sampleNameSegment(): Uint8Array {
  const segment = new NameSegment();
  for (const name of ["order-é", "b", "a\u0000b"]) segment.add(hashName(name));
  return segment.encode(nameSegmentKey(3)).value;
}

/** Enough events for a page that is stored compressed. */
export function compressibleStored(): readonly StoredEvent[] {
  return [...sampleStored(), ...sampleStored(), ...sampleStored()].map((event, index) => ({
    ...event,
    version: 7 + index,
    position: 1_000 + index,
  }));
}
export const sampleSnapshot: Snapshot = {
  streamVersion: 200,
  position: 2 ** 33,
  takenAtMs: recordedAtMs,
  state: { status: "placed", skus: ["a", "é"] },
};

/** Everything, as hexadecimal text by name. */
export function encodeSamples(): Record<string, string> {
  const stored = sampleStored();
  const bytes: Record<string, Uint8Array> = {
    "key: store header": storeHeaderKey,
    "key: log end": logEndKey,
    "key: stream head": streamHeadKey("order-é\u0000"),
    "key: stream page": streamPageKey("order-é", 9),
    "key: global page": globalPageKey(2 ** 40 + 5),
    "key: index": indexKey("tag", "customer:c1", 3),
    "key: time": timeKey(29_833_333),
    "key: idempotency key": idempotencyKeyKey("pay-1"),
    "key: idempotency age": idempotencyAgeKey(29_833_333, 1_004),
    "key: name directory": nameDirectoryKey,
    "key: name segment": nameSegmentKey(3),
    "name directory": encodeNameDirectory({ segments: 4, coveredTo: 2 ** 40, overflowed: false }),
    "name segment, SHA-256": new Bun.CryptoHasher("sha256").update(sampleNameSegment()).digest(),
    "store header": encodeStoreHeader(sampleHeader),
    "log end": encodeLogEnd(sampleEnd),
    "stream page": encodeStreamPage(stored).value,
    "global page": encodeGlobalPage(stored).value,
    "stream head": encodeStreamHead({ ...sampleHead, tail: stored }),
    postings: encodePostings(sampleKey, samplePostings.segment, samplePostings.positions),
    "time entry": encodeTimeEntry(sampleKey, 77),
    "commit record": encodeCommitRecord(sampleKey, sampleRecord),
    "key: idempotency age without events": idempotencyAgeKey(29_833_333, 1_004, "pay-1"),
    "key: snapshot": snapshotKey("order-é", "order", 2),
    "commit record with a count": encodeCommitRecord(sampleKey, { ...sampleRecord, eventCount: 300 }),
    snapshot: encodeSnapshot(sampleKey, sampleSnapshot, {
      encoding: "json",
      content: JSON.stringify(sampleSnapshot.state),
    }),
    "idempotency age": encodeIdempotencyAge(sampleKey, ["pay-1", "pay-2"]),
  };
  return Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, Buffer.from(value).toString("hex")]));
}
