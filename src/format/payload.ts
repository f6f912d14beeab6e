/**
 * How `data` and `metadata` become bytes. What JSON can say is stored as JSON text; what it cannot (`Date`, `bigint`,
 * `Uint8Array`, `Map`, `Set`) as MessagePack with the record definitions inside. Both describe themselves: a page needs no
 * dictionary, so any reader of any age can read it. ARCHITECTURE.md has the measurements behind this choice.
 */

import { Packr } from "msgpackr";
import { type EventIssue, printable } from "../errors.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";

/** The most bytes the data, and the metadata, of one event may have once encoded. */
export const payloadBytesMax: number = 1024 * 1024;
/** How deep values may be nested. */
export const payloadDepthMax = 64;

/** How many values a payload may hold: more cannot fit, unless the same one is there again and again. */
export const payloadValuesMax = 600_000;

/** How a payload is encoded; stored as one bit of the envelope. */
export type PayloadEncoding = "json" | "msgpack";

// Bytes are copied out, so that an event does not keep the whole page it came from in memory.
const packr = new Packr({ useRecords: true, moreTypes: true, useBigIntExtension: true, copyBuffers: true });

interface Walk {
  readonly issues: EventIssue[];
  readonly seen: Set<object>;
  extended: boolean;
  values: number;
  unpaired: string | undefined;
  /** Whether an own property is `undefined`: JSON drops it, MessagePack would not. */
  undefinedProperty: boolean;
}

function describe(value: unknown): string {
  if (typeof value === "object" && value !== null)
    return `an instance of ${value.constructor?.name ?? "an unknown class"}`;
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : printable(value);
}

class TooManyValues extends Error {}

function walkMembers(
  members: Iterable<readonly [string, unknown]>,
  owner: object,
  path: string,
  depth: number,
  walk: Walk,
): void {
  if (walk.seen.has(owner)) {
    walk.issues.push({ path, message: "refers to itself" });
    return;
  }
  if (depth > payloadDepthMax) {
    walk.issues.push({ path, message: `is nested deeper than ${payloadDepthMax}` });
    return;
  }
  walk.seen.add(owner);
  for (const [key, value] of members) walkValue(value, `${path}.${key}`, depth + 1, walk);
  walk.seen.delete(owner);
}

function walkObject(value: object, path: string, depth: number, walk: Walk): void {
  if (Array.isArray(value)) {
    if ("toJSON" in value) walk.issues.push({ path, message: "must not have a toJSON of its own" });
    walkMembers(
      value.entries().map(([index, item]) => [String(index), item] as const),
      value,
      path,
      depth,
      walk,
    );
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) {
    const keys = Object.keys(value);
    if (keys.includes("__proto__")) walk.issues.push({ path, message: "must not have a member named __proto__" });
    const present: [string, unknown][] = [];
    for (const key of keys) {
      const member: unknown = Reflect.get(value, key);
      if (member === undefined) walk.undefinedProperty = true;
      else present.push([key, member]);
      if (!key.isWellFormed()) walk.unpaired ??= path;
    }
    walkMembers(present, value, path, depth, walk);
    return;
  }
  walk.extended = true;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) walk.issues.push({ path, message: "is an invalid Date" });
  } else if (value instanceof Map) {
    walkMembers(
      value.entries().flatMap(([key, item], index): [string, unknown][] => [
        [`<key ${index}>`, key],
        [typeof key === "object" ? `<value ${index}>` : String(key), item],
      ]),
      value,
      path,
      depth,
      walk,
    );
  } else if (value instanceof Set) {
    walkMembers(
      value.values().map((item, index) => [String(index), item] as const),
      value,
      path,
      depth,
      walk,
    );
  } else if (!(value instanceof Uint8Array)) {
    walk.issues.push({ path, message: `must be plain data, not ${describe(value)}` });
  }
}

function walkValue(value: unknown, path: string, depth: number, walk: Walk): void {
  walk.values += 1;
  if (walk.values > payloadValuesMax) throw new TooManyValues();
  switch (typeof value) {
    case "boolean":
      return;
    case "string":
      if (!value.isWellFormed()) walk.unpaired ??= path;
      return;
    case "number":
      if (!Number.isFinite(value)) walk.issues.push({ path, message: `must be a finite number, not ${value}` });
      return;
    case "bigint":
      walk.extended = true;
      return;
    case "object":
      if (value !== null) walkObject(value, path, depth, walk);
      return;
    default:
      walk.issues.push({ path, message: `must be plain data, not ${describe(value)}` });
  }
}

/** A copy without `undefined` properties, as JSON would have it. */
function withoutUndefined(value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (value instanceof Map)
    return new Map([...value].map(([key, item]) => [withoutUndefined(key), withoutUndefined(item)]));
  if (value instanceof Set) return new Set([...value].map(withoutUndefined));
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([key, member]) => [key, withoutUndefined(member)]));
}

export interface EncodedPayload {
  readonly encoding: PayloadEncoding;
  readonly content: string | Uint8Array;
}

/** Encodes a value, or says by path what of it cannot be stored. `undefined` properties are left out, as JSON does. */
export function encodePayload(
  value: unknown,
  path: string,
): EncodedPayload | { readonly issues: readonly EventIssue[] } {
  const walk: Walk = {
    issues: [],
    seen: new Set(),
    extended: false,
    values: 0,
    unpaired: undefined,
    undefinedProperty: false,
  };
  try {
    walkValue(value, path, 0, walk);
  } catch (error) {
    const why = error instanceof TooManyValues ? `must hold at most ${payloadValuesMax} values` : "cannot be read";
    return { issues: [{ path, message: why }] };
  }
  if (walk.extended && walk.unpaired !== undefined) {
    walk.issues.push({
      path: walk.unpaired,
      message: "must not hold a lone surrogate beside values that JSON cannot say",
    });
  }
  if (walk.issues.length > 0) return { issues: walk.issues };
  const content = walk.extended
    ? packr.pack(walk.undefinedProperty ? withoutUndefined(value) : value)
    : JSON.stringify(value);
  const bytes = typeof content === "string" && content.length * 3 <= payloadBytesMax ? 0 : Buffer.byteLength(content);
  if (bytes > payloadBytesMax) {
    return { issues: [{ path, message: `must have at most ${payloadBytesMax} bytes once encoded, not ${bytes}` }] };
  }
  return { encoding: walk.extended ? "msgpack" : "json", content };
}

/** Writes the content up to the end, without a length. */
export function writePayload(writer: ByteWriter, payload: EncodedPayload): void {
  if (typeof payload.content === "string") writer.rest(payload.content);
  else writer.raw(payload.content);
}

/** Reads what `writePayload` wrote; throws whatever the parser throws where the bytes are broken. */
export function readPayload(reader: ByteReader, encoding: PayloadEncoding): unknown {
  if (encoding === "json") return JSON.parse(reader.rest());
  const bytes = reader.raw(reader.remaining);
  return packr.unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
