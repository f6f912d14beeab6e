/** The bytes of format 1, frozen: today's code reads them, and still writes the same. A change here needs a new format. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { decodeEvent } from "../../src/format/envelope.ts";
import { globalPageKey, nameSegmentKey, streamPageKey } from "../../src/format/key-families.ts";
import { decodeNameDirectory, hashName, NameSegment } from "../../src/format/name-filter.ts";
import { decodeGlobalPage, decodeStreamPage, encodeGlobalPage, encodeStreamPage } from "../../src/format/pages.ts";
import {
  decodeCommitRecord,
  decodeIdempotencyAge,
  decodeLogEnd,
  decodePostings,
  decodeStoreHeader,
  decodeTimeEntry,
} from "../../src/format/records.ts";
import { decodeSnapshot } from "../../src/format/snapshot.ts";
import { decodeStreamHead } from "../../src/format/stream-head.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import compressed from "../fixtures/compressed-pages-1.json";
import fixture from "../fixtures/format-1.json";
import store from "../fixtures/store-1.json";
import { collect } from "../support/collect.ts";
import {
  compressibleStored,
  encodeSamples,
  recordedAtMs,
  sampleEnd,
  sampleEvents,
  sampleHead,
  sampleHeader,
  sampleKey,
  sampleNameSegment,
  samplePostings,
  sampleRecord,
  sampleSnapshot,
  sampleStored,
} from "../support/format-samples.ts";

setDefaultTimeout(60_000);

const row = (name: keyof typeof fixture, key: Uint8Array = sampleKey): { key: Uint8Array; value: Buffer } => ({
  key,
  value: bytes(name),
});
const bytes = (name: keyof typeof fixture): Buffer => Buffer.from(fixture[name], "hex");

test("Today's code writes the bytes of format 1", () => {
  expect(encodeSamples()).toEqual(fixture);
});

test("Today's code reads the bytes of format 1", () => {
  const stored = sampleStored();
  expect(decodeStreamPage("order-é", row("stream page", streamPageKey("order-é", 9)))).toEqual(stored);
  expect(decodeGlobalPage(row("global page", globalPageKey(1_004)))).toEqual(stored);
  expect(decodeStreamHead("order-é", bytes("stream head"))).toEqual({ ...sampleHead, tail: stored });
  for (const [index, event] of decodeGlobalPage(row("global page", globalPageKey(1_004))).entries()) {
    const expected = { ...sampleEvents[index], recordedAtMs: recordedAtMs + index };
    expect(decodeEvent(event)).toMatchObject(expected as object);
  }
  expect(decodeStoreHeader(bytes("store header"))).toEqual(sampleHeader);
  expect(decodeLogEnd(bytes("log end"))).toEqual(sampleEnd);
  expect(decodePostings(samplePostings.segment, row("postings"))).toEqual(samplePostings.positions);
  expect(decodeTimeEntry(row("time entry"))).toBe(77);
  expect(decodeCommitRecord(row("commit record"))).toEqual(sampleRecord);
  expect(decodeCommitRecord(row("commit record with a count"))).toEqual({ ...sampleRecord, eventCount: 300 });
  expect(decodeSnapshot(row("snapshot"))).toEqual(sampleSnapshot);
  expect(decodeIdempotencyAge(row("idempotency age"))).toEqual(["pay-1", "pay-2"]);
});

test("Today's code reads the compressed pages of format 1, and compresses", () => {
  const stored = compressibleStored();
  const kinds = [encodeStreamPage(stored), encodeGlobalPage(stored)].map((page) => page.value[0]);
  expect(kinds).toEqual([0x22, 0x32]);
  const streamRow = { key: streamPageKey("order-é", 15), value: Buffer.from(compressed["stream page"], "hex") };
  expect(decodeStreamPage("order-é", streamRow)).toEqual(stored);
  const globalRow = { key: globalPageKey(1_008), value: Buffer.from(compressed["global page"], "hex") };
  expect(decodeGlobalPage(globalRow)).toEqual(stored);
  globalRow.value[40] = (globalRow.value[40] ?? 0) ^ 1;
  expect(() => decodeGlobalPage(globalRow)).toThrow("its checksum does not match");
});

test("Today's code reads the filter of stream names of format 1", () => {
  expect(decodeNameDirectory(bytes("name directory"))).toEqual({ segments: 4, coveredTo: 2 ** 40, overflowed: false });
  const segment = NameSegment.decode({ key: nameSegmentKey(3), value: sampleNameSegment() });
  expect(["order-é", "b", "a\u0000b", "a"].map((name) => segment.mayHave(hashName(name)))).toEqual([
    true,
    true,
    true,
    false,
  ]);
});

test("A whole store of format 1 is opened, read and continued", async () => {
  const storage = createMemoryStorage();
  for (const [key, value] of store.rows) {
    storage.rows.set(Buffer.from(key ?? "", "hex").toString("latin1"), Buffer.from(value ?? "", "hex"));
  }
  await using opened = await openEventStoreOn(openMemoryKv(storage), {});
  const events = await collect(opened.readAll());
  expect(
    events.map(({ id, streamName, version, type, data, tags }) => ({ id, streamName, version, type, data, tags })),
  ).toEqual(store.events);
  const tagged = await collect(opened.readAll({ filter: { tags: ["n:5"] } }));
  expect(tagged.map((event) => event.position)).toEqual(
    store.events.flatMap((event, index) => ((event.tags as string[]).includes("n:5") ? [index + 1] : [])),
  );
  const again = await opened.append("payment-1", [{ type: "Paid", data: 1 }], {
    expectedVersion: "any",
    idempotencyKey: "pay-1",
  });
  expect(again.replayed).toBe(true);
  const next = await opened.append("order-1", [{ type: "Placed", data: {} }], { expectedVersion: "stream-exists" });
  expect(next.position).toBe(store.events.length + 1);
});
