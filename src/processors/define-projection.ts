/**
 * Projections whose documents the store keeps itself. A handler is a plain function of an event and documents: it does not
 * wait, reads nothing else, and may be run more than once for an event, of which only the last run counts. So the same
 * handlers serve in the events' own commit, behind it, and on demand.
 */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { EventDefinitions, EventTypeOf, RecordedEventOf, StoredData } from "../schema/define-events.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, checkFilter, type EventFilter, type FilterClause } from "../vocabulary/filter.ts";
import { checkName } from "../vocabulary/names.ts";
import { type CheckedRetries, checkRetries, type RetryPolicy } from "./retries.ts";

/**
 * When a projection's documents change. `"inline"`: in the commit of the events, so that whoever has appended reads them.
 * `"async"`: behind it. `"live"`: never; they are folded from the log when somebody reads them.
 */
export type ProjectionMode = "async" | "inline" | "live";

/** The documents of a projection, as its handlers see them. Documents are frozen. */
export interface DocumentChanges<Document> {
  /** The document of that key, with what earlier events have made of it. */
  get(key: string): Document | undefined;
  /** Throws `invalid-document` where it does not satisfy the schema. */
  set(key: string, document: Document): void;
  /** Puts what `change` returns in the document's place; `undefined` deletes it. Throws as `set`. */
  update(key: string, change: (document: Document | undefined) => Document | undefined): void;
  delete(key: string): void;
  /** What the projection's `key` says of the event; throws `invalid-argument` where it has none. */
  readonly key: string;
}

/** What a handler is told; of any data where the projection does not say which events it is about. */
export type HandledEvent<Definitions extends EventDefinitions, Type extends string> = [Definitions] extends [never]
  ? RecordedEvent<string, StoredData>
  : Extract<RecordedEventOf<Definitions>, { readonly type: Type }>;

/** One function for each type of event that matters. */
export type EventHandlers<Definitions extends EventDefinitions, Rest extends readonly unknown[], Result> = {
  readonly [Type in EventTypeOf<Definitions>]?: (event: HandledEvent<Definitions, Type>, ...rest: Rest) => Result;
};

/** What `defineProjection` is told. */
export interface ProjectionOptions<
  Document,
  Definitions extends EventDefinitions = never,
  Index extends string = never,
> {
  /** An integer from 1. A higher one has the documents built anew, beside those that serve. Change it with the handlers. */
  readonly version: number;
  readonly mode: ProjectionMode;
  /** The events that it is about, for their types. Left out, handlers take events of any data. */
  readonly events?: readonly Definitions[];
  /** Which events it sees, of those that `on` names. Default: all of them. */
  readonly filter?: EventFilter<EventTypeOf<Definitions>>;
  /** What its documents are: a schema of Valibot or any other Standard Schema library. It must take what it returns. */
  readonly document: StandardSchemaV1<unknown, Document>;
  /** The document that an event is about: told to handlers as `docs.key`, and fetched ahead. */
  readonly key?: (event: HandledEvent<Definitions, EventTypeOf<Definitions>>) => string | undefined;
  /** Other keys to find documents by: what a document stands under, none where it returns nothing. */
  readonly indexes?: {
    readonly [Name in Index]: (document: NoInfer<Document>, key: string) => string | readonly string[] | undefined;
  };
  readonly on: EventHandlers<Definitions, [docs: DocumentChanges<NoInfer<Document>>], unknown>;
  /** For events of all types that `on` has no function for. Left out, they are passed over. */
  readonly onAny?: (
    event: HandledEvent<Definitions, EventTypeOf<Definitions>>,
    docs: DocumentChanges<NoInfer<Document>>,
  ) => unknown;
  /** Which documents hold personal data, for `store.forget`. Left out, none do. */
  readonly personal?: PersonalDocuments<NoInfer<Document>>;
  /**
   * What an async projection does about an event that its handler throws at, again and again: `"stop"`, so that nothing is
   * skipped (`failed`, until `resumeProcessor` or a mended version), or `"park"` it and go on. Default: `"stop"`.
   */
  readonly onFailure?: "stop" | "park";
  readonly retries?: RetryPolicy;
}

/** Where a projection keeps what is personal. */
export interface PersonalDocuments<Document> {
  /** The keys of all documents that may hold the subject's data; at most 10,000. Those that there are not are passed over. */
  keys(subject: string): readonly string[];
  /**
   * The document without the subject's data; `undefined` deletes it. Left out, documents are deleted; later events of the
   * subject then begin with none.
   */
  erase?(document: Document, subject: string): Document | undefined;
}

/** A projection, made by `defineProjection`. */
export interface Projection<Document, Index extends string = string> {
  readonly name: string;
  readonly version: number;
  readonly mode: ProjectionMode;
  /** Never there: carries the type of its documents, and the names of its indexes. */
  readonly documentType?: (index: Index) => Document;
}

/** A projection without its types, as what runs it sees it. */
export interface AnyProjection {
  readonly name: string;
  readonly version: number;
  readonly mode: ProjectionMode;
  readonly events: readonly EventDefinitions[];
  readonly filter: CheckedFilter;
  readonly document: StandardSchemaV1;
  readonly key: ((event: RecordedEvent) => unknown) | undefined;
  readonly indexes: Readonly<Record<string, (document: unknown, key: string) => unknown>>;
  readonly on: Readonly<Record<string, (event: RecordedEvent, docs: DocumentChanges<unknown>) => unknown>>;
  readonly onAny: ((event: RecordedEvent, docs: DocumentChanges<unknown>) => unknown) | undefined;
  readonly personal: PersonalDocuments<unknown> | undefined;
  readonly onFailure: "stop" | "park";
  readonly retries: CheckedRetries;
}

