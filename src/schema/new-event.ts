/**
 * What a new event must be to be stored: its shape, its data by the schema of its type, its version and its tags. Whoever appends is
 * told what is wrong: `invalid-event` by path for what the schema or the definition refuses, `invalid-argument` for what is no event
 * at all, or for a definition that does not do its part. Nothing was written then.
 */

import { type EventIssue, InvalidArgumentError, InvalidEventError, printable } from "../errors.ts";
import type { NewEvent } from "../vocabulary/event.ts";
import { checkName, isReserved, nameProblem } from "../vocabulary/names.ts";
import { pathOf } from "./check-by-schema.ts";
import { subjectTagPrefix } from "./personal-data.ts";
import type { RegisteredType } from "./registered-types.ts";

/** The most tags an event may have, derived and given ones together. */
export const eventTagsMax = 32;

const eventKeys = new Set(["type", "data", "id", "metadata", "occurredAt", "schemaVersion", "tags"]);
const metadataStrings = ["correlationId", "causationId", "actor"] as const;

/** What is stored of an event as its definition makes it. */
export interface CheckedContent {
  readonly data: unknown;
  readonly tags: readonly string[];
  readonly schemaVersion: number;
}

/** Checks what an event is made of, whatever its type. */
export function checkShape(event: unknown, argument: string): asserts event is NewEvent {
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

/** Checks and completes an event by the definition of its type; `registered` is absent where the store has none. */
export function checkedContent(
  event: NewEvent,
  registered: RegisteredType | undefined,
  argument: string,
): CheckedContent {
  const data = registered === undefined ? event.data : validated(registered, event.data, argument);
  const derived = registered === undefined ? [] : derivedTags(registered, data, argument);
  const tags = checkedTags(event, derived, argument);
  return { data, tags, schemaVersion: schemaVersionOf(event, registered, argument) };
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
