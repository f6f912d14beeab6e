/** The bytes of what processors keep, frozen: today's code reads them, and still writes the same. */

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  allDocumentKeysSpan,
  checkpointKey,
  documentKey,
  documentKeyKey,
  documentKeySpan,
  documentSpan,
  instanceKey,
  keyOfDocumentKey,
  keyOfDocumentKeyKey,
  outboxKey,
  parkedKey,
  settingsKey,
  timerKey,
  timerSpan,
} from "../../src/format/processor-keys.ts";
import {
  decodeDocument,
  decodeRecord,
  documentKeyRow,
  encodeDocument,
  payloadOf,
  type RecordKind,
  recordRow,
} from "../../src/format/processor-records.ts";
import frozen from "../fixtures/processors-1.json";

setDefaultTimeout(60_000);

const key = documentKey("totals", 3, "c\u0000é");
const about = {
  position: 2 ** 40,
  indexed: [
    ["byName", "é"],
    ["byName", "n2"],
  ] as const,
};
const records: readonly (readonly [RecordKind, Uint8Array, unknown])[] = [
  ["checkpoint", checkpointKey("totals", 3), { position: 2 ** 40 }],
  ["settings", settingsKey("totals"), { kind: "projection", version: 2, paused: true }],
  ["parked", parkedKey("mail", 77, 1), { position: 77, part: 1, error: "é" }],
  ["timer", timerKey("checkout", 1_790_000_000_123, "order-1", "Late"), { data: new Date(5) }],
  ["instance", instanceKey("checkout", "order-1"), { state: { amount: 5n } }],
  ["outbox", outboxKey("checkout", 2 ** 33), { output: { kind: "append" } }],
];

function samples(): Record<string, string> {
  const rows = Object.fromEntries(
    records.flatMap(([kind, recordKey, value]) => [
      [`key: ${kind}`, recordKey],
      [kind, recordRow(kind, recordKey, value).value],
    ]),
  );
  const secondary = documentKeyKey("totals", 3, "byName", "n2", "c\u0000é");
  const bytes: Record<string, Uint8Array> = {
    ...rows,
    "key: document": key,
    "key: document key": secondary,
    document: encodeDocument(key, about, payloadOf({ orders: 2, at: new Date(7) }, "document")),
    "document, plain": encodeDocument(key, { ...about, indexed: [] }, payloadOf({ orders: 2 }, "document")),
    "document key": documentKeyRow(secondary).value,
  };
  return Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, Buffer.from(value).toString("hex")]));
}

test("Today's code writes the bytes that processors' rows were frozen with", () => {
  expect(samples()).toEqual(frozen);
});

test("Today's code reads them", () => {
  for (const [kind, recordKey, value] of records) {
    const bytes = Buffer.from(frozen[kind], "hex");
    expect(decodeRecord(kind, { key: recordKey, value: bytes })).toEqual(value);
    expect(() => decodeRecord(kind, { key, value: bytes })).toThrow("its checksum does not match");
  }
  const document = decodeDocument({ key, value: Buffer.from(frozen.document, "hex") }, "c");
  expect(document).toEqual({ ...about, indexed: [...about.indexed], document: { orders: 2, at: new Date(7) } });
  const damaged = Buffer.from(frozen.document, "hex");
  damaged[9] = (damaged[9] ?? 0) ^ 1;
  expect(() => decodeDocument({ key, value: damaged }, "c")).toThrow('Document "c" is damaged');
});

test("Keys of documents sort as the documents' own keys, and stay within their generation", () => {
  const names = ["", "a", "a\u0000", "a\u0000b", "aa", "b", "é", "😀"].slice(1);
  const keys = names.map((name) => documentKey("p", 1, name));
  expect(keys.toSorted((one, other) => Buffer.compare(one, other))).toEqual(keys);
  expect(keys.map((one) => keyOfDocumentKey(one))).toEqual(names);
  const within = ({ start, end }: { start: Uint8Array; end: Uint8Array }, one: Uint8Array): boolean =>
    Buffer.compare(start, one) <= 0 && Buffer.compare(one, end) < 0;
  for (const one of keys) {
    expect(within(documentSpan("p", 1, ""), one)).toBe(true);
    for (const [projection, generation] of [
      ["p", 0],
      ["p", 2],
      ["p\u0000", 1],
      ["", 1],
    ] as const) {
      expect(within(documentSpan(projection, generation, ""), one)).toBe(false);
    }
  }
  const under = documentKeyKey("p", 1, "index", "value", "a\u0000b");
  expect(keyOfDocumentKeyKey(under)).toBe("a\u0000b");
  expect(within(documentKeySpan("p", 1, "index", "value"), under)).toBe(true);
  expect(within(documentKeySpan("p", 1, "index", "valu"), under)).toBe(false);
  expect(within(allDocumentKeysSpan("p", 1), under)).toBe(true);
  expect(within(timerSpan("p"), timerKey("p", 5, "i", "t"))).toBe(true);
});
