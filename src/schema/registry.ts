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
  mayBeSealed,
  readHeader,
  type StoredEvent,
} from "../format/envelope.ts";
import { emptySealedFields } from "../format/sealed-fields.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { EventMetadata, NewEvent, PersonalPart, RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, type FilterClause, matches } from "../vocabulary/filter.ts";
import { categoryOf, checkName, isReserved, nameProblem } from "../vocabulary/names.ts";
import { type AnyEventDefinition, type EventDefinitions, partsOf, type UpcastContext } from "./define-events.ts";
import { decodeFields, encodeFields } from "./personal-content.ts";
import {
  putFields,
  type SealingKey,
  type SubjectCipher,
  subjectTagPrefix,
  takeFields,
  tellingTag,
} from "./personal-data.ts";

/** The most tags an event may have, derived and given ones together. */
export const eventTagsMax = 32;

interface RegisteredType {
  readonly type: string;
  readonly definition: AnyEventDefinition;
  readonly validate: StandardSchemaV1.Props["validate"];
}

/** An event that is validated, encoded and ready to be numbered. */
export interface PreparedEvent {
  readonly id: string;
  readonly idGiven: boolean;
  readonly type: string;
  readonly tags: readonly string[];
  readonly bytes: Buffer;
  /** Its personal fields, which are not in the bytes before they are sealed. */
  readonly personal?: PreparedPersonal;
}

/** Personal fields of a prepared event, and how they come into its bytes: `seal` may be called again with another key. */
export interface PreparedPersonal {
  readonly subjectHash: string;
  /** The key that they are sealed under now. */
  key: SealingKey | undefined;
  seal(key: SealingKey): void;
}

const eventKeys = new Set(["type", "data", "id", "metadata", "occurredAt", "schemaVersion", "tags"]);
const metadataStrings = ["correlationId", "causationId", "actor"] as const;

/** A decoded event, with what readers are told of its personal fields. */
interface ReadableEvent extends DecodedEvent {
  readonly personal?: PersonalPart;
}

const hidden = { kind: "hidden" } as const;

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
  #cipher: SubjectCipher | "hide" | undefined;

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

  /** Whether some event has personal fields. */
  get hasPersonalFields(): boolean {
    return [...this.#categories.values()].some((types) =>
      [...types.values()].some(({ definition }) => definition.personal !== undefined),
    );
  }

  /**
   * Who holds the keys of personal fields; `"hide"`: nobody, and they read as `null`. Without one, personal fields are stored as
   * they are, so a store must not be opened so: only kits that store nothing may.
   */
  useCipher(cipher: SubjectCipher | "hide"): void {
    this.#cipher = cipher;
  }

  /**
   * Brings the keys of stored events to hand, so that `read` can open them; nothing where all of them are, which costs a look
   * at one byte an event. Rejects with `storage-unavailable` where the storage does not answer.
   */
  fetchKeys(events: readonly StoredEvent[]): Promise<void> | undefined {
    const cipher = this.#cipher;
    if (cipher === undefined || cipher === "hide") return undefined;
    return events.some(({ bytes }) => mayBeSealed(bytes)) ? cipher.fetch(events) : undefined;
  }

  /** Brings keys for new events to hand, made where there are none yet, and seals all of these events. */
  async sealAll(personal: readonly PreparedPersonal[]): Promise<void> {
    const cipher = this.#cipher;
    if (cipher === undefined || cipher === "hide") return;
    const keys = await cipher.provide(new Set(personal.map(({ subjectHash }) => subjectHash)));
    for (const one of personal) {
      const key = keys.get(one.subjectHash);
      if (key !== undefined) one.seal(key);
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
    const tags = checkedTags(event, derived, argument);
    const plain: EventToEncode = {
      id: event.id ?? this.#ids.next(),
      idGiven: event.id !== undefined,
      type: event.type,
      schemaVersion: schemaVersionOf(event, registered, argument),
      tags,
      occurredAtMs: event.occurredAt?.getTime(),
      metadata: mergedMetadata(inherited, event.metadata),
      data,
    };
    const cipher = this.#cipher;
    const sealing =
      registered?.definition.personal === undefined || cipher === undefined || cipher === "hide"
        ? undefined
        : withoutPersonalFields(plain, registered, cipher, argument);
    const toEncode = sealing?.event ?? plain;
    const bytes = encodeEvent(toEncode);
    if ("issues" in bytes) throw new InvalidEventError(argument, event.type, bytes.issues);
    const prepared = { id: plain.id, idGiven: plain.idGiven, type: plain.type, tags: toEncode.tags, bytes };
    if (sealing === undefined || cipher === undefined || cipher === "hide") return prepared;
    return { ...prepared, personal: sealable(streamName, prepared, sealing, cipher) };
  }

  /**
   * Decodes a stored event and brings it to today's version: mostly one event, several or none where an upcaster split it.
   * Throws `unreadable-event`, also for one whose key is lost, or was not brought to hand by `fetchKeys`.
   */
  read(stored: StoredEvent): readonly RecordedEvent[] {
    const decoded = this.#unsealed(stored, decodeEvent(stored));
    const registered = this.#categories.get(categoryOf(stored.streamName))?.get(decoded.type);
    if (registered === undefined) return [recorded(stored, decoded, decoded.type, decoded.schemaVersion, decoded.data)];
    const { type, definition } = registered;
    if (decoded.schemaVersion === definition.version) {
      return [recorded(stored, decoded, type, decoded.schemaVersion, decoded.data)];
    }
    return this.#upcast(stored, decoded, registered);
  }

  /** The event with its personal fields in their places, or with what says why they are not. */
  #unsealed(stored: StoredEvent, decoded: DecodedEvent): ReadableEvent {
    const { sealed } = decoded;
    if (sealed === undefined) return decoded;
    const tags = decoded.tags.filter((tag) => !tag.startsWith(subjectTagPrefix));
    const personal = { subject: Buffer.from(sealed.subject).toString("hex"), fields: sealed.paths };
    const unreadable = (problem: string, cause?: unknown): UnreadableEventError =>
      new UnreadableEventError({ ...stored, type: decoded.type }, problem, cause);
    if (this.#cipher === undefined)
      throw unreadable("its personal fields are encrypted, and the store was opened without encryption");
    const opened = this.#cipher === "hide" ? hidden : this.#cipher.open(stored, decoded.id, sealed);
    switch (opened.kind) {
      case "open":
        putFields(decoded.data, decodeFields(opened.content));
        return { ...decoded, tags, personal };
      case "forgotten":
        return { ...decoded, tags, personal: { ...personal, erased: "forgotten", erasedAt: new Date(opened.atMs) } };
      case "hidden":
        return { ...decoded, tags, personal: { ...personal, erased: "hidden" } };
      case "lost":
        throw unreadable(opened.why.message, opened.why);
    }
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

  #upcast(stored: StoredEvent, decoded: ReadableEvent, registered: RegisteredType): readonly RecordedEvent[] {
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
    decoded: ReadableEvent,
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
    const problem = nameProblem(tag) ?? (isReserved(event.type) ? undefined : reservedTagProblem(tag));
    return problem === undefined ? [] : [{ path: `tags.${index}`, message: problem }];
  });
  if (tags.length > eventTagsMax)
    issues.push({ path: "tags", message: `must be at most ${eventTagsMax}, not ${tags.length}` });
  if (issues.length > 0) throw new InvalidEventError(argument, event.type, issues);
  return tags;
}

