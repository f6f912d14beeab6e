/**
 * One line of CloudEvents 1.0 (JSON) as an event to append, or the reason why it is refused. Whatever the store would
 * refuse of a single event is refused here, so that a reason always has its line.
 */

import * as v from "valibot";
import { printable } from "../errors.ts";
import { encodePayload, payloadDepthMax } from "../format/payload.ts";
import type { NewEvent } from "../index.ts";
import { eventTagsMax } from "../schema/new-event.ts";
import { nameProblem } from "../vocabulary/names.ts";
import { attribute, foreignAttributes, metadataNames, unknownSource } from "./cloud-event-attributes.ts";
import { bytesOfBase64, fromPlainData, TypeTableError } from "./plain-data.ts";
import { parseTime } from "./time.ts";

export interface ParsedEvent {
  readonly streamName: string;
  readonly event: NewEvent;
}

export type ParsedLine = ParsedEvent | { readonly refused: string };

function nameSchema(key: string): v.GenericSchema<string> {
  return v.pipe(
    v.string(`${key} must be a string`),
    v.check(
      (text) => nameProblem(text) === undefined,
      (issue) => `${key} ${nameProblem(issue.input)}`,
    ),
  );
}

const schema = v.looseObject({
  specversion: v.literal("1.0", 'specversion must be "1.0"'),
  id: nameSchema("id"),
  type: nameSchema("type"),
  source: v.pipe(v.string("source must be a string"), v.nonEmpty("source must not be empty")),
  subject: nameSchema("subject"),
  time: v.optional(
    v.pipe(
      v.string("time must be a string"),
      v.rawTransform(({ dataset, addIssue, NEVER }) => {
        const time = parseTime(dataset.value);
        if (time !== undefined) return time;
        addIssue({ message: `time must be as RFC 3339 has it, not ${printable(dataset.value)}` });
        return NEVER;
      }),
    ),
  ),
});

/** Payloads of lines shorter than this cannot exceed the store's bound once they are encoded. */
const shortLineMax = 128 * 1024;

class Refused extends Error {
  override readonly name = "Refused";
}

function refuse(reason: string): never {
  throw new Refused(reason);
}

