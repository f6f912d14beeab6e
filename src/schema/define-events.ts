/**
 * Event definitions: a schema, a version and tags for each type of a category. Pure declarations, checked when they are
 * made; `registry.ts` applies them. Any Standard Schema library's schemas will do (Valibot, Zod, ArkType).
 */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidArgumentError, printable } from "../errors.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import { unknownMember } from "./known-members.ts";
import { checkPersonalFields, type PersonalField } from "./personal-data.ts";

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

/** Which fields of an event are personal data, and whose. */
export interface PersonalOptions<Schema extends StandardSchemaV1, Field extends string = string> {
  /** Whose data it is, as in `customer:c1`: what `store.forget` is told. Stored as a hash only. */
  subject(data: StandardSchemaV1.InferOutput<Schema>): string;
  /**
   * Paths of the fields that are stored encrypted, as in `name` and `address.street`; at most 64. A path leads through objects
   * alone: of a list, name the whole list. One that a Valibot schema has no member for is refused. Once the subject is forgotten they read as `null`, so their types allow it.
   */
  readonly fields: readonly Field[];
}

/** What `event` is told of one event type. */
export interface EventOptions<Schema extends StandardSchemaV1, Personal extends string = never> {
  /** Checks the data on append; what it returns is what gets stored. It must not be asynchronous. */
  readonly schema: Schema;
  /** The version of the data that is written today. Default: 1. */
  readonly version?: number;
  /** Labels derived from the data, to find and to guard events by. At most 32 an event. They are stored as they are. */
  tags?(data: StandardSchemaV1.InferOutput<Schema>): readonly string[];
  /** Fields that are encrypted under a key of their subject. The store needs `encryption` for it. */
  readonly personal?: PersonalOptions<Schema, Personal>;
  /** For each older version, what leads to the next one. Required for every version from 1 to `version - 1`. */
  readonly upcast?: Readonly<Record<number, Upcaster>>;
  /** The types that an upcaster of this one may `split` into, so that filters for those find it. */
  readonly splitsInto?: readonly string[];
  /** Names under which events of this type were stored before; they are read as this type. */
  readonly formerNames?: readonly string[];
}

/** Personal fields as they were checked. */
export interface PersonalDefinition<Schema extends StandardSchemaV1, Field extends string> {
  subject(data: StandardSchemaV1.InferOutput<Schema>): string;
  readonly fields: readonly (PersonalField & { readonly path: Field })[];
}

/** One type's definition, made by `event`. */
export interface EventDefinition<Schema extends StandardSchemaV1 = StandardSchemaV1, Personal extends string = never> {
  readonly schema: Schema;
  readonly version: number;
  tags?(data: StandardSchemaV1.InferOutput<Schema>): readonly string[];
  readonly personal?: PersonalDefinition<Schema, Personal>;
  readonly upcast: Readonly<Record<number, Upcaster>>;
  readonly splitsInto: readonly string[];
  readonly formerNames: readonly string[];
}

/** Any type's definition. */
export type AnyEventDefinition = EventDefinition<StandardSchemaV1, string>;

/** The events of one category, made by `defineEvents`. */
export interface EventDefinitions<
  Category extends string = string,
  Types extends Readonly<Record<string, AnyEventDefinition>> = Readonly<Record<string, AnyEventDefinition>>,
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
export function event<Schema extends StandardSchemaV1>(
  options: EventOptions<Schema> & { readonly personal?: undefined },
): EventDefinition<Schema, never>;
export function event<Schema extends StandardSchemaV1, const Personal extends string>(
  options: EventOptions<Schema, Personal>,
): EventDefinition<Schema, Personal>;
export function event<Schema extends StandardSchemaV1, Personal extends string>(
  options: EventOptions<Schema, Personal>,
): EventDefinition<Schema, Personal> {
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
    ...(options.personal === undefined
      ? {}
      : { personal: personalOf<Schema, Personal>(options.personal, options.schema) }),
    upcast,
    splitsInto: names(options.splitsInto, "event.splitsInto").map((name, index) =>
      checkName(name, `event.splitsInto[${index}]`),
    ),
    formerNames: names(options.formerNames, "event.formerNames").map((name, index) =>
      checkName(name, `event.formerNames[${index}]`),
    ),
  };
}

function personalOf<Schema extends StandardSchemaV1, Personal extends string>(
  given: PersonalOptions<Schema, Personal>,
  schema: Schema,
): PersonalDefinition<Schema, Personal> {
  if (typeof given?.subject !== "function")
    throw new InvalidArgumentError("event.personal.subject", "must be a function that says whose data it is");
  const fields = checkPersonalFields(given.fields) as PersonalDefinition<Schema, Personal>["fields"];
  for (const [index, { path, members }] of fields.entries()) {
    const missing = unknownMember(schema, members);
    if (missing === undefined) continue;
    const known = missing.known.map((name) => printable(name)).join(", ");
    const problem = `leads to nothing in the schema: ${printable(path)}; there are ${known || "no members"}`;
    throw new InvalidArgumentError(`event.personal.fields[${index}]`, problem);
  }
  return { subject: (data) => given.subject(data), fields };
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
export function defineEvents<Category extends string, Types extends Readonly<Record<string, AnyEventDefinition>>>(
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

type NewEventOfTypes<Types extends Readonly<Record<string, AnyEventDefinition>>> = {
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

type RecordedEventOfTypes<Types extends Readonly<Record<string, AnyEventDefinition>>> = {
  [Type in keyof Types & string]: RecordedEvent<
    Type,
    Erasable<StandardSchemaV1.InferOutput<Types[Type]["schema"]>, PersonalFieldsOf<Types[Type]>>
  >;
}[keyof Types & string];

/** The paths of a definition's personal fields. */
type PersonalFieldsOf<Definition extends AnyEventDefinition> = NonNullable<
  Definition["personal"]
>["fields"][number]["path"];

/** The rest of the paths that begin with a member. */
type Behind<Path extends string, Member extends string> = Path extends `${Member}.${infer Rest}` ? Rest : never;

/** `Data` as it may be read: at the ends of the paths stands `null` once the subject is forgotten. */
export type Erasable<Data, Path extends string> = [Path] extends [never]
  ? Data
  : Data extends readonly unknown[]
    ? Data
    : Data extends object
      ? {
          [Member in keyof Data]: Member extends string
            ? Member extends Path
              ? Data[Member] | null
              : Erasable<Data[Member], Behind<Path, Member>>
            : Data[Member];
        }
      : Data;

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