const optionNames = [
  ...["version", "mode", "events", "filter", "document", "key", "indexes", "on", "onAny"],
  ...["personal", "onFailure", "retries"],
];
const modes: readonly unknown[] = ["async", "inline", "live"];
const made = new WeakMap<object, AnyProjection>();

/**
 * Defines a projection of documents; `openEventStore({ projections: [...] })` runs it, and `store.documents(projection)` reads
 * them. Throws `invalid-argument` for options that are none.
 */
export function defineProjection<
  Document,
  const Definitions extends EventDefinitions = never,
  Index extends string = never,
>(name: string, options: ProjectionOptions<Document, Definitions, Index>): Projection<Document, Index> {
  checkName(name, "name");
  const given = checkOptions(options, optionNames);
  if (!modes.includes(given.mode))
    throw new InvalidArgumentError("mode", `must be "async", "inline" or "live", not ${printable(given.mode)}`);
  if (given.onFailure !== undefined && given.onFailure !== "stop" && given.onFailure !== "park")
    throw new InvalidArgumentError("onFailure", `must be "stop" or "park", not ${printable(given.onFailure)}`);
  const events = checkEvents(given.events);
  const on = checkFunctions(given.on, "on");
  const onAny = checkFunction(given.onAny, "onAny");
  const checked = {
    name,
    version: checkVersion(given.version),
    mode: options.mode,
    events,
    filter: narrowed(given.filter, onAny === undefined ? Object.keys(on) : undefined, events),
    document: checkSchema(given.document, "document"),
    key: checkFunction(given.key, "key"),
    indexes: checkFunctions(given.indexes ?? {}, "indexes"),
    on,
    onAny,
    personal: checkPersonal(given.personal),
    onFailure: options.onFailure ?? "stop",
    retries: checkRetries(given.retries),
  };
  const projection: Projection<Document, Index> = { name, version: checked.version, mode: checked.mode };
  made.set(projection, checked as AnyProjection);
  return projection;
}

/** The projection without its types; `undefined` for what `defineProjection` did not make. */
export function projectionOf(projection: unknown): AnyProjection | undefined {
  return typeof projection === "object" && projection !== null ? made.get(projection) : undefined;
}

function checkPersonal(value: unknown): PersonalDocuments<unknown> | undefined {
  if (value === undefined) return undefined;
  const { keys, erase } = checkOptions(value, ["keys", "erase"], "personal");
  if (typeof keys !== "function") throw new InvalidArgumentError("personal.keys", "must be a function of a subject");
  checkFunction(erase, "personal.erase");
  return value as PersonalDocuments<unknown>;
}

export function checkVersion(value: unknown): number {
  const version = checkInteger(value, "version", 1);
  if (version === undefined) throw new InvalidArgumentError("version", "is missing");
  return version;
}

export function checkSchema(schema: unknown, argument: string): StandardSchemaV1 {
  const standard = schema as StandardSchemaV1 | undefined;
  if (typeof standard?.["~standard"]?.validate === "function") return standard;
  throw new InvalidArgumentError(argument, "must be a schema of Valibot or another Standard Schema library");
}

export function checkEvents(value: unknown): readonly EventDefinitions[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((one) => typeof one?.category === "string" && typeof one.types === "object"))
    return value;
  throw new InvalidArgumentError("events", "must be a list of defineEvents(...)");
}

export type AnyFunction = (...given: never[]) => unknown;

export function checkFunction(value: unknown, argument: string): AnyFunction | undefined {
  if (value === undefined || typeof value === "function") return value as AnyFunction | undefined;
  throw new InvalidArgumentError(argument, `must be a function, not ${printable(value)}`);
}

export function checkFunctions(map: unknown, argument: string): Readonly<Record<string, AnyFunction>> {
  if (typeof map !== "object" || map === null)
    throw new InvalidArgumentError(argument, `must be an object of functions, not ${printable(map)}`);
  for (const [name, value] of Object.entries(map)) {
    checkName(name, `${argument}.${name}`);
    if (typeof value !== "function")
      throw new InvalidArgumentError(`${argument}.${name}`, `must be a function, not ${printable(value)}`);
  }
  return { ...map } as Readonly<Record<string, AnyFunction>>;
}

/**
 * The events that are handled, as a filter: those of the user's that are of one of `types`, where only these are handled. A
 * clause of the user's without categories is about those of the events.
 */
export function narrowed(
  filter: unknown,
  types: readonly string[] | undefined,
  events: readonly EventDefinitions[],
): CheckedFilter {
  const own: FilterClause = events.length === 0 ? {} : { categories: events.map(({ category }) => category) };
  const clauses = checkFilter(filter) ?? [own];
  return checkFilter(
    clauses.flatMap((clause): FilterClause[] => {
      const within = { ...own, ...clause };
      if (types === undefined) return [within];
      const handled = clause.types === undefined ? types : clause.types.filter((type) => types.includes(type));
      return handled.length === 0 ? [] : [{ ...within, types: handled }];
    }),
  );
}
