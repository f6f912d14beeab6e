/**
 * Event definitions: a schema, a version and tags for each type of a category. Pure declarations, checked when they are
 * made; `registry.ts` applies them. Any Standard Schema library's schemas will do (Valibot, Zod, ArkType).
 */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidArgumentError, printable } from "../errors.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";

/** Data of an older version, as it was stored: only the upcaster's author knows its shape. */
// biome-ignore lint/suspicious/noExplicitAny: nothing today describes what was stored years ago.
export type StoredData = any;

/** What an upcaster is told besides the data. */
export interface UpcastContext {
  readonly type: string;
  readonly streamName: string;
  readonly version: number;
  readonly recordedAt: Date;
}

/** Turns data of one version into data of the next, or into `split([...])`. */
export type Upcaster = (old: StoredData, context: UpcastContext) => unknown;

/** What `event` is told of one event type. */
export interface EventOptions<Schema extends StandardSchemaV1> {
  /** Checks the data on append; what it returns is what gets stored. It must not be asynchronous. */
  readonly schema: Schema;
  /** The version of the data that is written today. Default: 1. */
  readonly version?: number;
  /** Labels derived from the data, to find and to guard events by. At most 32 an event. */
  tags?(data: StandardSchemaV1.InferOutput<Schema>): readonly string[];
  /** For each older version, what leads to the next one. Required for every version from 1 to `version - 1`. */
  readonly upcast?: Readonly<Record<number, Upcaster>>;
  /** The types that an upcaster of this one may `split` into, so that filters for those find it. */
  readonly splitsInto?: readonly string[];
  /** Names under which events of this type were stored before; they are read as this type. */
  readonly formerNames?: readonly string[];
}

/** One type's definition, made by `event`. */
export interface EventDefinition<Schema extends StandardSchemaV1 = StandardSchemaV1> {
  readonly schema: Schema;
  readonly version: number;
  tags?(data: StandardSchemaV1.InferOutput<Schema>): readonly string[];
  readonly upcast: Readonly<Record<number, Upcaster>>;
  readonly splitsInto: readonly string[];
  readonly formerNames: readonly string[];
}

/** The events of one category, made by `defineEvents`. */
export interface EventDefinitions<
  Category extends string = string,
  Types extends Readonly<Record<string, EventDefinition>> = Readonly<Record<string, EventDefinition>>,
> {
  readonly category: Category;
  readonly types: Types;
}

const splitParts: unique symbol = Symbol("split");

/** One part of a split event: its type, as the definitions of the category name it, and its data of today's version. */
export interface SplitPart {
  readonly type: string;
  readonly data: unknown;
}

/** What `split` returns; an upcaster hands it on. */
export interface Split {
  readonly [splitParts]: readonly SplitPart[];
}

/**
 * Returned by an upcaster, it turns one stored event into several (or none). All parts keep the stored event's id, version
 * and position, and say by `part` which of them they are. Their types must be named in `splitsInto`.
 */
export function split(parts: readonly SplitPart[]): Split {
  if (!Array.isArray(parts) || parts.some((part) => typeof part?.type !== "string" || part.data === undefined)) {
    throw new InvalidArgumentError("parts", "must be a list of { type, data }");
  }
  return { [splitParts]: parts };
}

export function partsOf(value: unknown): readonly SplitPart[] | undefined {
  if (typeof value !== "object" || value === null || !(splitParts in value)) return undefined;
  return (value as Split)[splitParts];
}

/**
 * Defines one event type.
 * Throws `invalid-argument` for a version that is no integer from 1, a missing upcaster, or what is no Standard Schema.
 */
