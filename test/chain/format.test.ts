/** The bytes of the hash chain and of dropped events, frozen; and what dropping makes of pages. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { ByteWriter } from "../../src/format/bytes.ts";
import { ChainLink, decodeChainLink, eventDigest, firstLink, readChainEnd } from "../../src/format/chain.ts";
import { dropFromPages, entriesOf } from "../../src/format/drop-events.ts";
import {
  type DroppedSegment,
  type DropReason,
  decodeDroppedRuns,
  decodeDroppedSegment,
  encodeDroppedSegment,
} from "../../src/format/dropped.ts";
import type { StoredEvent } from "../../src/format/envelope.ts";
import { readExtension, withExtension } from "../../src/format/extension.ts";
import { chainLinkKey, droppedDigestsKey, droppedRunsKey } from "../../src/format/key-families.ts";
import { decodeGlobalPage, encodeGlobalPage, type RowOperation, type StoredRow } from "../../src/format/pages.ts";
import fixture from "../fixtures/chain-1.json";
import { encodeChainSamples, sampleDropped } from "../support/chain-samples.ts";
import { sampleStored } from "../support/format-samples.ts";

setDefaultTimeout(60_000);

const bytes = (name: keyof typeof fixture): Buffer => Buffer.from(fixture[name], "hex");
const sha256 = (...parts: readonly Uint8Array[]): Buffer =>
  Buffer.from(createHash("sha256").update(Buffer.concat(parts)).digest());

test("Today's code writes the bytes of the first chain", () => {
  expect(encodeChainSamples()).toEqual(fixture);
});

test("Today's code reads the bytes of the first chain", () => {
  expect(decodeChainLink({ key: chainLinkKey(2_048), value: bytes("link row") })).toEqual(
    bytes("link behind the samples"),
  );
  const end = readChainEnd(bytes("end of the chain"));
  expect(end).toMatchObject({ fromPosition: 1_000, position: 1_004 });
  expect(Buffer.compare(end?.link ?? Buffer.alloc(0), bytes("link behind the samples"))).toBe(0);
  expect(readExtension(bytes("end of the chain"), 9)).toEqual(Buffer.of(5));
  const runs = { key: droppedRunsKey(2), value: bytes("dropped runs") };
  const digests = { key: droppedDigestsKey(2), value: bytes("dropped digests") };
  expect(decodeDroppedSegment(runs, digests)).toEqual(sampleDropped);
});

test("Digests and links are SHA-256 of what the format says, by another implementation", () => {
  const stored = sampleStored();
  let link: Uint8Array = sha256(Buffer.from("strata chain 1\n"), Buffer.from("00000000000003e8", "hex"));
  expect(Buffer.compare(firstLink(1_000), link)).toBe(0);
  const moving = new ChainLink(link);
  for (const event of stored) {
    const fields = Buffer.alloc(18);
    fields.writeBigUInt64BE(BigInt(event.version), 0);
    fields.writeBigUInt64BE(BigInt(event.position), 8);
    const name = Buffer.from(event.streamName, "utf8");
    fields.writeUInt16BE(name.length, 16);
    const digest = sha256(Buffer.from("strata event 1\n"), fields, name, event.bytes);
    expect(eventDigest(event)).toEqual(digest);
    link = sha256(link, digest);
    moving.add(event);
  }
  expect(moving.equals(link)).toBe(true);
});

test("A digest changes with every part of an event's place and content", () => {
  const [event] = sampleStored();
  if (event === undefined) throw new Error("There is no sample");
  const changed = Buffer.from(event.bytes);
  changed[20] = (changed[20] ?? 0) ^ 1;
  const others: readonly StoredEvent[] = [
    { ...event, version: event.version + 1 },
    { ...event, position: event.position + 1 },
    { ...event, streamName: `${event.streamName}a` },
    { ...event, bytes: changed },
    { ...event, bytes: event.bytes.subarray(1) },
  ];
  const digests = [event, ...others].map((one) => eventDigest(one).toString("hex"));
  expect(new Set(digests).size).toBe(digests.length);
  const large = { ...event, bytes: Buffer.alloc(1_000_000, 1) };
  expect(eventDigest(large)).not.toEqual(eventDigest(event));
  expect(eventDigest(event).toString("hex")).toBe(digests[0] ?? "");
});

test("Extensions keep what they do not know", () => {
  const one = withExtension(new Uint8Array(0), 300, Buffer.from("one"));
  const two = withExtension(one, 5, Buffer.from("two"));
  const three = withExtension(two, 300, Buffer.from("three"));
  expect(readExtension(three, 5)?.toString()).toBe("two");
  expect(readExtension(three, 300)?.toString()).toBe("three");
  expect(readExtension(three, 6)).toBeUndefined();
});

test("Damaged records of dropped events, and records that do not fit, are refused", () => {
  const [runs, digests] = encodeDroppedSegment(sampleDropped);
  for (const row of [runs, digests]) {
    for (let at = 0; at < row.value.length; at += 1) {
      const value = Buffer.from(row.value);
      value[at] = (value[at] ?? 0) ^ 0x10;
      const pair = row === runs ? [{ ...runs, value }, digests] : [runs, { ...digests, value }];
      expect(() => decodeDroppedSegment(pair[0] ?? runs, pair[1] ?? digests)).toThrow();
    }
  }
  const other = encodeDroppedSegment({
    ...sampleDropped,
    segment: 2,
    runs: sampleDropped.runs.slice(1),
    digests: sampleDropped.digests.subarray(64),
  });
  expect(() => decodeDroppedSegment(runs, other[1])).toThrow("does not fit");
  const outside = encodeDroppedSegment({
    ...sampleDropped,
    runs: [{ fromPosition: 3_073, toPosition: 3_076, reason: "expired" }],
  });
  expect(() => decodeDroppedRuns(outside[0])).toThrow("outside its segment");
  expect(() => encodeDroppedSegment({ ...sampleDropped, digests: new Uint8Array(32) })).toThrow("as many digests");
});

const reasons: readonly DropReason[] = ["expired", "excess", "truncated", "deleted", "archived"];

/** An event of some content at a position. */
function eventAt(position: number): StoredEvent {
  const writer = new ByteWriter();
  writer.rest(`event ${position} `.repeat(1 + (position % 5)));
  return { streamName: `cart-${position % 4}`, version: Math.ceil(position / 4), position, bytes: writer.finish() };
}

