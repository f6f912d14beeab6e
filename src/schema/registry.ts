/**
 * The event definitions of a store at work: validation and tags on the way in, upcasting on the way out, and filters that
 * find events under the names they were stored with. A store without definitions takes and gives any plain event.
 */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  type EventIssue,
  InvalidArgumentError,
  InvalidEventError,
  printable,
  UnreadableEventError,
} from "../errors.ts";
import {
  type DecodedEvent,
  decodeEvent,
  type EventToEncode,
  encodeEvent,
  type StoredEvent,
} from "../format/envelope.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { EventMetadata, NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, type FilterClause, matches } from "../vocabulary/filter.ts";
import { categoryOf, checkName, isReserved, nameProblem } from "../vocabulary/names.ts";
import { type EventDefinition, type EventDefinitions, partsOf, type UpcastContext } from "./define-events.ts";

/** The most tags an event may have, derived and given ones together. */
export const eventTagsMax = 32;

interface RegisteredType {
  readonly type: string;
  readonly definition: EventDefinition;
  readonly validate: StandardSchemaV1.Props["validate"];
}

/** An event that is validated, encoded and ready to be numbered. */
export interface PreparedEvent {
  readonly id: string;
  readonly idGiven: boolean;
  readonly type: string;
  readonly tags: readonly string[];
  readonly bytes: Buffer;
}

const eventKeys = new Set(["type", "data", "id", "metadata", "occurredAt", "schemaVersion", "tags"]);
const metadataStrings = ["correlationId", "causationId", "actor"] as const;

