/**
 * Commands that change a store which nobody else writes to: they wait for its writer to go, for as long as they are told to,
 * and do not begin while it is there. What they do is recorded in the store with who did it.
 */

import { printable } from "../errors.ts";
import type { EventMetadata, EventStore, ExpectedVersion } from "../index.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import { CommandFailure, type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { openWhenIdle, storeOptions, waitOption } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { visible } from "./text.ts";

/** Every command that changes a store has these. */
export const changeOptions: readonly OptionDescription[] = [
  { name: "actor", value: "NAME", text: "who does it, for the audit trail" },
  waitOption,
  ...storeOptions,
];

/** For those that say what they expect of the stream. */
export const expectedVersionOption: OptionDescription = {
  name: "expected-version",
  value: "V",
  text: "do nothing unless the stream has exactly so many events (default: no such check)",
};

/** For the notes of these commands. */
export const changeNote =
  "It opens the store for writing, and does not begin while a service writes to it: that one is not disturbed, and its own calls do the same. It is recorded as an event of the stream $strata-lifecycle.";

/** What a command has come to: for people, line by line, and for programs. */
export interface Told {
  readonly lines: readonly string[];
  readonly json: object;
}

export function metadataOf(given: Arguments): { readonly metadata?: EventMetadata } {
  const actor = given.text("actor");
  return actor === undefined ? {} : { metadata: { actor } };
}

export function expectedVersionOf(given: Arguments): Exclude<ExpectedVersion, "no-stream"> {
  return given.integer("expected-version", 1) ?? "any";
}

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A span of time as in `90d`, `12h`, `30m` or `45s`. */
export function duration(text: string, option: string): number {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const ms = Number(count) * (unitsMs[unit] ?? Number.NaN);
  if (Number.isSafeInteger(ms) && ms > 0) return ms;
  throw usageFailure(`--${option} must be a time as in 90d, 12h, 30m or 45s, not ${printable(text)}`);
}

/** A stream's name on a line of its own. */
export function streamLine(streamName: string): string {
  return `stream    ${visible(streamName)}`;
}

/** `changeStore` for a command on one stream; `not-found` where the store has none of that name. */
export async function changeStream(
  given: Arguments,
  streamName: string,
  work: (store: EventStore) => Promise<Told>,
): Promise<ExitCode> {
  return await changeStore(given, async (store) => {
    if ((await store.streamInfo(streamName)) === undefined)
      throw new CommandFailure("not-found", `There is no stream ${printable(streamName)}`);
    return await work(store);
  });
}

/** Opens the store, has `work` do what it does, and tells of it. */
export async function changeStore(given: Arguments, work: (store: EventStore) => Promise<Told>): Promise<ExitCode> {
  await using store = await openWhenIdle(given);
  const { lines, json } = await work(store);
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(json)}\n` : lines.map((line) => `${line}\n`).join(""));
  await output.close();
  return exitCodes.ok;
}
