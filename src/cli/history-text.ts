/** Histories as people and programs read them: colours, changes, values, and what stands for an event. */

import type { RecordedEvent, StateChange } from "../index.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import { toPlainData } from "./plain-data.ts";
import { dataText, visible } from "./text.ts";

/** The most characters of one value for people; programs get all of it. */
const valueCharactersMax = 400;

export const colorOption: OptionDescription = {
  name: "color",
  text: "in colours, also where the output is no terminal (default: on a terminal, unless NO_COLOR is set)",
};

export type Paint = (color: "red" | "green" | "yellow" | "cyan" | "dim", text: string) => string;

const codes = { red: 31, green: 32, yellow: 33, cyan: 36, dim: 2 } as const;

/** Colours text where the command line or the terminal wants it. */
export function painter(given: Arguments): Paint {
  const byItself = process.stdout.isTTY === true && (process.env.NO_COLOR ?? "") === "";
  if (!given.flag("color") && !byItself) return (_, text) => text;
  return (color, text) => `\u001b[${codes[color]}m${text}\u001b[0m`;
}

/** A value in one line, cut where it is long. */
export function valueText(value: unknown): string {
  const text = value === undefined ? "undefined" : visible(dataText(value));
  const more = text.length - valueCharactersMax;
  return more <= 0 ? text : `${text.slice(0, valueCharactersMax)}... (${more} more characters)`;
}

/** The path of a change as people read it: the whole state has none. */
function pathText(path: string): string {
  return path === "" ? "(state)" : visible(path);
}

/** Lines that begin with `-` for what was and `+` for what is. */
export function changeLines(changes: readonly StateChange[], omitted: number, paint: Paint, indent: string): string {
  const lines = changes.flatMap((change) => [
    ...(change.kind === "added" ? [] : [paint("red", `- ${pathText(change.path)}  ${valueText(change.before)}`)]),
    ...(change.kind === "removed" ? [] : [paint("green", `+ ${pathText(change.path)}  ${valueText(change.after)}`)]),
  ]);
  if (omitted > 0) lines.push(paint("dim", `... and ${omitted} more ${omitted === 1 ? "change" : "changes"}`));
  return lines.map((line) => `${indent}${line}\n`).join("");
}

export function changesJson(changes: readonly StateChange[]): readonly object[] {
  return changes.map((change) => ({
    ...change,
    ...("before" in change ? { before: toPlainData(change.before).value } : {}),
    ...("after" in change ? { after: toPlainData(change.after).value } : {}),
  }));
}

export function eventJson(event: RecordedEvent): object {
  return { ...event, data: toPlainData(event.data).value, metadata: toPlainData(event.metadata).value };
}

/** An event in a few words. */
export function eventText({ type, streamName, version }: RecordedEvent): string {
  return `${visible(type)} (${visible(streamName)} ${version})`;
}