/** The path of a schema's issue, as in `data.items.0.sku`. */
export function pathOf(root: string, path: StandardSchemaV1.Issue["path"]): string {
  const keys = (path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  return [root, ...keys].join(".");
}

export class EventRegistry {
  /** By category, then by stored name: the type's own and its former ones. */
  readonly #categories = new Map<string, Map<string, RegisteredType>>();
  /** By category, then by type: the names under which events are stored that may be read as it. Only where there are others. */
  readonly #storedNames = new Map<string, Map<string, Set<string>>>();
  readonly #ids: IdSource;

  constructor(definitions: readonly EventDefinitions[], ids: IdSource) {
    this.#ids = ids;
    for (const { category, types } of definitions) {
      if (this.#categories.has(category))
        throw new InvalidArgumentError("events", `define the category ${printable(category)} twice`);
      const registered = new Map<string, RegisteredType>();
      for (const [type, definition] of Object.entries(types)) {
        const standard = definition.schema["~standard"];
        const entry: RegisteredType = { type, definition, validate: (value) => standard.validate(value) };
        for (const name of [type, ...definition.formerNames]) {
          registered.set(name, entry);
          if (name !== type) this.#noteStoredName(category, type, name);
          for (const part of definition.splitsInto) this.#noteStoredName(category, part, name);
        }
      }
      for (const { definition, type } of registered.values()) {
        const unknown = definition.splitsInto.find((part) => registered.get(part)?.type !== part);
        if (unknown !== undefined) {
          throw new InvalidArgumentError(
            "events",
            `let ${printable(type)} split into ${printable(unknown)}, which is not defined`,
          );
        }
      }
      this.#categories.set(category, registered);
    }
  }

  /** Whether the store was opened with these definitions, these very ones. */
  has({ category, types }: EventDefinitions): boolean {
    const registered = this.#categories.get(category);
    if (registered === undefined) return false;
    return Object.entries(types).every(([type, definition]) => registered.get(type)?.definition === definition);
  }

  /** Validates and encodes one event for a stream. Throws `invalid-event`, or `invalid-argument` for what is no event. */
  prepare(streamName: string, event: NewEvent, argument: string, inherited: EventMetadata): PreparedEvent {
    checkShape(event, argument);
    const registered = this.#typeFor(streamName, event, argument);
    const data = registered === undefined ? event.data : validated(registered, event.data, argument);
    const derived = registered === undefined ? [] : derivedTags(registered, data, argument);
    const toEncode: EventToEncode = {
      id: event.id ?? this.#ids.next(),
      idGiven: event.id !== undefined,
      type: event.type,
      schemaVersion: schemaVersionOf(event, registered, argument),
      tags: checkedTags(event, derived, argument),
      occurredAtMs: event.occurredAt?.getTime(),
      metadata: mergedMetadata(inherited, event.metadata),
      data,
    };
    const bytes = encodeEvent(toEncode);
    if ("issues" in bytes) throw new InvalidEventError(argument, event.type, bytes.issues);
    return { id: toEncode.id, idGiven: toEncode.idGiven, type: toEncode.type, tags: toEncode.tags, bytes };
  }

  /**
   * Decodes a stored event and brings it to today's version: mostly one event, several or none where an upcaster split it.
   * Throws `unreadable-event`.
   */
  read(stored: StoredEvent): readonly RecordedEvent[] {
    const decoded = decodeEvent(stored);
    const registered = this.#categories.get(categoryOf(stored.streamName))?.get(decoded.type);
    if (registered === undefined) return [recorded(stored, decoded, decoded.type, decoded.schemaVersion, decoded.data)];
    const { type, definition } = registered;
    if (decoded.schemaVersion === definition.version) {
      return [recorded(stored, decoded, type, decoded.schemaVersion, decoded.data)];
    }
    return this.#upcast(stored, decoded, registered);
  }

  /**
   * The same filter over the names that events were stored with. It may match more than the filter itself, where a stored
   * event was renamed or may split, so what is found still has to pass that.
   */
  storedFilter(filter: CheckedFilter): CheckedFilter {
    if (this.#storedNames.size === 0) return filter;
    return filter?.flatMap((clause) => [clause, ...this.#underOtherNames(clause)]);
  }

  /** For each category in which the types of a clause have other names: the clause for those. */
  #underOtherNames({ types, categories, tags }: FilterClause): readonly FilterClause[] {
    if (types === undefined) return [];
    return [...this.#storedNames].flatMap(([category, byType]) => {
      const names = [...new Set(types.flatMap((type) => [...(byType.get(type) ?? [])]))];
      if (names.length === 0 || categories?.includes(category) === false) return [];
      return [{ types: names, categories: [category], ...(tags === undefined ? {} : { tags }) }];
    });
  }

  /** Whether an event that was read passes the filter: a split or renamed one may not, though its stored form did. */
  passes(filter: CheckedFilter, event: RecordedEvent): boolean {
    if (filter === undefined || this.#storedNames.size === 0) return true;
    return matches(filter, { type: event.type, category: categoryOf(event.streamName), tags: event.tags });
  }

  #noteStoredName(category: string, type: string, storedName: string): void {
    const byType = this.#storedNames.get(category) ?? new Map<string, Set<string>>();
    this.#storedNames.set(category, byType.set(type, (byType.get(type) ?? new Set()).add(storedName)));
  }

  #typeFor(streamName: string, event: NewEvent, argument: string): RegisteredType | undefined {
    if (this.#categories.size === 0 || isReserved(event.type)) return undefined;
    const category = categoryOf(streamName);
    const types = this.#categories.get(category);
    if (types === undefined) {
      throw new InvalidArgumentError(
        "streamName",
        `is of a category for which no events are defined: ${printable(streamName)}`,
        {
          outcome: "not-applied",
        },
      );
    }
    const registered = types.get(event.type);
    if (registered === undefined || registered.type !== event.type) {
      throw new InvalidEventError(argument, event.type, [
        { path: "type", message: `is not defined for the category ${printable(category)}` },
      ]);
    }
    return registered;
  }

  #upcast(stored: StoredEvent, decoded: DecodedEvent, registered: RegisteredType): readonly RecordedEvent[] {
    const { type, definition } = registered;
    const unreadable = (problem: string, cause?: unknown): UnreadableEventError =>
      new UnreadableEventError({ ...stored, type: decoded.type }, problem, cause);
    const context: UpcastContext = {
      type,
      streamName: stored.streamName,
      version: stored.version,
      recordedAt: new Date(decoded.recordedAtMs),
    };
    let data = decoded.data;
    for (let from = decoded.schemaVersion; from !== definition.version; from += 1) {
      const upcaster = definition.upcast[from];
      if (upcaster === undefined) {
        throw unreadable(`no upcaster leads from its schema version ${from} to ${definition.version}`);
      }
      try {
        data = upcaster(data, context);
      } catch (cause) {
        throw unreadable(`the upcaster of schema version ${from} threw`, cause);
      }
      if (data === undefined || data instanceof Promise) {
        if (data instanceof Promise) data.catch(() => {});
        throw unreadable(
          `the upcaster of schema version ${from} returned ${data === undefined ? "nothing" : "a promise"}`,
        );
      }
      const parts = partsOf(data);
      if (parts !== undefined) return this.#splitInto(parts, stored, decoded, registered, unreadable);
    }
    return [recorded(stored, decoded, type, definition.version, data)];
  }

  #splitInto(
    parts: ReturnType<typeof partsOf> & object,
    stored: StoredEvent,
    decoded: DecodedEvent,
    registered: RegisteredType,
    unreadable: (problem: string) => UnreadableEventError,
  ): readonly RecordedEvent[] {
    const types = this.#categories.get(categoryOf(stored.streamName));
    return parts.map((part, index) => {
      const target = types?.get(part.type);
      if (target === undefined || !registered.definition.splitsInto.includes(part.type)) {
        throw unreadable(`its upcaster split it into ${printable(part.type)}, which splitsInto does not name`);
      }
      const event = recorded(stored, decoded, part.type, target.definition.version, part.data);
      return { ...event, part: { index, count: parts.length } };
    });
  }
}

function checkShape(event: unknown, argument: string): asserts event is NewEvent {
  const refuse = (path: string, problem: string): never => {
    throw new InvalidArgumentError(path, problem, { outcome: "not-applied" });
  };
  if (typeof event !== "object" || event === null) refuse(argument, `must be an event, not ${printable(event)}`);
  const candidate = event as Record<string, unknown>;
  checkName(candidate.type, `${argument}.type`);
  for (const key of Object.keys(candidate)) {
    if (!eventKeys.has(key)) refuse(`${argument}.${key}`, `is not a part of an event (${[...eventKeys].join(", ")})`);
  }
  if (candidate.data === undefined) refuse(`${argument}.data`, "is missing; null is data too");
  if (candidate.id !== undefined) checkName(candidate.id, `${argument}.id`);
  const occurredAt = candidate.occurredAt;
  if (occurredAt !== undefined && !(occurredAt instanceof Date && !Number.isNaN(occurredAt.getTime()))) {
    refuse(`${argument}.occurredAt`, `must be a valid Date, not ${printable(occurredAt)}`);
  }
  checkMetadata(candidate.metadata, `${argument}.metadata`, refuse);
}

function checkMetadata(metadata: unknown, argument: string, refuse: (path: string, problem: string) => never): void {
  if (metadata === undefined) return;
  const prototype: unknown =
    typeof metadata === "object" && metadata !== null ? Object.getPrototypeOf(metadata) : undefined;
  if (prototype !== Object.prototype && (prototype !== null || typeof metadata !== "object")) {
    refuse(argument, `must be an object, not ${printable(metadata)}`);
  }
  for (const key of metadataStrings) {
    const value: unknown = Reflect.get(metadata as object, key);
    if (value !== undefined) checkName(value, `${argument}.${key}`);
  }
}

function mergedMetadata(inherited: EventMetadata, own: EventMetadata | undefined): EventMetadata {
  return own === undefined ? inherited : { ...inherited, ...own };
}

function validated({ type, validate }: RegisteredType, data: unknown, argument: string): unknown {
  let result: ReturnType<typeof validate>;
  try {
    result = validate(data);
  } catch (cause) {
    throw new InvalidArgumentError("event.schema", `of ${printable(type)} threw while it validated`, {
      cause,
      outcome: "not-applied",
    });
  }
  if (result instanceof Promise) {
    result.catch(() => {});
    throw new InvalidArgumentError("event.schema", `of ${printable(type)} must not be asynchronous`, {
      outcome: "not-applied",
    });
  }
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map(
    (issue): EventIssue => ({ path: pathOf("data", issue.path), message: issue.message }),
  );
  throw new InvalidEventError(argument, type, issues);
}

function schemaVersionOf(event: NewEvent, registered: RegisteredType | undefined, argument: string): number {
  const given: unknown = event.schemaVersion;
  const todays = registered?.definition.version;
  if (given === undefined) return todays ?? 1;
  if (typeof given !== "number" || !Number.isSafeInteger(given) || given < 1) {
    throw new InvalidArgumentError(`${argument}.schemaVersion`, `must be an integer from 1, not ${printable(given)}`, {
      outcome: "not-applied",
    });
  }
  if (todays !== undefined && given !== todays) {
    throw new InvalidEventError(argument, event.type, [
      { path: "schemaVersion", message: `must be ${todays}, as defined, not ${given}` },
    ]);
  }
  return given;
}

function derivedTags({ type, definition }: RegisteredType, data: unknown, argument: string): readonly string[] {
  if (definition.tags === undefined) return [];
  let tags: unknown;
  try {
    tags = definition.tags(data);
  } catch (cause) {
    throw new InvalidArgumentError("event.tags", `of ${printable(type)} threw`, { cause, outcome: "not-applied" });
  }
  if (!Array.isArray(tags)) throw new InvalidEventError(argument, type, [{ path: "tags", message: "must be a list" }]);
  return tags;
}

function checkedTags(event: NewEvent, derived: readonly string[], argument: string): readonly string[] {
  if (event.tags !== undefined && !Array.isArray(event.tags)) {
    throw new InvalidEventError(argument, event.type, [
      { path: "tags", message: `must be a list, not ${printable(event.tags)}` },
    ]);
  }
  const tags = [...new Set([...derived, ...(event.tags ?? [])])];
  const issues = tags.flatMap((tag, index): EventIssue[] => {
    const problem = nameProblem(tag);
    return problem === undefined ? [] : [{ path: `tags.${index}`, message: problem }];
  });
  if (tags.length > eventTagsMax)
    issues.push({ path: "tags", message: `must be at most ${eventTagsMax}, not ${tags.length}` });
  if (issues.length > 0) throw new InvalidEventError(argument, event.type, issues);
  return tags;
}

function recorded(
  stored: StoredEvent,
  decoded: DecodedEvent,
  type: string,
  schemaVersion: number,
  data: unknown,
): RecordedEvent {
  return {
    id: decoded.id,
    type,
    schemaVersion,
    streamName: stored.streamName,
    version: stored.version,
    position: stored.position,
    recordedAt: new Date(decoded.recordedAtMs),
    ...(decoded.occurredAtMs === undefined ? {} : { occurredAt: new Date(decoded.occurredAtMs) }),
    data,
    metadata: decoded.metadata,
    tags: decoded.tags,
  };
}
