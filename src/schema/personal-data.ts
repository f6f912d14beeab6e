/**
 * Personal fields of events: which parts of the data they are, taking them out and putting them back, and what the registry asks
 * of whoever holds the keys. Nothing here knows a key.
 */

import type { EventIssue, EventStoreError } from "../errors.ts";
import { InvalidArgumentError, printable } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { SealedFields } from "../format/sealed-fields.ts";
import { checkName } from "../vocabulary/names.ts";

/** Tags that begin so say whose personal data an event holds; only the store makes them, and readers do not see them. */
export const subjectTagPrefix = "$subject:";
/** The most personal fields of one type. */
export const personalFieldsMax = 64;

/** Whose key is used, opaque to all but its maker. */
export interface SealingKey {
  /** Not once it is destroyed. */
  readonly isUsable: boolean;
}

/** What an event's box came to. */
export type OpenedFields =
  | { readonly kind: "open"; readonly content: Buffer }
  | { readonly kind: "forgotten"; readonly atMs: number }
  | { readonly kind: "hidden" }
  | { readonly kind: "lost"; readonly why: EventStoreError };

/** What the registry asks of who holds the keys. Synchronous once a key is at hand, and only `provide` and `fetch` wait. */
export interface SubjectCipher {
  /** What stands for a subject without naming it. */
  hashOf(subject: string): string;
  /** The key for new events of a subject, if it is at hand. */
  keyFor(subjectHash: string): SealingKey | undefined;
  /** Brings keys for new events to hand, and makes those that there are not; by subject hash. */
  provide(subjectHashes: ReadonlySet<string>): Promise<ReadonlyMap<string, SealingKey>>;
  /** Fills in the sealed fields of encoded bytes, in place. */
  seal(
    key: SealingKey,
    place: { readonly streamName: string; readonly eventId: string },
    bytes: Buffer,
    sealed: SealedFields,
    content: Uint8Array,
  ): void;
  /** Brings the keys of stored events to hand; nothing where all of them are. Throws where the storage does not answer. */
  fetch(events: readonly StoredEvent[]): Promise<void> | undefined;
  /** What is sealed in an event whose key was fetched. */
  open(stored: StoredEvent, eventId: string, sealed: SealedFields): OpenedFields;
}

/** One personal field: its path, taken apart. */
export interface PersonalField {
  readonly path: string;
  readonly members: readonly string[];
}

/** Checks the paths of a definition. Throws `invalid-argument` for one that is none, is there twice, or lies within another. */
export function checkPersonalFields(value: unknown): readonly PersonalField[] {
  const argument = "event.personal.fields";
  if (!Array.isArray(value) || value.length === 0 || value.length > personalFieldsMax)
    throw new InvalidArgumentError(
      argument,
      `must be a list of 1 to ${personalFieldsMax} paths, not ${printable(value)}`,
    );
  const fields = value.map((path: unknown, index): PersonalField => {
    const checked = checkName(path, `${argument}[${index}]`);
    const members = checked.split(".");
    if (members.some((member) => member === "" || member === "__proto__"))
      throw new InvalidArgumentError(
        `${argument}[${index}]`,
        `is no path such as "address.street": ${printable(path)}`,
      );
    return { path: checked, members };
  });
  for (const { path } of fields) {
    const within = fields.filter((other) => path === other.path || path.startsWith(`${other.path}.`));
    if (within.length > 1)
      throw new InvalidArgumentError(argument, `has a path within another one: ${printable(path)}`);
  }
  return fields;
}

/** What was taken out of the data: values by path, and the data with `null` in their places. */
export interface TakenFields {
  readonly values: Readonly<Record<string, unknown>>;
  readonly data: unknown;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * Takes the fields out; those that are not there stay absent. Answers issues where a path leads through something that is no
 * object: what it was to protect would be stored as it is.
 */
export function takeFields(
  data: unknown,
  fields: readonly PersonalField[],
): TakenFields | { readonly issues: readonly EventIssue[] } {
  const values: Record<string, unknown> = {};
  const issues: EventIssue[] = [];
  let taken = data;
  for (const { path, members } of fields) {
    const found = taking(taken, members, path, issues);
    if (found === undefined) continue;
    values[path] = found.value;
    taken = found.rest;
  }
  return issues.length > 0 ? { issues } : { values, data: taken };
}

interface Taken {
  readonly value: unknown;
  /** A copy along the path, with `null` at its end. */
  readonly rest: unknown;
}

function taking(data: unknown, members: readonly string[], path: string, issues: EventIssue[]): Taken | undefined {
  const [member, ...further] = members;
  if (member === undefined || data === undefined || data === null) return undefined;
  if (!isPlainObject(data)) {
    const message = `must be an object, or not there, all the way to the personal field ${member}`;
    issues.push({ path: `data.${path}`, message });
    return undefined;
  }
  const value: unknown = Object.hasOwn(data, member) ? data[member] : undefined;
  if (value === undefined) return undefined;
  if (further.length === 0) return { value, rest: { ...data, [member]: null } };
  const inner = taking(value, further, path, issues);
  return inner === undefined ? undefined : { value: inner.value, rest: { ...data, [member]: inner.rest } };
}

/** Puts values back in their places, into data that nobody else has yet. */
export function putFields(data: unknown, values: Readonly<Record<string, unknown>>): void {
  for (const [path, value] of Object.entries(values)) {
    const members = path.split(".");
    const last = members.pop();
    let owner: unknown = data;
    for (const member of members) owner = isPlainObject(owner) ? owner[member] : undefined;
    if (last !== undefined && isPlainObject(owner)) owner[last] = value;
  }
}

/** A text of fewer characters is looked for only as the whole of a tag, or of what stands behind its colon. */
const containedFrom = 4;

/** Tags are stored as they are. Answers which is the first one that gives a personal value away. */
export function tellingTag(tags: readonly string[], values: unknown): number | undefined {
  const texts = [...textsOf(values)].map((text) => text.toLowerCase());
  const telling = tags.findIndex((tag) => {
    const shown = tag.toLowerCase();
    const behind = shown.slice(shown.indexOf(":") + 1);
    return texts.some(
      (text) =>
        text !== "" && (shown === text || behind === text || (text.length >= containedFrom && shown.includes(text))),
    );
  });
  return telling < 0 ? undefined : telling;
}

function* textsOf(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (value instanceof Map) for (const [key, item] of value) yield* [...textsOf(key), ...textsOf(item)];
  else if (value instanceof Set || Array.isArray(value)) for (const item of value) yield* textsOf(item);
  else if (isPlainObject(value)) for (const item of Object.values(value)) yield* textsOf(item);
}