test("Dropping from pages in any order of steps leaves the other events, and a digest of each that went", () => {
  const drops = fc.array(fc.tuple(fc.integer({ min: 1, max: 2_300 }), fc.constantFrom(...reasons)), { maxLength: 300 });
  fc.assert(
    fc.property(fc.array(drops, { maxLength: 4 }), fc.integer({ min: 1, max: 90 }), (rounds, pageEvents) => {
      const rows = new Map<string, StoredRow>();
      for (let from = 1; from <= 2_300; from += pageEvents) {
        const events = Array.from({ length: Math.min(pageEvents, 2_301 - from) }, (_, index) => eventAt(from + index));
        const page = encodeGlobalPage(events);
        rows.set(page.key.toString("hex"), page);
      }
      const gone = new Map<number, DropReason>();
      const known = new Map<number, DroppedSegment>();
      for (const round of rounds) {
        const asked = new Map(round);
        const pages = [...rows.values()].toSorted((left, right) => Buffer.compare(left.key, right.key));
        const plan = dropFromPages(pages, asked, known);
        for (const [position, reason] of asked) if (!gone.has(position)) gone.set(position, reason);
        apply(plan.operations, rows, known);
      }
      const left = [...rows.values()].flatMap(decodeGlobalPage).toSorted((one, other) => one.position - other.position);
      const wanted = Array.from({ length: 2_300 }, (_, index) => eventAt(index + 1)).filter(
        (one) => !gone.has(one.position),
      );
      expect(left.map(({ position }) => position)).toEqual(wanted.map(({ position }) => position));
      expect(left.every((event) => event.bytes.equals(eventAt(event.position).bytes))).toBe(true);
      const entries = [...known.values()].flatMap((segment) => [...entriesOf(segment)]);
      expect(new Map(entries.map(({ position, reason }) => [position, reason]))).toEqual(gone);
      expect(entries.every(({ position, digest }) => eventDigest(eventAt(position)).equals(digest))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

function apply(
  operations: readonly RowOperation[],
  pages: Map<string, StoredRow>,
  known: Map<number, DroppedSegment>,
): void {
  const records = new Map<string, StoredRow>();
  for (const operation of operations) {
    const name = Buffer.from(operation.key).toString("hex");
    if (operation.kind === "delete") pages.delete(name);
    else if (operation.key[0] === 0x30) pages.set(name, operation);
    else records.set(name, operation);
  }
  for (const segment of [0, 1, 2]) {
    const runs = records.get(droppedRunsKey(segment).toString("hex"));
    const digests = records.get(droppedDigestsKey(segment).toString("hex"));
    if (runs !== undefined && digests !== undefined) known.set(segment, decodeDroppedSegment(runs, digests));
  }
}
