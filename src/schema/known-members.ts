/**
 * Which members a schema knows, as far as a Valibot schema says it: the common mistake of naming a member that there is none of is
 * found where it is made. Of other libraries' schemas, and of what is changed by a transformation, nothing is known.
 */

/** The members of an object's schema, by name; nothing where others may be there, or the schema does not say. */
function membersOf(schema: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof schema !== "object" || schema === null) return undefined;
  const { type, entries, wrapped, pipe } = schema as Record<string, unknown>;
  const changed = Array.isArray(pipe) && pipe.some((step) => step?.kind === "transformation");
  if (changed) return undefined;
  if (typeof wrapped === "object") return membersOf(wrapped);
  const closed = type === "object" || type === "strict_object";
  return closed && typeof entries === "object" && entries !== null ? (entries as Record<string, unknown>) : undefined;
}

/** What there is instead of the first member on the path that the schema does not know; nothing where it knows all of them. */
export function unknownMember(
  schema: unknown,
  members: readonly string[],
): { readonly member: string; readonly known: readonly string[] } | undefined {
  let current = schema;
  for (const member of members) {
    const known = membersOf(current);
    if (known === undefined) return undefined;
    if (!Object.hasOwn(known, member)) return { member, known: Object.keys(known) };
    current = known[member];
  }
  return undefined;
}
