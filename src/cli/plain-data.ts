/**
 * Data as JSON can say it, and back. What JSON cannot say is written readably, and a table of types by JSON pointer
 * (RFC 6901) says what it was, so that nothing is lost: a `Date` as RFC 3339 text, a `bigint` as decimal digits, bytes as
 * base64, a `Set` as a list, a `Map` as an object where its keys allow that, else as a list of pairs.
 */

import { printable } from "../errors.ts";

export type ExtendedType = "date" | "bigint" | "bytes" | "set" | "map";

/** By pointer, what the JSON value there stands for. */
export type TypeTable = Readonly<Record<string, ExtendedType>>;

export interface PlainData {
  readonly value: unknown;
  /** Absent where JSON says it all. */
  readonly types: TypeTable | undefined;
}

function isExtended(value: object): boolean {
  return value instanceof Date || value instanceof Uint8Array || value instanceof Map || value instanceof Set;
}

/** Whether JSON can say the value as it is. */
function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "bigint";
  if (Array.isArray(value)) return value.every(isPlain);
  return !isExtended(value) && Object.values(value).every(isPlain);
}

function step(pointer: string, key: string | number): string {
  return `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** An object keeps the order of such keys, and gives each back as it was. */
function fitsObject(keys: readonly unknown[]): boolean {
  return keys.every((key) => typeof key === "string" && key !== "__proto__" && !/^(0|[1-9]\d*)$/.test(key));
}

function convertList(items: Iterable<unknown>, pointer: string, types: Record<string, ExtendedType>): unknown[] {
  return Array.from(items, (item, index) => convert(item, step(pointer, index), types));
}

function convertMembers(
  members: Iterable<readonly [string, unknown]>,
  pointer: string,
  types: Record<string, ExtendedType>,
): object {
  return Object.fromEntries(Array.from(members, ([key, item]) => [key, convert(item, step(pointer, key), types)]));
}

function convert(value: unknown, pointer: string, types: Record<string, ExtendedType>): unknown {
  if (typeof value === "bigint") {
    types[pointer] = "bigint";
    return String(value);
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return convertList(value, pointer, types);
  if (value instanceof Date) {
    types[pointer] = "date";
    return value.toISOString();
  }
  if (value instanceof Uint8Array) {
    types[pointer] = "bytes";
    return value.toBase64();
  }
  if (value instanceof Set) {
    types[pointer] = "set";
    return convertList(value, pointer, types);
  }
  if (value instanceof Map) {
    types[pointer] = "map";
    if (!fitsObject([...value.keys()])) return convertList(value, pointer, types);
    return convertMembers(value as Map<string, unknown>, pointer, types);
  }
  return convertMembers(Object.entries(value), pointer, types);
}

export function toPlainData(value: unknown): PlainData {
  if (isPlain(value)) return { value, types: undefined };
  const types: Record<string, ExtendedType> = {};
  return { value: convert(value, "", types), types };
}

/** Thrown where a table of types does not fit its data; the message has the pointer. */
export class TypeTableError extends Error {
  override readonly name = "TypeTableError";
}

function revived(value: unknown, type: unknown, pointer: string): unknown {
  const wrong = (): never => {
    throw new TypeTableError(`has no ${printable(type)} at ${printable(pointer)}`);
  };
  switch (type) {
    case "date": {
      const date = new Date(typeof value === "string" ? value : Number.NaN);
      return Number.isNaN(date.getTime()) ? wrong() : date;
    }
    case "bigint":
      return typeof value === "string" && /^-?\d+$/.test(value) ? BigInt(value) : wrong();
    case "bytes":
      return typeof value === "string" ? (bytesOfBase64(value) ?? wrong()) : wrong();
    case "set":
      return Array.isArray(value) ? new Set(value) : wrong();
    case "map":
      if (Array.isArray(value)) return value.every(isPair) ? new Map(value) : wrong();
      return typeof value === "object" && value !== null ? new Map(Object.entries(value)) : wrong();
    default:
      return wrong();
  }
}

function isPair(value: unknown): value is readonly [unknown, unknown] {
  return Array.isArray(value) && value.length === 2;
}

/** The bytes, or `undefined` where the text is not base64. */
export function bytesOfBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}

function memberOf(container: unknown, key: string, pointer: string): unknown {
  if (typeof container === "object" && container !== null && Object.hasOwn(container, key)) {
    return Reflect.get(container, key);
  }
  throw new TypeTableError(`names a place that is not there: ${printable(pointer)}`);
}

/** Puts the types back into a value fresh from `JSON.parse`, which is changed. Throws `TypeTableError`. */
export function fromPlainData(value: unknown, types: object): unknown {
  const root = { "": value };
  const places = Object.entries(types).map(([pointer, type]) => ({ pointer, type, keys: pointer.split("/") }));
  // What lies deeper first: a container is rebuilt from what is in it then.
  for (const { pointer, type, keys } of places.toSorted((one, other) => other.keys.length - one.keys.length)) {
    const names = keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = names.pop() ?? "";
    const owner = names.reduce<unknown>((at, key) => memberOf(at, key, pointer), root);
    const revivedValue = revived(memberOf(owner, last, pointer), type, pointer);
    Reflect.set(owner as object, last, revivedValue);
  }
  return root[""];
}
