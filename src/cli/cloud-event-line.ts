/** A recorded event as one line of CloudEvents 1.0 (JSON) that an import reads back to the same event. */

import type { RecordedEvent } from "../index.ts";
import { attribute, foreignAttributes, metadataNames, unknownSource } from "./cloud-event-attributes.ts";
import { type PlainData, type TypeTable, toPlainData } from "./plain-data.ts";

const extensionOf: ReadonlyMap<string, string> = new Map(
  [...metadataNames].map(([extension, name]) => [name, extension]),
);

/** The extension that metadata of this name and value can have for itself, as CloudEvents allows. */
function extensionFor(name: string, value: unknown): string | undefined {
  const integer = typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 2 ** 31;
  if (typeof value !== "string" && typeof value !== "boolean" && !integer) return undefined;
  if (name === "source") return value === "" || value === unknownSource || typeof value !== "string" ? undefined : name;
  const known = extensionOf.get(name);
  if (known !== undefined) return known;
  const taken = foreignAttributes.has(name) || metadataNames.has(name) || name === attribute.tags;
  return !taken && /^[a-z][a-z0-9]{0,19}$/.test(name) ? name : undefined;
}

function splitMetadata(metadata: Readonly<Record<string, unknown>>): {
  readonly extensions: Record<string, unknown>;
  readonly rest: Record<string, unknown>;
} {
  const extensions: Record<string, unknown> = {};
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(metadata)) {
    const extension = extensionFor(name, value);
    if (extension === undefined) rest[name] = value;
    else extensions[extension] = value;
  }
  return { extensions, rest };
}

function timeOf({ occurredAt }: RecordedEvent): object {
  if (occurredAt === undefined) return {};
  const text = occurredAt.toISOString();
  return /^\d/.test(text) ? { time: text } : { [attribute.occurredAtMs]: String(occurredAt.getTime()) };
}

function dataOf(data: unknown): { readonly attributes: object; readonly types: TypeTable | undefined } {
  if (data instanceof Uint8Array) return { attributes: { [attribute.dataBase64]: data.toBase64() }, types: undefined };
  const { value, types } = toPlainData(data);
  return { attributes: { datacontenttype: "application/json", data: value }, types };
}

/** A list as text where that says the same, since CloudEvents has no lists. */
function tagsOf({ tags }: RecordedEvent): object {
  if (tags.length === 0) return {};
  const textSaysTheSame = tags.every((tag) => !tag.includes(",") && tag.trim() === tag);
  return { [attribute.tags]: textSaysTheSame ? tags.join(",") : tags };
}

function typesOf(data: TypeTable | undefined, metadata: PlainData): object {
  if (data === undefined && metadata.types === undefined) return {};
  return { [attribute.types]: JSON.stringify({ data, metadata: metadata.types }) };
}

function personalOf({ personal }: RecordedEvent): object {
  if (personal === undefined || personal.fields.length === 0) return {};
  return { [personal.erased === undefined ? attribute.personal : attribute.erased]: personal.fields.join(",") };
}

export function cloudEventLine(event: RecordedEvent): string {
  const { extensions, rest } = splitMetadata(event.metadata);
  const data = dataOf(event.data);
  const metadata = toPlainData(rest);
  return `${JSON.stringify({
    specversion: "1.0",
    id: event.id,
    source: unknownSource,
    type: event.type,
    subject: event.streamName,
    ...timeOf(event),
    ...extensions,
    ...tagsOf(event),
    ...personalOf(event),
    [attribute.recordedAt]: event.recordedAt.toISOString(),
    ...(event.schemaVersion === 1 ? {} : { [attribute.schemaVersion]: event.schemaVersion }),
    ...(Object.keys(rest).length === 0 ? {} : { [attribute.metadata]: JSON.stringify(metadata.value) }),
    ...typesOf(data.types, metadata),
    ...data.attributes,
  })}\n`;
}