export function event<Schema extends StandardSchemaV1>(options: EventOptions<Schema>): EventDefinition<Schema> {
  const validate: unknown = options?.schema?.["~standard"]?.validate;
  if (typeof validate !== "function") {
    throw new InvalidArgumentError("event.schema", "must be a schema of Valibot or another Standard Schema library");
  }
  const version = options.version ?? 1;
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new InvalidArgumentError("event.version", `must be an integer from 1, not ${printable(version)}`);
  }
  const upcast = options.upcast ?? {};
  for (let older = 1; older < version; older += 1) {
    if (typeof upcast[older] !== "function") {
      throw new InvalidArgumentError(
        "event.upcast",
        `must have a function for version ${older}, because version is ${version}`,
      );
    }
  }
  for (const key of Object.keys(upcast)) {
    const from = Number(key);
    if (!Number.isSafeInteger(from) || from < 1 || from >= version) {
      throw new InvalidArgumentError(
        "event.upcast",
        `has version ${printable(key)}, which is none of 1 to ${version - 1}`,
      );
    }
  }
  return {
    schema: options.schema,
    version,
    ...(options.tags === undefined ? {} : { tags: options.tags }),
    upcast,
    splitsInto: names(options.splitsInto, "event.splitsInto").map((name, index) =>
      checkName(name, `event.splitsInto[${index}]`),
    ),
    formerNames: names(options.formerNames, "event.formerNames").map((name, index) =>
      checkName(name, `event.formerNames[${index}]`),
    ),
  };
}

function names(value: unknown, argument: string): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new InvalidArgumentError(argument, `must be a list, not ${printable(value)}`);
}

/**
 * Defines the events of a category: of all streams named `<category>-<id>`.
 * Throws `invalid-argument` for a category with a `-`, a name that is none, or two types with the same (former) name.
 */
export function defineEvents<Category extends string, Types extends Readonly<Record<string, EventDefinition>>>(
  category: Category,
  types: Types,
): EventDefinitions<Category, Types> {
  checkName(category, "category");
  if (category.includes("-")) {
    throw new InvalidArgumentError(
      "category",
      `must not hold a "-", which ends it in a stream's name: ${printable(category)}`,
    );
  }
  if (typeof types !== "object" || types === null)
    throw new InvalidArgumentError("types", "must be definitions by type name");
  const taken = new Set<string>();
  for (const [type, definition] of Object.entries(types)) {
    if (typeof definition?.schema !== "object" && typeof definition?.schema !== "function") {
      throw new InvalidArgumentError(`types.${type}`, "must be made by event({ schema })");
    }
    for (const name of [type, ...definition.formerNames]) {
      checkName(name, `types.${type}`);
      if (taken.has(name))
        throw new InvalidArgumentError(`types.${type}`, `has a name that is taken already: ${printable(name)}`);
      taken.add(name);
    }
  }
  return { category, types };
}

/** The events of `Definitions` as they go in; any event where there are no definitions. */
export type NewEventOf<Definitions extends EventDefinitions, Category extends string = string> = [Definitions] extends [
  never,
]
  ? NewEvent
  : Definitions extends EventDefinitions<infer Own, infer Types>
    ? string extends Category
      ? NewEventOfTypes<Types>
      : Own extends Category
        ? NewEventOfTypes<Types>
        : never
    : never;

type NewEventOfTypes<Types extends Readonly<Record<string, EventDefinition>>> = {
  [Type in keyof Types & string]: NewEvent<Type, StandardSchemaV1.InferInput<Types[Type]["schema"]>>;
}[keyof Types & string];

/** The events of `Definitions` as they come out; any event where there are no definitions. */
export type RecordedEventOf<Definitions extends EventDefinitions, Category extends string = string> = [
  Definitions,
] extends [never]
  ? RecordedEvent
  : Definitions extends EventDefinitions<infer Own, infer Types>
    ? string extends Category
      ? RecordedEventOfTypes<Types>
      : Own extends Category
        ? RecordedEventOfTypes<Types>
        : never
    : never;

type RecordedEventOfTypes<Types extends Readonly<Record<string, EventDefinition>>> = {
  [Type in keyof Types & string]: RecordedEvent<Type, StandardSchemaV1.InferOutput<Types[Type]["schema"]>>;
}[keyof Types & string];

/** The category that a stream's name says: `"order"` of `` `order-${string}` ``, and `string` where it is not known. */
export type CategoryOf<StreamName extends string> = string extends StreamName
  ? string
  : StreamName extends `${infer Category}-${string}`
    ? Category
    : StreamName;

/** The names of all types in `Definitions`; any string where there are none. */
export type EventTypeOf<Definitions extends EventDefinitions> = [Definitions] extends [never]
  ? string
  : Definitions extends EventDefinitions<string, infer Types>
    ? keyof Types & string
    : never;