function reservedTagProblem(tag: string): string | undefined {
  return tag.startsWith(subjectTagPrefix)
    ? `must not begin with ${subjectTagPrefix}, which is the store's own`
    : undefined;
}

/** An event without its personal fields, with room for them, and what is to be sealed there. */
interface Sealing {
  readonly event: EventToEncode;
  readonly subjectHash: string;
  readonly content: Buffer;
}

function withoutPersonalFields(
  plain: EventToEncode,
  { type, definition }: RegisteredType,
  cipher: SubjectCipher,
  argument: string,
): Sealing {
  const invalid = (issues: readonly EventIssue[]): InvalidEventError => new InvalidEventError(argument, type, issues);
  const taken = takeFields(plain.data, definition.personal?.fields ?? []);
  if ("issues" in taken) throw invalid(taken.issues);
  const telling = tellingTag(plain.tags, taken.values);
  // What it is is not said: messages end up in logs.
  if (telling !== undefined)
    throw invalid([
      { path: `tags.${telling}`, message: "gives a personal field away, and tags are stored as they are" },
    ]);
  const content = encodeFields(taken.values);
  if ("issues" in content) throw invalid(content.issues);
  const subjectHash = cipher.hashOf(subjectOf(definition, plain.data, argument, type));
  const paths = Object.keys(taken.values);
  const sealed = emptySealedFields(Buffer.from(subjectHash, "hex"), paths, content.length);
  const tags = [...plain.tags, `${subjectTagPrefix}${subjectHash}`];
  return { event: { ...plain, data: taken.data, tags, sealed }, subjectHash, content };
}

function subjectOf({ personal }: AnyEventDefinition, data: unknown, argument: string, type: string): string {
  let subject: unknown;
  try {
    subject = personal?.subject(data);
  } catch (cause) {
    const problem = `of ${printable(type)} threw`;
    throw new InvalidArgumentError("event.personal.subject", problem, { cause, outcome: "not-applied" });
  }
  const problem = nameProblem(subject);
  if (problem === undefined) return subject as string;
  throw new InvalidEventError(argument, type, [{ path: "personal.subject", message: problem }]);
}

/** What seals the event: at once, where its key is at hand. */
function sealable(
  streamName: string,
  { id, bytes }: { readonly id: string; readonly bytes: Buffer },
  { subjectHash, content }: Sealing,
  cipher: SubjectCipher,
): PreparedPersonal {
  const { sealed } = readHeader(bytes);
  const personal: PreparedPersonal = {
    subjectHash,
    key: undefined,
    seal: (key) => {
      if (sealed !== undefined) cipher.seal(key, { streamName, eventId: id }, bytes, sealed, content);
      personal.key = key;
    },
  };
  const key = cipher.keyFor(subjectHash);
  if (key !== undefined) personal.seal(key);
  return personal;
}

function recorded(
  stored: StoredEvent,
  decoded: ReadableEvent,
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
    ...(decoded.personal === undefined ? {} : { personal: decoded.personal }),
  };
}
