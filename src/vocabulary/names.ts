/** Names are data: what a stream name, type, tag, id or key may be, and how a stream name falls into category and id. */

import { InvalidArgumentError, printable } from "../errors.ts";

/** The most UTF-8 bytes a stream name, type, tag, id or idempotency key may have. */
export const nameBytesMax = 512;

/** Says what is wrong with `value` as a name, or returns `undefined`. */
export function nameProblem(value: unknown): string | undefined {
  if (typeof value !== "string") return `must be a string, not ${printable(value)}`;
  if (value.length === 0) return "must not be empty";
  if (value.length > nameBytesMax || (value.length * 3 > nameBytesMax && Buffer.byteLength(value) > nameBytesMax)) {
    return `must have at most ${nameBytesMax} UTF-8 bytes, not ${Buffer.byteLength(value)}`;
  }
  if (!value.isWellFormed()) return `must not hold a lone surrogate: ${printable(value)}`;
  return undefined;
}

export function checkName(value: unknown, argument: string): string {
  const problem = nameProblem(value);
  if (problem !== undefined) throw new InvalidArgumentError(argument, problem, { outcome: "not-applied" });
  return value as string;
}

/** What stands before the first `-` of a stream name; the whole name where there is none. */
export function categoryOf(streamName: string): string {
  const dash = streamName.indexOf("-");
  return dash <= 0 ? streamName : streamName.slice(0, dash);
}

/** Whether the name is one of the store's own: of streams and types in which it records what happens to the log itself. */
export function isReserved(name: string): boolean {
  return name.startsWith("$");
}