/** `category` goes before the subject in the stream's name. `text`: the line. */
export function parseCloudEvent(text: string, category: string | undefined): ParsedLine {
  try {
    return eventOf(jsonOf(text), text.length, category);
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}

function jsonOf(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse("must be a JSON object");
  // An attribute that is null is the same as one that is not there; only data may be null.
  const attributes = value as Record<string, unknown>;
  for (const key of Object.keys(attributes)) {
    if (attributes[key] === null && key !== attribute.data) delete attributes[key];
  }
  return attributes;
}

function eventOf(given: Record<string, unknown>, length: number, category: string | undefined): ParsedEvent {
  const checked = v.safeParse(schema, given, { abortEarly: true });
  if (!checked.success) return refuse(reasonOf(checked.issues[0]));
  if (given[attribute.personal] !== undefined)
    refuse(`${attribute.personal} names personal fields, which an import would store as they are`);
  const { id, type, subject, time } = checked.output;
  const streamName = category === undefined ? subject : `${category}-${subject}`;
  if (category !== undefined) {
    const problem = nameProblem(streamName);
    if (problem !== undefined) refuse(`subject makes a stream name that ${problem}`);
  }
  const occurredAt = time ?? earlyOrLateTime(given);
  const tags = tagsOf(given[attribute.tags]);
  const { data, metadata } = revive(given, dataOf(given), metadataOf(given, tags === undefined));
  checkPayload("data", data, length);
  checkPayload("metadata", metadata, length);
  const event: NewEvent = {
    type,
    id,
    data,
    metadata,
    ...(occurredAt === undefined ? {} : { occurredAt }),
    ...(tags === undefined ? {} : { tags }),
    ...schemaVersionOf(given),
  };
  return { streamName, event };
}

function reasonOf(issue: v.BaseIssue<unknown>): string {
  const key: unknown = issue.path?.[0]?.key;
  return issue.type === "loose_object" ? `${String(key)} is missing` : issue.message;
}

/** A time that RFC 3339 cannot say is exported as milliseconds. */
function earlyOrLateTime(given: Record<string, unknown>): Date | undefined {
  const text = given[attribute.occurredAtMs];
  if (text === undefined) return undefined;
  const time = new Date(typeof text === "string" && /^-?\d{1,17}$/.test(text) ? Number(text) : Number.NaN);
  if (Number.isNaN(time.getTime())) return refuse(`${attribute.occurredAtMs} must be milliseconds since 1970`);
  return time;
}

function dataOf(given: Record<string, unknown>): unknown {
  const base64 = given[attribute.dataBase64];
  if (base64 === undefined) return given.data ?? null;
  if (given.data !== undefined) return refuse("data and data_base64 must not both be there");
  const bytes = typeof base64 === "string" ? bytesOfBase64(base64) : undefined;
  return bytes ?? refuse("data_base64 must be base64");
}

function schemaVersionOf(given: Record<string, unknown>): { readonly schemaVersion?: number } {
  const schemaVersion = given[attribute.schemaVersion];
  if (schemaVersion === undefined) return {};
  if (typeof schemaVersion === "number" && Number.isSafeInteger(schemaVersion) && schemaVersion >= 1)
    return { schemaVersion };
  return refuse(`${attribute.schemaVersion} must be an integer from 1`);
}

/** The tags, or `undefined` where the attribute is something else, which then stays metadata. */
function tagsOf(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: readonly unknown[] | undefined = typeof value === "string" ? separated(value) : asList(value);
  if (list === undefined) return undefined;
  const tags = new Set<string>();
  for (const tag of list) {
    if (typeof tag !== "string") return undefined;
    const problem = nameProblem(tag);
    if (problem !== undefined) refuse(`a tag ${problem}`);
    tags.add(tag);
  }
  if (tags.size > eventTagsMax) refuse(`tags must be at most ${eventTagsMax}, not ${tags.size}`);
  return [...tags];
}

function separated(text: string): readonly string[] {
  return text
    .split(",")
    .map((tag) => tag.trim())
    .filter((tag) => tag !== "");
}

function asList(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined;
}

function metadataOf(given: Record<string, unknown>, tagsStay: boolean): Record<string, unknown> {
  const metadata: Record<string, unknown> = {};
  for (const key of Object.keys(given)) {
    if (key === "__proto__") refuse("must not have a member named __proto__");
    if (foreignAttributes.has(key) || (key === attribute.tags && !tagsStay)) continue;
    if (key === "source" && given.source === unknownSource) continue;
    metadata[metadataNames.get(key) ?? key] = given[key];
  }
  if (given[attribute.metadata] !== undefined) Object.assign(metadata, jsonAttribute(given, attribute.metadata));
  for (const key of metadataNames.values()) {
    const problem = metadata[key] === undefined ? undefined : nameProblem(metadata[key]);
    if (problem !== undefined) refuse(`${key} ${problem}`);
  }
  return metadata;
}

/** An extension that holds an object as JSON text. */
function jsonAttribute(given: Record<string, unknown>, name: string): Record<string, unknown> {
  const text = given[name];
  try {
    const value: unknown = JSON.parse(typeof text === "string" ? text : "");
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Refused below, like everything else that is no object.
  }
  return refuse(`${name} must be a JSON object as text`);
}

/** Puts back the types that an export noted, of data and of metadata. */
function revive(
  given: Record<string, unknown>,
  data: unknown,
  metadata: Record<string, unknown>,
): { data: unknown; metadata: Record<string, unknown> } {
  if (given[attribute.types] === undefined) return { data, metadata };
  const types = jsonAttribute(given, attribute.types);
  try {
    return {
      data: types.data instanceof Object ? fromPlainData(data, types.data) : data,
      metadata:
        types.metadata instanceof Object
          ? (fromPlainData(metadata, types.metadata) as Record<string, unknown>)
          : metadata,
    };
  } catch (error) {
    if (error instanceof TypeTableError) return refuse(`${attribute.types} ${error.message}`);
    throw error;
  }
}

/** What `JSON.parse` gives and the store takes: no number out of range, not too deep, no `__proto__`. */
function isSimple(value: unknown, depth: number): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth >= payloadDepthMax) return false;
  if (Array.isArray(value)) return value.every((item) => isSimple(item, depth + 1));
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const key of Object.keys(value)) {
    if (key === "__proto__" || !isSimple(Reflect.get(value, key), depth + 1)) return false;
  }
  return true;
}

function checkPayload(path: string, value: unknown, length: number): void {
  if (length < shortLineMax && isSimple(value, 0)) return;
  // The store's own verdict, which costs more.
  const encoded = encodePayload(value, path);
  if (!("issues" in encoded)) return;
  const [issue] = encoded.issues;
  refuse(`${issue?.path} ${issue?.message}`);
}
