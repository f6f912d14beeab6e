/** Applies a Standard Schema to a value that is no event: commands, states, documents. Issues come with their paths. */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { type EventIssue, InvalidArgumentError } from "../errors.ts";

/**
 * The value as the schema gives it, or what is wrong with it by path, beginning with `root`. Throws `invalid-argument` for a
 * schema that throws or is asynchronous, naming it by `argument`.
 */
export function checkBySchema(
  schema: StandardSchemaV1,
  value: unknown,
  root: string,
  argument = "schema",
): { readonly value: unknown } | { readonly issues: readonly EventIssue[] } {
  let result: ReturnType<StandardSchemaV1["~standard"]["validate"]>;
  try {
    result = schema["~standard"].validate(value);
  } catch (cause) {
    throw new InvalidArgumentError(argument, "threw while it validated", { cause, outcome: "not-applied" });
  }
  if (result instanceof Promise) {
    result.catch(() => {});
    throw new InvalidArgumentError(argument, "must not be asynchronous", { outcome: "not-applied" });
  }
  if (result.issues === undefined) return { value: result.value };
  return { issues: result.issues.map(({ path, message }) => ({ path: pathOf(root, path), message })) };
}

/** The path of a schema's issue, as in `data.items.0.sku`. */
export function pathOf(root: string, path: StandardSchemaV1.Issue["path"]): string {
  const keys = (path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  return [root, ...keys].join(".");
}
