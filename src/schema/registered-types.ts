/** The event types of a store, found by the category of a stream and by the name that an event has, or was stored under. */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidArgumentError, InvalidEventError, printable } from "../errors.ts";
import type { NewEvent } from "../vocabulary/event.ts";
import { categoryOf, isReserved } from "../vocabulary/names.ts";
import type { AnyEventDefinition, EventDefinitions } from "./define-events.ts";

export interface RegisteredType {
  /** Its name today. */
  readonly type: string;
  readonly definition: AnyEventDefinition;
  readonly validate: StandardSchemaV1.Props["validate"];
}

export class RegisteredTypes {
  /** By category, then by stored name: the type's own and its former ones. */
  readonly #categories = new Map<string, ReadonlyMap<string, RegisteredType>>();

  /** Throws `invalid-argument` for a category that is defined twice, and for a type that splits into what is not defined. */
  constructor(definitions: readonly EventDefinitions[]) {
    for (const { category, types } of definitions) {
      if (this.#categories.has(category))
        throw new InvalidArgumentError("events", `define the category ${printable(category)} twice`);
      this.#categories.set(category, registeredTypes(types));
    }
  }

  /** Whether some event has personal fields. */
  get hasPersonalFields(): boolean {
    return [...this.#categories.values()].some((types) =>
      [...types.values()].some(({ definition }) => definition.personal !== undefined),
    );
  }

  /** Whether these definitions, these very ones, are among them. */
  has({ category, types }: EventDefinitions): boolean {
    const registered = this.#categories.get(category);
    if (registered === undefined) return false;
    return Object.entries(types).every(([type, definition]) => registered.get(type)?.definition === definition);
  }

  /** The type that an event is read as which was stored under this name; nothing where none is defined. */
  find(streamName: string, storedName: string): RegisteredType | undefined {
    return this.#categories.get(categoryOf(streamName))?.get(storedName);
  }

  /**
   * The type of a new event; nothing where the store takes any event, and for the store's own. Throws `invalid-event` for a type
   * that its category does not have, be it under a former name, and `invalid-argument` for a category without events.
   */
  ofNew(streamName: string, { type }: Pick<NewEvent, "type">, argument: string): RegisteredType | undefined {
    if (this.#categories.size === 0 || isReserved(type)) return undefined;
    const category = categoryOf(streamName);
    const types = this.#categories.get(category);
    if (types === undefined) {
      const problem = `is of a category for which no events are defined: ${printable(streamName)}`;
      throw new InvalidArgumentError("streamName", problem, { outcome: "not-applied" });
    }
    const registered = types.get(type);
    if (registered === undefined || registered.type !== type) {
      throw new InvalidEventError(argument, type, [
        { path: "type", message: `is not defined for the category ${printable(category)}` },
      ]);
    }
    return registered;
  }
}

function registeredTypes(types: EventDefinitions["types"]): ReadonlyMap<string, RegisteredType> {
  const registered = new Map<string, RegisteredType>();
  for (const [type, definition] of Object.entries(types)) {
    const standard = definition.schema["~standard"];
    const entry: RegisteredType = { type, definition, validate: (value) => standard.validate(value) };
    for (const name of [type, ...definition.formerNames]) registered.set(name, entry);
  }
  for (const { definition, type } of registered.values()) {
    const unknown = definition.splitsInto.find((part) => registered.get(part)?.type !== part);
    if (unknown === undefined) continue;
    const problem = `let ${printable(type)} split into ${printable(unknown)}, which is not defined`;
    throw new InvalidArgumentError("events", problem);
  }
  return registered;
}
